"""The public result of a comparison."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from probes.evaluation.intervals import Gain
from recommender import json_records
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
        return json_records.Comparison.of(
            self,
            winner=self.winner.label,
            preferred=self.preferred.label,
            recommended=self.advice,
            regret=json_records.Gain.measured(self.regret),
            rows=[_row(row, gap) for row, gap in zip(self.rows, self.gaps, strict=True)],
            learning_curve=None if self.curve is None else _curve(self.curve, self.curve_label),
        ).to_dict()


def _row(row: Row, gap: Gain) -> json_records.Row:
    return json_records.Row.of(
        row,
        scenario=row.scenario.id,
        cut=row.strategy.cut,
        freeze=row.strategy.freeze,
        levels=row.strategy.head.levels,
        behind=json_records.Gain.measured(gap),
    )


def _curve(curve: "LearningCurve", label: str | None) -> json_records.LearningCurve:
    doubled = curve.doubled
    return json_records.LearningCurve(
        strategy=label,
        points=[json_records.CurvePoint.of(point) for point in curve.points],
        doubled=None if doubled is None else json_records.Doubled(doubled.accuracy, (doubled.low, doubled.high)),
        gain=curve.gain,
    )
