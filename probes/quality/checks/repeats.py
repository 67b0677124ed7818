"""Pictures that repeat others: copies, contradictory labels, and leaks between splits."""

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from probes.data.image_index import SPLITS, TRAIN, VALIDATION, ImageIndex
from probes.images.image_facts import Inspection, Records
from probes.quality.checked_data import InspectedData
from probes.quality.findings import ERROR, WARNING, Finding, count, finding
from probes.quality.repeats import Groups, later_members

_KEPT_TOGETHER = "Kept on one side of every split."
_WORDS = {  # the message after "3 files ", what was done (of leaks `_leak_done`), and the advice
    "duplicate": (
        "with the same pixels as another of the class, of {n_read:,} inspected.",
        "One of each is measured; the copies found are not counted.",
        "Remove the copies: they are no new images. `recommend check --full` counts all of them.",
    ),
    "near_duplicate": (
        "nearly the same as another of the class: resized, saved again, or the next frame of a film.",
        f"{_KEPT_TOGETHER} They count as one image where the size of the data matters.",
        "Keep them together when you split the data, too.",
    ),
    "conflict": (
        "with the same pixels under different classes: one label of each pair is wrong.",
        f"{_KEPT_TOGETHER} They count as they are labelled.",
        "Decide on one class for each, or remove them.",
    ),
    "near_conflict": (
        "nearly the same as one of another class.",
        _KEPT_TOGETHER,
        "Inspect them: either a label is wrong, or the classes differ in details too small to see.",
    ),
    "leak": (
        "held out, with the same pixels as a training image: accuracy there is too high.",
        "",
        "Remove them from the validation or test split.",
    ),
    "near_leak": (
        "held out, nearly the same as a training image: accuracy there is too high.",
        "",
        "Remove them from the validation or test split.",
    ),
}
_SERIOUS = ("conflict", "leak", "near_leak")


def check(data: InspectedData) -> Iterator[Finding]:
    """Pictures with the same pixels, or nearly the same, within a class, across classes and across splits."""
    seen, exact, similar = data.seen, data.repeats.exact, data.repeats.similar
    rows = seen.read
    if len(rows) < 2:
        return
    labels, trained = seen.labels[rows["place"]], seen.in_split(rows, TRAIN)
    # A copy counts where it is in the same class and split as its original.
    place = labels * len(SPLITS) + seen.splits[rows["place"]]
    copies, conflicts = later_members(exact, place), _with_several(exact, labels)
    leaks, near_leaks = (~trained & np.isin(groups, groups[trained]) for groups in (exact, similar))
    for kind, groups, chosen in (
        ("duplicate", exact, copies),
        ("near_duplicate", similar, later_members(similar, place) & ~copies),
        ("conflict", exact, conflicts),
        ("near_conflict", similar, _with_several(similar, labels) & ~conflicts),
        ("leak", exact, leaks),
        ("near_leak", similar, near_leaks & ~leaks),
    ):
        if chosen.any():
            yield _about(kind, seen, groups, chosen)
    yield from _split_groups(seen, data.index)


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


def _about(kind: str, seen: Inspection, groups: Groups, chosen: npt.NDArray[np.bool_]) -> Finding:
    """The finding about the chosen rows, with the pictures of their groups as examples."""
    rows = seen.read
    members: dict[int, list[str]] = {}
    for place, group in zip(rows["place"].tolist(), groups.tolist(), strict=True):
        members.setdefault(group, []).append(seen.names[place])
    wanted, n_files = set(groups[chosen].tolist()), int(chosen.sum())
    examples = [" = ".join(sorted(names)[:3]) for group, names in members.items() if group in wanted]
    message, done, advice = _WORDS[kind]
    message = f"{count(n_files, 'file')} {message.format(n_read=len(rows))}"
    done, severity = done or _leak_done(seen, rows[chosen]), ERROR if kind in _SERIOUS else WARNING
    return finding(kind, examples, message, done, advice, severity=severity, n_files=n_files)
