"""How a network sees two photographs that everybody has: what drift is measured with where no picture of the source is.

scikit-learn brings two photographs. How far they lie from a network's BatchNorm statistics tells the floor that
photographs have in it; how much farther they move when they are spoilt tells the unit in which it counts.
Beside EfficientNet-Lite0, whose floor and threshold were measured with ImageNet's own pictures, this puts every
network on one scale: docs/method.md.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib import resources

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageFilter

from probes.images.decode import resize
from probes.images.prepare import Prepared
from probes.network.features import Network, Tapped, run_over
from probes.similarity.drift import bootstrap_drift, bootstrap_weights

CROP = 240  # px: the side of the squares that are cut from the photographs
_ROWS, _COLUMNS = (0, 187), (0, 133, 266, 400)
_RESAMPLES = 200
_NOTHING = 1e-6
_LEAST_UNIT, _MOST_UNIT = 0.25, 4.0  # beyond, the measurement says more of its noise than of the network

FloatArray = npt.NDArray[np.float64]
Picture = npt.NDArray[np.uint8]


def _grey(square: Picture) -> Picture:
    return np.asarray(Image.fromarray(square).convert("L").convert("RGB"))


def _outlines(square: Picture) -> Picture:
    return np.asarray(Image.fromarray(square).convert("L").filter(ImageFilter.FIND_EDGES).convert("RGB"))


def _shuffled(square: Picture) -> Picture:
    order = np.random.default_rng(0).permutation(square.shape[0] * square.shape[1])
    return square.reshape(-1, 3)[order].reshape(square.shape)


# How photographs are spoilt, from mildly to beyond recognition. Colour says nothing to a network of grey pictures.
SPOILT: Mapping[str, Callable[[Picture], Picture]] = {"grey": _grey, "outlines": _outlines, "shuffled": _shuffled}


@cache
def photographs() -> npt.NDArray[np.uint8]:
    """Sixteen squares of scikit-learn's two photographs, uint8 of shape (16, CROP, CROP, 3)."""
    from sklearn.datasets import load_sample_images

    images = load_sample_images().images
    return np.stack([image[y : y + CROP, x : x + CROP] for image in images for y in _ROWS for x in _COLUMNS])


