"""A fingerprint of a picture that survives resizing and re-encoding."""

import numpy as np
import numpy.typing as npt
from PIL import Image

HASH_BYTES = 64
LUMA_BYTES = 32  # the first bytes; the others are chroma
NO_HASH = bytes(HASH_BYTES)  # of a picture without detail, which is near no other
_SIDE = 16  # frequencies a side
_PIXELS = 64  # side of the picture that is hashed
_CELLS = 4  # a side, in which chroma is averaged
_LEAST_DETAIL = 1.0  # of 255. Pictures of the 13 benchmark sets have 2.1 and more


def _bit_order() -> npt.NDArray[np.intp]:
    """Positions of the fingerprint's bits in the 16 x 16 hash: first the 8 x 8 lowest, dealt to eight bytes."""
    row, column = np.divmod(np.arange(_SIDE**2), _SIDE)
    low = (row < _SIDE // 2) & (column < _SIDE // 2)
    lowest = np.flatnonzero(low)[np.argsort((row + column)[low], kind="stable")]
    return np.concatenate([*(lowest[byte::8] for byte in range(8)), np.flatnonzero(~low)])


_ORDER = _bit_order()


def perceptual_hash(pixels: npt.NDArray[np.uint8]) -> bytes:
    """The 64-byte fingerprint of uint8 pixels of shape (height, width[, 1 or 3]).

    The first 32 bytes are the signs of the 16 x 16 lowest frequencies of the luma against their median, the 64 lowest
    ones first. The other 32 are the chroma (Cb, Cr) of 4 x 4 cells, for shapes that differ in nothing but colour.
    `NO_HASH` for a picture without detail: blank, or one that varies only along its rows or columns.
    Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010.
    """
    from scipy import fft  # takes as long to import as all else here

    image = Image.fromarray(pixels[..., 0] if pixels.shape[2:] == (1,) else pixels)
    small = image.resize((_PIXELS, _PIXELS), Image.Resampling.LANCZOS, reducing_gap=2.0)
    luma = small.convert("L")
    values = np.asarray(luma, np.float64)
    # What the means of rows and columns do not explain.
    if (values - values.mean(0) - values.mean(1, keepdims=True) + values.mean()).std() < _LEAST_DETAIL:
        return NO_HASH
    lowest = fft.dctn(values)[:_SIDE, :_SIDE]
    bits = np.ravel(lowest > np.median(lowest))[_ORDER]
    cells = np.zeros((_CELLS, _CELLS, 3), np.int16)
    if small.mode != "L":
        cells = np.asarray(small.reduce(_PIXELS // _CELLS).convert("YCbCr"), np.int16) - 128
    return np.packbits(bits).tobytes() + cells[..., 1:].astype(np.int8).tobytes()
