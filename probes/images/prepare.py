"""The pictures of a sample, decoded and resized for a network, one after the other."""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import islice
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from probes.cores import n_cores
from probes.data.image_index import ImageIndex, Store, reading_order
from probes.data.sampling import Draw, Sample
from probes.images.decode import UnreadableImage, in_order, quiet_decoders, resize
from probes.images.image_facts import PictureFacts, facts_of, open_picture, stored_size

_AHEAD = 16  # decoded pictures that wait for the network at most
_MOST_HEADERS = 1000  # that are read for a median


class Wanted(NamedTuple):
    """An image of a sample that is to be read."""

    label: int
    file: str
    validation: bool
    group: str | None = None  # as in `Entry`, as is the weight; read only where the image is in no index
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A picture as the network reads it."""

    pixels: npt.NDArray[np.float32]  # of shape (input_size, input_size, channels), 0 to 255
    label: int
    file: str
    size: tuple[int, int]  # native (width, height) in px
    grey: bool
    validation: bool = False
    facts: PictureFacts | None = None  # None where it came from no index
    outputs: tuple[npt.NDArray[np.float32], ...] = ()  # of the network, where it ran elsewhere; then without pixels


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An image of the sample that is unreadable."""

    file: str
    label: int
    validation: bool
    error: UnreadableImage


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """Images of the sample that were not measured; filled while the sample is read."""

    failures: list[Failed] = field(default_factory=list)
    copies: list[Prepared] = field(default_factory=list)  # of a measured image of the class and split; without pixels


Reader = Callable[[Sequence[Wanted]], Iterator[Prepared | Failed]]  # in the order of the images


def read_wanted(store: Store, size: int, channels: int, item: Wanted) -> Prepared | Failed:
    """Decode and resize one image."""
    try:
        picture = open_picture(store, item.file, channels)
    except UnreadableImage as error:
        return Failed(file=item.file, label=item.label, validation=item.validation, error=error)
    return Prepared(
        file=item.file,
        label=item.label,
        size=picture.size,
        grey=picture.grey,
        pixels=resize(picture.pixels, size),
        validation=item.validation,
        facts=facts_of(picture, item.file),
    )


def read_here(store: Store, size: int, channels: int, items: Sequence[Wanted]) -> Iterator[Prepared | Failed]:
    """Decode and resize images in threads of this process, in their order."""
    return in_order(partial(read_wanted, store, size, channels), items, workers=min(8, n_cores()), ahead=_AHEAD)


def readable(
    index: ImageIndex,
    draw: Draw,
    size: int,
    channels: int,
    skipped: Skipped,
    *,
    validation: bool = False,
    reader: Reader | None = None,
) -> Iterator[Prepared]:
    """Decoded pictures of a sample.

    One that is unreadable, or has the same pixels as another of its class, is added to `skipped` and replaced by the
    next candidate of its class. `reader` reads them, by default this process.
    """
    read = reader or partial(read_here, index.store, size, channels)
    seen: dict[tuple[int, bytes], str] = {}
    candidates = [iter(names) for names in draw.candidates]
    wanted = [label for label, quota in enumerate(draw.quota) for _ in range(quota)]
    while todo := [Wanted(label, name, validation) for label in wanted for name in islice(candidates[label], 1)]:
        wanted = []
        todo = [todo[number] for number in reading_order(index.store, [item.file for item in todo])]
        for item in read(todo):
            if isinstance(item, Failed):
                skipped.failures.append(item)
                wanted.append(item.label)
            elif seen.setdefault((item.label, item.facts.digest if item.facts else b""), item.file) != item.file:
                skipped.copies.append(replace(item, pixels=np.empty(0, np.float32)))
                wanted.append(item.label)
            else:
                yield item


def readable_sample(
    index: ImageIndex, sample: Sample, size: int, channels: int, skipped: Skipped, reader: Reader | None = None
) -> Iterator[Prepared]:
    """Decoded pictures of both parts of a sample, as of `readable`, the training images first."""
    yield from readable(index, sample.train, size, channels, skipped, reader=reader)
    yield from readable(index, sample.validation, size, channels, skipped, validation=True, reader=reader)


def median_short_side(index: ImageIndex, draw: Draw) -> float | None:
    """Median of the shorter side in px over the sample, from at most `_MOST_HEADERS` file headers; None without any."""
    names = [name for quota, names in zip(draw.quota, draw.candidates, strict=True) for name in names[:quota]]
    names, sides = names[:: -(-len(names) // _MOST_HEADERS) or 1], []
    with quiet_decoders():
        for number in reading_order(index.store, names):
            with contextlib.suppress(UnreadableImage):
                sides.append(min(stored_size(index.store, names[number])))
    return float(np.median(sides)) if sides else None
