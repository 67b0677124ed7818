"""The pictures of a sample, decoded and resized for a network, one after the other."""

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import islice

import numpy as np
import numpy.typing as npt

from probes.data.image_index import ImageIndex
from probes.data.sampling import Draw, Sample
from probes.images.decode import UnreadableImage, in_order, quiet_decoders, resize
from probes.images.image_facts import PictureFacts, facts_of, open_picture, stored_size

_AHEAD = 16  # decoded pictures that wait for the network at most


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


def readable(
    index: ImageIndex, draw: Draw, size: int, channels: int, skipped: Skipped, *, validation: bool = False
) -> Iterator[Prepared]:
    """Decoded pictures of a sample.

    One that is unreadable, or has the same pixels as another of its class, is added to `skipped` and replaced by the
    next candidate of its class.
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
            pixels=resize(picture.pixels, size),
            validation=validation,
            facts=facts_of(picture, name),
        )

    seen: dict[tuple[int, bytes], str] = {}
    candidates = [iter(names) for names in draw.candidates]
    wanted = [label for label, quota in enumerate(draw.quota) for _ in range(quota)]
    while todo := [(label, name) for label in wanted for name in islice(candidates[label], 1)]:
        wanted = []
        for item in in_order(read, todo, workers=min(8, os.cpu_count() or 1), ahead=_AHEAD):
            if isinstance(item, Failed):
                skipped.failures.append(item)
                wanted.append(item.label)
            elif seen.setdefault((item.label, item.facts.digest if item.facts else b""), item.file) != item.file:
                skipped.copies.append(replace(item, pixels=np.empty(0, np.float32)))
                wanted.append(item.label)
            else:
                yield item


def readable_sample(
    index: ImageIndex, sample: Sample, size: int, channels: int, skipped: Skipped
) -> Iterator[Prepared]:
    """Decoded pictures of both parts of a sample, as of `readable`, the training images first."""
    yield from readable(index, sample.train, size, channels, skipped)
    yield from readable(index, sample.validation, size, channels, skipped, validation=True)


def median_short_side(index: ImageIndex, draw: Draw) -> float | None:
    """Median of the shorter side in px over the sample, from file headers; None where no header is readable."""
    sides = []
    with quiet_decoders():
        for quota, candidates in zip(draw.quota, draw.candidates, strict=True):
            for name in candidates[:quota]:
                with contextlib.suppress(UnreadableImage):
                    sides.append(min(stored_size(index.store, name)))
    return float(np.median(sides)) if sides else None
