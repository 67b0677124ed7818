"""A fingerprint of a picture that survives resizing and re-encoding."""

import imagehash
import numpy as np
import numpy.typing as npt
from PIL import Image

HASH_BYTES = 64
NO_HASH = bytes(HASH_BYTES)  # of a picture without detail: it is like no other
_SIDE = 16  # frequencies a side
_BITS = _SIDE * _SIDE
_PIXELS = 64  # the side of the picture that is hashed
_CELLS = 4
_LEAST_DETAIL = 1.0  # of 255. Pictures of the 13 benchmark sets have 2.1 and more
Indices = npt.NDArray[np.intp]


def _bit_order() -> Indices:
    """Where each bit of a fingerprint is in the 16 x 16 hash: first the 8 x 8 lowest, dealt to eight bytes."""
    row, column = np.divmod(np.arange(_BITS), _SIDE)
    low = (row < _SIDE // 2) & (column < _SIDE // 2)
    lowest = np.flatnonzero(low)[np.argsort((row + column)[low], kind="stable")]
    return np.concatenate([*(lowest[byte::8] for byte in range(8)), np.flatnonzero(~low)])


_ORDER = _bit_order()


def perceptual_hash(pixels: npt.NDArray[np.uint8]) -> bytes:
    """The fingerprint of a picture.

    Args:
        pixels: of shape (height, width, 3), (height, width, 1) or (height, width).

    Returns:
        64 bytes; `NO_HASH` for a picture without detail: blank, or one that changes along its rows or columns alone.
    """
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels)
    small = image.resize((_PIXELS, _PIXELS), Image.Resampling.LANCZOS, reducing_gap=2.0)
    luma = small.convert("L")
    if _detail(np.asarray(luma, np.float64)) < _LEAST_DETAIL:
        return NO_HASH
    bits = np.ravel(imagehash.phash(luma, hash_size=_SIDE).hash)[_ORDER]
    return np.packbits(bits).tobytes() + _chroma(small)


def _detail(luma: npt.NDArray[np.float64]) -> float:
    """Standard deviation of what a row's and a column's mean do not explain."""
    return float((luma - luma.mean(0) - luma.mean(1, keepdims=True) + luma.mean()).std())


def _chroma(small: Image.Image) -> bytes:
    if small.mode == "L":
        return bytes(2 * _CELLS**2)
    cells = np.asarray(small.reduce(_PIXELS // _CELLS).convert("YCbCr"), np.int16)
    return (cells[..., 1:] - 128).astype(np.int8).tobytes()
