"""Compare a sample of images with those that the network was trained on."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from probes.network.features import Features, Network
from probes.similarity.drift import PART_WEIGHTS, excess_drift, layer_drifts, layer_parts, part_means, score, weighted
from probes.similarity.reference import Reference
from probes.similarity.standard_photos import StandardPhotos, load_standard_photos, measure_standard_photos, photo_drift

LEAST_NORMS = 4  # with fewer there is no early, middle and late
_MOST_EMBEDDINGS = 1000  # the kernel matrix is quadratic in them
_LABELS_SHOWN = 3
# Floors of networks trained on photographs lie no farther than this above EfficientNet-Lite0's, early and middle.
# benchmarks/results/networks.jsonl: MobileNet's by 0.12 and 0.02 at most.
_IN_DISTRIBUTION = np.array([0.25, 0.10])
_INVISIBLE = 1e-6  # drift that a degradation adds where a network can't see it
_LEAST_UNIT, _MOST_UNIT = 0.25, 4.0  # beyond, the measurement is noise

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Baseline:
    """What drift is compared with.

    `basis` is "reference" where images of the source were measured, "standard_photos" where the standard photographs
    take their place, "out_of_distribution" where these are so for the network and EfficientNet-Lite0's floor is used.
    These values stand in the JSON document.
    """

    basis: str
    source: str | None  # the data set that the network was trained on, if that is known
    floor: Array  # drift of in-distribution images at each norm and at the target's resolution
    sharp_floor: Array  # the same for images that are not enlarged
    unit: float = 1.0  # drift that counts as 1 of EfficientNet-Lite0's
    labels: tuple[str, ...] = ()  # names of the source's classes, if they are known
    embeddings: npt.NDArray[np.float32] | None = None  # of images of the source, of shape (images, channels)


def choose_baseline(
    network: Network, reference: Reference | None, *, source: str | None, native_size: int, enlargement: float
) -> Baseline:
    """The baseline for a network: its shipped reference, the user's own, or the standard photographs."""
    source, times = (reference and reference.source) or source, max(1.0, enlargement)
    if reference is not None and reference.shipped:
        return reference_baseline(reference, source=source, input_size=network.input_size, enlargement=times)
    plain, degraded = measure_standard_photos(network)
    enlarged = plain if times == 1.0 else photo_drift(network, enlargement=times)
    share = network.input_size / native_size
    by_photos = standard_photos_baseline(
        (plain, degraded), load_standard_photos(), source=source, share=share, enlargement=times, enlarged=enlarged
    )
    if reference is None:
        return by_photos
    own = reference_baseline(reference, source=source, input_size=network.input_size, enlargement=1.0)
    # The source's own images give the floor at their own resolution; photographs give what enlarging adds to it.
    return replace(own, unit=by_photos.unit, floor=own.floor + np.maximum(enlarged - plain, 0.0))


def reference_baseline(reference: Reference, *, source: str | None, input_size: int, enlargement: float) -> Baseline:
    """A baseline from stored statistics of the source's own images, enlarged as much as the target's."""
    return Baseline(
        basis="reference",
        source=source,
        floor=reference.floor(input_size, max(1.0, enlargement)),
        sharp_floor=reference.floor(input_size),
        labels=reference.labels,
        embeddings=reference.source_embeddings(input_size),
    )


def standard_photos_baseline(
    measured: tuple[Array, Array],
    standard: StandardPhotos,
    *,
    source: str | None,
    share: float,
    enlargement: float = 1.0,
    enlarged: Array | None = None,
) -> Baseline:
    """A baseline from the standard photographs, as `measure_standard_photos` sees them and as EfficientNet-Lite0 does.

    `share` is input size over native size. `enlarged` is the drift, of shape (layers,), of the photographs enlarged as
    much as the target's images; needed where `enlargement` is more than 1.
    """
    photos, degraded = measured
    known, above, known_degraded = standard.at(share)
    unit = unit_of(part_means(degraded), known_degraded)
    unlike = bool((part_means(photos) - unit * above > known + _IN_DISTRIBUTION).any())
    unit = 1.0 if unlike else unit

    def floor(plain: Array, times: float) -> Array:
        known, above, _ = standard.at(share, times)
        found = known if unlike else part_means(plain) - unit * above
        parts = dict(zip(PART_WEIGHTS, found, strict=True))
        # Late layers have no weight in the score; the photographs' own drift is their floor.
        return np.array([parts.get(part, value) for part, value in zip(layer_parts(len(plain)), plain, strict=True)])

    return Baseline(
        basis="out_of_distribution" if unlike else "standard_photos",
        source=source,
        floor=floor(photos if enlarged is None else enlarged, enlargement),
        sharp_floor=floor(photos, 1.0),
        unit=unit,
    )


def unit_of(own: npt.ArrayLike, standard: npt.ArrayLike) -> float:
    """Drift of a network that counts as 1 of EfficientNet-Lite0's, by what each degradation adds to both."""
    added, known = weighted(own), weighted(standard)
    seen = np.abs(added) > _INVISIBLE  # the others are left out
    return float(np.clip(added[seen].sum() / known[seen].sum(), _LEAST_UNIT, _MOST_UNIT)) if seen.any() else 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerDrift:
    """Drift at one BatchNorm layer, or at a cut point where the network has no BatchNorm."""

    layer: str
    part: str  # "early", "middle" or "late"
    drift: float  # squared 2-Wasserstein distance, in units of the source's variance
    floor: float  # the drift of in-distribution images at this layer and resolution


