"""Out-of-distribution pictures, detected from the features that a model's prediction layer reads.

The features are blocks, one for each cut point. The signed square root of each block is scaled to length 1, so that the
early cut points, which tell a drawing from a photograph, count as much as the last one. The detector keeps the mean,
the directions in which training pictures vary most, the variance along each of those, and for each block the variance
along all others. It needs no labels. `benchmarks/out_of_distribution.py` compares it with other detectors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit
from sklearn.utils.extmath import randomized_svd

from probes.errors import ProbeError

FEWEST = 10  # training images at least; the benchmark's smallest training set has 20
FALSE_ALARMS = 0.01  # share of in-distribution pictures that are flagged
_AXES = 64  # with 8 and 32 the distance separates other data sets less well, with 96 equally well
_ROWS = 2000  # images that the axes are fitted on at most
# A detector of four fifths of the images finds the rest too far away, by a sixth of the distance with 160 images: the
# threshold would be too high for the detector of all images. With nine tenths it is 3 to 7 %. With few images a high
# threshold is right: the detector itself depends on which images there are.
_FOLDS, _FOLDS_OF_FEW, _FEW = 10, 5, 150
_POWER = 0.5  # of the features: a few large ones do not decide
_ITERATIONS = 4  # of the power method; spectra of features fall off fast
_BLOCK = 1024  # images whose distances are computed at once
# Smaller distances, as of copies, count as this share of the median and of the greatest distance.
_LEAST, _LEAST_OF_GREATEST = 0.5, 0.1
_RESOLUTION = 1e-4  # of the features' length: smaller differences are rounding

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Detector:
    """Detects out-of-distribution pictures."""

    mean: npt.NDArray[np.float32]  # of the scaled training features, of shape (d,)
    axes: npt.NDArray[np.float16]  # directions in which they vary most, of shape (r, d), orthonormal up to rounding
    variances: npt.NDArray[np.float32]  # along each of these
    widths: tuple[int, ...]  # of the blocks; their sum is d
    noise: npt.NDArray[np.float32]  # mean variance of a feature of each block along any other direction
    power: float  # of the features before they are scaled
    threshold: float  # a picture at a greater distance is out-of-distribution
    n_held_out: int  # images, not used for the axes, that the threshold comes from

    def distance(self, features: npt.ArrayLike) -> FloatArray:
        """How far pictures are from the training pictures, about 1 for one of these; NaN where a feature is not finite.

        For features of shape (n, d), the blocks one after the other, of shape (n,). With the scaled features x, the
        part r = x - m - sum_i a_i (a_i (x - m)) beside the axes, and r_b its block b:

            sqrt((sum_i (a_i (x - m))^2 / v_i + sum_b |r_b|^2 / noise_b) / d)

        Tipping and Bishop, Mixtures of probabilistic principal component analysers, 1999, for the covariance, here with
        a noise for each block. Lee et al., A simple unified framework for detecting out-of-distribution samples,
        arXiv:1807.03888, and Wang et al., ViM, arXiv:2203.10807, for the two parts of the distance. Sun et al.,
        Out-of-distribution detection with deep nearest neighbors, arXiv:2204.06507, for the length of 1.
        """
        x = np.asarray(features)
        if x.ndim != 2 or x.shape[1] != len(self.mean):
            raise ProbeError(f"Expected features of shape (n, {len(self.mean)}). Received: {x.shape}.")
        axes, distances = self.axes.astype(np.float64), np.empty(len(x))
        for start in range(0, len(x), _BLOCK):
            centred = _scaled(x[start : start + _BLOCK], self.widths, self.power) - self.mean
            along = centred @ axes.T
            across = _per_block(((centred - along @ axes) ** 2), self.widths)
            squares = (along**2 / self.variances).sum(1) + (across / self.noise).sum(1)
            distances[start : start + _BLOCK] = np.sqrt(squares / len(self.mean))
        return distances

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All of it as arrays, for an .npz file."""
        numbers = np.array([self.power, self.threshold, self.n_held_out], np.float64)
        own = {name: getattr(self, name) for name in ("mean", "axes", "variances", "noise")}
        return {**own, "widths": np.array(self.widths, np.float64), "numbers": numbers}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> "Detector":
        """The detector of which `to_arrays` made these arrays; anything else is a ProbeError.

        Older ones have one block and no power. Their noise is the first of the numbers.
        """
        parts = {name: np.asarray(arrays.get(name, ())) for name in ("mean", "axes", "variances", "numbers")}
        mean, axes, variances, numbers = parts.values()
        if "noise" in arrays:
            widths, noise = np.asarray(arrays.get("widths", ())), np.asarray(arrays["noise"])
        else:
            widths, noise = np.array([float(len(mean))]) if mean.ndim else mean, numbers[:1].copy()
            numbers = np.concatenate([[1.0], numbers[1:]]) if numbers.ndim == 1 else numbers
        if (
            not all(part.dtype.kind == "f" and np.isfinite(part).all() for part in (*parts.values(), widths, noise))
            or (axes.ndim, widths.ndim, numbers.shape) != (2, 1, (3,))
            or axes.shape != (*variances.shape, *mean.shape)
            or noise.shape != widths.shape
            or not ((widths >= 1).all() and (widths == np.floor(widths)).all() and widths.sum() == len(mean) > 0)
            or not ((variances > 0).all() and (noise > 0).all() and numbers[0] > 0 and numbers[1] >= 0)
        ):
            raise ProbeError(
                "Expected a detector's finite mean (d,), axes (r, d), variances (r,) above 0, blocks and 3 numbers. "
                f"Received: { {name: np.shape(array) for name, array in arrays.items()} }."
            )
        return cls(
            mean=mean.astype(np.float32),
            axes=axes.astype(np.float16),
            variances=variances.astype(np.float32),
            widths=tuple(int(width) for width in widths),
            noise=noise.astype(np.float32),
            power=float(numbers[0]),
            threshold=float(numbers[1]),
            n_held_out=int(numbers[2]),
        )


