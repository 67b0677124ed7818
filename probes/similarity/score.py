"""Statistics of similarity: the score that drift gives, Fréchet and kernel distance, the nearest source labels."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

PARTS = (("early", 0.0), ("middle", 0.25), ("late", 0.6))  # where each part begins, as a share of the layers
# Late layers drift on a narrow data set as much as on an out-of-distribution one, so they have no weight.
PART_WEIGHTS: Mapping[str, float] = {"early": 0.2, "middle": 0.8}
_LABELS_SHOWN = 3

Array = npt.NDArray[np.float64]


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
    """The weighted mean of early and middle drift above the source's own.

    Args:
        drift: of shape (..., layers).
        floor: of shape (layers,).

    Returns:
        Of shape (...), in units of the source's variance.
    """
    return weighted(part_means(np.asarray(drift, np.float64) - np.asarray(floor, np.float64)))


def score(excess: npt.ArrayLike, threshold: float) -> Array:
    """1 at no excess drift, 0.5 at the threshold, halving with every further threshold: 2^(-excess / threshold)."""
    return np.exp2(-np.maximum(np.asarray(excess, np.float64), 0.0) / threshold)


def frechet_distance(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Fréchet distance between Gaussians fitted to two samples of embeddings.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)). The last trace is the sum of the singular values of
    X1 X2^T / sqrt((n1 - 1)(n2 - 1)) for centred samples X, which needs no square root of a covariance.

    Args:
        first: of shape (n1, d), n1 at least 2.
        second: of shape (n2, d), n2 at least 2.

    Returns:
        The distance, at least 0. It is biased upwards for small samples.

    Reference:
        Heusel et al., GANs trained by a two time-scale update rule, NeurIPS 2017, arXiv:1706.08500.
    """
    one, two = np.asarray(first, np.float64), np.asarray(second, np.float64)
    mean_one, mean_two = one.mean(0), two.mean(0)
    one, two = (one - mean_one) / np.sqrt(len(one) - 1), (two - mean_two) / np.sqrt(len(two) - 1)
    cross = np.linalg.svd(one @ two.T, compute_uv=False).sum()
    return float(max(0.0, ((mean_one - mean_two) ** 2).sum() + (one**2).sum() + (two**2).sum() - 2 * cross))


def kernel_distance(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel (x.y / d + 1)^3; it may fall slightly below 0.

    Args:
        first: of shape (n1, d), n1 at least 2.
        second: of shape (n2, d), n2 at least 2.

    Reference:
        Bińkowski et al., Demystifying MMD GANs, ICLR 2018, arXiv:1801.01401.
    """
    one, two = np.asarray(first, np.float64), np.asarray(second, np.float64)

    def kernel(a: Array, b: Array) -> Array:
        return np.asarray((a @ b.T / a.shape[1] + 1.0) ** 3)

    def within(x: Array) -> float:
        gram = kernel(x, x)
        return float((gram.sum() - np.trace(gram)) / (len(x) * (len(x) - 1)))

    return within(one) + within(two) - 2.0 * float(kernel(one, two).mean())


def looks_like(
    probabilities: npt.ArrayLike, labels: npt.NDArray[np.int64], n_classes: int, names: Sequence[str]
) -> tuple[tuple[tuple[str, float], ...], ...]:
    """For each class, the source labels that the network gives its images most often, with their shares.

    Args:
        probabilities: of the network's own classifier, of shape (n, source classes).
        labels: class numbers, of shape (n,).
        n_classes: number of classes; one without an image gets an empty tuple.
        names: of the source's classes.
    """
    guesses = np.asarray(probabilities).argmax(1)
    rows = []
    for label in range(n_classes):
        own = guesses[labels == label]
        found, counts = np.unique(own, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:_LABELS_SHOWN]
        rows.append(tuple((names[found[i]], float(counts[i] / len(own))) for i in order))
    return tuple(rows)
