"""Compare a sample of images with those that the network was trained on."""

import numpy as np
import numpy.typing as npt

from probes.network.features import Features
from probes.similarity.baseline import Baseline
from probes.similarity.drift import layer_drifts
from probes.similarity.feature_similarity import FeatureSimilarity, LayerDrift
from probes.similarity.score import excess_drift, frechet_distance, kernel_distance, layer_parts, looks_like, score

LEAST_NORMS = 4  # with fewer there is no early, middle and late
_MOST_EMBEDDINGS = 1000  # the kernel matrix is quadratic in them


def enlargement_of(features: Features, input_size: int) -> float:
    """Factor by which the median image is enlarged for the network; below 1 it is shrunk."""
    return input_size / float(np.median(features.sizes.min(1)))


def measure_similarity(
    features: Features, baseline: Baseline, *, input_size: int, n_classes: int, threshold: float, seed: int
) -> FeatureSimilarity:
    """Compare the sample with what the network was trained on.

    Args:
        features: at least one image, with drift at `LEAST_NORMS` norms or more.
        baseline: what drift is compared with.
        input_size: height and width of the network's input in px.
        n_classes: of the target.
        threshold: the excess drift at which the score is 0.5.
        seed: of the bootstrap.
    """
    drift, replicates = layer_drifts(features, seed=seed)
    excess, sharp, resampled = (
        excess_drift(values, floor) / baseline.unit
        for values, floor in ((drift, baseline.floor), (drift, baseline.sharp_floor), (replicates, baseline.floor))
    )
    scores = score(resampled, threshold)
    frechet, kid = _distances(next(reversed(features.pooled.values())), baseline.embeddings)
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


def _distances(
    embeddings: npt.NDArray[np.float32], known: npt.NDArray[np.float32] | None
) -> tuple[float | None, float | None]:
    """Fréchet and kernel distance to the source's embeddings, where there are any."""
    if known is None or len(embeddings) < 2 or embeddings.shape[1] != known.shape[1]:
        return None, None
    embeddings = embeddings[:_MOST_EMBEDDINGS]
    return frechet_distance(embeddings, known), kernel_distance(embeddings, known)
