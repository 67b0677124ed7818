"""What keeps Pillow's decoders within bounds, whatever a file promises: of memory, of time, of what they print."""

import contextlib
import ctypes
import importlib
import logging
import os
import re
import struct
import threading
from collections.abc import Iterator
from typing import Any

from PIL import Image

MAX_PIXELS = 89_478_485  # Pillow's own limit; a picture above it is taken for a decompression bomb
_MAX_SIDE = 1_000_000  # px; decoders keep some bytes for each row, too
_MAX_RUN_LENGTHS = 16_000_000  # px of a BMP in run lengths, of which Pillow, in Python, decodes ten million a second
_MAX_TILES = 25_000  # of a JPEG 2000, of which each costs 11 kB; for the largest picture, tiles of 64 px
_MAX_SCANS = 64  # of a JPEG; cameras and programs write up to a dozen, and each costs a pass over all pixels
_CORE_PIXELS = 24_000_000  # what every core may have in work at the same time: a camera's photograph

_TILE_WIDTH, _TILE_HEIGHT = 322, 323  # tags of TIFF
_SIZ = b"\xff\x4f\xff\x51"  # in JPEG 2000, before the sizes of picture and tiles
_HEAD = 1 << 16  # bytes at the beginning of a file, in which that is
_SCAN = b"\xff\xda"
_MARKER = re.compile(rb"\xff[^\x00\xff]")
_BARE = frozenset((0x01, *range(0xD0, 0xD9)))  # markers of JPEG that no segment follows
_END = 0xD9


def excess(image: Image.Image) -> str | None:
    """In what a picture of which only the header was read asks for too much, in a few words; else None."""
    width, height = image.size
    if width * height > MAX_PIXELS:
        return f"{width} x {height} px: over {MAX_PIXELS // 10**6} million, a decompression bomb"
    if max(width, height) > _MAX_SIDE:
        return f"{width} x {height} px: a side of over {_MAX_SIDE // 10**6} million, a decompression bomb"
    across, down = _tile(image)
    if across * down > MAX_PIXELS:
        return f"tiles of {across} x {down} px: over {MAX_PIXELS // 10**6} million, a decompression bomb"
    if _n_tiles(image) > _MAX_TILES:
        return f"over {_MAX_TILES:,} tiles, a decompression bomb"
    run_lengths = any(tile[0] == "bmp_rle" for tile in getattr(image, "tile", ()))
    if run_lengths and width * height > _MAX_RUN_LENGTHS:
        return f"{width} x {height} px in run lengths: over {_MAX_RUN_LENGTHS // 10**6} million"
    return None


def _tile(image: Image.Image) -> tuple[int, int]:
    """(width, height) of a TIFF's tiles in px; the image's own size where it has none."""
    tags = getattr(image, "tag_v2", {})
    across, down = tags.get(_TILE_WIDTH), tags.get(_TILE_HEIGHT)
    return (across, down) if isinstance(across, int) and isinstance(down, int) else image.size


def _read(image: Image.Image, size: int = -1) -> bytes:
    """The first bytes of an opened file, or all; its decoder goes on from where it was."""
    file: Any = getattr(image, "fp", None)
    if file is None:
        return b""
    place = file.tell()
    file.seek(0)
    content: bytes = file.read(size)
    file.seek(place)
    return content


def _n_tiles(image: Image.Image) -> int:
    """Of a JPEG 2000; 1 where there are none to be told."""
    if image.format != "JPEG2000":
        return 1
    head = _read(image, _HEAD)
    at = head.find(_SIZ) + 8
    if at < 8 or at + 32 > len(head):
        return 1
    right, bottom, _, _, across, down, left, top = map(int, struct.unpack_from(">8I", head, at))
    return -(-(right - left) // across) * -(-(bottom - top) // down)


def n_pixels(image: Image.Image) -> int:
    """How many pixels its decoder keeps at the same time, about."""
    across, down = _tile(image)
    return max(image.width * image.height, across * down)


def has_excess_scans(image: Image.Image) -> bool:
    """Whether an opened JPEG holds so many scans that decoding it would take minutes. The whole file is read."""
    if image.format not in ("JPEG", "MPO"):
        return False
    content = _read(image)
    # What stands in other segments or behind the picture only looks like scans: it is worth a look if it is many.
    return content.count(_SCAN) > _MAX_SCANS and _n_scans(content) > _MAX_SCANS


def _n_scans(content: bytes) -> int:
    scans = at = 0
    while scans <= _MAX_SCANS and (found := _MARKER.search(content, at)):
        marker, at = content[found.start() + 1], found.end()
        scans += marker == _SCAN[1]
        if marker == _END:
            break
        if marker not in _BARE:
            at += int.from_bytes(content[at : at + 2], "big")
    return scans


class PixelBudget:
    """Threads share out pixels, so that as many large pictures are in work at once as memory has room for.

    Args:
        most: pixels in work at the same time. A picture with more than that is in work alone.
    """

    def __init__(self, most: int) -> None:
        self._most = self._free = most
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def take(self, pixels: int) -> Iterator[None]:
        """Wait until there is room for so many pixels, and keep it. Never nest it: a thread might wait for itself."""
        pixels = min(pixels, self._most)
        with self._changed:
            self._changed.wait_for(lambda: self._free >= pixels)
            self._free -= pixels
        try:
            yield
        finally:
            with self._changed:
                self._free += pixels
                self._changed.notify_all()


IN_WORK = PixelBudget(max(MAX_PIXELS, _CORE_PIXELS * (os.cpu_count() or 1)))

# Without a handler Python prints the errors of a logger that no one asked for.
logging.getLogger("PIL").addHandler(logging.NullHandler())


@contextlib.contextmanager
def silent_libtiff() -> Iterator[None]:
    """Keep libtiff from printing; where Pillow's build hides the function that does it, it can't be kept."""
    try:
        set_handler = ctypes.CDLL(importlib.import_module("PIL._imaging").__file__).TIFFSetErrorHandler
    except (AttributeError, OSError):
        yield
        return
    set_handler.argtypes, set_handler.restype = [ctypes.c_void_p], ctypes.c_void_p
    before = set_handler(None)
    try:
        yield
    finally:
        set_handler(before)
