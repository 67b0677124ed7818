"""The record of a comparison: the strategies that were trained, the best of them, and how sure that is."""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from builders.strategy import Strategy
from probes.evaluation.intervals import Gain
from recommender.rules.scenario import Scenario

if TYPE_CHECKING:
    from builders.backbones.backbone import Backbone
    from probes.evaluation.out_of_distribution import Detector
    from probes.separability.learning_curve import LearningCurve

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """A strategy that was trained.

    Attributes:
        strategy: what was built.
        scenario: of the strategy.
        label: for people, as "2 from block5c_add".
        recommended: whether it was the advice.
        accuracy: on the held-out images. Each image is judged by the validation check that the others choose.
        interval: 95 % interval of it.
        balanced_accuracy: mean recall over classes.
        seconds: of its training: its share of the pass over the images, by its depth, and its own.
        steps: of fine-tuning; 0 for a frozen backbone.
        full_steps: of fine-tuning without a budget.
        ended_early: whether it was ended by the halving or for want of time.
        correct: whether each held-out image was right, of shape (n,).
        checks: the same at each validation check, of shape (checks, n).
        weights: all of the trained model; of the prediction layer alone if the backbone is frozen.
    """

    strategy: Strategy
    scenario: Scenario
    label: str
    recommended: bool
    accuracy: float
    interval: tuple[float, float]
    balanced_accuracy: float
    seconds: float
    steps: int
    full_steps: int
    ended_early: bool
    correct: Mask = field(repr=False)
    checks: Mask = field(repr=False)
    weights: tuple[npt.NDArray[Any], ...] = field(repr=False)

    @property
    def frozen(self) -> bool:
        """Whether nothing but the prediction layer was trained."""
        return self.strategy.freeze == self.strategy.cut

    @property
    def gained(self) -> bool:
        """Whether fine-tuning brought a gain; else the model is its start, the linear probe."""
        return self.steps > 0 and not np.array_equal(self.correct, self.checks[0])


def built(row: Row, backbone: "Backbone") -> Any:
    """The trained model of a row."""
    from builders.build import HeadWeights, build_model

    if row.frozen:
        kernel, bias = row.weights
        return build_model(row.strategy, HeadWeights(kernel=kernel, bias=bias), backbone)
    model = build_model(row.strategy, None, backbone)
    model.set_weights(list(row.weights))
    return model


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """The recommended strategy and its rivals, trained and judged on the same split.

    Attributes:
        rows: by accuracy, the best first.
        winner: the row with the highest accuracy.
        preferred: of the rows within one standard error of the winner and about as cheap as the cheapest, the best.
        recommended: the row of the advice; None if it was not trained.
        accuracy: of choosing the best row; the winner's own accuracy is the best of many, and too optimistic.
        interval: 95 % interval of it.
        regret: by how much that is better than the advice on the same images; 0 if the advice won.
        gaps: the same for each row.
        skipped: label of a strategy -> why it was not trained.
        n_training: training images.
        n_held_out: held-out images.
        n_images: all images, of which these may be a sample.
        is_sample: whether they are.
        judged_by: "validation" for the user's own split, or "held-out part".
        augmentation: of fine-tuning; None if it was not chosen.
        curve: learning curve of a linear probe; None if there was no time for it.
        curve_label: label of that row.
        advice: label of what was recommended.
        interrupted: whether Ctrl-C ended it.
        budget: in seconds.
        seconds: that it took.
        backbone: of all rows.
        detect: fits the detector of a row.
    """

    rows: tuple[Row, ...]
    winner: Row
    preferred: Row
    recommended: Row | None
    accuracy: float
    interval: tuple[float, float]
    regret: Gain | None
    gaps: tuple[Gain, ...] = field(repr=False)
    skipped: dict[str, str]
    n_training: int
    n_held_out: int
    n_images: int
    is_sample: bool
    judged_by: str
    augmentation: tuple[str, ...] | None
    curve: "LearningCurve | None"
    curve_label: str | None
    advice: str
    interrupted: bool
    budget: float
    seconds: float
    backbone: "Backbone" = field(repr=False)
    detect: "Callable[[Row], Detector | None]" = field(repr=False)

    @property
    def verdict(self) -> str:
        """On the advice: "right", "tied", "wrong", or "unknown" if it was not trained."""
        if self.recommended is None or self.regret is None:
            return "unknown"
        if self.recommended is self.winner:
            return "right"
        return "wrong" if self.regret.clear else "tied"

    @property
    def ties(self) -> tuple[Row, ...]:
        """The winner, and the rows that are not clearly worse."""
        return tuple(row for row, gap in zip(self.rows, self.gaps, strict=True) if row is self.winner or not gap.clear)

    def build(self, row: Row | None = None) -> Any:
        """A new trained, compiled model of a row, by default the preferred one."""
        return built(self.preferred if row is None else row, self.backbone)

    @cached_property
    def detector(self) -> "Detector | None":
        """A detector of out-of-distribution images for the preferred row; None if there are too few images."""
        return self.detect(self.preferred)
