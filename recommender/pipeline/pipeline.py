"""One run: the probes called in their order, then the rules."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from probes.data.dataset_size import DatasetSize
from probes.data.image_index import ImageIndex
from probes.data.sampling import Sample
from probes.errors import BrokenData, ProbeError
from probes.measurements import Measurements
from recommender.pipeline.decision import Decision
from recommender.progress import Clock, Progress
from recommender.rules import cut_rule
from recommender.rules import scenario_rule as rules
from recommender.rules.class_balance import class_weights, small_class
from recommender.rules.plan import CutFacts, Plan, plan_strategy, similarity_evidence
from recommender.rules.scenario import Scenario
from recommender.rules.scenario_rule import Verdict

if TYPE_CHECKING:
    from builders.backbones.backbone import Backbone
    from probes.images.facts_table import Inspection
    from probes.similarity.pixel_scaling import ScalingChoice


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """What is measured, how, and who is told."""

    index: ImageIndex
    sample: Sample
    scenario: int | None
    check: str | None
    seed: int
    progress: Progress | None
    clock: Clock

    def at(self, phase: str) -> Callable[[int, int], None] | None:
        """Who is told of the progress of a phase."""
        progress = self.progress
        return None if progress is None else (lambda done, wanted: progress(phase, done, wanted))

    def input_size(self, opened: Any) -> int:
        """Height and width in px that the network shall see, where the user does not say."""
        from probes.images.prepare import median_short_side

        if opened.fixed:
            return int(opened.native_size)
        side = median_short_side(self.index, self.sample.train)
        wanted = opened.native_size if side is None else rules.input_size(side, opened.native_size)
        return int(max(wanted, opened.smallest_size))

    def load(
        self, backbone: Any, weights: Any, pixels: str | None, *, trust: bool, input_size: int | None
    ) -> "tuple[Backbone, ScalingChoice | None]":
        """Load the network for the size of the images, with the scaling of its pixels in front."""
        if self.progress is not None:
            self.progress("loading", 0, 1)
        from builders.backbones.load import open_backbone
        from recommender.pipeline.network_pass import with_scaling

        opened = open_backbone(backbone, weights=weights, scaling=pixels, trust=trust)
        loaded, scaling = with_scaling(opened.at(input_size or self.input_size(opened)), self.index, self.sample)
        self.clock.lap("load")
        return loaded, scaling

    def inspect_everything(self) -> "Inspection":
        """Look at every image of the data."""
        from probes.images.inspect_all import inspect_everything

        seen = inspect_everything(self.index, self.at("checking"))
        self.clock.lap("check")
        return seen

    def measure_and_decide(
        self, backbone: "Backbone", scaling: "ScalingChoice | None", everything: "Inspection | None"
    ) -> Decision:
        """Run the network over the sample, ask every probe, and apply the rules."""
        from probes.quality.repeats import distinct_counts, find_repeats
        from probes.separability.separability import measure_separability
        from recommender.pipeline import data_checks as checking
        from recommender.pipeline.network_pass import (
            require_finite,
            require_readable,
            rows_of,
            run_network,
            similarity_of,
        )

        index, clock, seed = self.index, self.clock, self.seed
        seen = run_network(backbone, index, self.sample, self.at("network"))
        features = seen.features
        tests = self.sample.n_wanted // 4 if self.check else 0
        inspected = everything or checking.inspect_sample(index, features, with_test=tests, seed=seed)
        try:
            require_readable(index, self.sample, features)
        except ProbeError as error:
            raise BrokenData(str(error), checking.find_failures(index, inspected)) from error
        require_finite(backbone, features)
        clock.lap("network")
        similarity = similarity_of(seen, backbone, len(index.class_names), seed)
        clock.lap("similarity")
        repeated = find_repeats(inspected, index)
        size = _dataset_size(index, features, inspected, distinct_counts(index, inspected, repeated))
        rows = rows_of(index, features, inspected, repeated)
        balanced = class_weights(size.file_counts) is not None
        separability = measure_separability(
            features.pooled, rows, seed=seed, balanced=balanced, progress=self.at("classifiers")
        )
        clock.lap("separability")
        measured = Measurements(
            size=size,
            similarity=similarity,
            separability=separability,
            input_size=backbone.input_size,
            n_held_out=int(rows.held_out.sum()),
        )
        verdict, plan, probe = self._decide(backbone, measured, features, rows, balanced)
        clock.lap("head")
        judged = probe.judged
        if measured.n_held_out:  # the user's split judges the model; labels are doubted in training, too
            from probes.separability.linear_probe import judge

            levels = [features.pooled[level] for level in plan.strategy.head.levels]
            judged = judge(levels, rows.pooled(), seed=seed, balanced=balanced)
        findings = checking.find(index, inspected, repeated, size, checking.Judgement(features, rows, judged))
        clock.lap("findings")
        return Decision(
            measurements=replace(measured, findings=findings),
            verdict=verdict,
            plan=plan,
            probe=probe,
            features=features,
            rows=rows,
            seconds=clock.seconds,
            backbone=backbone,
            scaling=scaling,
            index=index,
            seed=seed,
        )

    def _decide(
        self, backbone: "Backbone", measured: Measurements, features: Any, rows: Any, balanced: bool
    ) -> tuple[Verdict, Plan, Any]:
        facts = [
            CutFacts(layer=point.layer, depth=point.depth, shape=point.shape, batch_norm=point.batch_norm)
            for point in backbone.points
        ]
        verdict = rules.choose_scenario(
            n_images=measured.size.n_images,
            images_per_class=small_class(measured.size.class_counts),
            evidence=similarity_evidence(measured, facts, self.seed),
            forced=None if self.scenario is None else Scenario.numbered(self.scenario),
        )
        plan = plan_strategy(backbone.name, facts, verdict, measured)

        held_out = [len(names) for names in self.index.validation] if measured.n_held_out else None
        counts = held_out or measured.size.file_counts

        def fitted(chosen: Plan) -> Any:
            from probes.separability.linear_probe import fit_linear_probe

            blocks = [features.pooled[level] for level in chosen.strategy.head.levels]
            return fit_linear_probe(
                blocks, rows, measured.size.n_classes, seed=self.seed, balanced=balanced, class_counts=counts
            )

        probe = fitted(plan)
        if len(plan.strategy.head.levels) > 1:
            evidence = {cut.cut: cut.correct for cut in measured.separability.per_cut}
            if cut_rule.alone_is_better(probe.correct, evidence.get(plan.strategy.cut, ())):
                plan = plan.reading_the_cut_alone()
                probe = fitted(plan)
        return verdict, plan, probe


def _dataset_size(index: ImageIndex, features: Any, seen: "Inspection", counts: tuple[int, ...]) -> DatasetSize:
    from probes.quality.repeats import readable_counts

    training = ~features.validation
    width, height = np.median(features.sizes[training], axis=0)
    drawn = set(features.labels[training].tolist())
    return DatasetSize(
        path=index.source,
        kind=index.kind,
        splits=index.split_sizes(),
        class_names=index.class_names,
        class_counts=counts,
        file_counts=readable_counts(index, seen),
        median_size_px=(round(float(width)), round(float(height))),
        grey_share=float(features.grey[training].mean()),
        n_sampled=len(features.labels),
        n_checked=len(seen.rows),
        unsampled_classes=tuple(
            name for label, name in enumerate(index.class_names) if index.files[label] and label not in drawn
        ),
        unreadable=dict(sorted(seen.reasons.items())),
        n_repeats=sum(readable_counts(index, seen)) - sum(counts),
        ignored=index.ignored,
    )
