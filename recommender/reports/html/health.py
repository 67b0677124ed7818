"""Findings about the data, with the images that they name."""

from dataclasses import dataclass, replace

import numpy as np

from probes.quality.findings import Finding
from probes.quality.label_errors import CERTAINTY
from recommender.explanation.text import clean, percent
from recommender.pipeline.decision import Decision
from recommender.rules import thresholds

_SHOWN = 6  # examples of a finding
_THRESHOLDS = {  # of findings whose message does not give it
    "label_error": f"Reported from {percent(CERTAINTY, 0)} certainty.",
    "imbalance": f"Reported from {thresholds.WEIGHTED_IMBALANCE:g} times as many images in the largest class.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One example of a finding: its images, and the words about them."""

    files: tuple[str, ...]  # names in the index; empty where none is named
    words: str
    like: str | None = None  # of a likely label error: the nearest image of the suggested class

    @property
    def images(self) -> tuple[str, ...]:
        """All images that are shown."""
        return self.files if self.like is None else (*self.files, self.like)


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """A finding, and how it is shown."""

    finding: Finding
    threshold: str
    examples: tuple[Example, ...]
    more: int  # examples that are not shown


def health(found: Decision) -> list[Health]:
    """All findings, the worst first."""
    index = found.index
    splits = (index.files, index.validation, index.test) if found.findings else ()
    names = {name for split in splits for of_class in split for name in of_class}
    return [
        Health(
            finding=finding,
            threshold=_THRESHOLDS.get(finding.kind, ""),
            examples=tuple(_with_neighbour(found, _example(text, names)) for text in finding.examples[:_SHOWN]),
            more=max(len(finding.examples) - _SHOWN, 0),
        )
        for finding in found.findings
    ]


def _example(text: str, names: set[str]) -> Example:
    """What the text of an example names: "a", "a: what is wrong", "a (group g)" or "a = b = c"."""
    if text in names:
        return Example(files=(text,), words=clean(text))
    copies = tuple(text.split(" = "))
    if len(copies) > 1 and names.issuperset(copies):
        return Example(files=copies, words=" = ".join(map(clean, copies)))
    for separator in (": ", " ("):
        place = text.find(separator)
        while place > 0:
            if text[:place] in names:
                return Example(files=(text[:place],), words=clean(text))
            place = text.find(separator, place + 1)
    return Example(files=(), words=clean(text))


def _with_neighbour(found: Decision, example: Example) -> Example:
    """The example of a likely label error together with the nearest image of the suggested class."""
    features, names = found.features, found.index.class_names
    suggested = next((label for label, name in enumerate(names) if f", looks like {name!r} (" in example.words), None)
    if suggested is None or len(example.files) != 1 or example.files[0] not in features.files:
        return example
    row, values = features.files.index(example.files[0]), list(features.pooled.values())[-1]
    others = np.flatnonzero(features.labels == suggested)
    others = others[others != row]
    if not len(others):
        return example
    centred = values - values.mean(0)
    lengths = np.maximum(np.linalg.norm(centred[others], axis=1), 1e-12)
    nearest = others[int(np.argmax(centred[others] @ centred[row] / lengths))]
    return replace(example, like=features.files[nearest])
