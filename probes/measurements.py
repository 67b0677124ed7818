"""What the probes measure: frozen dataclasses of numbers and names."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from probes.data.dataset_size import DatasetSize
from probes.quality.findings import Finding
from probes.separability.evidence import Separability
from probes.similarity.similarity import FeatureSimilarity


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurements:
    """All measurements of one run."""

    size: DatasetSize
    similarity: FeatureSimilarity | None  # None for a network without anything to measure it by
    separability: Separability
    input_size: int  # height and width of the network's input in px
    findings: tuple[Finding, ...] = ()  # the worst first
    n_held_out: int = 0  # images of the user's own validation split that accuracy is measured on
    extra: Mapping[str, Any] = field(default_factory=dict)  # what the other `recommender.pipeline.probes` returned
