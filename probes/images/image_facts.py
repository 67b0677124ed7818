"""Facts about pictures and their files that need no network, taken while a picture is decoded.

Those of many pictures are kept in columns: 140 bytes a picture, for up to a million pictures.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image

from probes.cores import n_cores
from probes.data.image_index import SPLITS, Store
from probes.images.decode import Picture, Source, UnreadableImage, in_order, read_picture, read_size, unreadable
from probes.images.decoder_limits import PIXEL_BUDGET
from probes.images.perceptual_hash import HASH_BYTES, perceptual_hash
from probes.images.suffixes import IMAGE_SUFFIXES, SUFFIXES, suffix

_DIGEST_BYTES = 16
_GRID = 256  # points a side at most on which brightness and contrast are measured
FAILURES = ("unreadable", "empty", "truncated", "bomb", "missing")
RECORD = np.dtype(
    [
        ("place", "<i8"),  # of its name in the list of names
        ("failure", "i1"),  # number in FAILURES; -1 for a readable picture
        ("bytes", "<i8"),  # size of its file, and its time of change in ns, where it is a file on disk; else 0
        ("changed", "<i8"),
        ("digest", "u1", _DIGEST_BYTES),
        ("perceptual", "u1", HASH_BYTES),
        ("format", "S8"),
        ("mode", "S8"),
        ("width", "<u4"),
        ("height", "<u4"),
        ("grey", "?"),
        ("rotated", "?"),
        ("misnamed", "?"),
        ("brightness", "<f4"),
        ("contrast", "<f4"),
    ]
)

Records = npt.NDArray[np.void]
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFacts:
    """What is known of a readable picture."""

    digest: bytes  # of the upright RGB pixels: equal for equal pictures, whatever the file
    perceptual: bytes  # a hash that is nearly equal for pictures that look the same
    format: str  # as Pillow names it; "array" for pixels
    mode: str  # as Pillow names it
    size: tuple[int, int]  # (width, height) in px, upright
    grey: bool
    rotated: bool  # whether EXIF asks to rotate or mirror the stored pixels
    misnamed: bool  # whether its name has the suffix of another format
    brightness: float  # mean luma, 0 to 255
    contrast: float  # standard deviation of the luma


def facts_of(picture: Picture, name: str) -> PictureFacts:
    """The facts of a decoded picture."""
    height, width = picture.rgb.shape[:2]
    with PIXEL_BUDGET.take(width * height):
        digest = blake2b(f"{width}x{height}:".encode(), digest_size=_DIGEST_BYTES)
        digest.update(np.ascontiguousarray(picture.rgb).data)
        down, across = max(1, height // _GRID), max(1, width // _GRID)
        luma = np.asarray(Image.fromarray(picture.rgb[::down, ::across]).convert("L"))
        perceptual = perceptual_hash(picture.rgb)
    ending = suffix(name)
    return PictureFacts(
        digest=digest.digest(),
        perceptual=perceptual,
        format=picture.format,
        mode=picture.mode,
        size=(width, height),
        grey=picture.grey,
        rotated=picture.rotated,
        misnamed=ending in IMAGE_SUFFIXES and ending not in SUFFIXES.get(picture.format, IMAGE_SUFFIXES),
        brightness=float(luma.mean()),
        contrast=float(luma.std()),
    )


def record(place: int, facts: PictureFacts | UnreadableImage) -> Records:
    """One row, of shape (1,)."""
    row = np.zeros(1, RECORD)
    row["place"], row["failure"] = place, -1
    if isinstance(facts, UnreadableImage):
        row["failure"] = FAILURES.index(facts.kind)
        return row
    row["digest"] = np.frombuffer(facts.digest, np.uint8)
    row["perceptual"] = np.frombuffer(facts.perceptual, np.uint8)
    row["width"], row["height"] = facts.size
    for name in ("format", "mode", "grey", "rotated", "misnamed", "brightness", "contrast"):
        row[name] = getattr(facts, name)
    return row


def _read(store: Store, name: str, read: Callable[[Source], T]) -> T:
    try:
        opened = store.open(name)
    except (OSError, ValueError, MemoryError) as error:  # a path with a null byte is a ValueError
        raise unreadable(error) from error
    if isinstance(opened, np.ndarray):
        return read(opened)
    with opened:
        return read(opened)


def open_picture(store: Store, name: str, channels: int = 3) -> Picture:
    """Decode an image of a store, or raise `UnreadableImage`."""
    return _read(store, name, lambda source: read_picture(source, channels))


def stored_size(store: Store, name: str) -> tuple[int, int]:
    """(width, height) in px of an image of a store, from its header."""
    return _read(store, name, read_size)


def inspect(
    store: Store, names: Sequence[str], places: Iterable[int]
) -> Iterator[tuple[int, PictureFacts | UnreadableImage]]:
    """Decode images on all cores; each place in order, with its facts or why there are none. No picture is kept."""

    def inspect_one(place: int) -> tuple[int, PictureFacts | UnreadableImage]:
        try:
            return place, facts_of(open_picture(store, names[place]), names[place])
        except UnreadableImage as error:
            return place, error

    workers = n_cores()
    return in_order(inspect_one, places, workers=workers, ahead=4 * workers)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Inspection:
    """All images that were inspected."""

    names: tuple[str, ...]
    labels: npt.NDArray[np.int64]  # class numbers, of shape (n,)
    splits: npt.NDArray[np.int8]  # numbers in `SPLITS`, of shape (n,)
    rows: Records  # their facts; `place` is the number of an image in the three above
    reasons: dict[str, str]  # name -> why the image is unreadable, for the first of them

    @property
    def read(self) -> Records:
        """The rows of readable pictures."""
        return np.asarray(self.rows[self.rows["failure"] < 0])

    def in_split(self, rows: Records, split: str) -> npt.NDArray[np.bool_]:
        """Which of these rows belong to a split."""
        return np.asarray(self.splits[rows["place"]] == SPLITS.index(split))
