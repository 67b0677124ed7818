"""Findings about pictures that repeat others: copies, contradictory labels, and leaks between splits."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probes.data.image_index import SPLITS, TRAIN, VALIDATION, ImageIndex
from probes.images.facts_table import Inspection, Records
from probes.quality.findings import ERROR, EXAMPLES, WARNING, Finding, count
from probes.quality.near_duplicates import components, near_duplicates

Groups = npt.NDArray[np.int64]
_KEPT_TOGETHER = "Kept on one side of every split."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Repeats:
    """Which of the pictures that could be read repeat others.

    Attributes:
        exact: numbers, equal for the same pixels, of shape (n,), in the order of `Inspection.read`.
        alike: numbers, equal for pictures that look the same as well, of the same shape.
        together: numbers, equal for images of one group of the user's as well: such are never split.
        leaked: whether an image is of the validation or test split, and belongs together with a training image.
    """

    exact: Groups
    alike: Groups
    together: Groups
    leaked: npt.NDArray[np.bool_]


def find_repeats(seen: Inspection, index: ImageIndex) -> Repeats:
    """Compare all pictures with each other."""
    rows = seen.read
    exact = _numbered([row.tobytes() for row in rows["digest"]])
    hashes = [row.tobytes() for row in rows["perceptual"]]
    # The same pixels look the same; blank pictures, which have no hash, would not be linked otherwise.
    first = np.unique(exact, return_index=True)[1]
    pairs = [*near_duplicates(hashes), *((int(first[group]), row) for row, group in enumerate(exact))]
    alike = np.asarray(components(len(rows), [(a, b) for a, b in pairs if a != b]), np.int64)
    together = alike
    if index.groups:
        told = [index.groups.get(seen.names[place]) for place in rows["place"]]
        together = np.asarray(components(len(rows), [(a, b) for a, b in [*pairs, *_linked(told)] if a != b]), np.int64)
    trained = seen.in_split(rows, TRAIN)
    leaked = ~trained & np.isin(together, together[trained])
    return Repeats(exact=exact, alike=alike, together=together, leaked=leaked)


def _linked(keys: Sequence[object]) -> Iterator[tuple[int, int]]:
    """Pairs that link each item to the first one of the same key; None is the key of nothing."""
    first: dict[object, int] = {}
    for place, key in enumerate(keys):
        if key is not None and first.setdefault(key, place) != place:
            yield first[key], place


def readable_counts(index: ImageIndex, seen: Inspection) -> tuple[int, ...]:
    """Training images of each class, less those that were seen to be unreadable."""
    failed = seen.rows[seen.in_split(seen.rows, TRAIN) & (seen.rows["failure"] >= 0)]
    lost = np.bincount(seen.labels[failed["place"]], minlength=len(index.class_names))
    return tuple(int(n) for n in np.asarray(index.class_counts) - lost)


def distinct_counts(index: ImageIndex, seen: Inspection, found: Repeats) -> tuple[int, ...]:
    """Training images of each class, less those that were seen to be unreadable, and of look-alikes all but one."""
    rows = seen.read
    inside = seen.in_split(rows, TRAIN)
    labels = seen.labels[rows["place"]][inside]
    later = _later(np.stack([found.alike[inside], labels]))
    repeated = np.bincount(labels[later], minlength=len(index.class_names))
    return tuple(int(n) for n in np.asarray(readable_counts(index, seen)) - repeated)


def repeats(seen: Inspection, index: ImageIndex, found: Repeats) -> Iterator[Finding]:
    """Pictures with the same pixels, or that look the same, within a class, across classes and across splits."""
    rows = seen.read
    if len(rows) < 2:
        return
    yield from _within_class(seen, rows, found)
    yield from _across_classes(seen, rows, found)
    yield from _across_splits(seen, rows, found)
    yield from _parted_groups(seen, rows, index)


def _numbered(keys: Sequence[bytes]) -> Groups:
    numbers: dict[bytes, int] = {}
    return np.array([numbers.setdefault(key, len(numbers)) for key in keys], np.int64)


def _several(groups: Groups, kinds: Groups) -> npt.NDArray[np.bool_]:
    """Which members are of a group that holds more than one kind."""
    pairs = np.unique(np.stack([groups, kinds]), axis=1)
    return np.asarray(np.bincount(pairs[0], minlength=int(groups.max()) + 1)[groups] > 1)


def _shown(seen: Inspection, rows: Records, groups: Groups) -> tuple[str, ...]:
    """Examples: the members of some groups, joined."""
    lines: dict[int, list[str]] = {}
    for place, group in zip(rows["place"].tolist(), groups.tolist(), strict=True):
        lines.setdefault(group, []).append(seen.names[place])
    return tuple(" = ".join(sorted(names)[:3]) for names in list(lines.values())[:EXAMPLES])


def _about(seen: Inspection, groups: Groups, chosen: npt.NDArray[np.bool_], **told: str) -> Iterator[Finding]:
    """A finding about the chosen rows, if there are any, with the groups that they are of as examples.

    Args:
        seen: what was seen.
        groups: numbers of the readable rows.
        chosen: which of the rows it is about.
        told: the other fields of the finding; the message goes on from "3 files ".
    """
    if not chosen.any():
        return
    twins = np.isin(groups, groups[chosen])
    message = f"{count(int(chosen.sum()), 'file')} {told.pop('message')}"
    examples = _shown(seen, seen.read[twins], groups[twins])
    yield Finding(n_files=int(chosen.sum()), examples=examples, message=message, **told)


def _within_class(seen: Inspection, rows: Records, found: Repeats) -> Iterator[Finding]:
    # A class of a split: what a copy lies in together with its original.
    place = seen.labels[rows["place"]] * len(SPLITS) + seen.splits[rows["place"]]
    copies = _later(np.stack([found.exact, place]))
    yield from _about(
        seen,
        found.exact,
        copies,
        kind="duplicate",
        severity=WARNING,
        message=f"with the same pixels as another of the class, of {len(rows):,} looked at.",
        done="One of each is measured; those that were seen are not counted.",
        advice="Remove the copies: they are no new images. `recommend check --full` counts all of them.",
    )
    yield from _about(
        seen,
        found.alike,
        _later(np.stack([found.alike, place])) & ~copies,
        kind="near_duplicate",
        severity=WARNING,
        message="nearly the same as another of the class: resized, saved anew, or the next frame of a film.",
        done=f"{_KEPT_TOGETHER} Counted as one when it is asked if there are enough.",
        advice="Keep them together when you split the data, too.",
    )


def _later(keys: Groups) -> npt.NDArray[np.bool_]:
    """Which columns repeat an earlier one."""
    _, first = np.unique(keys, axis=1, return_index=True)
    later = np.ones(keys.shape[1], bool)
    later[first] = False
    return later


def _across_classes(seen: Inspection, rows: Records, found: Repeats) -> Iterator[Finding]:
    labels = seen.labels[rows["place"]]
    same = _several(found.exact, labels)
    yield from _about(
        seen,
        found.exact,
        same,
        kind="conflict",
        severity=ERROR,
        message="with the same pixels under different classes: one label of each pair is wrong.",
        done=f"{_KEPT_TOGETHER} They count as they are labelled.",
        advice="Decide on one class for each, or remove them.",
    )
    yield from _about(
        seen,
        found.alike,
        _several(found.alike, labels) & ~same,
        kind="near_conflict",
        severity=WARNING,
        message="nearly the same as one of another class.",
        done=_KEPT_TOGETHER,
        advice="Look at them: either a label is wrong, or what tells the classes apart is too small to see.",
    )


def _across_splits(seen: Inspection, rows: Records, found: Repeats) -> Iterator[Finding]:
    trained = seen.in_split(rows, TRAIN)
    same, near = (~trained & np.isin(groups, groups[trained]) for groups in (found.exact, found.alike))
    for kind, groups, leaked, what in (
        ("leak", found.exact, same, "with the same pixels as"),
        ("near_leak", found.alike, near & ~same, "nearly the same as"),
    ):
        yield from _about(
            seen,
            groups,
            leaked,
            kind=kind,
            severity=ERROR,
            message=f"held out, {what} a training image: accuracy there is too high.",
            done=_left_out(seen, rows[leaked]),
            advice="Remove them from the validation or test split.",
        )


def _left_out(seen: Inspection, leaked: Records) -> str:
    if seen.in_split(leaked, VALIDATION).any():
        return "Left out of the expected accuracy."
    return "Nothing: no number here comes from the test split."


def _parted_groups(seen: Inspection, rows: Records, index: ImageIndex) -> Iterator[Finding]:
    names = [seen.names[place] for place in rows["place"]]
    trained = seen.in_split(rows, TRAIN)
    training = {index.groups.get(name) for name, inside in zip(names, trained, strict=True) if inside} - {None}
    leaked = [not inside and index.groups.get(name) in training for name, inside in zip(names, trained, strict=True)]
    split = [name for name, inside in zip(names, leaked, strict=True) if inside]
    if split:
        yield Finding(
            kind="group_leak",
            severity=ERROR,
            n_files=len(split),
            examples=tuple(f"{name} (group {index.groups[name]})" for name in split[:EXAMPLES]),
            message=f"{count(len(split), 'file')} held out, of a group that is in training, too: accuracy there is "
            "too high.",
            done=_left_out(seen, rows[np.array(leaked)]),
            advice="Put every group into one split.",
        )
