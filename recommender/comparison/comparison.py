"""The public result of a comparison, with its verdict in words."""

import os
import textwrap
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from builders.backbones.backbone import Backbone
from probes.evaluation.out_of_distribution import Detector
from probes.separability.learning_curve import LearningCurve
from recommender import json_records
from recommender.comparison import plot as drawing
from recommender.comparison.ranking import Ranking, Row
from recommender.errors import RecommendError
from recommender.explanation.text import duration, interval_text, percent, points_text
from recommender.pipeline.decision import Decision

INTERRUPTED = "because the comparison was interrupted"


@dataclass(frozen=True, kw_only=True, eq=False)
class Comparison(Ranking):
    """The recommended strategy and its rivals, trained and judged on the same images.

    Frozen strategies are judged on all images, by cross-validation or the user's validation split; fine-tuned ones on
    those that one training held out.
    """

    skipped: dict[str, str]  # label of a strategy -> why it was not trained
    n_training: int  # images that the fine-tuned strategies learnt from
    n_held_out: int  # images that judge those
    n_judged: int  # images that judge the frozen strategies
    n_images: int  # all images, of which the compared ones may be a sample
    is_sample: bool
    judged_by: str  # "validation" for the user's own split, or "cross-validation"
    augmentation: tuple[str, ...] | None  # of fine-tuning; None if it was not chosen
    curve: LearningCurve | None  # of a linear probe; None if there was no time for it
    curve_label: str | None  # of the row of that linear probe
    advice: str  # label of what was recommended
    interrupted: bool  # by Ctrl-C
    budget: float  # in seconds
    seconds: float
    backbone: Backbone = field(repr=False)
    found: Decision = field(repr=False)  # the recommendation that was compared
    detect: Callable[[Row], Detector | None] = field(repr=False)  # fits the detector of a row

    def __repr__(self) -> str:
        return f"<Comparison of {len(self.rows)} strategies: advice {self.verdict}, best {self.winner.label}>"

    def __str__(self) -> str:
        """The verdict and all rows as plain text."""
        widest = max(len(row.label) for row in self.rows)
        lines = [
            f"{row.label:{widest}}  {percent(row.accuracy):>7}  {interval_text(row.interval):>15}  "
            f"{duration(row.seconds):>7}  {', '.join(self.marks(row))}".rstrip()
            for row in self.rows
        ]
        head = f"{'strategy':{widest}}  {'right':>7}  {'90 % interval':>15}  {'time':>7}"
        return "\n".join([textwrap.fill(self.sentence, 80), "", head, *lines])

    def marks(self, row: Row) -> tuple[str, ...]:
        """What is special about a row: "advice", "preferred", "tied" with the best, "no sure gain" by fine-tuning."""
        tied = row is not self.winner and any(row is tie for tie in self.ties)
        holds = (row.recommended, row is self.preferred, row.steps > 0 and not row.gained, tied)
        names = ("advice", "preferred", "no sure gain", "tied")
        return tuple(name for name, is_so in zip(names, holds, strict=True) if is_so)

    def to_frame(self) -> Any:
        """The rows as a `pandas.DataFrame`, the best first; pandas is needed."""
        try:
            import pandas
        except ImportError as error:
            raise RecommendError(
                "Expected pandas, which makes the table. Received: none. Install with: pip install pandas."
            ) from error
        return pandas.DataFrame(
            {
                "strategy": row.label,
                "scenario": row.scenario.id,
                "accuracy": row.accuracy,
                "low": row.interval[0],
                "high": row.interval[1],
                "balanced_accuracy": row.balanced_accuracy,
                "seconds": row.seconds,
                "steps": row.steps,
                "n_judged": row.n_judged,
                "marks": ", ".join(self.marks(row)),
            }
            for row in self.rows
        )

    @cached_property
    def sentence(self) -> str:
        """Whether the advice was right, in words, and which strategy to prefer."""
        advice, preferred, winner = self.recommended, self.preferred, self.winner
        said = (
            f"{_verdict(self)} Choosing the best of {len(self.rows)} gives an accuracy of {percent(self.accuracy)} "
            f"(90 % interval {interval_text(self.interval)}) on images that did not make the choice."
        )
        if advice is not None and advice.steps < advice.full_steps:
            said += (
                f" The advice had {advice.steps:,} of the {advice.full_steps:,} steps that `fit` gives it: a larger "
                "budget may change the verdict."
            )
        if preferred is not winner:
            said += (
                f" Prefer {preferred.label}: within one standard error of the best, and trained in "
                f"{duration(preferred.seconds)} against {duration(winner.seconds)}."
            )
        return said

    @cached_property
    def detector(self) -> Detector | None:
        """A detector of out-of-distribution images for the preferred row; None if there are too few images."""
        return self.detect(self.preferred)

    def build(self, row: Row | None = None) -> Any:
        """A new trained, compiled model of a row, by default the preferred one.

        A frozen one has a prediction layer of all training images. A fine-tuned one has seen all but those held out.
        """
        return (row or self.preferred).build(self.backbone)

    def plot(self) -> Any:
        """Draw accuracy against seconds, as a matplotlib figure; matplotlib is needed."""
        return drawing.plot(self)

    def save_plot(self, path: str | Path) -> None:
        """Plot accuracy against seconds, as PNG, SVG or PDF.

        Raises:
            RecommendError: there is no matplotlib, or the disk refused.
        """
        drawing.save_plot(self, Path(path))

    def save_report(self, path: str | os.PathLike[str], *, thumbnails: bool = True) -> None:
        """Write the HTML report of the recommendation and this comparison; see `Recommendation.save_report`."""
        self.found.save_report(path, comparison=self, thumbnails=thumbnails)

    def to_dict(self) -> dict[str, Any]:
        """All of it but the models, as plain data."""
        rows = [
            json_records.Row.of(
                row,
                scenario=row.scenario.id,
                cut=row.strategy.cut,
                freeze=row.strategy.freeze,
                levels=row.strategy.head.levels,
                behind=json_records.Gain.measured(gap),
            )
            for row, gap in zip(self.rows, self.gaps, strict=True)
        ]
        return json_records.Comparison.of(
            self,
            winner=self.winner.label,
            preferred=self.preferred.label,
            recommended=self.advice,
            regret=json_records.Gain.measured(self.regret),
            rows=rows,
            learning_curve=None if self.curve is None else _curve(self.curve, self.curve_label),
        ).to_dict()


