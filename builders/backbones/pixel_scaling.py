"""How pixels from 0 to 255 are scaled before they enter a network. Pure data."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelScaling:
    """An affine map of each channel, with an optional reversal of the channels."""

    name: str  # the usual one
    scale: tuple[float, ...]  # factor of each of red, green and blue
    offset: tuple[float, ...]  # added to each after that
    reverse: bool = False  # whether the network takes blue first

    def of_channels(self, channels: int) -> tuple[Sequence[float], Sequence[float], bool]:
        """Scale, offset and reversal for pictures with that many channels; the means of the RGB values if not RGB."""
        if channels == 3:
            return self.scale, self.offset, self.reverse
        return [float(np.mean(self.scale))] * channels, [float(np.mean(self.offset))] * channels, False

    def apply(self, pixels: npt.ArrayLike) -> npt.NDArray[np.float32]:
        """The same in NumPy, for pixels of shape (..., channels)."""
        values = np.asarray(pixels, np.float32)
        scale, offset, reverse = self.of_channels(values.shape[-1])
        scaled = values * np.asarray(scale, np.float32) + np.asarray(offset, np.float32)
        return scaled[..., ::-1] if reverse else scaled


def _uniform(name: str, scale: float, offset: float) -> PixelScaling:
    return PixelScaling(name=name, scale=(scale,) * 3, offset=(offset,) * 3)


_MEAN, _DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # of ImageNet's RGB from 0 to 1
_CAFFE_MEAN = (123.68, 116.779, 103.939)  # of ImageNet's RGB from 0 to 255

SCALINGS = {
    scaling.name: scaling
    for scaling in (
        _uniform("0..255", 1.0, 0.0),
        _uniform("0..1", 1 / 255, 0.0),
        _uniform("-1..1", 1 / 127.5, -1.0),
        PixelScaling(
            name="torch",
            scale=tuple(1 / (255 * deviation) for deviation in _DEVIATION),
            offset=tuple(-mean / deviation for mean, deviation in zip(_MEAN, _DEVIATION, strict=True)),
        ),
        PixelScaling(name="caffe", scale=(1.0,) * 3, offset=tuple(-mean for mean in _CAFFE_MEAN), reverse=True),
    )
}
LITE_SCALING = _uniform("(x - 127) / 128", 1 / 128, -127 / 128)
