"""Decode, orient and resize pictures, beside the network that reads them."""

import contextlib
import os
import warnings
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from probes.images.decoder_limits import IN_WORK, MAX_PIXELS, excess, has_excess_scans, n_pixels, silent_libtiff

_KNOWN = ("JPEG", "PNG", "BMP", "DIB", "GIF", "WEBP", "TIFF", "PPM", "JPEG2000", "AVIF")
_GREY_TOLERANCE = 4  # of 255: how far JPEG may pull the channels of a grey picture apart
_GREY_GRID = 64  # a picture is grey if a grid of about so many points a side is
_BAND = 1 << 22  # px that are converted at once: what lies between must not need as much memory as the picture

_ORIENTATION = 0x0112  # the EXIF tag

T = TypeVar("T")

Image.init()  # only then are all formats registered; some builds of Pillow lack a few
_FORMATS = tuple(name for name in _KNOWN if name in Image.OPEN)


class UnreadableImage(Exception):
    """A file that is no readable picture.

    Args:
        reason: why, in a few words.
        kind: "unreadable", "empty", "truncated", "bomb" or "missing".
    """

    def __init__(self, reason: str, kind: str = "unreadable") -> None:
        super().__init__(reason)
        self.kind = kind


Source = Path | BinaryIO | npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """A decoded picture.

    Attributes:
        pixels: uint8 of shape (height, width, channels), upright.
        rgb: uint8 of shape (height, width, 3), upright, on white.
        grey: whether it has no colour.
        format: of the file, as Pillow names it; "array" for pixels.
        mode: of its pixels, as Pillow names it.
        rotated: whether EXIF says to turn or mirror what is stored.
    """

    pixels: npt.NDArray[np.uint8]
    rgb: npt.NDArray[np.uint8]
    grey: bool
    format: str
    mode: str
    rotated: bool

    @property
    def size(self) -> tuple[int, int]:
        """(width, height) in px."""
        return self.pixels.shape[1], self.pixels.shape[0]


def _open(source: Source) -> Image.Image:
    if isinstance(source, np.ndarray):
        return _from_array(source)
    if _is_empty(source):
        raise UnreadableImage("empty file", "empty")
    image = Image.open(source, formats=_FORMATS)
    try:
        reason = excess(image)
        if reason is not None:
            raise UnreadableImage(reason, "bomb")
    except BaseException:
        image.close()
        raise
    return image


def _is_empty(source: Path | BinaryIO) -> bool:
    if isinstance(source, Path):
        return source.stat().st_size == 0
    empty = source.seek(0, os.SEEK_END) == 0
    source.seek(0)
    return empty


def _from_array(pixels: npt.NDArray[np.uint8]) -> Image.Image:
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[..., 0]
    if 0 in pixels.shape:
        raise UnreadableImage("no pixels", "empty")
    return Image.fromarray(pixels)


_CUT_OFF = (
    "truncated",
    "not enough image data",
    "premature",
    "buffer is not large enough",
    "unexpected end",
    "but only",
)
_LONGEST = 100  # characters of a reason


def unreadable(error: Exception) -> UnreadableImage:
    """What a decoder or a store raised, as the reason why there is no picture."""
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
    reason = _in_words(str(error).split("\n")[0] or type(error).__name__)
    return UnreadableImage(reason, "truncated" if any(word in reason for word in _CUT_OFF) else "unreadable")


def _in_words(message: str) -> str:
    """What a decoder says, in one short line; what is meant for programmers, in words."""
    if message.startswith(("b'", 'b"', "invalid literal")):
        return "a header with broken numbers"
    if message.startswith(("decoder error", "could not create decoder", "cannot load this image")):
        return "broken data"
    reason = "".join(char if char.isprintable() else "?" for char in message.lower().rstrip("."))
    return reason if len(reason) <= _LONGEST else f"{reason[: _LONGEST - 1]}…"


def _guarded(source: Source, read: Callable[[Image.Image], T]) -> T:
    """Open a picture and read it; whatever a decoder raises becomes `UnreadableImage`."""
    try:
        with _open(source) as image:
            return read(image)
    except Exception as error:  # Pillow's decoders raise nearly any exception on broken files
        raise unreadable(error) from error


def read_size(source: Source) -> tuple[int, int]:
    """(width, height) in px as the file's header has them.

    Raises:
        UnreadableImage: there is no picture.
    """
    return _guarded(source, lambda image: image.size)


