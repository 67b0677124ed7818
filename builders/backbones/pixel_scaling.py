"""How pixels from 0 to 255 are scaled before they enter a network. Pure data."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelScaling:
    """An affine map of each channel, and perhaps another order of the channels.

    Attributes:
        name: what the field calls it.
        scale: factor of each of red, green and blue.
        offset: what is added to each after that.
        reverse: whether the network takes blue first.
    """

    name: str
    scale: tuple[float, float, float]
    offset: tuple[float, float, float]
    reverse: bool = False

    def of_channels(self, channels: int) -> tuple[Sequence[float], Sequence[float], bool]:
        """Scale, offset and reversal for pictures of so many channels; those that are no RGB get the mean of it."""
        if channels == 3:
            return self.scale, self.offset, self.reverse
        return [float(np.mean(self.scale))] * channels, [float(np.mean(self.offset))] * channels, False

    def apply(self, pixels: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """The same in NumPy, for pixels of shape (..., channels)."""
        values = np.asarray(pixels, np.float32)
        scale, offset, reverse = self.of_channels(values.shape[-1])
        scaled = values * np.asarray(scale, np.float32) + np.asarray(offset, np.float32)
        return scaled[..., ::-1] if reverse else scaled


def _even(name: str, scale: float, offset: float) -> PixelScaling:
    return PixelScaling(name=name, scale=(scale,) * 3, offset=(offset,) * 3)


_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's RGB from 0 to 1
_CAFFE_MEAN = (123.68, 116.779, 103.939)  # of ImageNet's RGB from 0 to 255

SCALINGS = {
    scaling.name: scaling
    for scaling in (
        _even("0..255", 1.0, 0.0),
        _even("0..1", 1 / 255, 0.0),
        _even("-1..1", 1 / 127.5, -1.0),
        PixelScaling(
            name="torch",
            scale=tuple(1 / (255 * deviation) for deviation in _DEVIATION),  # type: ignore[arg-type]
            offset=tuple(-mean / deviation for mean, deviation in zip(_MEAN, _DEVIATION, strict=True)),  # type: ignore[arg-type]
        ),
        PixelScaling(name="caffe", scale=(1.0,) * 3, offset=tuple(-mean for mean in _CAFFE_MEAN), reverse=True),  # type: ignore[arg-type]
    )
}
LITE_SCALING = _even("(x - 127) / 128", 1 / 128, -127 / 128)
