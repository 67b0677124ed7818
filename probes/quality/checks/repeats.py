"""Pictures that repeat others: copies, contradictory labels, and leaks between splits."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from probes.data.image_index import SPLITS, TRAIN, VALIDATION, ImageIndex
from probes.images.image_facts import Inspection, Records
from probes.quality.checked_data import InspectedData
from probes.quality.findings import ERROR, WARNING, Finding, count, finding
from probes.quality.repeats import Groups, Repeats, later_members

_KEPT_TOGETHER = "Kept on one side of every split."


def check(data: InspectedData) -> Iterator[Finding]:
    """Pictures with the same pixels, or nearly the same, within a class, across classes and across splits."""
    if len(data.seen.read) > 1:
        for find in (_within_class, _across_classes, _across_splits):
            yield from find(data.seen, data.repeats)
        yield from _split_groups(data.seen, data.index)


def _within_class(seen: Inspection, found: Repeats) -> Iterator[Finding]:
    rows = seen.read
    # A copy counts where it is in the same class and split as its original.
    place = seen.labels[rows["place"]] * len(SPLITS) + seen.splits[rows["place"]]
    copies = later_members(found.exact, place)
    yield from _about(
        seen,
        found.exact,
        copies,
        "duplicate",
        f"with the same pixels as another of the class, of {len(rows):,} inspected.",
        "One of each is measured; the copies found are not counted.",
        "Remove the copies: they are no new images. `recommend check --full` counts all of them.",
    )
    yield from _about(
        seen,
        found.similar,
        later_members(found.similar, place) & ~copies,
        "near_duplicate",
        "nearly the same as another of the class: resized, saved again, or the next frame of a film.",
        f"{_KEPT_TOGETHER} They count as one image where the size of the data matters.",
        "Keep them together when you split the data, too.",
    )


def _across_classes(seen: Inspection, found: Repeats) -> Iterator[Finding]:
    labels = seen.labels[seen.read["place"]]
    same = _with_several(found.exact, labels)
    yield from _about(
        seen,
        found.exact,
        same,
        "conflict",
        "with the same pixels under different classes: one label of each pair is wrong.",
        f"{_KEPT_TOGETHER} They count as they are labelled.",
        "Decide on one class for each, or remove them.",
        severity=ERROR,
    )
    yield from _about(
        seen,
        found.similar,
        _with_several(found.similar, labels) & ~same,
        "near_conflict",
        "nearly the same as one of another class.",
        _KEPT_TOGETHER,
        "Inspect them: either a label is wrong, or the classes differ in details too small to see.",
    )


def _across_splits(seen: Inspection, found: Repeats) -> Iterator[Finding]:
    rows = seen.read
    trained = seen.in_split(rows, TRAIN)
    same, near = (~trained & np.isin(groups, groups[trained]) for groups in (found.exact, found.similar))
    for kind, groups, leaked, how in (
        ("leak", found.exact, same, "with the same pixels as"),
        ("near_leak", found.similar, near & ~same, "nearly the same as"),
    ):
        yield from _about(
            seen,
            groups,
            leaked,
            kind,
            f"held out, {how} a training image: accuracy there is too high.",
            _leak_done(seen, rows[leaked]),
            "Remove them from the validation or test split.",
            severity=ERROR,
        )


def _split_groups(seen: Inspection, index: ImageIndex) -> Iterator[Finding]:
    rows = seen.read
    groups = np.array([index.groups.get(seen.names[place]) for place in rows["place"]], object)
    trained = seen.in_split(rows, TRAIN)
    training_groups = set(groups[trained]) - {None}
    leaked = ~trained & np.array([group in training_groups for group in groups], bool)
    names = [seen.names[place] for place in rows["place"][leaked]]
    if names:
        yield finding(
            "group_leak",
            [f"{name} (group {index.groups[name]})" for name in names],
            f"{count(len(names), 'file')} held out, of a group that is in training, too: accuracy there is too high.",
            _leak_done(seen, rows[leaked]),
            "Put every group into one split.",
            severity=ERROR,
        )


def _leak_done(seen: Inspection, leaked: Records) -> str:
    if seen.in_split(leaked, VALIDATION).any():
        return "Left out of the expected accuracy."
    return "Nothing: no number here comes from the test split."


def _with_several(groups: Groups, kinds: Groups) -> npt.NDArray[np.bool_]:
    """Which items are in a group of more than one kind."""
    pairs = np.unique(np.stack([groups, kinds]), axis=1)
    return np.asarray(np.bincount(pairs[0])[groups] > 1)


def _about(
    seen: Inspection,
    groups: Groups,
    chosen: npt.NDArray[np.bool_],
    kind: str,
    message: str,
    *words: str,
    severity: str = WARNING,
) -> Iterator[Finding]:
    """A finding about the chosen rows, if there are any; its message continues "3 files "."""
    if not chosen.any():
        return
    members: dict[int, list[str]] = {}
    for place, group in zip(seen.read["place"].tolist(), groups.tolist(), strict=True):
        members.setdefault(group, []).append(seen.names[place])
    wanted, n_files = set(groups[chosen].tolist()), int(chosen.sum())
    examples = [" = ".join(sorted(names)[:3]) for group, names in members.items() if group in wanted]
    yield finding(kind, examples, f"{count(n_files, 'file')} {message}", *words, severity=severity, n_files=n_files)
