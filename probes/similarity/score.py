"""From drift to a similarity score; Fréchet distance, kernel distance and source labels beside it. NumPy only."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probes.network.features import Features
from probes.similarity.drift import bootstrap_drift, bootstrap_weights
from probes.similarity.feature_similarity import FeatureSimilarity, LayerDrift
from probes.similarity.reference import Reference
from probes.similarity.standard_photos import Standard, Yardstick, unit_ratio

PARTS = (("early", 0.0), ("middle", 0.25), ("late", 0.6))  # where each part begins, as a share of the layers
PART_WEIGHTS: Mapping[str, float] = {
    "early": 0.2,
    "middle": 0.8,
}  # late layers tell a narrow data set, not a foreign one
# Floors of networks trained on photographs lie no farther than this above EfficientNet-Lite0's, early and middle.
# benchmarks/results/networks.jsonl: MobileNet's by 0.12 and 0.02 at most.
_FAMILIAR = np.array([0.25, 0.10])
N_RESAMPLES = 200
_KID_SUBSET = 1000  # rows at most: the kernel matrix is quadratic in them
_LABELS_SHOWN = 3

Array = npt.NDArray[np.float64]


def layer_parts(n_layers: int) -> tuple[str, ...]:
    """Which part of the network, early, middle or late, each of its BatchNorm layers belongs to."""
    shares = [index / n_layers for index in range(n_layers)]
    return tuple([part for part, start in PARTS if start <= share][-1] for share in shares)


def excess_drift(drift: npt.ArrayLike, floor: npt.ArrayLike) -> Array:
    """The weighted mean of early and middle drift above the source's own.

    Args:
        drift: of shape (..., layers).
        floor: of shape (layers,).

    Returns:
        Of shape (...), in units of the source's variance.
    """
    above = np.asarray(drift, np.float64) - np.asarray(floor, np.float64)
    parts = np.array(layer_parts(above.shape[-1]))
    return np.asarray(sum(weight * above[..., parts == part].mean(-1) for part, weight in PART_WEIGHTS.items()))


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
        n_classes: how many classes there are; one without an image gets an empty tuple.
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


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Baseline:
    """What drift is compared with.

    Attributes:
        basis: "reference" where pictures of the source were measured, "yardstick" where two photographs stand in,
            "foreign" where these are foreign to the network, and the floor is what EfficientNet-Lite0 has.
        source: the name of the data set that the network was trained on, or None where that is not known.
        floor: drift that familiar pictures have at each norm at the same resolution, of shape (layers,).
        sharp_floor: the same for pictures that need not be enlarged.
        unit: drift that counts as 1 of EfficientNet-Lite0's.
        labels: names of the source's classes; empty where they are not known.
        embeddings: of pictures of the source, of shape (pictures, channels); None where there are none.
    """

    basis: str
    source: str | None
    floor: Array
    sharp_floor: Array
    unit: float = 1.0
    labels: tuple[str, ...] = ()
    embeddings: npt.NDArray[np.float32] | None = None


def reference_baseline(
    reference: Reference, *, source: str | None, input_size: int, enlargement: float, unit: float = 1.0
) -> Baseline:
    """A baseline from stored statistics of the source's own pictures."""
    return Baseline(
        basis="reference",
        source=source,
        floor=reference.floor(input_size, max(1.0, enlargement)),
        sharp_floor=reference.floor(input_size),
        unit=unit,
        labels=reference.labels,
        embeddings=reference.source_embeddings(input_size),
    )


def yardstick_baseline(
    measured: Yardstick,
    standard: Standard,
    *,
    source: str | None,
    share: float,
    enlargement: float = 1.0,
    enlarged: Array | None = None,
) -> Baseline:
    """A baseline from two photographs, for a network of whose source no picture is at hand.

    Args:
        measured: how the network sees them.
        standard: how EfficientNet-Lite0 does.
        source: the name of the network's source, or None.
        share: input size over native size.
        enlargement: of the target's pictures, at least 1.
        enlarged: drift of the photographs enlarged as much, of shape (layers,); needed where that is more than 1.
    """
    known, above = standard.at(share)
    unit = _unit(measured, standard, share)
    foreign = bool((part_means(measured.plain) - unit * above > known + _FAMILIAR).any())
    unit = 1.0 if foreign else unit

    def floor(plain: Array, times: float) -> Array:
        known, above = standard.at(share, times)
        found = known if foreign else part_means(plain) - unit * above
        parts = dict(zip(("early", "middle"), found, strict=True))
        # Late layers take no part in the score; the photographs' own drift is their floor.
        return np.array([parts.get(part, value) for part, value in zip(layer_parts(len(plain)), plain, strict=True)])

    return Baseline(
        basis="foreign" if foreign else "yardstick",
        source=source,
        floor=floor(measured.plain if enlarged is None else enlarged, enlargement),
        sharp_floor=floor(measured.plain, 1.0),
        unit=unit,
    )


