"""Findings about pictures that repeat others: copies, contradictory labels, and leaks between splits."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probes.dataset import SPLITS, TRAIN, VALIDATION, ImageIndex
from probes.duplicates import components, near_duplicates
from probes.facts_table import Inspection, Records
from probes.findings import ERROR, EXAMPLES, WARNING, Finding, count

Groups = npt.NDArray[np.int64]
_KEPT_TOGETHER = "Kept on one side of every split."


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Repeats:
    """Which of the pictures that could be read repeat others.

    Attributes:
        exact: numbers, equal for the same pixels, of shape (n,), in the order of `Inspection.read`.
        alike: numbers, equal for pictures that look the same as well, of the same shape.
        together: numbers, equal for images of one group of the user's as well: such are never parted.
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
    yield from _within_class(seen, rows, found.exact, found.alike)
    yield from _across_classes(seen, rows, found.exact, found.alike)
    yield from _across_splits(seen, rows, found.exact, found.alike)
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


def _within_class(seen: Inspection, rows: Records, exact: Groups, alike: Groups) -> Iterator[Finding]:
    # A class of a split: what a copy lies in together with its original.
    place = seen.labels[rows["place"]] * len(SPLITS) + seen.splits[rows["place"]]
    copies = _later(np.stack([exact, place]))
    if copies.any():
        twins = np.isin(exact, exact[copies])
        yield Finding(
            kind="duplicate",
            severity=WARNING,
            n_files=int(copies.sum()),
            examples=_shown(seen, rows[twins], exact[twins]),
            message=f"{count(int(copies.sum()), 'file')} with the same pixels as another of the class, of "
            f"{len(rows):,} looked at.",
            done="One of each is measured; those that were seen are not counted.",
            advice="Remove the copies: they are no new images. --check=full counts all of them.",
        )
    near = _later(np.stack([alike, place])) & ~copies
    if near.any():
        twins = np.isin(alike, alike[near])
        yield Finding(
            kind="near_duplicate",
            severity=WARNING,
            n_files=int(near.sum()),
            examples=_shown(seen, rows[twins], alike[twins]),
            message=f"{count(int(near.sum()), 'file')} nearly the same as another of the class: resized, saved "
            "anew, or the next frame of a film.",
            done=f"{_KEPT_TOGETHER} Counted as one when it is asked if there are enough.",
            advice="Keep them together when you split the data, too.",
        )


def _later(keys: Groups) -> npt.NDArray[np.bool_]:
    """Which columns repeat an earlier one."""
    _, first = np.unique(keys, axis=1, return_index=True)
    later = np.ones(keys.shape[1], bool)
    later[first] = False
    return later


def _across_classes(seen: Inspection, rows: Records, exact: Groups, alike: Groups) -> Iterator[Finding]:
    labels = seen.labels[rows["place"]]
    same = _several(exact, labels)
    if same.any():
        yield Finding(
            kind="conflict",
            severity=ERROR,
            n_files=int(same.sum()),
            examples=_shown(seen, rows[same], exact[same]),
            message=f"{count(int(same.sum()), 'file')} with the same pixels under different classes: one label of each "
            "pair is wrong.",
            done=f"{_KEPT_TOGETHER} They count as they are labelled.",
            advice="Decide on one class for each, or remove them.",
        )
    near = _several(alike, labels) & ~same
    if near.any():
        yield Finding(
            kind="near_conflict",
            severity=WARNING,
            n_files=int(near.sum()),
            examples=_shown(seen, rows[near], alike[near]),
            message=f"{count(int(near.sum()), 'file')} nearly the same as one of another class.",
            done=_KEPT_TOGETHER,
            advice="Look at them: either a label is wrong, or what tells the classes apart is too small to see.",
        )


def _across_splits(seen: Inspection, rows: Records, exact: Groups, alike: Groups) -> Iterator[Finding]:
    trained = seen.in_split(rows, TRAIN)
    for kind, groups, what, severity in (
        ("leak", exact, "with the same pixels as", ERROR),
        ("near_leak", alike, "nearly the same as", ERROR),
    ):
        leaked = ~trained & np.isin(groups, groups[trained])
        if kind == "near_leak":
            leaked &= ~np.isin(exact, exact[trained])
        if not leaked.any():
            continue
        both = np.isin(groups, groups[leaked])
        yield Finding(
            kind=kind,
            severity=severity,
            n_files=int(leaked.sum()),
            examples=_shown(seen, rows[both], groups[both]),
            message=f"{count(int(leaked.sum()), 'held-out file')} {what} a training image: accuracy there is too high.",
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
    parted = [name for name, inside in zip(names, leaked, strict=True) if inside]
    if parted:
        yield Finding(
            kind="group_leak",
            severity=ERROR,
            n_files=len(parted),
            examples=tuple(f"{name} (group {index.groups[name]})" for name in parted[:EXAMPLES]),
            message=f"{count(len(parted), 'held-out file')} of a group that is in training, too: accuracy there is too "
            "high.",
            done=_left_out(seen, rows[np.array(leaked)]),
            advice="Put every group into one split.",
        )