def read_picture(source: Source, channels: int = 3) -> Picture:
    """Decode a picture, upright.

    The first frame of an animation; EXIF orientation honoured; transparent pixels on white, unless their alpha is
    asked for; 16-bit greys by their high byte, as TensorFlow's PNG decoder does.

    Args:
        source: a JPEG, PNG, BMP, GIF, WebP, TIFF, PNM, JPEG 2000 or AVIF file, by its path or opened, or pixels of
            shape (height, width) or (height, width, 1, 3 or 4).
        channels: 1 for luma (ITU-R 601), 3 for RGB, 4 for RGB with alpha, which is 255 where the file has none.

    Returns:
        The picture.

    Raises:
        UnreadableImage: it can't be decoded whole.
    """
    return _guarded(source, lambda image: _decode(image, channels))


def _decode(image: Image.Image, channels: int) -> Picture:
    if has_excess_scans(image):
        raise UnreadableImage("too many scans, a decompression bomb", "bomb")
    with IN_WORK.take(n_pixels(image)):
        return _decode_bounded(image, channels)


def _decode_bounded(image: Image.Image, channels: int) -> Picture:
    kind, mode, rotated = image.format or "array", image.mode, False
    image.load()
    with contextlib.suppress(Exception):  # a broken EXIF block says nothing of the pixels
        rotated = image.getexif().get(_ORIENTATION, 1) in range(2, 9)
        image = ImageOps.exif_transpose(image) if rotated else image
    rgb = _to_rgb(image)
    step = [max(1, n // _GREY_GRID) for n in rgb.shape[:2]]
    grid = rgb[:: step[0], :: step[1]].astype(np.int16)
    pixels = rgb
    if channels == 1:
        pixels = np.asarray(Image.fromarray(rgb).convert("L"))[..., None]
    elif channels == 4:
        pixels = _with_alpha(image, rgb)
    grey = bool((np.ptp(grid, axis=-1) <= _GREY_TOLERANCE).all())
    return Picture(pixels=pixels, rgb=rgb, grey=grey, format=kind, mode=mode, rotated=rotated)


def _to_rgb(image: Image.Image) -> npt.NDArray[np.uint8]:
    if image.mode == "F":
        raise UnreadableImage("floating-point pixels, whose range is unknown")
    extrema: Any = image.getextrema() if image.mode == "I" else (0, 65535)
    if extrema[0] < 0 or extrema[1] > 65535:
        raise UnreadableImage("pixels of more than 16 bits, whose range is unknown")
    shift = 0 if extrema[1] <= 255 else 8  # of 32 bits only eight may be used
    width, height = image.size
    rows = max(1, _BAND // width)
    if rows >= height:
        return _band_to_rgb(image, shift)
    rgb = np.empty((height, width, 3), np.uint8)
    for top in range(0, height, rows):
        below = min(top + rows, height)
        rgb[top:below] = _band_to_rgb(image.crop((0, top, width, below)), shift)
    return rgb


def _band_to_rgb(image: Image.Image, shift: int) -> npt.NDArray[np.uint8]:
    if image.mode.startswith("I"):
        return np.repeat((np.asarray(image) >> shift).astype(np.uint8)[..., None], 3, axis=-1)
    if "A" in image.getbands() or "transparency" in image.info:
        over = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", over.size, "white"), over)
    return np.asarray(image.convert("RGB"))


def _with_alpha(image: Image.Image, rgb: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    """RGB as it is stored, not laid on white, and alpha."""
    if "A" in image.getbands() or "transparency" in image.info:
        return np.asarray(image.convert("RGBA"))
    return np.concatenate([rgb, np.full((*rgb.shape[:2], 1), 255, np.uint8)], axis=-1)


def resize(pixels: Any, size: int) -> Any:
    """Resize to a square as `keras.layers.Resizing(size, size, interpolation="bilinear", antialias=True)` does.

    Args:
        pixels: numbers of shape (height, width, channels).
        size: the side in px.

    Returns:
        A float32 tensor of shape (size, size, channels).
    """
    import tensorflow as tf

    # Where nothing shrinks antialiasing changes nothing, and the plain kernel is four times as fast.
    height, width = pixels.shape[:2]
    shrinks = height > size or width > size
    with IN_WORK.take(height * width):
        return tf.image.resize(pixels, (size, size), method="bilinear", antialias=shrinks)


def in_order(function: Callable[[T], Any], items: Iterable[T], *, workers: int, ahead: int) -> Iterator[Any]:
    """Map in threads, results in the order of the items, at most `ahead` of them waiting.

    An exception of the function surfaces at its item. Leaving the iterator early cancels what has not begun.
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
    """Pillow's warnings and libtiff's messages on odd files stay silent inside; Pillow's bomb warning is an error."""
    with warnings.catch_warnings(), silent_libtiff():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        yield
