"""One run: read the data, pass the network over the sample, call the probes, apply the rules."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
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
from recommender.rules.plan import Plan, plan_strategy, similarity_evidence
from recommender.rules.scenario import Scenario
from recommender.rules.scenario_rule import Verdict

if TYPE_CHECKING:
    from builders.backbones.backbone import Backbone
    from probes.images.facts_table import Inspection
    from probes.network.features import Features
    from probes.quality.repeats import Repeats
    from probes.separability.linear_probe import Judged, LinearProbe
    from probes.similarity.pixel_scaling import ScalingChoice
    from recommender.pipeline.network_pass import NetworkPass
    from recommender.pipeline.probes import ProbeInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Pipeline:
    """What is measured, and how; attributes as the arguments of `recommender.recommend`."""

    index: ImageIndex
    sample: Sample
    scenario: int | None
    check: str | None
    seed: int
    progress: Progress
    clock: Clock

    def at(self, phase: str) -> Callable[[int, int], None]:
        """Reports the progress of a phase."""
        return partial(self.progress, phase)

    def load(
        self, backbone: Any, weights: Any, pixels: str | None, *, trust: bool, input_size: int | None
    ) -> "tuple[Backbone, ScalingChoice | None]":
        """Load the network for the size of the images, with the scaling of its pixels in front."""
        self.progress("loading", 0, 1)
        from builders.backbones.load import open_backbone
        from recommender.pipeline.network_pass import with_scaling

        opened = open_backbone(backbone, weights=weights, scaling=pixels, trust=trust)
        loaded, scaling = with_scaling(opened.at(input_size or self._input_size(opened)), self.index, self.sample)
        self.clock.lap("load")
        return loaded, scaling

    def _input_size(self, opened: Any) -> int:
        """Height and width of the network's input in px, by the size of the images."""
        from probes.images.prepare import median_short_side

        if opened.fixed:
            return int(opened.native_size)
        side = median_short_side(self.index, self.sample.train)
        wanted = opened.native_size if side is None else rules.input_size(side, opened.native_size)
        return int(max(wanted, opened.smallest_size))

    def inspect_everything(self) -> "Inspection":
        """Facts of every image of the data."""
        from probes.images.inspect_all import inspect_everything

        seen = inspect_everything(self.index, self.at("checking"))
        self.clock.lap("check")
        return seen

    def measure_and_decide(
        self, backbone: "Backbone", scaling: "ScalingChoice | None", everything: "Inspection | None"
    ) -> Decision:
        """Pass the network over the sample, call every probe, and apply the rules."""
        from probes.quality.repeats import find_repeats
        from recommender.pipeline.data_checks import find
        from recommender.pipeline.network_pass import rows_of
        from recommender.pipeline.probes import ProbeInput

        passed, inspected = self._pass(backbone, everything)
        repeated = find_repeats(inspected, self.index)
        size = _dataset_size(self.index, passed.features, inspected, repeated)
        data = ProbeInput(
            passed=passed,
            rows=rows_of(self.index, passed.features, inspected, repeated),
            class_names=self.index.class_names,
            balanced=class_weights(size.file_counts) is not None,
            seed=self.seed,
            progress=self.at("classifiers"),
        )
        self.clock.lap("network")
        measured = self._probe(data, size)
        verdict, plan, probe = self._decide(measured, data)
        self.clock.lap("head")
        judged = self._judged(data, plan) if measured.n_held_out else probe.judged
        findings = find(self.index, inspected, repeated, size, features=passed.features, rows=data.rows, judged=judged)
        self.clock.lap("findings")
        return Decision(
            measurements=replace(measured, findings=findings),
            verdict=verdict,
            plan=plan,
            probe=probe,
            features=passed.features,
            rows=data.rows,
            seconds=self.clock.seconds,
            backbone=backbone,
            scaling=scaling,
            index=self.index,
            seed=self.seed,
        )

    def _pass(self, backbone: "Backbone", everything: "Inspection | None") -> "tuple[NetworkPass, Inspection]":
        """The pass over the sample, and facts of its images.

        Raises:
            BrokenData: a class has no readable image.
            ProbeError: the network's outputs are not finite.
        """
        from recommender.pipeline.data_checks import find_failures, inspect_sample
        from recommender.pipeline.network_pass import require_finite, require_readable, run_network

        passed = run_network(backbone, self.index, self.sample, self.at("network"))
        tests = self.sample.n_wanted // 4 if self.check else 0
        inspected = everything or inspect_sample(self.index, passed.features, with_test=tests, seed=self.seed)
        try:
            require_readable(self.index, self.sample, passed.features)
        except ProbeError as error:
            raise BrokenData(str(error), find_failures(self.index, inspected)) from error
        require_finite(backbone, passed.features)
        return passed, inspected

    def _probe(self, data: "ProbeInput", size: DatasetSize) -> Measurements:
        """The records of all probes."""
        from recommender.pipeline.probes import PROBES

        found = {}
        for name, probe in PROBES.items():
            found[name] = probe(data)
            self.clock.lap(name)
        return Measurements(
            size=size,
            similarity=found.pop("similarity"),
            separability=found.pop("separability"),
            input_size=data.passed.backbone.input_size,
            n_held_out=int(data.rows.held_out.sum()),
            extra=found,
        )

    def _decide(self, measured: Measurements, data: "ProbeInput") -> "tuple[Verdict, Plan, LinearProbe]":
        """The scenario, its plan, and the linear classifier that the prediction layer starts from."""
        cuts = data.passed.backbone.points
        verdict = rules.choose_scenario(
            n_images=measured.size.n_images,
            images_per_class=small_class(measured.size.class_counts),
            evidence=similarity_evidence(measured, cuts, self.seed),
            forced=None if self.scenario is None else Scenario.numbered(self.scenario),
        )
        plan = plan_strategy(data.passed.backbone.name, cuts, verdict, measured)
        probe = self._linear_probe(data, plan, measured)
        if len(plan.strategy.head.levels) > 1:
            evidence = {cut.cut: cut.correct for cut in measured.separability.per_cut}
            if cut_rule.alone_is_better(probe.correct, evidence.get(plan.strategy.cut, ())):
                plan = plan.reading_the_cut_alone()
                probe = self._linear_probe(data, plan, measured)
        return verdict, plan, probe

    def _linear_probe(self, data: "ProbeInput", plan: Plan, measured: Measurements) -> "LinearProbe":
        from probes.separability.linear_probe import fit_linear_probe

        held_out = [len(names) for names in self.index.validation] if measured.n_held_out else None
        return fit_linear_probe(
            _head_blocks(data, plan),
            data.rows,
            measured.size.n_classes,
            seed=self.seed,
            balanced=data.balanced,
            class_counts=held_out or measured.size.file_counts,
        )

    def _judged(self, data: "ProbeInput", plan: Plan) -> "Judged | None":
        """Results on every image, which label errors are found by, where the user's own split measures the model."""
        from probes.separability.linear_probe import judge

        return judge(_head_blocks(data, plan), data.rows.pooled(), seed=self.seed, balanced=data.balanced)


def _head_blocks(data: "ProbeInput", plan: Plan) -> list[Any]:
    """Pooled features that the head of a plan reads."""
    return [data.features.pooled[level] for level in plan.strategy.head.levels]


def _dataset_size(index: ImageIndex, features: "Features", seen: "Inspection", repeated: "Repeats") -> DatasetSize:
    from probes.quality.repeats import distinct_counts, readable_counts

    counts, file_counts = distinct_counts(index, seen, repeated), readable_counts(index, seen)
    training = ~features.validation
    width, height = np.median(features.sizes[training], axis=0)
    drawn = set(features.labels[training].tolist())
    return DatasetSize(
        path=index.source,
        kind=index.kind,
        splits=index.split_sizes(),
        class_names=index.class_names,
        class_counts=counts,
        file_counts=file_counts,
        median_size_px=(round(float(width)), round(float(height))),
        grey_share=float(features.grey[training].mean()),
        n_sampled=len(features.labels),
        n_checked=len(seen.rows),
        unsampled_classes=tuple(
            name for label, name in enumerate(index.class_names) if index.files[label] and label not in drawn
        ),
        unreadable=dict(sorted(seen.reasons.items())),
        n_repeats=sum(file_counts) - sum(counts),
        ignored=index.ignored,
    )
