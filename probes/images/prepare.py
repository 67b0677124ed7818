"""The pictures of a sample, decoded and prepared for a network, one after the other."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from probes.data.image_index import ImageIndex
from probes.data.sampling import Draw
from probes.images.decode import UnreadableImage, in_order, quiet_decoders, read_size, resize, unreadable
from probes.images.image_facts import PictureFacts, facts_of, open_picture

_AHEAD = 32  # pictures that wait for the network at most

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """A picture as the network is to see it.

    Attributes:
        pixels: float32 of shape (input_size, input_size, channels), 0 to 255.
        label: its class number.
        file: where it came from.
        size: native (width, height) in px.
        grey: whether it has no colour.
        validation: whether it is of the user's validation split.
        facts: what else is known of it; None where it came from no index.
    """

    pixels: FloatArray
    label: int
    file: str
    size: tuple[int, int]
    grey: bool
    validation: bool = False
    facts: PictureFacts | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An image of the sample that could not be read."""

    file: str
    label: int
    validation: bool
    error: UnreadableImage


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """Images of the sample that were not measured; filled while the sample is read.

    Attributes:
        failures: those that could not be read.
        copies: those with the same pixels as another of their class and split, which was measured; without pixels.
    """

    failures: list[Failed] = field(default_factory=list)
    copies: list[Prepared] = field(default_factory=list)


def readable(
    index: ImageIndex, draw: Draw, size: int, channels: int, skipped: Skipped, *, validation: bool = False
) -> Iterator[Prepared]:
    """Decoded pictures of a sample.

    One that can't be read, or that repeats the pixels of another of its class, is noted, and the class's next
    candidate takes its place.
    """

    def read(item: tuple[int, str]) -> Prepared | Failed:
        label, name = item
        try:
            picture = open_picture(index.store, name, channels)
        except UnreadableImage as error:
            return Failed(file=name, label=label, validation=validation, error=error)
        return Prepared(
            file=name,
            label=label,
            size=picture.size,
            grey=picture.grey,
            pixels=resize(picture.pixels, size).numpy(),
            validation=validation,
            facts=facts_of(picture, name),
        )

    seen: dict[tuple[int, bytes], str] = {}
    following = list(draw.quota)
    todo = [(label, name) for label, names in enumerate(draw.candidates) for name in names[: draw.quota[label]]]
    workers = min(8, os.cpu_count() or 1)
    while todo:
        failed = []
        for item in in_order(read, todo, workers=workers, ahead=_AHEAD):
            if isinstance(item, Failed):
                skipped.failures.append(item)
                failed.append(item.label)
            elif seen.setdefault((item.label, item.facts.digest if item.facts else b""), item.file) != item.file:
                skipped.copies.append(replace(item, pixels=np.empty(0, np.float32)))
                failed.append(item.label)
            else:
                yield item
        todo = []
        for label in failed:
            if following[label] < len(draw.candidates[label]):
                todo.append((label, draw.candidates[label][following[label]]))
                following[label] += 1


def median_short_side(index: ImageIndex, draw: Draw) -> float | None:
    """Median of the shorter side in px over the sample, read from file headers; None where no header can be read."""
    sides = []
    with quiet_decoders():
        for wanted, candidates in zip(draw.quota, draw.candidates, strict=True):
            for name in candidates[:wanted]:
                with contextlib.suppress(UnreadableImage):
                    sides.append(min(_stored_size(index, name)))
    return float(np.median(sides)) if sides else None


def _stored_size(index: ImageIndex, name: str) -> tuple[int, int]:
    try:
        opened = index.store.open(name)
    except (OSError, ValueError) as error:
        raise unreadable(error) from error
    if isinstance(opened, np.ndarray):
        return opened.shape[1], opened.shape[0]
    with opened:
        return read_size(opened)
