"""What the probes measure: frozen dataclasses, no more than numbers and names."""

from dataclasses import dataclass

from probes.data.dataset_size import DatasetSize
from probes.quality.findings import Finding
from probes.separability.evidence import Separability
from probes.similarity.feature_similarity import FeatureSimilarity


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurements:
    """All that the rules look at."""

    size: DatasetSize
    similarity: FeatureSimilarity | None  # None where the network shows nothing to measure it by
    separability: Separability
    input_size: int
    findings: tuple[Finding, ...] = ()
    n_held_out: int = 0  # images of the user's own validation split that accuracy is measured on; 0 without one