def fit_detector(
    blocks: Sequence[npt.ArrayLike],
    held_out: Sequence[npt.ArrayLike] | None = None,
    *,
    groups: npt.ArrayLike | None = None,
    seed: int = 0,
) -> Detector:
    """Fit a detector on the features that a model's prediction layer reads.

    `blocks` are the features at each cut point, of shape (n, width), n at least `FEWEST`. Those of `held_out` images
    give the threshold; they are needed where the backbone was trained, which separates its own training images from
    new ones. None splits the training images into ten parts (five if there are few), never those of one of `groups`, as
    copies are, and takes each part's distances from a detector of the others.
    """
    x, widths = _joined(blocks)
    if len(x) < FEWEST or not all(widths) or not np.isfinite(x).all():
        raise ProbeError(
            f"Expected features of training images, finite and of shape (n, width), n at least {FEWEST}. Received: "
            f"{len(x)} images, blocks of widths {list(widths)}, {np.count_nonzero(~np.isfinite(x))} numbers not finite."
        )
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(x))[:_ROWS])
    train = x[rows]
    if held_out is None:
        parts = _parts(rows if groups is None else np.asarray(groups)[rows], rng)
        folds = [(train[parts != part], train[parts == part]) for part in np.unique(parts)]
    else:
        folds = [(train, _joined(held_out)[0])]
    distances = [_detector(some, widths, seed).distance(rest) for some, rest in folds]
    return _detector(train, widths, seed, np.concatenate(distances))


