"""What can be told of a picture and its file without any network, taken while it is decoded."""

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import numpy as np
from PIL import Image, ImageStat

from probes.data.image_index import Store
from probes.images.decode import Picture, UnreadableImage, in_order, read_picture, unreadable
from probes.images.decoder_limits import IN_WORK
from probes.images.perceptual_hash import perceptual_hash
from probes.images.suffixes import IMAGE_SUFFIXES, suffix

DIGEST_BYTES = 16
_MOST_POINTS = 256  # a side: brightness and contrast are measured on a grid of no more
_SUFFIXES = {
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "MPO": (".jpg", ".jpeg", ".jpe", ".jfif"),
    "PNG": (".png",),
    "GIF": (".gif",),
    "BMP": (".bmp", ".dib"),
    "DIB": (".bmp", ".dib"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "PPM": (".pbm", ".pgm", ".ppm"),
    "JPEG2000": (".jp2",),
    "AVIF": (".avif",),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFacts:
    """What is known of a picture that could be read.

    Attributes:
        digest: of its upright RGB pixels: equal for equal pictures, whatever the file.
        perceptual: a hash that is nearly equal for pictures that look the same.
        format: of the file, as Pillow names it; "array" for pixels.
        mode: of its pixels, as Pillow names it.
        size: (width, height) in px, upright.
        grey: whether it has no colour.
        rotated: whether EXIF says to turn or mirror what is stored.
        misnamed: whether its name has the suffix of another format.
        brightness: mean luma, 0 to 255.
        contrast: standard deviation of the luma.
    """

    digest: bytes
    perceptual: bytes
    format: str
    mode: str
    size: tuple[int, int]
    grey: bool
    rotated: bool
    misnamed: bool
    brightness: float
    contrast: float


def facts_of(picture: Picture, name: str) -> PictureFacts:
    """Take down what is known of a decoded picture."""
    with IN_WORK.take(picture.size[0] * picture.size[1]):
        return _facts_of(picture, name)


def _facts_of(picture: Picture, name: str) -> PictureFacts:
    height, width = picture.rgb.shape[:2]
    digest = blake2b(f"{width}x{height}:".encode(), digest_size=DIGEST_BYTES)
    digest.update(np.ascontiguousarray(picture.rgb).data)
    step = [max(1, n // _MOST_POINTS) for n in (height, width)]
    luma = ImageStat.Stat(Image.fromarray(picture.rgb[:: step[0], :: step[1]]).convert("L"))
    ending = suffix(name)
    return PictureFacts(
        digest=digest.digest(),
        perceptual=perceptual_hash(picture.rgb),
        format=picture.format,
        mode=picture.mode,
        size=(width, height),
        grey=picture.grey,
        rotated=picture.rotated,
        misnamed=ending in IMAGE_SUFFIXES and picture.format in _SUFFIXES and ending not in _SUFFIXES[picture.format],
        brightness=luma.mean[0],
        contrast=luma.stddev[0],
    )


def open_picture(store: Store, name: str, channels: int = 3) -> Picture:
    """Decode an image of a store.

    Raises:
        UnreadableImage: it can't be opened or decoded whole.
    """
    try:
        opened = store.open(name)
    except (OSError, ValueError, MemoryError) as error:  # a path with a null byte is a ValueError
        raise unreadable(error) from error
    if isinstance(opened, np.ndarray):
        return read_picture(opened, channels)
    with opened:
        return read_picture(opened, channels)


@dataclass(frozen=True, slots=True, kw_only=True)
class Inspected:
    """An image that was looked at: its place in the sequence, and its facts or why there are none."""

    place: int
    facts: PictureFacts | None
    failure: UnreadableImage | None = None


def inspect(store: Store, names: Sequence[str], places: Iterable[int]) -> Iterator[Inspected]:
    """Decode images on all cores and take their facts down, in order; no picture is kept.

    Args:
        store: where they lie.
        names: of images.
        places: which of them to look at.
    """

    def look(place: int) -> Inspected:
        try:
            return Inspected(place=place, facts=facts_of(open_picture(store, names[place]), names[place]))
        except UnreadableImage as error:
            return Inspected(place=place, facts=None, failure=error)

    workers = os.cpu_count() or 1
    return in_order(look, places, workers=workers, ahead=4 * workers)
