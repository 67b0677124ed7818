"""The registry of probes. A new probe is a function in a file of its own and a line in `PROBES`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from probes.data.splits import Rows
from probes.network.features import Features
from probes.separability.evidence import Separability
from probes.separability.separability import measure_separability
from probes.similarity.similarity import (
    LEAST_NORMS,
    FeatureSimilarity,
    choose_baseline,
    enlargement_of,
    measure_similarity,
)
from recommender.pipeline.network_pass import NetworkPass
from recommender.rules import thresholds


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ProbeInput:
    """What a probe may read."""

    passed: NetworkPass  # the pass of the network over the sample
    rows: Rows  # the sample's images: groups, weights and validation split, in the order of `features`
    class_names: tuple[str, ...]  # of the target
    balanced: bool  # whether every class has the same weight in what is fitted
    seed: int  # of all that is random
    progress: Callable[[int, int], None] | None = None  # called with steps done and wanted

    @property
    def features(self) -> Features:
        """What the pass read, one row for each image."""
        return self.passed.features


def similarity(data: ProbeInput) -> FeatureSimilarity | None:
    """Similarity of the training images to the source's; None if the network has too few places to measure it at."""
    passed, backbone = data.passed, data.passed.backbone
    if len(passed.network.norms) < LEAST_NORMS:
        return None
    training = ~data.features.validation
    features = data.features.rows(training)
    baseline = choose_baseline(
        passed.network,
        passed.reference,
        source=backbone.source,
        native_size=backbone.native_size,
        enlargement=enlargement_of(features, backbone.input_size),
    )
    return measure_similarity(
        features,
        baseline,
        input_size=backbone.input_size,
        n_classes=len(data.class_names),
        threshold=thresholds.DRIFT_THRESHOLD,
        seed=data.seed,
        groups=data.rows.groups[training],
    )


def separability(data: ProbeInput) -> Separability:
    """Separability of the classes at every cut point."""
    pooled, progress = data.features.pooled, data.progress
    return measure_separability(pooled, data.rows, seed=data.seed, balanced=data.balanced, progress=progress)


# Called in this order. The rules read the first two; every other record, a dataclass of numbers and words or None,
# becomes `Measurements.extra[name]` and the key `name` of the JSON document.
PROBES: Mapping[str, Callable[[ProbeInput], Any]] = {"similarity": similarity, "separability": separability}