def threshold_of(distances: npt.ArrayLike) -> float:
    """The distance, of images that the detector was not fitted on, that a share of `FALSE_ALARMS` of them exceeds.

    The geometric mean of two estimates. The order statistic, the k-th smallest of m distances with k = ceil((1 -
    FALSE_ALARMS) (m + 1)), depends on outliers among few training images (Bates et al., Testing for outliers with
    conformal p-values, arXiv:2104.08279). The prediction interval exp(mean + t s sqrt(1 + 1 / m)) of normal logarithms,
    with Student's t of m - 1 degrees of freedom, is too low where the tail is heavier (Hahn, Factors for calculating
    two-sided prediction intervals for samples from a normal distribution, 1969). With fewer than 99 images the order
    statistic does not exist, and the threshold is the greater of the other and the greatest distance.
    """
    known = np.sort(np.asarray(distances, np.float64))
    m = len(known)
    if m < 2 or known[-1] == 0:
        return float(known[-1])
    least = max(_LEAST * float(np.median(known)), _LEAST_OF_GREATEST * known[-1])
    logarithms = np.log(np.maximum(known, least))
    reach = stdtrit(m - 1, 1 - FALSE_ALARMS) * np.sqrt(1 + 1 / m)
    normal = float(np.exp(logarithms.mean() + reach * logarithms.std(ddof=1)))
    place = int(np.ceil((1 - FALSE_ALARMS) * (m + 1) - 1e-9))  # 0.99 * 100 is slightly above 99
    return float(np.sqrt(known[place - 1] * normal)) if place <= m else max(float(known[-1]), normal)


def _joined(blocks: Sequence[npt.ArrayLike]) -> tuple[npt.NDArray[Any], tuple[int, ...]]:
    """All blocks side by side, of shape (n, d), and their widths."""
    arrays = [np.asarray(block) for block in blocks]
    if not arrays or any(array.ndim != 2 or len(array) != len(arrays[0]) for array in arrays):
        raise ProbeError(
            "Expected features of training images in blocks of shape (n, width), of the same n. Received: shapes "
            f"{[array.shape for array in arrays]}."
        )
    return np.concatenate(arrays, axis=1), tuple(array.shape[1] for array in arrays)


def _scaled(features: npt.NDArray[Any], widths: Sequence[int], power: float) -> FloatArray:
    """Features to a power with their signs, each block at length 1, then all of them."""
    values = np.asarray(features, np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        values = np.sign(values) * np.abs(values) ** power
        lengths = np.sqrt(_per_block(values**2, widths) * len(widths))
        return np.asarray(values / np.repeat(np.where(lengths == 0, 1.0, lengths), widths, axis=1))


def _per_block(values: FloatArray, widths: Sequence[int]) -> FloatArray:
    """The sum of each block's columns, of shape (n, blocks)."""
    return np.asarray(np.add.reduceat(values, np.cumsum([0, *widths[:-1]]), axis=1))


def _parts(groups: npt.NDArray[Any], rng: np.random.Generator) -> npt.NDArray[Any]:
    """The number of each image's part; whole groups are dealt out in random order."""
    _, numbers = np.unique(groups, return_inverse=True)
    if not numbers.any():  # one group: all images are copies of one, and need not be kept together
        numbers = np.arange(len(groups))
    folds = _FOLDS_OF_FEW if len(groups) < _FEW else _FOLDS
    return np.asarray((rng.permutation(int(numbers.max()) + 1) % folds)[numbers])


def _detector(
    train: npt.NDArray[Any], widths: tuple[int, ...], seed: int, distances: FloatArray | None = None
) -> Detector:
    x = _scaled(train, widths, _POWER)
    mean = x.mean(0)
    centred = x - mean
    n, d = centred.shape
    rank = max(1, min(_AXES, n // 2, d - 1))
    _, singular, exact = randomized_svd(centred.astype(np.float32), rank, n_iter=_ITERATIONS, random_state=seed)
    axes = exact.astype(np.float16).astype(np.float64)  # as they are kept
    across = _per_block((centred - (centred @ axes.T) @ axes) ** 2, widths).sum(0)
    left = (1 - rank / d) * np.array(widths)  # dimensions of each block beside the axes
    least = _RESOLUTION**2 / d
    return Detector(
        mean=mean.astype(np.float32),
        axes=axes.astype(np.float16),
        variances=np.maximum(singular.astype(np.float64) ** 2 / max(n - 1, 1), least).astype(np.float32),
        widths=widths,
        noise=np.maximum(across / max(n - 1, 1) / left, least).astype(np.float32),
        power=_POWER,
        threshold=0.0 if distances is None else threshold_of(distances),
        n_held_out=0 if distances is None else len(distances),
    )