def prepared(
    size: int, channels: int, *, enlargement: float = 1.0, spoil: Callable[[Picture], Picture] | None = None
) -> Iterator[Prepared]:
    """The squares as a network is to see them, shrunk first so that they have to be enlarged.

    Args:
        size: side of the network's input in px.
        channels: of the network's input: 1 luma, 3 RGB, 4 RGB and opaque.
        enlargement: how many times they shall be enlarged, at least 1.
        spoil: what is done to each square before.
    """
    side = round(size / enlargement)
    for square in photographs():
        changed = spoil(square) if spoil else square
        pixels = np.rint(resize(changed, side).numpy()) if side < CROP else changed.astype(np.float32)
        if channels == 1:
            pixels = (pixels @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
        elif channels == 4:
            pixels = np.concatenate([pixels, np.full((*pixels.shape[:2], 1), 255, np.float32)], axis=-1)
        yield Prepared(pixels=resize(pixels, size).numpy(), label=0, file="", size=pixels.shape[1::-1], grey=False)


def photograph_drift(
    network: Network,
    run: Tapped,
    *,
    enlargement: float = 1.0,
    spoil: Callable[[Picture], Picture] | None = None,
) -> FloatArray:
    """Drift of the photographs at each norm, of shape (layers,).

    Args:
        network: where drift is measured.
        run: the network compiled by `probes.network.features.tapped`.
        enlargement: how much the target's pictures are enlarged; the photographs are too.
        spoil: what is done to them before.
    """
    squares = prepared(network.input_size, network.channels, enlargement=max(1.0, enlargement), spoil=spoil)
    found = run_over(network, squares, run=run)
    weights = bootstrap_weights(len(found.labels), _RESAMPLES, 0)
    values = [
        bootstrap_drift(found.norm_means[norm.layer], found.norm_squares[norm.layer], weights).value
        for norm in network.norms
    ]
    return np.array(values)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Yardstick:
    """How a network sees the photographs.

    Attributes:
        plain: their drift at each norm, of shape (layers,).
        spoilt: how much farther they move when they are spoilt, in each way of `SPOILT`, of shape (ways, layers).
    """

    plain: FloatArray
    spoilt: FloatArray


def measure_yardstick(network: Network, run: Tapped) -> Yardstick:
    """Run the network over the photographs as they are and spoilt; arguments as of `photograph_drift`."""
    plain = photograph_drift(network, run)
    spoilt = [photograph_drift(network, run, spoil=spoil) - plain for spoil in SPOILT.values()]
    return Yardstick(plain=plain, spoilt=np.stack(spoilt))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Standard:
    """The yardstick of EfficientNet-Lite0, by early and middle part.

    Attributes:
        native_size: px: the size that its weights were trained at.
        sizes: input sizes in px, ascending.
        enlargements: ascending, from 1.
        floor: drift of ImageNet's own pictures, of shape (sizes, enlargements, 2).
        above_floor: how much farther the photographs lie than ImageNet's own pictures, of the same shape.
        spoilt: how much farther they move when they are spoilt, of shape (sizes, ways, 2).
    """

    native_size: int
    sizes: FloatArray
    enlargements: FloatArray
    floor: FloatArray
    above_floor: FloatArray
    spoilt: FloatArray

    def at(self, share: float, enlargement: float = 1.0) -> tuple[FloatArray, FloatArray]:
        """`floor` and `above_floor`, each of shape (2,), at a share of the native size and an enlargement.

        Linear in the size and in the logarithm of the enlargement; the ends hold beyond the ends.
        """
        size, logs = share * self.native_size, np.log(self.enlargements)

        def value(table: FloatArray) -> FloatArray:
            by_size = [_along(logs, rows, float(np.log(enlargement))) for rows in table]
            return _along(self.sizes, np.stack(by_size), size)

        return value(self.floor), value(self.above_floor)

    def spoilt_at(self, share: float) -> FloatArray:
        """`spoilt` at a share of the native size, of shape (ways, 2)."""
        return _along(self.sizes, self.spoilt, share * self.native_size)


def _along(at: FloatArray, values: FloatArray, where: float) -> FloatArray:
    """Linear interpolation along the first axis, constant beyond the ends."""
    flat = values.reshape(len(at), -1)
    found = [np.interp(where, at, column) for column in flat.T]
    return np.array(found).reshape(values.shape[1:])


@cache
def load_standard() -> Standard:
    """The yardstick that ships; `benchmarks/make_reference.py` repeats it."""
    file = resources.files("probes.similarity.reference") / "yardstick.npz"
    names = ("sizes", "enlargements", "floor", "above_floor", "spoilt")
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
        arrays = {name: stored[name].astype(np.float64) for name in names}
        return Standard(native_size=int(stored["native_size"]), **arrays)


def unit_ratio(own: npt.ArrayLike, standard: npt.ArrayLike, weights: npt.ArrayLike) -> float:
    """How many times farther than the standard network another one moves when photographs are spoilt.

    Args:
        own: how much farther early and middle layers move for each way of spoiling, of shape (ways, 2).
        standard: the same of the standard network. Ways that do nothing to the network are left out.
        weights: of the two parts.
    """
    moved, known = (
        np.asarray(own, np.float64) @ np.asarray(weights),
        np.asarray(standard, np.float64) @ np.asarray(weights),
    )
    told = np.abs(moved) > _NOTHING
    if not told.any():
        return 1.0
    return float(np.clip(moved[told].sum() / known[told].sum(), _LEAST_UNIT, _MOST_UNIT))