def _verdict(found: Comparison) -> str:
    winner, advice, regret, n = found.winner, found.recommended, found.regret, len(found.rows)
    if advice is None or regret is None:
        why = found.skipped.get(found.advice, INTERRUPTED)
        return (
            f"Whether the advice, {found.advice}, was right is not known: it was not trained, {why} (budget: "
            f"{duration(found.budget)}). Of {n} others {winner.label} is the best."
        )
    difference, interval = 100 * regret.difference, points_text((regret.low, regret.high))
    change = f"gain {difference:.1f}" if difference >= 0 else f"lose {-difference:.1f}"
    gained = f"would {change} points against the advice (90 % interval {interval})"
    leads = "It leads" if advice is winner else f"{winner.label} leads, but not surely: choosing the best {gained}"
    return {
        "right": f"The advice was right: {advice.label} is the best of {n} strategies.",
        "tied": f"The advice, {advice.label}, ties with the best, {winner.label}: choosing the best {gained}.",
        "wrong": f"The advice, {advice.label}, was wrong by {difference:.1f} points (90 % interval {interval}): "
        f"{winner.label} is the best of {n} strategies.",
        "undecided": f"Too few images to tell whether the advice, {advice.label}, was right. {leads}.",
    }[found.verdict]


def _curve(curve: LearningCurve, label: str | None) -> json_records.LearningCurve:
    doubled = curve.doubled and json_records.Doubled(curve.doubled.accuracy, (curve.doubled.low, curve.doubled.high))
    return json_records.LearningCurve.of(curve, strategy=label, doubled=doubled)
