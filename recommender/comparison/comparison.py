"""The public result of a comparison."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probes.evaluation.intervals import Gain
from recommender.comparison.outcome import Outcome, Row

if TYPE_CHECKING:
    from probes.separability.learning_curve import LearningCurve


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison(Outcome):
    """An outcome with its sentence, its plot and its description as plain data."""

    @cached_property
    def sentence(self) -> str:
        """The verdict in words."""
        from recommender.comparison.verdict import verdict_sentence

        return verdict_sentence(self)

    def save_plot(self, path: str | Path) -> None:
        """Plot accuracy against seconds, as PNG, SVG or PDF.

        Raises:
            RecommendError: there is no matplotlib, or the disk refused.
        """
        from recommender.comparison.plot import save_plot

        save_plot(self, Path(path))

    def to_dict(self) -> dict[str, Any]:
        """All of it but the models, as plain data."""
        return {
            "verdict": self.verdict,
            "sentence": self.sentence,
            "winner": self.winner.label,
            "preferred": self.preferred.label,
            "recommended": self.advice,
            "accuracy": self.accuracy,
            "interval": list(self.interval),
            "regret": None if self.regret is None else _gain_as_dict(self.regret),
            "rows": [_row_as_dict(row, gap) for row, gap in zip(self.rows, self.gaps, strict=True)],
            "skipped": dict(self.skipped),
            "n_training": self.n_training,
            "n_held_out": self.n_held_out,
            "n_images": self.n_images,
            "is_sample": self.is_sample,
            "judged_by": self.judged_by,
            "augmentation": None if self.augmentation is None else list(self.augmentation),
            "learning_curve": None if self.curve is None else _curve_as_dict(self.curve, self.curve_label),
            "interrupted": self.interrupted,
            "budget": self.budget,
            "seconds": self.seconds,
        }


def _gain_as_dict(gain: Gain) -> dict[str, Any]:
    return {"difference": gain.difference, "interval": [gain.low, gain.high]}


def _row_as_dict(row: Row, gap: Gain) -> dict[str, Any]:
    strategy = row.strategy
    return {
        "label": row.label,
        "scenario": row.scenario.id,
        "recommended": row.recommended,
        "cut": strategy.cut,
        "freeze": strategy.freeze,
        "levels": list(strategy.head.levels),
        "accuracy": row.accuracy,
        "interval": list(row.interval),
        "balanced_accuracy": row.balanced_accuracy,
        "behind": _gain_as_dict(gap),
        "seconds": row.seconds,
        "steps": row.steps,
        "full_steps": row.full_steps,
        "gained": row.gained,
        "ended_early": row.ended_early,
    }


def _curve_as_dict(curve: "LearningCurve", label: str | None) -> dict[str, Any]:
    doubled = curve.doubled
    return {
        "strategy": label,
        "points": [
            {"n_images": point.n_images, "accuracy": point.accuracy, "standard_error": point.standard_error}
            for point in curve.points
        ],
        "doubled": None if doubled is None else {"accuracy": doubled.accuracy, "interval": [doubled.low, doubled.high]},
        "gain": None if curve.gain is None else list(curve.gain),
    }
