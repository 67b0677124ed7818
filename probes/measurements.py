"""What the probes measure: frozen dataclasses of numbers and names."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from probes.data.dataset_size import DatasetSize
from probes.quality.findings import Finding
from probes.separability.evidence import Separability
from probes.similarity.feature_similarity import FeatureSimilarity


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurements:
    """All measurements of one run.

    Attributes:
        size: number and size of the images.
        similarity: of target and source; None for a network without anything to measure it by.
        separability: of the classes at every cut point.
        input_size: height and width of the network's input in px.
        findings: problems of the data, the worst first.
        n_held_out: images of the user's own validation split that accuracy is measured on; 0 without one.
        extra: what the other probes of `recommender.pipeline.probes` returned, by their names.
    """

    size: DatasetSize
    similarity: FeatureSimilarity | None
    separability: Separability
    input_size: int
    findings: tuple[Finding, ...] = ()
    n_held_out: int = 0
    extra: Mapping[str, Any] = field(default_factory=dict)
