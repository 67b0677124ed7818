"""A recommendation as plain data. `docs/recommendation.schema.json` describes it."""

import math
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

from probes.data.dataset_size import DatasetSize
from probes.quality.findings import Finding
from probes.separability.evidence import Separability
from probes.similarity.feature_similarity import FeatureSimilarity
from recommender.explanation.reasons import cautions, explain
from recommender.explanation.text import printable
from recommender.fit.plan import planned
from recommender.fit.result import plan_as_dict
from recommender.rules import thresholds
from recommender.rules.class_balance import imbalance, small_class
from recommender.rules.scenario_rule import amount, amount_margin, drift_margin, similarity_verdict
from recommender.versions import versions

if TYPE_CHECKING:
    from recommender.pipeline.decision import Decision

SCHEMA_VERSION = 4


def as_dict(found: "Decision") -> dict[str, Any]:
    """The whole recommendation; the same for the same seed apart from `seconds`."""
    measured, verdict = found.measurements, found.verdict
    images_per_class = small_class(measured.size.class_counts)
    judged = found.probe.judged
    return {
        "schema_version": SCHEMA_VERSION,
        "dataset": _dataset(measured.size),
        "backbone": _backbone(found),
        "similarity": None
        if measured.similarity is None
        else _similarity(measured.similarity, measured.size.class_names),
        "size": {
            "verdict": str(amount(measured.size.n_images, images_per_class)),
            "margin": amount_margin(measured.size.n_images, images_per_class),
            "images_in_small_class": images_per_class,
        },
        "separability": _separability(measured.separability),
        **{name: None if record is None else asdict(record) for name, record in measured.extra.items()},
        "scenario": {
            "id": verdict.scenario.id,
            "name": verdict.scenario.name,
            "confidence": verdict.confidence,
            "close_call": verdict.close,
            "runner_up": {"id": verdict.runner_up.id, "name": verdict.runner_up.name},
            "overridden": None if verdict.overridden is None else verdict.overridden.id,
        },
        "strategy": _strategy(found),
        "training": plan_as_dict(planned(found)),
        "expected_accuracy": found.expected_accuracy,
        "expected_accuracy_standard_error": found.probe.standard_error,
        "expected_balanced_accuracy": found.expected_balanced_accuracy,
        "expected_balanced_accuracy_standard_error": None if judged is None else judged.balanced_error,
        "accuracy_from": None if judged is None else ("validation" if measured.n_held_out else "cross-validation"),
        "n_held_out": measured.n_held_out,
        "class_weight": None if found.class_weight is None else list(found.class_weight.values()),
        "findings": [finding_as_dict(finding) for finding in found.findings],
        "reasons": [printable(reason) for reason in explain(found)],
        "warnings": [printable(note) for note in cautions(found)],
        "seed": found.seed,
        "seconds": dict(found.seconds),
        "versions": versions(),
    }


def finding_as_dict(finding: Finding) -> dict[str, Any]:
    """A finding as plain data."""
    return {
        "kind": finding.kind,
        "severity": finding.severity,
        "n_files": finding.n_files,
        "examples": [printable(example) for example in finding.examples],
        "message": printable(finding.message),
        "done": finding.done,
        "advice": finding.advice,
    }


def _dataset(size: DatasetSize) -> dict[str, Any]:
    counts = np.array(size.class_counts)
    shares = counts[counts > 0] / counts.sum()
    return {
        "path": printable(size.path),
        "kind": size.kind,
        "splits": dict(size.splits),
        "n_images": size.n_images,
        "n_classes": size.n_classes,
        "class_counts": {
            printable(name): count for name, count in zip(size.class_names, size.class_counts, strict=True)
        },
        "file_counts": list(size.file_counts),
        "images_per_class": {"min": int(counts.min()), "median": float(np.median(counts)), "max": int(counts.max())},
        "imbalance": imbalance(size.file_counts),
        "effective_classes": math.exp(-float((shares * np.log(shares)).sum())),
        "median_size_px": list(size.median_size_px),
        "grey_share": size.grey_share,
        "n_sampled": size.n_sampled,
        "n_checked": size.n_checked,
        "unreadable": {printable(file): reason for file, reason in size.unreadable.items()},
        "n_repeats": size.n_repeats,
        "ignored": {printable(suffix): count for suffix, count in size.ignored.items()},
    }


def _backbone(found: "Decision") -> dict[str, Any]:
    backbone, scaling = found.backbone, found.scaling
    return {
        "name": printable(backbone.name),
        "title": printable(backbone.title),
        "source": backbone.source,
        "native_size": backbone.native_size,
        "channels": backbone.channels,
        "fingerprint": backbone.fingerprint,
        "pixels": {
            "scaling": backbone.scaling.name if backbone.scaling is not None else None,
            "measured": None
            if scaling is None
            else {
                "drift": scaling.drift,
                "runner_up": scaling.runner_up,
                "runner_up_drift": scaling.runner_up_drift,
            },
        },
        "cut_points": [
            {"layer": point.layer, "depth": point.depth, "shape": list(point.shape), "parameters": point.parameters}
            for point in backbone.points
        ],
    }


def _similarity(similarity: FeatureSimilarity, class_names: tuple[str, ...]) -> dict[str, Any]:
    return {
        "source": similarity.source,
        "basis": similarity.basis,
        "score": similarity.score,
        "standard_error": similarity.standard_error,
        "verdict": str(similarity_verdict(similarity.score)),
        "excess_drift": similarity.excess,
        "threshold": thresholds.DRIFT_THRESHOLD,
        "margin": drift_margin(similarity.excess),
        "drift": {
            **{part: similarity.part(part) for part in ("early", "middle", "late")},
            "per_layer": [
                {"layer": layer.layer, "part": layer.part, "drift": layer.drift, "floor": layer.floor}
                for layer in similarity.per_layer
            ],
        },
        "enlargement": similarity.enlargement,
        "sharp_score": similarity.sharp_score,
        "unit": similarity.unit,
        "frechet": similarity.frechet,
        "kid": similarity.kid,
        "source_confidence": similarity.source_confidence,
        "looks_like": {
            printable(name): [{"label": label, "share": share} for label, share in labels]
            for name, labels in zip(class_names, similarity.looks_like, strict=False)
        },
    }


def _separability(evidence: Separability) -> dict[str, Any]:
    return {
        "per_cut": [
            {
                "cut": found.cut,
                "accuracy": found.accuracy,
                "standard_error": found.standard_error,
                "neighbour_accuracy": found.neighbour_accuracy,
            }
            for found in evidence.per_cut
        ],
        "folds": evidence.folds,
        "n_images": evidence.n_images,
        "n_classes": evidence.n_classes,
        "note": evidence.note,
    }


def _strategy(found: "Decision") -> dict[str, Any]:
    strategy = found.strategy
    frozen, trainable = found.parameters
    return {
        "backbone": strategy.backbone,
        "input_size": strategy.input_size,
        "cut": {"layer": strategy.cut, "depth": strategy.cut_depth},
        "freeze": {
            "layer": strategy.freeze,
            "depth": strategy.freeze_depth,
            "frozen_parameters": frozen,
            "trainable_parameters": trainable,
        },
        "train_batch_norm": strategy.train_batch_norm,
        "learning_rate": strategy.learning_rate,
        "head": {
            "levels": list(strategy.head.levels),
            "pooling": strategy.head.pooling,
            "classes": strategy.head.classes,
            "activation": "softmax",
        },
    }
