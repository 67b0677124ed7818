"""One run: load the network, pass it over the sample, call the probes, apply the rules."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from probes.data.dataset_size import DatasetSize
from probes.data.image_index import ImageIndex
from probes.data.sampling import Sample
from probes.data.splits import balanced_weights
from probes.errors import BrokenData, ProbeError
from probes.evaluation.intervals import effective_size, paired_gain
from probes.images.image_facts import Inspection
from probes.measurements import Measurements
from probes.network.features import Features
from probes.quality.checked_data import CheckedData, InspectedData
from probes.quality.checks import registry
from probes.quality.repeats import Repeats, distinct_counts, find_repeats, readable_counts
from probes.separability.linear_probe import LinearProbe, judge
from recommender.pipeline import network_pass, probes
from recommender.pipeline.data_checks import inspect_sample
from recommender.pipeline.decision import Decision
from recommender.pipeline.loading import LoadedBackbone
from recommender.pipeline.planning import plan_and_probe
from recommender.progress import Clock, Progress
from recommender.rules import thresholds
from recommender.rules.class_balance import class_weights, small_class
from recommender.rules.outcomes import Task
from recommender.rules.plan import Plan, similarity_of
from recommender.rules.scenario import Scenario, Similarity
from recommender.rules.scenario_rule import Verdict, decide


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
    spread: network_pass.Spread | None = None  # runs the network on other machines

    def measure_and_decide(self, loaded: LoadedBackbone, everything: Inspection | None) -> Decision:
        """Pass the network over the sample, call every probe, and apply the rules."""
        backbone = loaded.backbone
        passed, inspected = self._pass(loaded, everything)
        repeated = find_repeats(inspected, self.index)
        size = _dataset_size(self.index, passed.features, inspected, repeated)
        data = probes.ProbeInput(
            passed=passed,
            rows=network_pass.rows_of(self.index, passed.features, inspected, repeated),
            class_names=self.index.class_names,
            balanced=class_weights(size.file_counts) is not None,
            seed=self.seed,
            progress=partial(self.progress, "classifiers"),
        )
        self.clock.lap("network")
        measured = self._probe(data, size, loaded.choices)
        verdict, plan, probe = self._decide(measured, data)
        self.clock.lap("head")
        judged = probe.judged
        if measured.n_held_out:  # label errors are found on every image, not only where the model is measured
            blocks = data.features.blocks(plan.strategy.head.levels)
            judged = judge(blocks, data.rows.pooled(), seed=self.seed, balanced=data.balanced)
        findings = registry.find(
            CheckedData(
                index=self.index,
                seen=inspected,
                repeats=repeated,
                size=size,
                features=passed.features,
                rows=data.rows,
                judged=judged,
                notable_imbalance=thresholds.WEIGHTED_IMBALANCE,
            )
        )
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
            network=passed.network,
            scaling=loaded.scaling,
            index=self.index,
            seed=self.seed,
        )

    def _pass(
        self, loaded: LoadedBackbone, everything: Inspection | None
    ) -> tuple[network_pass.NetworkPass, Inspection]:
        """The pass over the sample, and facts of its images."""
        report = partial(self.progress, "network")
        passed = network_pass.run_network(loaded, self.index, self.sample, report, self.spread)
        tests = self.sample.n_wanted // 4 if self.check else 0
        inspected = everything or inspect_sample(self.index, passed.features, with_test=tests, seed=self.seed)
        try:
            network_pass.require_readable(self.index, self.sample, passed.features)
        except ProbeError as error:
            files = InspectedData(index=self.index, seen=inspected, repeats=find_repeats(inspected, self.index))
            raise BrokenData(str(error), registry.find_in_files(files)) from error
        network_pass.require_finite(loaded.backbone, passed.features)
        return passed, inspected

    def _probe(self, data: probes.ProbeInput, size: DatasetSize, choices: Mapping[str, Any]) -> Measurements:
        """The records of all probes."""
        found = {}
        for name, probe in probes.PROBES.items():
            found[name] = probe(data)
            self.clock.lap(name)
        return Measurements(
            size=size,
            similarity=found.pop("similarity"),
            separability=found.pop("separability"),
            input_size=data.passed.backbone.input_size,
            n_held_out=int(data.rows.held_out.sum()),
            extra={**choices, **found},
        )

    def _decide(self, measured: Measurements, data: probes.ProbeInput) -> tuple[Verdict, Plan, LinearProbe]:
        """The scenario, its plan, and the linear classifier that the prediction layer starts from."""
        backbone = data.passed.backbone
        cuts = backbone.points
        planned = partial(
            plan_and_probe,
            backbone=backbone.name,
            cuts=cuts,
            measured=measured,
            features=data.features,
            rows=data.rows,
            index=self.index,
            seed=self.seed,
        )
        found = {each: planned(each) for each in (Scenario.LINEAR_PROBE, Scenario.SHALLOW_FEATURES)}
        whole, cut = (probe for _, probe in found.values())
        task = _task(measured, data, whole, cut if len(cuts) > 1 else None, similarity_of(measured, cuts))
        forced = None if self.scenario is None else Scenario.numbered(self.scenario)
        verdict = decide(task, forced=forced)
        return verdict, *(found.get(verdict.scenario) or planned(verdict.scenario))


def _task(
    measured: Measurements, data: probes.ProbeInput, whole: LinearProbe, cut: LinearProbe | None, similarity: Similarity
) -> Task:
    """What the rules read; accuracies are balanced where every class has the same weight."""
    judged, size, n_judged, gain, error = whole.judged, measured.size, 0.0, 0.0, 1.0
    if judged is not None:
        rows = data.rows.taken(judged.rows)
        weights = balanced_weights(rows.labels, np.ones(len(rows.labels))) if data.balanced else None
        n_judged = effective_size(judged.correct, rows.groups)
        if cut is not None:
            paired = paired_gain(judged.correct, cut.correct, rows.groups, weights)
            gain, error = paired.difference, paired.standard_error
    return Task(
        n_images=size.n_images,
        n_classes=size.n_classes,
        images_per_class=small_class(size.class_counts),
        excess_drift=None if measured.similarity is None else measured.similarity.excess,
        similarity=similarity,
        accuracy=None if judged is None else (judged.balanced_accuracy if data.balanced else judged.accuracy),
        n_judged=n_judged,
        fitted_share=1.0 if judged is None else judged.fitted_share,
        cut_gain=None if cut is None else gain,
        cut_gain_error=error,
    )


def _dataset_size(index: ImageIndex, features: Features, seen: Inspection, repeated: Repeats) -> DatasetSize:
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
