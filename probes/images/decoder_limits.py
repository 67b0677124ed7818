"""Limits on the memory, the time and the printed messages of Pillow's decoders, whatever a file claims."""

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

MAX_PIXELS = 89_478_485  # Pillow's own limit; a larger picture counts as a decompression bomb
_MAX_SIDE = 1_000_000  # px; decoders also keep some bytes for each row
_MAX_RUN_LENGTHS = 16_000_000  # px of a run-length encoded BMP; Pillow decodes ten million a second, in Python
_MAX_TILES = 25_000  # of a JPEG 2000; each costs 11 kB. The largest picture may have tiles of 64 px
_MAX_SCANS = 64  # of a JPEG; cameras and programs write up to a dozen, and each costs a pass over all pixels
_CORE_PIXELS = 24_000_000  # px in work for each core: a camera's photograph

_TILE_WIDTH, _TILE_HEIGHT = 322, 323  # tags of TIFF
_SIZ = b"\xff\x4f\xff\x51"  # precedes the sizes of picture and tiles in JPEG 2000
_HEAD = 1 << 16  # first bytes of a file, which contain this marker
_SCAN = b"\xff\xda"
_MARKER = re.compile(rb"\xff[^\x00\xff]")
_BARE = frozenset((0x01, *range(0xD0, 0xD9)))  # JPEG markers without a segment
_END = 0xD9


def excess(image: Image.Image) -> str | None:
    """The limit that a picture exceeds by its header, in a few words; None where it exceeds none."""
    (width, height), (across, down) = image.size, _tile(image)
    n, run_lengths = width * height, any(tile[0] == "bmp_rle" for tile in getattr(image, "tile", ()))
    limits = (  # what is claimed, and how many are claimed and allowed
        (f"{width} x {height} px: over {MAX_PIXELS // 10**6} million", n, MAX_PIXELS),
        (f"{width} x {height} px: a side of over {_MAX_SIDE // 10**6} million", max(width, height), _MAX_SIDE),
        (f"tiles of {across} x {down} px: over {MAX_PIXELS // 10**6} million", across * down, MAX_PIXELS),
        (f"over {_MAX_TILES:,} tiles", _n_tiles(image), _MAX_TILES),
        (f"{n:,} px in run lengths: over {_MAX_RUN_LENGTHS // 10**6} million", n * run_lengths, _MAX_RUN_LENGTHS),
    )
    return next((f"{claim}, a decompression bomb" for claim, claimed, most in limits if claimed > most), None)


def _tile(image: Image.Image) -> tuple[int, int]:
    """(width, height) of a TIFF's tiles in px; the image's own size where it has none."""
    tags = getattr(image, "tag_v2", {})
    across, down = tags.get(_TILE_WIDTH), tags.get(_TILE_HEIGHT)
    return (across, down) if isinstance(across, int) and isinstance(down, int) else image.size


def _read(image: Image.Image, size: int = -1) -> bytes:
    """The first bytes of an opened file, or all. Its position stays the same."""
    file: Any = image.fp  # type: ignore[attr-defined]
    place = file.tell()
    file.seek(0)
    content: bytes = file.read(size)
    file.seek(place)
    return content


def _n_tiles(image: Image.Image) -> int:
    """Tiles of a JPEG 2000; 1 for other formats and where the header has none."""
    if image.format != "JPEG2000":
        return 1
    head = _read(image, _HEAD)
    at = head.find(_SIZ) + 8
    if at < 8 or at + 32 > len(head):
        return 1
    right, bottom, _, _, across, down, left, top = map(int, struct.unpack_from(">8I", head, at))
    return -(-(right - left) // across) * -(-(bottom - top) // down)


def n_pixels(image: Image.Image) -> int:
    """Approximately how many pixels the decoder holds at the same time."""
    across, down = _tile(image)
    return max(image.width * image.height, across * down)


def has_excess_scans(image: Image.Image) -> bool:
    """Whether an opened JPEG holds so many scans that decoding it would take minutes. The whole file is read."""
    if image.format not in ("JPEG", "MPO"):
        return False
    content = _read(image)
    # The cheap count includes bytes in comments and after the end of the picture; the exact count skips them.
    return content.count(_SCAN) > _MAX_SCANS and _n_scans(content) > _MAX_SCANS


def _n_scans(content: bytes) -> int:
    scans = at = marker = 0
    while scans <= _MAX_SCANS and marker != _END and (found := _MARKER.search(content, at)):
        marker, at = content[found.start() + 1], found.end()
        scans += marker == _SCAN[1]
        if marker not in _BARE:
            at += int.from_bytes(content[at : at + 2], "big")
    return scans


class PixelBudget:
    """Limits how many pixels threads have in work at the same time; a larger picture is processed alone."""

    def __init__(self, most: int) -> None:
        self._most = self._free = most
        self._changed = threading.Condition()

    @contextlib.contextmanager
    def take(self, pixels: int) -> Iterator[None]:
        """Reserve this many pixels, waiting until they are free. Never nest it: a thread would wait for itself."""
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


PIXEL_BUDGET = PixelBudget(max(MAX_PIXELS, _CORE_PIXELS * (os.cpu_count() or 1)))

# Without a handler Python prints the errors that Pillow logs.
logging.getLogger("PIL").addHandler(logging.NullHandler())


@contextlib.contextmanager
def silent_libtiff() -> Iterator[None]:
    """Keep libtiff from printing, where Pillow's build exposes the function for it."""
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
