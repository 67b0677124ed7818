"""Out-of-distribution pictures, detected from the features that a model's prediction layer reads.

Features are scaled to length 1; the detector keeps their mean, the directions in which training pictures vary most, and
the variance along each of those and along all others. `benchmarks/foreign.py` compares it with other detectors: class
means made no difference, so that it needs no labels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit
from sklearn.utils.extmath import randomized_svd

from probes.errors import ProbeError

FEWEST = 10  # training images at least; the benchmark's smallest training set has 20
FALSE_ALARMS = 0.01  # share of in-distribution pictures that are flagged
_AXES = 64  # 16 to 128 do equally well, on classes left out slightly better with more: results/foreign.jsonl
_ROWS = 2000  # images that the axes are fitted on at most; in the benchmark 100 do nearly as well as 300
_FOLDS = 5
_ITERATIONS = 4  # of the power method; spectra of features fall off fast
_BLOCK = 1024  # images whose distances are computed at once
# Smaller distances, as of copies, count as this share of the median and of the greatest distance.
_LEAST, _LEAST_OF_GREATEST = 0.5, 0.1
_RESOLUTION = 1e-4  # of the features' length: smaller differences are rounding

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Detector:
    """Detects out-of-distribution pictures."""

    mean: npt.NDArray[np.float32]  # of the training features at length 1, of shape (d,)
    axes: npt.NDArray[np.float16]  # directions in which they vary most, of shape (r, d), orthonormal up to rounding
    variances: npt.NDArray[np.float32]  # along each of these
    noise: float  # mean variance along any other direction
    threshold: float  # a picture at a greater distance is out-of-distribution
    n_held_out: int  # images, not used for the axes, that the threshold comes from

    def distance(self, features: npt.ArrayLike) -> FloatArray:
        """How far pictures are from the training pictures, about 1 for one of these; NaN where a feature is not finite.

        For features of shape (n, d) the Mahalanobis distance, of shape (n,), under a covariance of r axes plus noise,
        over the square root of d:

            sqrt((sum_i (a_i (x - m))^2 / v_i + (|x - m|^2 - sum_i (a_i (x - m))^2) / noise) / d)

        Tipping and Bishop, Mixtures of probabilistic principal component analysers, 1999, for the covariance. Lee et
        al., A simple unified framework for detecting out-of-distribution samples, arXiv:1807.03888, and Wang et al.,
        ViM, arXiv:2203.10807, for the two parts of the distance. Sun et al., Out-of-distribution detection with deep
        nearest neighbors, arXiv:2204.06507, for the length of 1.
        """
        x = np.asarray(features)
        if x.ndim != 2 or x.shape[1] != len(self.mean):
            raise ProbeError(f"Expected features of shape (n, {len(self.mean)}). Received: {x.shape}.")
        axes, distances = self.axes.astype(np.float64), np.empty(len(x))
        for start in range(0, len(x), _BLOCK):
            centred = _of_length_one(x[start : start + _BLOCK]) - self.mean
            along = (centred @ axes.T) ** 2
            across = np.maximum((centred**2).sum(1) - along.sum(1), 0.0)
            squares = (along / self.variances).sum(1) + across / self.noise
            distances[start : start + _BLOCK] = np.sqrt(squares / len(self.mean))
        return distances

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All of it as arrays, for an .npz file."""
        numbers = np.array([self.noise, self.threshold, self.n_held_out], np.float64)
        return {"mean": self.mean, "axes": self.axes, "variances": self.variances, "numbers": numbers}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> "Detector":
        """The detector of which `to_arrays` made these arrays; anything else is a ProbeError."""
        names = ("mean", "axes", "variances", "numbers")
        mean, axes, variances, numbers = (np.asarray(arrays.get(name, ())) for name in names)
        if (
            not all(array.dtype.kind == "f" and np.isfinite(array).all() for array in (mean, axes, variances, numbers))
            or (axes.ndim, numbers.shape) != (2, (3,))
            or axes.shape != (*variances.shape, *mean.shape)
            or not len(mean)
            or not ((variances > 0).all() and numbers[0] > 0 and numbers[1] >= 0)
        ):
            raise ProbeError(
                "Expected a detector's finite mean (d,), axes (r, d), variances (r,) above 0 and 3 numbers. Received: "
                f"{ {name: array.shape for name, array in arrays.items()} }."
            )
        return cls(
            mean=mean.astype(np.float32),
            axes=axes.astype(np.float16),
            variances=variances.astype(np.float32),
            noise=float(numbers[0]),
            threshold=float(numbers[1]),
            n_held_out=int(numbers[2]),
        )


