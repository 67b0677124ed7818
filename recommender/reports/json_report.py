"""A recommendation as plain data. `docs/recommendation.schema.json` describes it."""

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from probes.data.dataset_size import DatasetSize
from probes.quality.findings import Finding
from probes.separability.evidence import Separability
from probes.similarity.similarity import FeatureSimilarity
from recommender.explanation.reasons import cautions, explain
from recommender.fit.plan import planned
from recommender.json_records import TrainingPlan
from recommender.reports import json_schema as records
from recommender.rules import thresholds
from recommender.rules.class_balance import imbalance, small_class
from recommender.rules.scenario_rule import amount, amount_margin, drift_margin, similarity_verdict
from recommender.versions import versions

if TYPE_CHECKING:
    from recommender.pipeline.decision import Decision


def as_dict(found: "Decision") -> dict[str, Any]:
    """The whole recommendation; the same for the same seed apart from `seconds`."""
    measured, judged = found.measurements, found.probe.judged
    return records.Recommendation(
        schema_version=records.SCHEMA_VERSION,
        dataset=_dataset(measured.size),
        backbone=_backbone(found),
        similarity=_similarity(measured.similarity, measured.size.class_names),
        size=_size(measured.size),
        separability=_separability(measured.separability),
        scenario=_scenario(found),
        strategy=_strategy(found),
        training=TrainingPlan.of(planned(found)),
        expected_accuracy=found.expected_accuracy,
        expected_accuracy_standard_error=found.probe.standard_error,
        expected_balanced_accuracy=found.expected_balanced_accuracy,
        expected_balanced_accuracy_standard_error=None if judged is None else judged.balanced_error,
        accuracy_from=None if judged is None else ("validation" if measured.n_held_out else "cross-validation"),
        n_held_out=measured.n_held_out,
        class_weight=None if found.class_weight is None else list(found.class_weight.values()),
        probes={name: None if record is None else asdict(record) for name, record in measured.extra.items()},
        findings=[records.Finding.of(finding) for finding in found.findings],
        reasons=list(explain(found)),
        warnings=list(cautions(found)),
        seed=found.seed,
        seconds=found.seconds,
        versions=versions(),
    ).to_dict()


def finding_as_dict(finding: Finding) -> dict[str, Any]:
    """A finding as plain data."""
    return records.Finding.of(finding).to_dict()


def _dataset(size: DatasetSize) -> records.Dataset:
    counts = np.array(size.class_counts)
    shares = counts[counts > 0] / counts.sum()
    return records.Dataset.of(
        size,
        class_counts=dict(zip(size.class_names, size.class_counts, strict=True)),
        images_per_class=records.ImagesPerClass(int(counts.min()), float(np.median(counts)), int(counts.max())),
        imbalance=imbalance(size.file_counts),
        effective_classes=math.exp(-float((shares * np.log(shares)).sum())),
    )


def _backbone(found: "Decision") -> records.Backbone:
    backbone = found.backbone
    pixels = records.Pixels(
        scaling=None if backbone.scaling is None else backbone.scaling.name,
        measured=None if found.scaling is None else records.MeasuredPixels.of(found.scaling),
    )
    points = [records.CutPoint.of(point) for point in backbone.points]
    return records.Backbone.of(backbone, pixels=pixels, cut_points=points)


def _similarity(similarity: FeatureSimilarity | None, class_names: tuple[str, ...]) -> records.Similarity | None:
    if similarity is None:
        return None
    return records.Similarity.of(
        similarity,
        verdict=str(similarity_verdict(similarity.score)),
        excess_drift=similarity.excess,
        threshold=thresholds.DRIFT_THRESHOLD,
        margin=drift_margin(similarity.excess),
        drift=records.Drift(
            **{part: similarity.part(part) for part in ("early", "middle", "late")},
            per_layer=[records.LayerDrift.of(layer) for layer in similarity.per_layer],
        ),
        looks_like={
            name: [records.SourceLabel(*pair) for pair in labels]
            for name, labels in zip(class_names, similarity.looks_like, strict=False)
        },
    )


def _size(size: DatasetSize) -> records.Size:
    smallest = small_class(size.class_counts)
    return records.Size(
        verdict=amount(size.n_images, smallest).value,
        margin=amount_margin(size.n_images, smallest),
        images_in_small_class=smallest,
    )


def _separability(evidence: Separability) -> records.Separability:
    return records.Separability.of(evidence, per_cut=[records.CutEvidence.of(cut) for cut in evidence.per_cut])


def _scenario(found: "Decision") -> records.Scenario:
    verdict = found.verdict
    return records.Scenario.of(
        verdict.scenario,
        confidence=verdict.confidence,
        close_call=verdict.close,
        runner_up=records.RunnerUp.of(verdict.runner_up),
        overridden=None if verdict.overridden is None else verdict.overridden.id,
    )


def _strategy(found: "Decision") -> records.Strategy:
    strategy = found.strategy
    frozen, trainable = found.parameters
    return records.Strategy.of(
        strategy,
        cut=records.Cut(strategy.cut, strategy.cut_depth),
        freeze=records.Freeze(strategy.freeze, strategy.freeze_depth, frozen, trainable),
        head=records.Head.of(strategy.head, activation="softmax"),
    )