def _unit(measured: Yardstick, standard: Standard, share: float) -> float:
    own = np.stack([part_means(way) for way in measured.spoilt])
    return unit_ratio(own, standard.spoilt_at(share), [PART_WEIGHTS[part] for part in ("early", "middle")])


def part_means(drift: npt.ArrayLike) -> Array:
    """Mean over the early and over the middle layers, of shape (2,)."""
    values = np.asarray(drift, np.float64)
    parts = np.array(layer_parts(len(values)))
    return np.array([values[parts == part].mean() for part in ("early", "middle")])


def measure_similarity(
    features: Features, baseline: Baseline, *, input_size: int, n_classes: int, threshold: float, seed: int
) -> FeatureSimilarity:
    """Compare the sample with what the network was trained on.

    Args:
        features: what the pass brought, of at least one image, with drift at `LEAST_NORMS` norms or more.
        baseline: what drift is compared with.
        input_size: height and width in px that the network saw.
        n_classes: of the target.
        threshold: the excess drift at which the score is 0.5.
        seed: of the bootstrap.

    Returns:
        The measurement.
    """
    n_images = len(features.labels)
    weights = bootstrap_weights(n_images, N_RESAMPLES, seed)
    names = tuple(features.norm_means)
    samples = [bootstrap_drift(features.norm_means[name], features.norm_squares[name], weights) for name in names]
    drift = np.array([sample.value for sample in samples])
    replicates = np.stack([sample.replicates for sample in samples], axis=-1)
    excess = float(excess_drift(drift, baseline.floor)) / baseline.unit
    sharp = float(excess_drift(drift, baseline.sharp_floor)) / baseline.unit
    resampled = score(excess_drift(replicates, baseline.floor) / baseline.unit, threshold)
    few = n_images < 2
    frechet, kid = _distances(next(reversed(features.pooled.values())), baseline.embeddings)
    is_classifier = bool(baseline.labels) and features.output.shape[-1] == len(baseline.labels)
    layers = zip(names, layer_parts(len(names)), drift, baseline.floor, strict=True)
    return FeatureSimilarity(
        source=baseline.source,
        basis=baseline.basis,
        score=float(score(excess, threshold)),
        standard_error=None if few else float(resampled.std(ddof=1)),
        replicates=tuple(float(value) for value in resampled),
        excess=excess,
        unit=baseline.unit,
        per_layer=tuple(
            LayerDrift(layer=name, part=part, drift=float(value), floor=float(ground))
            for name, part, value, ground in layers
        ),
        enlargement=enlargement_of(features, input_size),
        sharp_score=float(score(sharp, threshold)),
        frechet=frechet,
        kid=kid,
        source_confidence=float(features.output.max(1).mean()) if is_classifier else None,
        looks_like=looks_like(features.output, features.labels, n_classes, baseline.labels) if is_classifier else (),
    )


LEAST_NORMS = 4  # with fewer there is no early, middle and late


def enlargement_of(features: Features, input_size: int) -> float:
    """How many times the median picture is enlarged for the network; below 1 it is shrunk."""
    return input_size / float(np.median(features.sizes.min(1)))


def _distances(
    embeddings: npt.NDArray[np.float32], known: npt.NDArray[np.float32] | None
) -> tuple[float | None, float | None]:
    """Fréchet and kernel distance to the source's embeddings, where there are any."""
    if known is None or len(embeddings) < 2 or embeddings.shape[1] != known.shape[1]:
        return None, None
    return frechet_distance(embeddings[:_KID_SUBSET], known), kernel_distance(embeddings[:_KID_SUBSET], known)