def fit_detector(
    features: npt.ArrayLike,
    held_out: npt.ArrayLike | None = None,
    *,
    groups: npt.ArrayLike | None = None,
    seed: int = 0,
) -> Detector:
    """Fit a detector on the features that a model's prediction layer reads, of shape (n, d), n at least `FEWEST`.

    Features of `held_out` images give the threshold. They are needed where the backbone was trained, which separates
    its own training images from new ones. Where it was frozen, None splits the training images into five parts, never
    those of one of `groups`, as copies are, and takes each part's distances from a detector of the others.
    """
    x = np.asarray(features)
    if x.ndim != 2 or len(x) < FEWEST or not x.shape[1] or not np.isfinite(x).all():
        raise ProbeError(
            f"Expected features of training images, finite and of shape (n, d), n at least {FEWEST}. Received: "
            f"shape {x.shape}, {np.count_nonzero(~np.isfinite(x))} numbers not finite."
        )
    rng = np.random.default_rng(seed)
    rows = np.sort(rng.permutation(len(x))[:_ROWS])
    train = x[rows]
    if held_out is None:
        parts = _parts(rows if groups is None else np.asarray(groups)[rows], rng)
        folds = [(train[parts != part], train[parts == part]) for part in np.unique(parts)]
    else:
        folds = [(train, np.asarray(held_out))]
    return _detector(train, seed, np.concatenate([_detector(some, seed).distance(rest) for some, rest in folds]))


def threshold_of(distances: npt.ArrayLike) -> float:
    """The distance, of images that the detector was not fitted on, that a share of `FALSE_ALARMS` of them exceeds.

    Of m distances the k-th smallest, k = ceil((1 - FALSE_ALARMS) (m + 1)): a new picture of the same distribution
    exceeds it with a probability of at most `FALSE_ALARMS`. For 1 % that takes 99 images. With fewer of them the
    logarithms of distances are taken as normal, and the threshold is the upper end of the prediction interval for a new
    one, exp(mean + t s sqrt(1 + 1 / m)) with Student's t of m - 1 degrees of freedom, or the greatest distance if that
    is greater.

    Bates et al., Testing for outliers with conformal p-values, arXiv:2104.08279. Hahn, Factors for calculating
    two-sided prediction intervals for samples from a normal distribution, 1969.
    """
    known = np.sort(np.asarray(distances, np.float64))
    m = len(known)
    place = int(np.ceil((1 - FALSE_ALARMS) * (m + 1) - 1e-9))  # 0.99 * 100 is slightly above 99
    if place <= m:
        return float(known[place - 1])
    if m < 2 or known[-1] == 0:
        return float(known[-1])
    least = max(_LEAST * float(np.median(known)), _LEAST_OF_GREATEST * known[-1])
    logarithms = np.log(np.maximum(known, least))
    reach = stdtrit(m - 1, 1 - FALSE_ALARMS) * np.sqrt(1 + 1 / m)
    return float(max(known[-1], np.exp(logarithms.mean() + reach * logarithms.std(ddof=1))))


def _of_length_one(features: npt.NDArray[Any]) -> FloatArray:
    values = np.asarray(features, np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        length = np.linalg.norm(values, axis=1, keepdims=True)
        return np.asarray(values / np.where(length == 0, 1.0, length))


def _parts(groups: npt.NDArray[Any], rng: np.random.Generator) -> npt.NDArray[Any]:
    """The number of each image's part; whole groups are dealt out in random order."""
    _, numbers = np.unique(groups, return_inverse=True)
    if not numbers.any():  # one group: all images are copies of one, and need not be kept together
        numbers = np.arange(len(groups))
    return np.asarray((rng.permutation(int(numbers.max()) + 1) % _FOLDS)[numbers])


def _detector(train: npt.NDArray[Any], seed: int, distances: FloatArray | None = None) -> Detector:
    x = _of_length_one(train)
    mean = x.mean(0)
    centred = x - mean
    n, d = centred.shape
    rank = max(1, min(_AXES, n // 2, d - 1))
    _, singular, axes = randomized_svd(centred.astype(np.float32), rank, n_iter=_ITERATIONS, random_state=seed)
    variances = singular.astype(np.float64) ** 2 / max(n - 1, 1)
    least = _RESOLUTION**2 / d
    rest = (centred**2).sum() / max(n - 1, 1) - variances.sum()
    return Detector(
        mean=mean.astype(np.float32),
        axes=axes.astype(np.float16),
        variances=np.maximum(variances, least).astype(np.float32),
        noise=float(max(rest / max(d - rank, 1), least)),
        threshold=0.0 if distances is None else threshold_of(distances),
        n_held_out=0 if distances is None else len(distances),
    )
