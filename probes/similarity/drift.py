"""How far a layer's inputs on the target lie from those that its BatchNorm saw on the source, and the score of that.

All moments are those of the standardised input z = (x - moving_mean) / sqrt(moving_variance + epsilon), so that on
the source itself every channel has mean 0 and standard deviation 1. Drift is in units of the source's variance.
"""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

from probes.data.groups import by_first_appearance
from probes.network.features import Features

N_RESAMPLES = 200
PARTS = (("early", 0.0), ("middle", 0.25), ("late", 0.6))  # where each part begins, as a share of the layers
# Late layers drift on a narrow data set as much as on an out-of-distribution one, so they have no weight.
PART_WEIGHTS: Mapping[str, float] = {"early": 0.2, "middle": 0.8}

Array = npt.NDArray[np.float64]


def wasserstein(mean: Array, square: Array) -> Array:
    """Squared 2-Wasserstein distance m^2 + (s - 1)^2 of N(m, s^2) to N(0, 1), averaged over the last axis, channels."""
    deviation = np.sqrt(np.maximum(square - mean**2, 0.0))
    return np.asarray((mean**2 + (deviation - 1.0) ** 2).mean(-1))


def plain_drift(means: npt.ArrayLike, squares: npt.ArrayLike) -> float:
    """Drift of a sample; arguments as of `bootstrap_drift`. It squares a noisy mean and so grows as samples shrink."""
    return float(wasserstein(np.asarray(means, np.float64).mean(0), np.asarray(squares, np.float64).mean(0)))


def bootstrap_weights(groups: npt.ArrayLike, n_resamples: int, seed: int) -> Array:
    """How often each resample takes each of n images: of shape (n_resamples, n). It takes whole groups."""
    numbers, rng = by_first_appearance(groups), np.random.default_rng(seed)
    n_groups = int(numbers.max()) + 1
    drawn = rng.multinomial(n_groups, np.full(n_groups, 1.0 / n_groups), size=n_resamples).astype(np.float64)
    return np.asarray(drawn[:, numbers])


def bootstrap_drift(
    means: npt.ArrayLike, squares: npt.ArrayLike, weights: Array, n_groups: int | None = None
) -> tuple[float, Array]:
    """Drift of a sample of images without its sampling bias, which the bootstrap estimates, and that of each resample.

    `means` and `squares` are each image's mean of z and of z squared over positions, of shape (images, channels). With
    the same `weights` for all layers, resamples agree across them; `n_groups` of images were resampled, by default each
    image by itself. The drift may fall slightly below 0; a single group has no resamples. Efron and Tibshirani, An
    Introduction to the Bootstrap, 1993, chapter 10.
    """
    means, squares = np.asarray(means, np.float64), np.asarray(squares, np.float64)
    n, plain = n_groups or len(means), plain_drift(means, squares)
    if n < 2:
        return plain, np.empty(0)
    totals = weights.sum(1, keepdims=True)
    resampled = wasserstein(weights @ means / totals, weights @ squares / totals)
    value = plain - float(resampled.mean() - plain) * n / (n - 1)
    return value, resampled - resampled.mean() + value


def layer_drifts(features: Features, *, seed: int = 0, groups: npt.ArrayLike | None = None) -> tuple[Array, Array]:
    """Drift at every norm of one pass, of shape (layers,), and of its resamples, of shape (resamples, layers).

    Images of one of the `groups`, of shape (n,), are resampled together.
    """
    of_image = np.arange(len(features.labels)) if groups is None else np.asarray(groups)
    weights, n_groups = bootstrap_weights(of_image, N_RESAMPLES, seed), len(np.unique(of_image))
    pairs = [(means, features.norm_squares[layer]) for layer, means in features.norm_means.items()]
    found = [bootstrap_drift(means, squares, weights, n_groups) for means, squares in pairs]
    return np.array([value for value, _ in found]), np.stack([replicates for _, replicates in found], axis=-1)


def layer_parts(n_layers: int) -> tuple[str, ...]:
    """Which part of the network, early, middle or late, each of its BatchNorm layers belongs to."""
    shares = [index / n_layers for index in range(n_layers)]
    return tuple([part for part, start in PARTS if start <= share][-1] for share in shares)


def part_means(drift: npt.ArrayLike) -> Array:
    """Mean over the early and over the middle layers: from shape (..., layers) to (..., 2)."""
    values = np.asarray(drift, np.float64)
    parts = np.array(layer_parts(values.shape[-1]))
    return np.stack([values[..., parts == part].mean(-1) for part in PART_WEIGHTS], axis=-1)


def weighted(parts: npt.ArrayLike) -> Array:
    """The weighted mean of the two parts: from shape (..., 2) to (...)."""
    return np.asarray(np.asarray(parts, np.float64) @ np.array(list(PART_WEIGHTS.values())))


def excess_drift(drift: npt.ArrayLike, floor: npt.ArrayLike) -> Array:
    """Weighted mean of early and middle drift above the source's own: from shape (..., layers) to (...)."""
    return weighted(part_means(np.asarray(drift, np.float64) - np.asarray(floor, np.float64)))


def score(excess: npt.ArrayLike, threshold: float) -> Array:
    """1 at no excess drift, 0.5 at the threshold, halving with every further threshold: 2^(-excess / threshold)."""
    return np.exp2(-np.maximum(np.asarray(excess, np.float64), 0.0) / threshold)
