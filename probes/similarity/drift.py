"""How far a layer's inputs on the target lie from those that its BatchNorm saw on the source.

All moments are those of the standardised input z = (x - moving_mean) / sqrt(moving_variance + epsilon), so that on
the source itself every channel has mean 0 and standard deviation 1.
"""

import numpy as np
import numpy.typing as npt

from probes.network.features import Features

N_RESAMPLES = 200

Array = npt.NDArray[np.float64]


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


def plain_drift(means: npt.ArrayLike, squares: npt.ArrayLike) -> float:
    """Drift of a sample; arguments as of `bootstrap_drift`. It squares a noisy mean and so grows as samples shrink."""
    return float(wasserstein(np.asarray(means, np.float64).mean(0), np.asarray(squares, np.float64).mean(0)))


def bootstrap_weights(n_images: int, n_resamples: int, seed: int) -> Array:
    """How often each resample takes each image: of shape (n_resamples, n_images), each row summing to n_images."""
    rng = np.random.default_rng(seed)
    return rng.multinomial(n_images, np.full(n_images, 1.0 / n_images), size=n_resamples).astype(np.float64)


def bootstrap_drift(means: npt.ArrayLike, squares: npt.ArrayLike, weights: Array) -> tuple[float, Array]:
    """Drift of a sample of images without its sampling bias, which the bootstrap estimates, and its spread.

    Args:
        means: each image's mean of z over positions, of shape (images, channels).
        squares: each image's mean of z squared, of the same shape.
        weights: from `bootstrap_weights`; the same for all layers, so that resamples agree across them.

    Returns:
        The drift, which may fall slightly below 0, and that of each resample, of shape (resamples,); a single image
        has no resamples.

    Reference:
        Efron and Tibshirani, An Introduction to the Bootstrap, 1993, chapter 10.
    """
    means, squares = np.asarray(means, np.float64), np.asarray(squares, np.float64)
    n_images, plain = len(means), plain_drift(means, squares)
    if n_images < 2:
        return plain, np.empty(0)
    resampled = wasserstein(weights @ means / n_images, weights @ squares / n_images)
    value = plain - float(resampled.mean() - plain) * n_images / (n_images - 1)
    return value, resampled - resampled.mean() + value


def layer_drifts(features: Features, *, seed: int = 0) -> tuple[Array, Array]:
    """Drift at every norm of one pass, of shape (layers,), and of its resamples, of shape (resamples, layers)."""
    weights = bootstrap_weights(len(features.labels), N_RESAMPLES, seed)
    pairs = [(means, features.norm_squares[layer]) for layer, means in features.norm_means.items()]
    found = [bootstrap_drift(means, squares, weights) for means, squares in pairs]
    return np.array([value for value, _ in found]), np.stack([replicates for _, replicates in found], axis=-1)
