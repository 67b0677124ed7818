"""How a network sees two photographs that everybody has: what drift is measured with where no picture of the source is.

scikit-learn brings two photographs. How far they lie from a network's BatchNorm statistics tells the floor that
photographs have in it; how much farther they move when their colour is taken away tells the unit in which it counts.
Beside EfficientNet-Lite0, whose floor and threshold were measured with ImageNet's own pictures, this puts every
network on one scale: docs/method.md.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
import numpy.typing as npt

from probes.drift import bootstrap_drift, bootstrap_weights
from probes.features import Network, Prepared, Tapped, run_over
from probes.images import resize

CROP = 240  # px: the side of the squares that are cut from the photographs
_ROWS, _COLUMNS = (0, 187), (0, 133, 266, 400)
_RESAMPLES = 200
_LEAST_UNIT, _MOST_UNIT = 0.25, 4.0  # beyond, the measurement says more of its noise than of the network

FloatArray = npt.NDArray[np.float64]


@cache
def photographs() -> npt.NDArray[np.uint8]:
    """Sixteen squares of scikit-learn's two photographs, uint8 of shape (16, CROP, CROP, 3)."""
    from sklearn.datasets import load_sample_images

    images = load_sample_images().images
    return np.stack([image[y : y + CROP, x : x + CROP] for image in images for y in _ROWS for x in _COLUMNS])


def prepared(size: int, enlargement: float, *, grey: bool, channels: int) -> Iterator[Prepared]:
    """The squares as a network is to see them, shrunk first so that they have to be enlarged.

    Args:
        size: side of the network's input in px.
        enlargement: how many times they shall be enlarged, at least 1.
        grey: whether their colour is taken away.
        channels: of the network's input.
    """
    side = round(size / enlargement)
    for square in photographs():
        pixels = np.rint(resize(square, side).numpy()) if side < CROP else square.astype(np.float32)
        luma = pixels @ np.array([0.299, 0.587, 0.114], np.float32)
        if grey:
            pixels = np.repeat(luma[..., None], 3, axis=-1)
        if channels == 1:
            pixels = luma[..., None]
        elif channels == 4:
            pixels = np.concatenate([pixels, np.full((*pixels.shape[:2], 1), 255, np.float32)], axis=-1)
        yield Prepared(pixels=resize(pixels, size).numpy(), label=0, file="", size=pixels.shape[1::-1], grey=grey)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Yardstick:
    """Drift of the photographs at each norm of a network, of shape (layers,), as they are and without colour."""

    plain: FloatArray
    grey: FloatArray


def measure_yardstick(network: Network, run: Tapped, enlargement: float = 1.0) -> Yardstick:
    """Run the network over the photographs.

    Args:
        network: where drift is measured.
        run: the network compiled by `probes.features.tapped`.
        enlargement: how much the target's pictures are enlarged; the photographs are too.
    """

    def drift(*, grey: bool) -> FloatArray:
        squares = prepared(network.input_size, max(1.0, enlargement), grey=grey, channels=network.channels)
        found = run_over(network, squares, run=run)
        weights = bootstrap_weights(len(found.labels), _RESAMPLES, 0)
        values = [
            bootstrap_drift(found.norm_means[norm.layer], found.norm_squares[norm.layer], weights).value
            for norm in network.norms
        ]
        return np.array(values)

    return Yardstick(plain=drift(grey=False), grey=drift(grey=True))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Standard:
    """The yardstick of EfficientNet-Lite0, by early and middle part.

    Attributes:
        native_size: px: the size that its weights were trained at.
        sizes: input sizes in px, ascending.
        enlargements: ascending, from 1.
        floor: drift of ImageNet's own pictures, of shape (sizes, enlargements, 2).
        above_floor: how much farther the photographs lie than ImageNet's own pictures, of the same shape.
        unit: how much farther they move without colour, of the same shape.
    """

    native_size: int
    sizes: FloatArray
    enlargements: FloatArray
    floor: FloatArray
    above_floor: FloatArray
    unit: FloatArray

    def at(self, share: float, enlargement: float) -> tuple[FloatArray, FloatArray, FloatArray]:
        """`floor`, `above_floor` and `unit`, each of shape (2,), at a share of the native size and an enlargement."""
        size = share * self.native_size
        floor, above, unit = (
            _interpolated(table, self, size, enlargement) for table in (self.floor, self.above_floor, self.unit)
        )
        return floor, above, unit


def _interpolated(table: FloatArray, standard: Standard, size: float, enlargement: float) -> FloatArray:
    """Linear in the size and in the logarithm of the enlargement; the ends hold beyond the ends."""
    logs = np.log(standard.enlargements)
    return np.array(
        [
            np.interp(
                size,
                standard.sizes,
                [np.interp(np.log(enlargement), logs, row) for row in table[..., part]],
            )
            for part in range(table.shape[-1])
        ]
    )


@cache
def load_standard() -> Standard:
    """The yardstick that ships; `benchmarks/make_reference.py` repeats it."""
    file = resources.files("probes.reference") / "yardstick.npz"
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
        return Standard(
            native_size=int(stored["native_size"]),
            **{
                name: stored[name].astype(np.float64)
                for name in ("sizes", "enlargements", "floor", "above_floor", "unit")
            },
        )


def unit_ratio(own: Sequence[float], standard: Sequence[float], weights: Sequence[float]) -> float:
    """How many times a network moves farther than the standard one when a photograph loses its colour.

    Args:
        own: how much farther early and middle layers move, of shape (2,).
        standard: the same of the standard network.
        weights: of the two parts.
    """
    ratio = float(np.dot(weights, own) / np.dot(weights, standard))
    return float(np.clip(ratio, _LEAST_UNIT, _MOST_UNIT))
