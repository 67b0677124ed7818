"""From facts of the images to findings."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from probes.data.dataset_size import DatasetSize
from probes.data.image_index import SPLITS, TEST, TRAIN, VALIDATION, ImageIndex
from probes.data.sampling import draw_sample
from probes.data.splits import Rows
from probes.images.decode import quiet_decoders
from probes.images.facts_table import Inspection, Records, record
from probes.images.image_facts import inspect
from probes.network.features import Features
from probes.quality.classes import class_names, class_sizes, imbalance
from probes.quality.findings import SEVERITIES, WARNING, Finding, count, failures, listing, oddities, training
from probes.quality.label_errors import label_errors
from probes.quality.repeats import Repeats, repeats
from probes.quality.shortcuts import Nuisance, shortcuts
from probes.separability.linear_probe import Judged
from recommender.rules import thresholds

_EXAMPLES = 5  # of a class that can be recognised by a shortcut


def inspect_sample(index: ImageIndex, features: Features, *, with_test: int, seed: int) -> Inspection:
    """Facts of the sample, read while it was measured, and of some test images, which are not measured.

    Args:
        index: the images.
        features: of the sample.
        with_test: how many test images to inspect.
        seed: of their choice.
    """
    measured = zip(features.files, features.labels.tolist(), features.validation.tolist(), features.facts, strict=True)
    copies = [(item.file, item.label, item.validation, item.facts) for item in features.skipped.copies]
    failed = [(item.file, item.label, item.validation, item.error) for item in features.skipped.failures]
    seen: list[tuple[str, int, str, Any]] = [
        (name, label, VALIDATION if held_out else TRAIN, facts)
        for name, label, held_out, facts in (*measured, *copies, *failed)
    ]
    seen += _test_images(index, with_test, seed)
    return Inspection(
        names=tuple(name for name, *_ in seen),
        labels=np.array([label for _, label, *_ in seen], np.int64),
        splits=np.array([SPLITS.index(split) for _, _, split, _ in seen], np.int8),
        rows=np.concatenate([record(place, facts) for place, (*_, facts) in enumerate(seen)]),
        reasons={name: str(facts) for name, _, _, facts in seen if isinstance(facts, Exception)},
    )


def _test_images(index: ImageIndex, wanted: int, seed: int) -> Iterator[tuple[str, int, str, Any]]:
    if not wanted or not any(index.test):
        return
    draw = draw_sample(index.test, wanted, seed)
    chosen = [
        (name, label)
        for label, (quota, names) in enumerate(zip(draw.quota, draw.candidates, strict=True))
        for name in names[:quota]
    ]
    with quiet_decoders():
        for found in inspect(index.store, [name for name, _ in chosen], range(len(chosen))):
            yield (*chosen[found.place], TEST, found.facts or found.failure)


class Judgement(NamedTuple):
    """The measured images, and a classifier's results on those that it was not fitted on; None if there are none."""

    features: Features
    rows: Rows
    judged: Judged | None


def find(
    index: ImageIndex, seen: Inspection, repeated: Repeats, size: DatasetSize, judgement: Judgement
) -> tuple[Finding, ...]:
    """All problems of the data, the worst first.

    Args:
        index: the images.
        seen: facts of those that were inspected.
        repeated: which of them repeat others.
        size: how many there are.
        judgement: of those that were measured.
    """
    found = [
        *failures(seen),
        *repeats(seen, index, repeated),
        *_label_errors(index, judgement),
        *_shortcuts(index, seen, repeated),
        *class_sizes(index.class_names, size.class_counts),
        *imbalance(index.class_names, size.file_counts, notable=thresholds.WEIGHTED_IMBALANCE),
        *class_names(index),
        *_validation(index, judgement.rows),
        *listing(index),
        *oddities(seen),
    ]
    return tuple(sorted(found, key=lambda finding: SEVERITIES.index(finding.severity)))


def find_failures(index: ImageIndex, seen: Inspection) -> tuple[Finding, ...]:
    """Problems of data that can't be measured: what was left out, and what can't be read."""
    return (*failures(seen), *listing(index))


def _validation(index: ImageIndex, rows: Rows) -> Iterator[Finding]:
    """A validation split that can't be used, or that lacks classes."""
    listed = sum(len(names) for names in index.validation)
    splits = zip(index.class_names, index.validation, index.files, strict=False)
    lacking = [name for name, names, training in splits if training and not names]
    used = rows.held_out.any()
    if not listed or (used and not lacking):
        return
    what = f"of {len(lacking):,} of {len(index.class_names):,} classes no image" if lacking else "no image fit to judge"
    yield Finding(
        kind="validation",
        severity=WARNING,
        n_files=listed,
        examples=tuple(lacking),
        message=f"The validation split of {count(listed, 'image')} has {what}.",
        done="Accuracy is measured on the other classes."
        if used
        else "Accuracy is cross-validated in training instead.",
        advice="Hold images of every class out, none of them like a training image.",
    )


def _label_errors(index: ImageIndex, judgement: Judgement) -> Iterator[Finding]:
    features, measured, judged = judgement
    if judged is None:
        return
    rows = judged.rows
    deepest = next(reversed(features.pooled.values()))
    found = label_errors(
        judged.probabilities, features.labels[rows], features=deepest[rows], groups=measured.groups[rows]
    )
    if not found:
        return
    lines = [
        f"{features.files[rows[error.index]]}: {index.class_names[error.given]!r}, looks like "
        f"{index.class_names[error.suggested]!r} ({error.certainty:.0%} sure)"
        for error in found
    ]
    yield Finding(
        kind="label_error",
        severity=WARNING,
        n_files=len(found),
        examples=tuple(lines),
        message=f"{count(len(found), 'image')} that may be labelled wrong: a classifier that never saw them and their "
        "nearest neighbours speak for another class.",
        done="Measured as they are labelled.",
        advice="Look at them, best first; right or wrong is yours to say.",
    )


def _shortcuts(index: ImageIndex, seen: Inspection, repeated: Repeats) -> Iterator[Finding]:
    rows: Records = training(seen, seen.read)
    nuisance = Nuisance(
        formats=tuple(value.decode() for value in rows["format"].tolist()),
        modes=tuple(value.decode() for value in rows["mode"].tolist()),
        sizes=np.stack([rows["width"], rows["height"]], axis=1).astype(np.int64),
        brightness=rows["brightness"].astype(np.float64),
        grey=rows["grey"],
    )
    labels = seen.labels[rows["place"]]
    groups = repeated.together[seen.in_split(seen.read, TRAIN)]
    for found in shortcuts(nuisance, labels, index.class_names, groups=groups):
        own = rows["place"][labels == found.label]
        yield Finding(
            kind=f"shortcut_{found.kind}",
            severity=WARNING,
            n_files=len(own),
            examples=tuple(seen.names[place] for place in own[:_EXAMPLES]),
            message=f"{index.class_names[found.label]!r} can be told by {found.kind} alone, with a balanced accuracy "
            f"of {found.accuracy:.0%}: {found.words}.",
            done="Measured all the same: the network may have learned that and not what the pictures show.",
            advice="Take pictures of all classes in the same way, or save them alike, before you trust any accuracy.",
        )
