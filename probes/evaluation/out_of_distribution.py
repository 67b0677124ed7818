"""Pictures unlike those that a model was trained on, told by the features that its prediction layer reads.

NumPy, SciPy and scikit-learn only. Features are brought to length 1; the detector keeps their mean, the directions in
which training pictures vary most, and how much they vary in each of those and in all others. `benchmarks/foreign.py`
compares it with others: class means made no difference, so that it needs no labels.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit
from sklearn.utils.extmath import randomized_svd

from probes.errors import ProbeError

FEWEST = 10  # images, below which "unlike them" says nothing; the benchmark's smallest training set has 20
FALSE_ALARMS = 0.01  # share of pictures like the training set that is flagged all the same
_AXES = 64  # from 16 to 128 they do alike, those of a class left out a little better with more: results/foreign.jsonl
_ROWS = 2000  # images that the axes are fitted on at most; in the benchmark 100 do nearly as well as 300
_HELD_OUT = 10_000  # images that the threshold comes from at most: 100 of them lie beyond it
_FOLDS = 5
_ITERATIONS = 4  # of the power method; features' spectra fall off fast
_BLOCK = 1024  # images whose distances are computed at once
# Smaller distances, as copies have, count as this share of the median and the greatest: they say nothing of the others.
_LEAST, _LEAST_OF_GREATEST = 0.5, 0.1
_RESOLUTION = 1e-4  # of the features' length: smaller differences are rounding

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Detector:
    """Tells pictures that are unlike the training pictures.

    Attributes:
        mean: of the training features at length 1, of shape (d,).
        axes: directions in which they vary most, of shape (r, d), orthonormal up to rounding.
        variances: along each of these, of shape (r,).
        noise: mean variance along any other direction.
        threshold: a picture at a greater distance is foreign.
        n_held_out: images, unseen by the axes, that the threshold comes from.
    """

    mean: npt.NDArray[np.float32]
    axes: npt.NDArray[np.float16]
    variances: npt.NDArray[np.float32]
    noise: float
    threshold: float
    n_held_out: int

    def distance(self, features: npt.ArrayLike) -> FloatArray:
        """How far pictures lie from the training pictures, about 1 for one of these.

        The Mahalanobis distance under a covariance of r axes plus noise, over the square root of d:

            sqrt((sum_i (a_i (x - m))^2 / v_i + (|x - m|^2 - sum_i (a_i (x - m))^2) / noise) / d)

        Args:
            features: of shape (n, d).

        Returns:
            Of shape (n,), at least 0; NaN where a feature is not finite.

        Raises:
            ProbeError: they are of another width than the training features.

        Reference:
            Tipping and Bishop, Mixtures of probabilistic principal component analysers, 1999, for the covariance. Lee
            et al., A simple unified framework for detecting out-of-distribution samples, arXiv:1807.03888, and Wang et
            al., ViM, arXiv:2203.10807, for the two parts of the distance. Sun et al., Out-of-distribution detection
            with deep nearest neighbors, arXiv:2204.06507, for the length of 1.
        """
        x = np.asarray(features)
        if x.ndim != 2 or x.shape[1] != len(self.mean):
            raise ProbeError(f"Expected features of shape (n, {len(self.mean)}). Received: {x.shape}.")
        axes = self.axes.astype(np.float64)
        parts = [self._distance(x[start : start + _BLOCK], axes) for start in range(0, len(x), _BLOCK)]
        return np.concatenate([np.empty(0), *parts])

    def _distance(self, features: npt.NDArray[Any], axes: FloatArray) -> FloatArray:
        centred = _of_length_one(features) - self.mean
        along = (centred @ axes.T) ** 2
        beside = np.maximum((centred**2).sum(1) - along.sum(1), 0.0)
        return np.asarray(np.sqrt(((along / self.variances).sum(1) + beside / self.noise) / len(self.mean)))

    def is_foreign(self, features: npt.ArrayLike) -> npt.NDArray[np.bool_]:
        """Whether pictures are unlike the training pictures, of shape (n,); where a feature is not finite they are."""
        return np.asarray(~(self.distance(features) <= self.threshold))

    def to_arrays(self) -> dict[str, npt.NDArray[Any]]:
        """All of it as arrays, for an .npz file."""
        numbers = np.array([self.noise, self.threshold, self.n_held_out], np.float64)
        return {"mean": self.mean, "axes": self.axes, "variances": self.variances, "numbers": numbers}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, npt.NDArray[Any]]) -> "Detector":
        """Make it of what `to_arrays` gave.

        Raises:
            ProbeError: the arrays are no detector's.
        """
        shapes = {name: np.shape(arrays[name]) for name in ("mean", "axes", "variances", "numbers") if name in arrays}
        if len(shapes) < 4 or len(shapes["mean"]) != 1 or len(shapes["variances"]) != 1 or shapes["numbers"] != (3,):
            raise ProbeError(f"Expected a detector's arrays. Received: {shapes or 'none of them'}.")
        if shapes["axes"] != (*shapes["variances"], *shapes["mean"]) or not shapes["mean"][0]:
            raise ProbeError(f"Expected axes of the shape of their variances and mean. Received: {shapes}.")
        values = [np.asarray(arrays[name]) for name in shapes]
        if not all(value.dtype.kind == "f" and np.isfinite(value).all() for value in values):
            raise ProbeError("Expected a detector of finite numbers. Received: others.")
        noise, threshold, n_held_out = (float(number) for number in arrays["numbers"])
        if noise <= 0 or threshold < 0 or not (np.asarray(arrays["variances"]) > 0).all():
            raise ProbeError("Expected a detector with variances above 0. Received: others.")
        return cls(
            mean=np.asarray(arrays["mean"], np.float32),
            axes=np.asarray(arrays["axes"], np.float16),
            variances=np.asarray(arrays["variances"], np.float32),
            noise=noise,
            threshold=threshold,
            n_held_out=int(n_held_out),
        )


def fit_detector(
    features: npt.ArrayLike,
    held_out: npt.ArrayLike | None = None,
    *,
    groups: npt.ArrayLike | None = None,
    false_alarms: float = FALSE_ALARMS,
    seed: int = 0,
) -> Detector:
    """Fit a detector on the features that a model's prediction layer reads.

    Args:
        features: of training images, of shape (n, d), n at least `FEWEST`.
        held_out: features of images like them that the model was not trained on, of shape (m, d). They are needed where
            the backbone was trained: it knows its own training images. Where it was frozen, None parts the training
            images into five, and takes each part's distances from a detector of the others.
        groups: images of one group, as copies are, are never split; of shape (n,). Only without `held_out`.
        false_alarms: share of pictures like the training images that may be flagged; see `threshold_of`.
        seed: of what is drawn where there are many images, and of the parts.

    Returns:
        The detector; it takes about 2 r d bytes with r = min(64, n / 2).

    Raises:
        ProbeError: there are too few images, or not all features are finite.
    """
    rng = np.random.default_rng(seed)
    train, drawn = _drawn(features, "features of training images", FEWEST, _ROWS, rng)
    if held_out is None:
        parts = _parts(drawn if groups is None else np.asarray(groups)[drawn], rng)
        distances = [_detector(train[parts != part], seed).distance(train[parts == part]) for part in np.unique(parts)]
    else:
        others, _ = _drawn(held_out, "features of held-out images", 1, _HELD_OUT, rng)
        distances = [_detector(train, seed).distance(others)]
    return _detector(train, seed, np.concatenate(distances), false_alarms)


def threshold_of(distances: npt.ArrayLike, false_alarms: float = FALSE_ALARMS) -> float:
    """A distance that a share of `false_alarms` of pictures like these is beyond.

    Of m distances the k-th smallest, k = ceil((1 - false_alarms) (m + 1)): a new picture like them is beyond it with a
    probability of at most `false_alarms`. That takes 99 images for 1 %. With fewer of them the logarithms of distances
    are taken as normal, and it is the upper end of the prediction interval for a new one, or the greatest distance if
    that is greater: exp(mean + t s sqrt(1 + 1 / m)), with Student's t of m - 1 degrees of freedom.

    Args:
        distances: of images that the detector was not fitted on, of shape (m,), m at least 1.
        false_alarms: the share, over 0 and under 1.

    Reference:
        Bates et al., Testing for outliers with conformal p-values, arXiv:2104.08279. Hahn, Factors for calculating
        two-sided prediction intervals for samples from a normal distribution, 1969.
    """
    known = np.sort(np.asarray(distances, np.float64))
    m = len(known)
    place = int(np.ceil((1 - false_alarms) * (m + 1) - 1e-9))  # 0.99 * 100 is a little over 99
    if place <= m:
        return float(known[place - 1])
    if m < 2 or known[-1] == 0:
        return float(known[-1])
    least = max(_LEAST * float(np.median(known)), _LEAST_OF_GREATEST * known[-1])
    logarithms = np.log(np.maximum(known, least))
    reach = stdtrit(m - 1, 1 - false_alarms) * np.sqrt(1 + 1 / m)
    return float(max(known[-1], np.exp(logarithms.mean() + reach * logarithms.std(ddof=1))))


def _drawn(
    features: npt.ArrayLike, what: str, fewest: int, most: int, rng: np.random.Generator
) -> tuple[npt.NDArray[Any], npt.NDArray[np.int64]]:
    """Features of at most so many images, in their order, and the numbers of these."""
    values = np.asarray(features)
    if values.ndim != 2 or len(values) < fewest or not values.shape[1]:
        raise ProbeError(f"Expected {what} of shape (n, d), n at least {fewest}. Received: {values.shape}.")
    rows = np.sort(rng.permutation(len(values))[:most])
    values = values[rows]
    if not np.isfinite(values).all():
        raise ProbeError(f"Expected {what} that are finite. Received: NaN or infinity.")
    return values, rows


def _of_length_one(features: npt.NDArray[Any]) -> FloatArray:
    values = np.asarray(features, np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        length = np.linalg.norm(values, axis=1, keepdims=True)
        return np.asarray(values / np.where(length == 0, 1.0, length))


def _parts(groups: npt.NDArray[Any], rng: np.random.Generator) -> npt.NDArray[Any]:
    """For each image the number of its part; whole groups, dealt out in random order."""
    _, numbers = np.unique(groups, return_inverse=True)
    n_groups = int(numbers.max()) + 1
    if n_groups == 1:  # all images are copies of one: there is nothing to keep apart
        numbers, n_groups = np.arange(len(groups)), len(groups)
    return np.asarray((rng.permutation(n_groups) % _FOLDS)[numbers])


def _detector(
    train: npt.NDArray[Any], seed: int, distances: FloatArray | None = None, false_alarms: float = FALSE_ALARMS
) -> Detector:
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
        threshold=0.0 if distances is None else threshold_of(distances, false_alarms),
        n_held_out=0 if distances is None else len(distances),
    )
