"""Pixels of any numeric type and range as 0 to 255."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from probes.errors import ProbeError

EXPECTED = "Expected images as an array of shape (n, height, width, 1, 3 or 4), or a list of images."
_SLACK = 1e-5  # how far resizing may move floating-point pixels out of their range, as a share of it

Pixels = npt.NDArray[Any]


@dataclass(slots=True)
class PixelRange:
    """The values of the pixels of a split, where their type alone does not show their range."""

    low: float = np.inf
    high: float = -np.inf
    floats: float = -np.inf  # the largest floating-point value
    whole: int = 0  # the largest whole number; any above 1 will do

    def add(self, pixels: Pixels) -> None:
        """Include the pixels of one or more images, which must lie within 0 to 255."""
        kind = pixels.dtype.kind
        if kind == "b" or not pixels.size or (pixels.dtype == np.uint8 and self.whole > 1):
            return
        if kind not in "iuf":
            raise ProbeError(f"{EXPECTED} Received: elements of type {pixels.dtype}. Give the pixels as numbers.")
        low, high = float(pixels.min()), float(pixels.max())
        self.low, self.high = float(np.minimum(self.low, low)), float(np.maximum(self.high, high))  # NaN stays
        if not (self.low >= -_SLACK and self.high <= 255 * (1 + _SLACK)):
            raise ProbeError(
                "Expected pixels within 0 to 255, or within 0 to 1. "
                f"Received: {self.low:.4g} to {self.high:.4g} ({pixels.dtype}). Give the pixels as they were before "
                "any normalisation."
            )
        if kind == "f":
            self.floats = max(self.floats, high)
        else:
            self.whole = max(self.whole, int(high))


def unit_kinds(ranges: Mapping[str, PixelRange]) -> str:
    """The kinds of NumPy types, as "b", "f" and "iu", whose pixels lie within 0 to 1 rather than 0 to 255.

    Truth values always do; whole numbers do if the largest of all splits is 1, as in masks.
    """
    highest = {name: found.floats for name, found in ranges.items() if found.floats > -np.inf}
    unit = {high <= 1 + _SLACK for high in highest.values()}
    if len(unit) > 1:
        given = ", ".join(f"{name} up to {high:.4g}" for name, high in highest.items())
        raise ProbeError(f"Expected pixels in one range. Received: {given}. Scale all splits in the same way.")
    whole = max((found.whole for found in ranges.values()), default=0)
    return "b" + "f" * any(unit) + "iu" * (whole == 1)


def to_uint8(pixels: Pixels, unit: str) -> npt.NDArray[np.uint8]:
    """Pixels as 0 to 255, rounded; `unit` is from `unit_kinds`."""
    factor = np.uint8(255 if pixels.dtype.kind in unit else 1)
    if pixels.dtype.kind == "f":
        pixels, factor = np.clip(np.rint(pixels.astype(np.float32) * np.float32(factor)), 0, 255), np.uint8(1)
    return pixels.astype(np.uint8, copy=False) * factor


def as_numpy(pixels: Any) -> Pixels:
    """An array or tensor as a NumPy array, without a copy where possible; bfloat16 as float32."""
    array = np.asarray(pixels)
    return array.astype(np.float32) if array.dtype.kind == "V" and "float" in array.dtype.name else array


def check_shape(shape: Sequence[Any], images: str = "") -> None:
    """Refuse an image that is not of shape (h, w) or (h, w, 1, 3 or 4); a message calls it `images`."""
    good = len(shape) in (2, 3) and all(isinstance(n, int) and n > 0 for n in shape)
    if good and (len(shape) == 2 or shape[2] in (1, 3, 4)):
        return
    received = f"{EXPECTED} Received: {images or f'an image of shape {tuple(shape)}'}"
    if good and shape[0] in (1, 3, 4):
        raise ProbeError(f"{received}, channels first. Put the channels last: `np.moveaxis(images, -3, -1)`.")
    raise ProbeError(f"{received}. Give the images their height, width and channels with `reshape`.")
