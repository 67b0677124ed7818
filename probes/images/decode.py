"""Decode, orient and resize pictures."""

import contextlib
import math
import os
import re
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from probes.images.decoder_limits import MAX_PIXELS, PIXEL_BUDGET, excess, has_excess_scans, n_pixels, silent_libtiff
from probes.images.suffixes import SUFFIXES

_GREY_TOLERANCE = 4  # of 255: JPEG moves the channels of a grey picture apart by up to this much
_GREY_GRID = 64  # a picture is grey if a grid of about this many points a side is grey
_BAND = 1 << 22  # px converted at once, so that intermediate copies stay smaller than the picture
_LONGEST = 100  # characters of a reason
_TRUNCATED = re.compile("truncated|not enough image data|premature|buffer is not large enough|unexpected end|but only")

Source = Path | BinaryIO | npt.NDArray[np.uint8]
T = TypeVar("T")

Image.init()  # registers all formats; some builds of Pillow lack a few
_FORMATS = tuple(name for name in SUFFIXES if name in Image.OPEN)


class UnreadableImage(Exception):
    """A file that is not a readable picture; `kind` is "unreadable", "empty", "truncated", "bomb" or "missing"."""

    def __init__(self, reason: str, kind: str = "unreadable") -> None:
        super().__init__(reason)
        self.kind = kind


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A decoded picture."""

    pixels: npt.NDArray[np.uint8]  # of shape (height, width, channels), upright
    rgb: npt.NDArray[np.uint8]  # of shape (height, width, 3), upright, composited on white
    grey: bool
    format: str  # as Pillow names it; "array" for pixels
    mode: str  # as Pillow names it
    rotated: bool  # whether EXIF asks to rotate or mirror the stored pixels

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in px."""
        return self.pixels.shape[1], self.pixels.shape[0]


def unreadable(error: Exception) -> UnreadableImage:
    """Turn the error of a decoder or a store into a reason in plain words."""
    if isinstance(error, UnreadableImage):
        return error
    if isinstance(error, (Image.DecompressionBombError, Image.DecompressionBombWarning)):
        return UnreadableImage(f"over {MAX_PIXELS // 10**6} million px, a decompression bomb", "bomb")
    if isinstance(error, MemoryError):
        return UnreadableImage("more memory than there is is needed for it", "bomb")
    if isinstance(error, UnidentifiedImageError):
        return UnreadableImage("not a picture in a known format")
    if isinstance(error, FileNotFoundError):
        return UnreadableImage("no such file", "missing")
    if isinstance(error, OSError) and error.strerror:
        return UnreadableImage(error.strerror.lower())
    reason = _plain_words(str(error).split("\n")[0] or type(error).__name__)
    return UnreadableImage(reason, "truncated" if _TRUNCATED.search(reason) else "unreadable")


def _plain_words(message: str) -> str:
    """A decoder's message as one short printable line; messages meant for programmers are replaced."""
    if message.startswith(("b'", 'b"', "invalid literal")):
        return "a header with broken numbers"
    if message.startswith(("decoder error", "could not create decoder", "cannot load this image")):
        return "broken data"
    reason = "".join(char if char.isprintable() else "?" for char in message.lower().rstrip("."))
    return reason if len(reason) <= _LONGEST else f"{reason[: _LONGEST - 1]}…"


def _guarded(source: Source, read: Callable[[Image.Image], T]) -> T:
    """Open a picture and read it; whatever a decoder raises becomes `UnreadableImage`."""
    try:
        if isinstance(source, np.ndarray):
            if not source.size:
                raise UnreadableImage("no pixels", "empty")
            return read(Image.fromarray(source[..., 0] if source.shape[2:] == (1,) else source))
        n_bytes = source.stat().st_size if isinstance(source, Path) else source.seek(0, os.SEEK_END)
        if not n_bytes:
            raise UnreadableImage("empty file", "empty")
        with Image.open(source, formats=_FORMATS) as image:
            if reason := excess(image):
                raise UnreadableImage(reason, "bomb")
            return read(image)
    except Exception as error:  # Pillow's decoders raise nearly any exception on broken files
        raise unreadable(error) from error


def read_size(source: Source) -> tuple[int, int]:
    """(width, height) in px from the file's header."""
    return _guarded(source, lambda image: image.size)


def read_picture(source: Source, channels: int = 3) -> Picture:
    """Decode a picture, upright, from a path, an opened file, or pixels of shape (height, width[, 1, 3 or 4]).

    Of an animation the first frame is read. EXIF orientation is applied. Transparent pixels are composited on white
    unless alpha is requested. 16-bit greys keep their high byte, as in TensorFlow's PNG decoder. `channels` is 1 for
    luma (ITU-R 601), 3 for RGB, 4 for RGB with alpha, which is 255 where the file has none.
    """
    return _guarded(source, lambda image: _decode(image, channels))


