"""What the probes measure: frozen dataclasses of numbers and names."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from probes.data.dataset_size import DatasetSize
from probes.evaluation.intervals import accuracy_interval
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

    def __repr__(self) -> str:
        size, n_cuts = self.size, len(self.separability.per_cut)
        return f"<Measurements {size.n_images:,} images, {size.n_classes:,} classes, {n_cuts} cut points>"

    def __str__(self) -> str:
        """The figures as a table in plain text."""
        size, similarity = self.size, self.similarity
        images = f"{size.n_images:,} images in {size.n_classes:,} classes"
        lines = [f"{images}, {size.n_sampled:,} measured at {self.input_size} px"]
        if similarity is not None:
            lines.append(f"similarity to {similarity.source or 'the source'}: {similarity.score:.2f}")
        if self.separability.per_cut:
            widest = max(len(cut.cut) for cut in self.separability.per_cut)
            lines.append(f"{'cut point':{widest}}  accuracy  90 % interval")
        for cut in self.separability.per_cut:
            low, high = (f"{100 * bound:.1f}" for bound in accuracy_interval(cut.correct, self.separability.groups))
            lines.append(f"{cut.cut:{widest}}  {100 * cut.accuracy:6.1f} %  {f'{low} to {high} %':>14}".rstrip())
        return "\n".join(lines)