@dataclass(frozen=True, slots=True, kw_only=True)
class FeatureSimilarity:
    """Similarity of target and source, as the network sees them."""

    source: str | None  # the data set that the network was trained on, if that is known
    basis: str  # see `Baseline`
    score: float  # 1 for the source itself, 0.5 at the threshold, towards 0 beyond
    standard_error: float | None  # of the score, over bootstrap resamples of the images; None for a single image
    replicates: tuple[float, ...] = field(repr=False)  # the score of each resample
    excess: float  # the drift above the floor, in units of EfficientNet-Lite0's
    unit: float  # the drift of this network that counts as one such unit
    per_layer: tuple[LayerDrift, ...]  # from input to output
    enlargement: float  # factor by which the median image is enlarged for the network; below 1 it is shrunk
    sharp_score: float  # against images of full resolution; `score` compares with images as small as these
    frechet: float | None  # Fréchet distance between embeddings of target and source; None without the source's
    kid: float | None  # kernel distance between them
    source_confidence: float | None  # mean top probability of the network's own classifier on the target
    # For each class its most frequent source labels with their shares; empty without such a classifier.
    looks_like: tuple[tuple[tuple[str, float], ...], ...]

    def part(self, name: str) -> float:
        """Mean drift over the "early", "middle" or "late" layers."""
        values = [layer.drift for layer in self.per_layer if layer.part == name]
        return sum(values) / len(values)


def enlargement_of(features: Features, input_size: int) -> float:
    """Factor by which the median image is enlarged for the network; below 1 it is shrunk."""
    return input_size / float(np.median(features.sizes.min(1)))


def measure_similarity(
    features: Features,
    baseline: Baseline,
    *,
    input_size: int,
    n_classes: int,
    threshold: float,
    seed: int,
    groups: npt.ArrayLike | None = None,
) -> FeatureSimilarity:
    """Compare images with those that the network was trained on; at the excess drift `threshold` the score is 0.5.

    Images of one of the `groups`, of shape (n,), are resampled together.
    """
    drift, replicates = layer_drifts(features, seed=seed, groups=groups)
    excess, sharp, resampled = (
        excess_drift(values, floor) / baseline.unit
        for values, floor in ((drift, baseline.floor), (drift, baseline.sharp_floor), (replicates, baseline.floor))
    )
    scores = score(resampled, threshold)
    embeddings, known = next(reversed(features.pooled.values()))[:_MOST_EMBEDDINGS], baseline.embeddings
    frechet = kid = None
    if known is not None and len(embeddings) > 1 and embeddings.shape[1] == known.shape[1]:
        frechet, kid = frechet_distance(embeddings, known), kernel_distance(embeddings, known)
    is_classifier = bool(baseline.labels) and features.output.shape[-1] == len(baseline.labels)
    layers = zip(features.norm_means, layer_parts(len(drift)), drift, baseline.floor, strict=True)
    return FeatureSimilarity(
        source=baseline.source,
        basis=baseline.basis,
        score=float(score(excess, threshold)),
        standard_error=float(scores.std(ddof=1)) if len(scores) else None,
        replicates=tuple(scores.tolist()),
        excess=float(excess),
        unit=baseline.unit,
        per_layer=tuple(
            LayerDrift(layer=layer, part=part, drift=float(value), floor=float(floor))
            for layer, part, value, floor in layers
        ),
        enlargement=enlargement_of(features, input_size),
        sharp_score=float(score(sharp, threshold)),
        frechet=frechet,
        kid=kid,
        source_confidence=float(features.output.max(1).mean()) if is_classifier else None,
        looks_like=looks_like(features.output, features.labels, n_classes, baseline.labels) if is_classifier else (),
    )


def frechet_distance(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Fréchet distance between Gaussians fitted to embeddings of shape (n1, d) and (n2, d), n1 and n2 at least 2.

    |m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)). The last trace is the sum of the singular values of
    X1 X2^T / sqrt((n1 - 1)(n2 - 1)) for centred samples X, which needs no square root of a covariance. It is biased
    upwards for small samples. Heusel et al., GANs trained by a two time-scale update rule, 2017, arXiv:1706.08500.
    """
    one, two = np.asarray(first, np.float64), np.asarray(second, np.float64)
    mean_one, mean_two = one.mean(0), two.mean(0)
    one, two = (one - mean_one) / np.sqrt(len(one) - 1), (two - mean_two) / np.sqrt(len(two) - 1)
    cross = np.linalg.svd(one @ two.T, compute_uv=False).sum()
    return float(max(0.0, ((mean_one - mean_two) ** 2).sum() + (one**2).sum() + (two**2).sum() - 2 * cross))


def kernel_distance(first: npt.ArrayLike, second: npt.ArrayLike) -> float:
    """Unbiased squared maximum mean discrepancy with the kernel (x.y / d + 1)^3. Bińkowski et al., arXiv:1801.01401."""
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
    """For each class the source labels that the network's classifier gives its images most often, with their shares."""
    guesses = np.asarray(probabilities).argmax(1)
    rows = []
    for label in range(n_classes):
        own = guesses[labels == label]
        found, counts = np.unique(own, return_counts=True)
        order = np.argsort(-counts, kind="stable")[:_LABELS_SHOWN]
        rows.append(tuple((names[found[i]], float(counts[i] / len(own))) for i in order))
    return tuple(rows)
