"""How far a layer's inputs on the target lie from those that its BatchNorm saw on the source. NumPy only.

All moments are those of the standardised input z = (x - moving_mean) / sqrt(moving_variance + epsilon), so that on
the source itself every channel has mean 0 and standard deviation 1.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Moments:
    """First and second moments of each channel over images and positions, float64.

    Attributes:
        count: number of images.
        total: sum over images of the image's mean, of shape (channels,).
        total_square: sum over images of the image's mean square, of shape (channels,).
    """

    count: int
    total: Array
    total_square: Array

    @classmethod
    def of(cls, means: npt.ArrayLike, squares: npt.ArrayLike) -> "Moments":
        """From each image's mean and mean square over its positions, of shape (images, channels)."""
        means, squares = np.asarray(means, np.float64), np.asarray(squares, np.float64)
        return cls(count=len(means), total=means.sum(0), total_square=squares.sum(0))

    def merge(self, other: "Moments") -> "Moments":
        """The moments of both samples together."""
        return Moments(
            count=self.count + other.count,
            total=self.total + other.total,
            total_square=self.total_square + other.total_square,
        )

    @property
    def drift(self) -> float:
        return float(wasserstein(self.total / self.count, self.total_square / self.count))


def wasserstein(mean: Array, square: Array) -> Array:
    """Squared 2-Wasserstein distance to the standard normal, averaged over channels.

    For Gaussians N(m, s^2) and N(0, 1) it is m^2 + (s - 1)^2.

    Args:
        mean: of shape (..., channels).
        square: mean square, of shape (..., channels).

    Returns:
        Of shape (...), in units of the source's variance; 0 is the source itself.
    """
    deviation = np.sqrt(np.maximum(square - mean**2, 0.0))
    return np.asarray((mean**2 + (deviation - 1.0) ** 2).mean(-1))


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftSample:
    """Drift of one layer with its bootstrap over images.

    Attributes:
        value: the drift, corrected for the bias that a small sample has; it may fall slightly below 0.
        replicates: the same of each bootstrap resample, of shape (resamples,); empty where one image says nothing.
    """

    value: float
    replicates: Array


def bootstrap_weights(n_images: int, n_resamples: int, seed: int) -> Array:
    """How often each resample takes each image: of shape (n_resamples, n_images), each row summing to n_images."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_images, np.full(n_images, 1.0 / n_images), size=n_resamples).astype(np.float64)


def bootstrap_drift(means: npt.ArrayLike, squares: npt.ArrayLike, weights: Array) -> DriftSample:
    """The drift of a sample of images, its sampling bias removed, and its spread.

    The plain estimate squares a noisy mean and so grows as the sample shrinks; the bootstrap shows by how much.

    Args:
        means: each image's mean of z, of shape (images, channels).
        squares: each image's mean of z squared, of the same shape.
        weights: from `bootstrap_weights`; the same for all layers, so that resamples agree across them.

    Returns:
        The drift and its resamples.

    Reference:
        Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 10.
    """
    means, squares = np.asarray(means, np.float64), np.asarray(squares, np.float64)
    n_images = len(means)
    plain = Moments.of(means, squares).drift
    if n_images < 2:
        return DriftSample(value=plain, replicates=np.empty(0))
    resampled = wasserstein(weights @ means / n_images, weights @ squares / n_images)
    bias = (resampled.mean() - plain) * n_images / (n_images - 1)
    value = plain - bias
    return DriftSample(value=float(value), replicates=resampled - resampled.mean() + value)
