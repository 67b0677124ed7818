"""Which pictures repeat others, and how many images are left without them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probes.data.image_index import TRAIN, ImageIndex
from probes.images.image_facts import Inspection
from probes.quality.near_duplicates import components, near_duplicates

Groups = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Repeats:
    """Which of n readable pictures repeat others; each array has shape (n,), in the order of `Inspection.read`."""

    exact: Groups  # numbers, equal for the same pixels
    similar: Groups  # also equal for near duplicates
    together: Groups  # also equal for images of one of the user's groups: images that are never split
    leaked: npt.NDArray[np.bool_]  # in the validation or test split, and together with a training image


def find_repeats(seen: Inspection, index: ImageIndex) -> Repeats:
    """Compare all readable pictures with each other."""
    rows = seen.read
    digests = [row.tobytes() for row in rows["digest"]]
    # Copies are linked by their pixels too: blank pictures have no hash.
    pairs = [*near_duplicates([row.tobytes() for row in rows["perceptual"]]), *_equal(digests)]
    groups = _equal(index.groups.get(seen.names[place]) for place in rows["place"])
    together = components(len(rows), [*pairs, *groups])
    trained = seen.in_split(rows, TRAIN)
    return Repeats(
        exact=components(len(rows), list(_equal(digests))),
        similar=components(len(rows), pairs),
        together=together,
        leaked=~trained & np.isin(together, together[trained]),
    )


def _equal(keys: Iterable[object]) -> Iterator[tuple[int, int]]:
    """Pairs of each item and the first one of the same key; None equals nothing."""
    first: dict[object, int] = {}
    for place, key in enumerate(keys):
        if key is not None and first.setdefault(key, place) != place:
            yield first[key], place


def readable_counts(index: ImageIndex, seen: Inspection) -> tuple[int, ...]:
    """Training images of each class, without those found to be unreadable."""
    failed = seen.rows[seen.in_split(seen.rows, TRAIN) & (seen.rows["failure"] >= 0)]
    lost = np.bincount(seen.labels[failed["place"]], minlength=len(index.class_names))
    return tuple(int(n) for n in np.asarray(index.class_counts) - lost)


def distinct_counts(index: ImageIndex, seen: Inspection, found: Repeats) -> tuple[int, ...]:
    """The same, counting near duplicates as one image."""
    inside = seen.in_split(seen.read, TRAIN)
    labels = seen.labels[seen.read["place"]][inside]
    repeated = np.bincount(labels[later_members(found.similar[inside], labels)], minlength=len(index.class_names))
    return tuple(int(n) for n in np.asarray(readable_counts(index, seen)) - repeated)


def later_members(groups: Groups, kinds: Groups) -> npt.NDArray[np.bool_]:
    """Which items have an earlier one of the same group and kind."""
    _, first = np.unique(np.stack([groups, kinds]), axis=1, return_index=True)
    later = np.ones(len(groups), bool)
    later[first] = False
    return later
