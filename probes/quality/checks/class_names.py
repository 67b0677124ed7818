"""Names and numbers of the classes."""

from collections.abc import Iterator

from probes.quality.checked_data import InspectedData
from probes.quality.findings import EXAMPLES, WARNING, Finding, count, quoted


def check(data: InspectedData) -> Iterator[Finding]:
    """Classes without images, labels that are not 0, 1, …, and several spellings of what is likely one class."""
    index = data.index
    if index.silent:
        yield _finding(
            "silent_class",
            index.silent,
            f"{count(len(index.silent), 'class has', 'classes have')} no training image: {quoted(index.silent)}.",
            "The model has an output for it, which starts without knowledge.",
            "Add images of it, or leave its name out.",
        )
    if index.numbers:
        pairs = [f"label {number} is output {place}" for place, number in enumerate(index.numbers)]
        yield _finding(
            "label_numbers",
            pairs,
            f"Labels are not 0 to {len(pairs) - 1}: {pairs[0]}, {pairs[-1]}.",
            "Outputs are in the order of the labels.",
            "Number the classes from 0 before you train with `fit`, or name them with `class_names`.",
        )
    spellings: dict[str, list[str]] = {}
    for name in index.class_names:
        spellings.setdefault(" ".join(name.casefold().replace("_", " ").replace("-", " ").split()), []).append(name)
    several = [names for names in spellings.values() if len(names) > 1]
    if several:
        yield _finding(
            "similar_names",
            [" = ".join(names) for names in several],
            f"{count(len(several), 'class is', 'classes are')} spelt in several ways: {quoted(several[0])}.",
            "Treated as different classes.",
            "Use one spelling, if they are one class.",
        )


def _finding(kind: str, examples: list[str] | tuple[str, ...], message: str, done: str, advice: str) -> Finding:
    return Finding(
        kind=kind,
        severity=WARNING,
        n_files=0,
        examples=tuple(examples[:EXAMPLES]),
        message=message,
        done=done,
        advice=advice,
    )
