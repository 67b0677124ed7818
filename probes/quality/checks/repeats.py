"""Pictures that repeat others: copies, contradictory labels, and leaks between splits."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from probes.data.image_index import SPLITS, TRAIN, VALIDATION, ImageIndex
from probes.images.image_facts import Inspection, Records
from probes.quality.checked_data import InspectedData
from probes.quality.findings import ERROR, EXAMPLES, WARNING, Finding, count
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
        kind="duplicate",
        severity=WARNING,
        message=f"with the same pixels as another of the class, of {len(rows):,} inspected.",
        done="One of each is measured; the copies found are not counted.",
        advice="Remove the copies: they are no new images. `recommend check --full` counts all of them.",
    )
    yield from _about(
        seen,
        found.similar,
        later_members(found.similar, place) & ~copies,
        kind="near_duplicate",
        severity=WARNING,
        message="nearly the same as another of the class: resized, saved again, or the next frame of a film.",
        done=f"{_KEPT_TOGETHER} They count as one image where the size of the data matters.",
        advice="Keep them together when you split the data, too.",
    )


def _across_classes(seen: Inspection, found: Repeats) -> Iterator[Finding]:
    labels = seen.labels[seen.read["place"]]
    same = _with_several(found.exact, labels)
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
        found.similar,
        _with_several(found.similar, labels) & ~same,
        kind="near_conflict",
        severity=WARNING,
        message="nearly the same as one of another class.",
        done=_KEPT_TOGETHER,
        advice="Inspect them: either a label is wrong, or the classes differ in details too small to see.",
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
            kind=kind,
            severity=ERROR,
            message=f"held out, {how} a training image: accuracy there is too high.",
            done=_leak_done(seen, rows[leaked]),
            advice="Remove them from the validation or test split.",
        )


def _split_groups(seen: Inspection, index: ImageIndex) -> Iterator[Finding]:
    rows = seen.read
    groups = np.array([index.groups.get(seen.names[place]) for place in rows["place"]], object)
    trained = seen.in_split(rows, TRAIN)
    training_groups = set(groups[trained]) - {None}
    leaked = ~trained & np.array([group in training_groups for group in groups], bool)
    names = [seen.names[place] for place in rows["place"][leaked]]
    if names:
        yield Finding(
            kind="group_leak",
            severity=ERROR,
            n_files=len(names),
            examples=tuple(f"{name} (group {index.groups[name]})" for name in names[:EXAMPLES]),
            message=f"{count(len(names), 'file')} held out, of a group that is in training, too: accuracy there is "
            "too high.",
            done=_leak_done(seen, rows[leaked]),
            advice="Put every group into one split.",
        )


def _leak_done(seen: Inspection, leaked: Records) -> str:
    if seen.in_split(leaked, VALIDATION).any():
        return "Left out of the expected accuracy."
    return "Nothing: no number here comes from the test split."


def _with_several(groups: Groups, kinds: Groups) -> npt.NDArray[np.bool_]:
    """Which items are in a group of more than one kind."""
    pairs = np.unique(np.stack([groups, kinds]), axis=1)
    return np.asarray(np.bincount(pairs[0])[groups] > 1)


def _about(seen: Inspection, groups: Groups, chosen: npt.NDArray[np.bool_], **fields: str) -> Iterator[Finding]:
    """A finding about the chosen rows, if there are any; its message continues "3 files "."""
    if not chosen.any():
        return
    members: dict[int, list[str]] = {}
    for place, group in zip(seen.read["place"].tolist(), groups.tolist(), strict=True):
        members.setdefault(group, []).append(seen.names[place])
    wanted = set(groups[chosen].tolist())
    examples = [" = ".join(sorted(names)[:3]) for group, names in members.items() if group in wanted]
    message = f"{count(int(chosen.sum()), 'file')} {fields.pop('message')}"
    yield Finding(n_files=int(chosen.sum()), examples=tuple(examples[:EXAMPLES]), message=message, **fields)
