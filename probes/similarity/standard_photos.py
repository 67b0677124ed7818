"""Two standard photographs, with which drift is put on one scale where no images of the source are available.

scikit-learn ships the photographs. Their drift in a network gives the floor that photographs have in it; how much
farther they drift when they are degraded gives the unit in which its drift counts. Both are compared with
EfficientNet-Lite0, whose floor and threshold were measured with ImageNet's own images: docs/method.md.
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
from probes.network.features import Network, run_over
from probes.similarity.drift import layer_drifts
from probes.similarity.reference import drift_at, interpolate

CROP = 240  # px: the side of the squares that are cut from the photographs
_ROWS, _COLUMNS = (0, 187), (0, 133, 266, 400)
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)

FloatArray = npt.NDArray[np.float64]
Picture = npt.NDArray[np.uint8]
Degradation = Callable[[Picture], Picture]


def _outlines(square: Picture) -> Picture:
    return np.asarray(Image.fromarray(square).convert("L").filter(ImageFilter.FIND_EDGES).convert("RGB"))


def _shuffled(square: Picture) -> Picture:
    order = np.random.default_rng(0).permutation(square.shape[0] * square.shape[1])
    return square.reshape(-1, 3)[order].reshape(square.shape)


# From mild to beyond recognition. A network of grey images can't see the first.
DEGRADATIONS: Mapping[str, Degradation] = {
    "grey": lambda square: np.asarray(Image.fromarray(square).convert("L").convert("RGB")),
    "outlines": _outlines,
    "shuffled": _shuffled,
}


@cache
def photographs() -> Picture:
    """Sixteen squares of the two photographs, uint8 of shape (16, CROP, CROP, 3)."""
    from sklearn.datasets import load_sample_images

    images = load_sample_images().images
    return np.stack([image[y : y + CROP, x : x + CROP] for image in images for y in _ROWS for x in _COLUMNS])


def prepared(
    size: int, channels: int, *, enlargement: float = 1.0, degrade: Degradation | None = None
) -> Iterator[Prepared]:
    """The squares, degraded, as a network of that input sees them, shrunk first so that they have to be enlarged."""
    side = round(size / enlargement)
    for square in photographs():
        changed = degrade(square) if degrade else square
        pixels = np.rint(resize(changed, side)) if side < CROP else changed.astype(np.float32)
        if channels == 1:
            pixels = (pixels @ _LUMA)[..., None]
        elif channels == 4:
            pixels = np.concatenate([pixels, np.full((*pixels.shape[:2], 1), 255, np.float32)], axis=-1)
        yield Prepared(pixels=resize(pixels, size), label=0, file="", size=pixels.shape[1::-1], grey=False)


def photo_drift(network: Network, *, enlargement: float = 1.0, degrade: Degradation | None = None) -> FloatArray:
    """Drift of the photographs, enlarged as much and degraded, at each norm."""
    squares = prepared(network.input_size, network.channels, enlargement=max(1.0, enlargement), degrade=degrade)
    return layer_drifts(run_over(network, squares))[0]


def measure_standard_photos(network: Network) -> tuple[FloatArray, FloatArray]:
    """Drift of the photographs, of shape (layers,), and what each of `DEGRADATIONS` adds, (degradations, layers)."""
    plain = photo_drift(network)
    degraded = [photo_drift(network, degrade=degrade) - plain for degrade in DEGRADATIONS.values()]
    return plain, np.stack(degraded)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StandardPhotos:
    """How EfficientNet-Lite0 sees the photographs, as means over its early and its middle layers."""

    native_size: int  # input size in px that its weights were trained at
    sizes: FloatArray  # input sizes in px, ascending
    enlargements: FloatArray  # ascending, from 1
    floor: FloatArray  # drift of ImageNet's own images, of shape (sizes, enlargements, 2)
    above_floor: FloatArray  # drift of the photographs above that, of the same shape
    degraded: FloatArray  # what each degradation adds to it, of shape (sizes, degradations, 2)

    def at(self, share: float, enlargement: float = 1.0) -> tuple[FloatArray, FloatArray, FloatArray]:
        """`floor`, `above_floor` and `degraded` at a share of the native size and an enlargement."""
        size, tables = share * self.native_size, (self.floor, self.above_floor)
        floor, above = (drift_at(table, self.sizes, self.enlargements, size, enlargement) for table in tables)
        return floor, above, interpolate(self.sizes, self.degraded, size)


@cache
def load_standard_photos() -> StandardPhotos:
    """The table that ships with the package, made by `benchmarks/make_reference.py`."""
    file = resources.files("probes.similarity.reference") / "standard_photos.npz"
    names = ("sizes", "enlargements", "floor", "above_floor", "degraded")
    with file.open("rb") as stream, np.load(stream, allow_pickle=False) as stored:
        arrays = {name: stored[name].astype(np.float64) for name in names}
        return StandardPhotos(native_size=int(stored["native_size"]), **arrays)
