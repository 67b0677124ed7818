"""The JSON output of a recommendation, and of the preferred strategy of a comparison."""

import math
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from msgspec import UNSET

from probes.data.dataset_size import DatasetSize
from probes.evaluation.intervals import accuracy_interval, z
from probes.separability import evidence
from recommender.explanation.cautions import cautions
from recommender.explanation.reasons import explain
from recommender.explanation.verdict import score_interval
from recommender.fit.plan import planned
from recommender.json_records import Record, TrainingPlan
from recommender.reports import json_schema as schema
from recommender.rules import thresholds
from recommender.rules.class_balance import imbalance, small_class
from recommender.rules.scenario_rule import similarity_verdict
from recommender.versions import versions

if TYPE_CHECKING:
    from recommender.comparison.comparison import Comparison
    from recommender.fit.result import FitResult
    from recommender.pipeline.decision import Decision


def as_dict(found: "Decision") -> dict[str, Any]:
    """The whole recommendation as plain data; the same for the same seed apart from `seconds`."""
    measured, judged, backbone = found.measurements, found.judged, found.backbone
    size, smallest = measured.size, small_class(measured.size.class_counts)
    return schema.Recommendation.of(
        found,
        schema_version=6,
        dataset=_dataset(size),
        backbone=schema.Backbone.of(
            backbone,
            engine=found.network.engine,
            pixels=schema.Pixels.of(None, scaling=backbone.scaling and backbone.scaling.name, measured=found.scaling),
            cut_points=backbone.points,
        ),
        similarity=_similarity(found),
        size=schema.Size(found.scenario.amount.value, size.n_images / found.verdict.images_needed, smallest),
        separability=_separability(measured.separability),
        scenario=_scenario(found),
        strategy=_strategy(found),
        training=planned(found),
        expected_accuracy_standard_error=None if judged is None else judged.standard_error,
        expected_accuracy_interval=found.interval,
        expected_balanced_accuracy_standard_error=None if judged is None else judged.balanced_error,
        expected_balanced_accuracy_interval=found.balanced_interval,
        accuracy_from=None if judged is None else ("validation" if measured.n_held_out else "cross-validation"),
        n_held_out=measured.n_held_out,
        class_weight=None if found.class_weight is None else list(found.class_weight.values()),
        probes={name: None if record is None else asdict(record) for name, record in measured.extra.items()},
        reasons=explain(found),
        warnings=cautions(found),
        versions=versions(),
        **dict.fromkeys(("fit", "comparison", "exports"), UNSET),
    ).to_dict()


def with_results(found: "Decision", fit: "FitResult | None", comparison: "Comparison | None") -> dict[str, Any]:
    """The same with what was trained or compared."""
    results = {"fit": fit, "comparison": comparison}
    return as_dict(found) | {name: result.to_dict() for name, result in results.items() if result is not None}


def as_compared(found: "Decision", comparison: "Comparison") -> dict[str, Any]:
    """The keys that describe the model, for the preferred strategy of a comparison in place of the recommended one."""
    row = comparison.preferred
    verdict = found.verdict.with_scenario(row.scenario)
    chosen = replace(found, plan=replace(found.plan, strategy=row.strategy, cut_choice=None), verdict=verdict)
    low, high = row.interval
    described = {
        "scenario": _scenario(chosen),
        "strategy": _strategy(chosen),
        "training": TrainingPlan.of(planned(chosen)),
        "expected_accuracy": row.accuracy,
        "expected_accuracy_standard_error": (high - low) / 2 / z(),
        "expected_accuracy_interval": list(row.interval),
        "expected_balanced_accuracy": row.balanced_accuracy,
        "expected_balanced_accuracy_standard_error": None,
        "expected_balanced_accuracy_interval": None,
        "accuracy_from": comparison.judged_by,
        "n_held_out": row.n_judged if comparison.judged_by == "validation" else 0,
        "reasons": [comparison.sentence],
    }
    return {key: value.to_dict() if isinstance(value, Record) else value for key, value in described.items()}


def _dataset(size: DatasetSize) -> schema.Dataset:
    counts = np.array(size.class_counts)
    shares = counts[counts > 0] / counts.sum()
    return schema.Dataset.of(
        size,
        class_counts=dict(zip(size.class_names, size.class_counts, strict=True)),
        images_per_class=schema.ImagesPerClass(int(counts.min()), float(np.median(counts)), int(counts.max())),
        imbalance=imbalance(size.file_counts),
        effective_classes=math.exp(-float((shares * np.log(shares)).sum())),
    )


def _separability(measured: evidence.Separability) -> schema.Separability:
    groups = measured.groups
    cuts = [schema.CutEvidence.of(cut, interval=accuracy_interval(cut.correct, groups)) for cut in measured.per_cut]
    return schema.Separability.of(measured, per_cut=cuts)


def _similarity(found: "Decision") -> schema.Similarity | None:
    similarity, class_names = found.measurements.similarity, found.measurements.size.class_names
    if similarity is None:
        return None
    early, middle, late = (similarity.part(part) for part in ("early", "middle", "late"))
    return schema.Similarity.of(
        similarity,
        verdict=str(similarity_verdict(similarity.score)),
        interval=score_interval(similarity),
        excess_drift=similarity.excess,
        threshold=thresholds.DRIFT_THRESHOLD,
        margin=max(similarity.excess, 0.0) / thresholds.DRIFT_THRESHOLD,
        drift=schema.Drift.of(similarity, early=early, middle=middle, late=late),
        looks_like={
            name: [schema.SourceLabel(*pair) for pair in labels]
            for name, labels in zip(class_names, similarity.looks_like, strict=False)
        },
    )


def _scenario(found: "Decision") -> schema.Scenario:
    verdict = found.verdict
    return schema.Scenario.of(
        verdict.scenario,
        confidence=verdict.confidence,
        close_call=verdict.close,
        runner_up=verdict.runner_up,
        gap=verdict.gap,
        textbook=verdict.textbook.id,
        images_needed=verdict.images_needed,
        expected=[
            schema.Expected(scenario.id, verdict.outcomes.expected(scenario), *verdict.outcomes.interval(scenario))
            for scenario in verdict.outcomes.scenarios
        ],
        trial=verdict.trial and schema.Trial.of(verdict.trial, scenario=verdict.trial.scenario.id),
        rival=None if verdict.rival is None else verdict.rival.id,
        overridden=None if verdict.overridden is None else verdict.overridden.id,
    )


def _strategy(found: "Decision") -> schema.Strategy:
    strategy = found.strategy
    return schema.Strategy.of(
        strategy,
        cut=schema.Cut(strategy.cut, strategy.cut_depth),
        freeze=schema.Freeze(strategy.freeze, strategy.freeze_depth, *found.parameters),
        head=schema.Head.of(strategy.head, activation="softmax"),
    )