def _decode(image: Image.Image, channels: int) -> Picture:
    if has_excess_scans(image):
        raise UnreadableImage("too many scans, a decompression bomb", "bomb")
    file_format, mode, rotated = image.format or "array", image.mode, False
    with PIXEL_BUDGET.take(n_pixels(image)):
        image.load()
        with contextlib.suppress(Exception):  # a broken EXIF block does not affect the pixels
            rotated = image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9)
            image = ImageOps.exif_transpose(image) if rotated else image
        rgb = pixels = _to_rgb(image)
        if channels == 1:
            pixels = np.asarray(Image.fromarray(rgb).convert("L"))[..., None]
        elif channels == 4:
            pixels = _with_alpha(image, rgb)
        return Picture(pixels=pixels, rgb=rgb, grey=_is_grey(rgb), format=file_format, mode=mode, rotated=rotated)


def _is_grey(rgb: npt.NDArray[np.uint8]) -> bool:
    down, across = (max(1, n // _GREY_GRID) for n in rgb.shape[:2])
    red, green, blue = np.moveaxis(rgb[::down, ::across].astype(np.int16), -1, 0)
    pairs = ((red, green), (green, blue), (blue, red))
    return all(bool((np.abs(one - other) <= _GREY_TOLERANCE).all()) for one, other in pairs)


def _to_rgb(image: Image.Image) -> npt.NDArray[np.uint8]:
    if image.mode == "F":
        raise UnreadableImage("floating-point pixels, whose range is unknown")
    extrema: Any = image.getextrema() if image.mode == "I" else (0, 65535)
    if extrema[0] < 0 or extrema[1] > 65535:
        raise UnreadableImage("pixels of more than 16 bits, whose range is unknown")
    shift = 0 if extrema[1] <= 255 else 8  # 32-bit pixels may use only eight bits
    width, height = image.size
    rows = max(1, _BAND // width)
    if rows >= height:
        return _band_to_rgb(image, shift)
    rgb = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        bottom = min(top + rows, height)
        rgb[top:bottom] = _band_to_rgb(image.crop((0, top, width, bottom)), shift)
    return rgb


def _band_to_rgb(image: Image.Image, shift: int) -> npt.NDArray[np.uint8]:
    if image.mode.startswith("I"):
        return np.repeat((np.asarray(image) >> shift).astype(np.uint8)[..., None], 3, axis=2)
    if _has_alpha(image):
        layer = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer)
    return np.asarray(image if image.mode == "RGB" else image.convert("RGB"))


def _has_alpha(image: Image.Image) -> bool:
    return "A" in image.getbands() or "transparency" in image.info


def _with_alpha(image: Image.Image, rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """RGB as stored, not composited, and alpha."""
    if _has_alpha(image):
        return np.asarray(image.convert("RGBA"))
    return np.concatenate([rgb, np.full((*rgb.shape[:2], 1), 255, np.uint8)], axis=-1)


def resize(pixels: npt.NDArray[Any], size: int) -> npt.NDArray[np.float32]:
    """Resize to a float32 square as `keras.layers.Resizing(size, size, interpolation="bilinear", antialias=True)`."""
    height, width, channels = pixels.shape
    if (height, width) == (size, size):
        return pixels.astype(np.float32)
    with PIXEL_BUDGET.take(height * width):
        rows = _triangles(height, size) @ pixels.reshape(height, -1).astype(np.float32)
        columns = _triangles(width, size) @ _turned(rows, channels)
        return _turned(columns, channels).reshape(size, size, channels)


def _turned(values: npt.NDArray[np.float32], channels: int) -> npt.NDArray[np.float32]:
    """Rows and columns of pixels exchanged, from shape (n, m * channels) to (m, n * channels)."""
    whole = values.view(f"V{channels * values.itemsize}")  # copying a pixel at once takes half the time
    return np.ascontiguousarray(whole.T).view(np.float32)


@lru_cache(maxsize=256)
def _triangles(before: int, after: int) -> Any:
    """A sparse matrix of shape (after, before) that resizes along one axis.

    Each of its rows weighs the old pixels by a triangle around the centre of a new one, as wide as two pixels of the
    coarser grid.
    """
    from scipy import sparse  # takes as long to import as all else here

    centres = (np.arange(after) + 0.5) * before / after - 0.5
    reach = max(before / after, 1.0)
    places = np.floor(centres - reach).astype(int)[:, None] + np.arange(2 * math.ceil(reach) + 2)
    weights = np.maximum(1 - np.abs(places - centres[:, None]) / reach, 0.0) * ((places >= 0) & (places < before))
    rows, columns = np.nonzero(weights)
    values = (weights / weights.sum(1, keepdims=True))[rows, columns].astype(np.float32)
    return sparse.csr_array((values, (rows, places[rows, columns])), shape=(after, before))


def in_order(function: Callable[[T], Any], items: Iterable[T], *, workers: int, ahead: int) -> Iterator[Any]:
    """Map in threads and yield results in the order of the items, with at most `ahead` of them waiting.

    An exception of the function surfaces at its item. Closing the iterator early cancels items that have not begun.
    """
    pool = ThreadPoolExecutor(workers, thread_name_prefix="decode")
    waiting: deque[Future[Any]] = deque()
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


@contextlib.contextmanager
def quiet_decoders() -> Iterator[None]:
    """Silence Pillow's warnings and libtiff's messages on odd files; Pillow's bomb warning becomes an error."""
    with warnings.catch_warnings(), silent_libtiff():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield
