"""Which images belong together, so that none of them may judge a classifier that has seen another."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from probes.duplicates import components, near_duplicates
from probes.inspection import PictureFacts


def group_numbers(
    facts: Sequence[PictureFacts], names: Sequence[str] = (), groups: Mapping[str, str] | None = None
) -> npt.NDArray[np.int64]:
    """Number the images so that those of one number belong together.

    Images belong together if they have the same pixels, look the same, or are of one group of the user's; and so do
    those that a chain of such pairs connects.

    Args:
        facts: of n images.
        names: of the same images, where groups are told.
        groups: name -> group; an image without one is a group of its own.

    Returns:
        Numbers from 0 on, in the order of each group's first image, of shape (n,).
    """
    pairs = list(near_duplicates([picture.perceptual for picture in facts]))
    pairs += _linked([picture.digest for picture in facts])
    if groups:
        pairs += _linked([groups.get(name) for name in names])
    return np.asarray(components(len(facts), pairs), np.int64)


def _linked(keys: Sequence[object]) -> Iterator[tuple[int, int]]:
    """Pairs that link each item to the first one of the same key; None is the key of nothing."""
    first: dict[object, int] = {}
    for place, key in enumerate(keys):
        if key is not None and first.setdefault(key, place) != place:
            yield first[key], place
