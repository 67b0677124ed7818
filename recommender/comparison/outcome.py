"""What a comparison brought: the strategies that were trained, the best of them, and what of it is chance."""

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
        scenario: that it is a form of.
        label: for people, as "2 from block5c_add".
        recommended: whether it was the advice.
        accuracy: on the held-out images. Where the best of several looks at them counts, each image is judged by the
            look that the others choose.
        interval: 95 % of it.
        balanced_accuracy: mean over classes of the share that was right.
        seconds: of its training: its share of the pass over the images, by its depth, and its own.
        steps: of fine-tuning; 0 for a frozen backbone.
        full_steps: that it would have without a budget.
        ended_early: whether it was given up half-way, or time ran out.
        correct: whether each held-out image was right, of shape (n,).
        looks: the same at each look, of shape (looks, n).
        weights: of the trained model, all of them; of the prediction layer alone where the backbone is frozen.
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
    looks: Mask = field(repr=False)
    weights: tuple[npt.NDArray[Any], ...] = field(repr=False)

    @property
    def frozen(self) -> bool:
        """Whether nothing but the prediction layer was trained."""
        return self.strategy.freeze == self.strategy.cut

    @property
    def gained(self) -> bool:
        """Whether fine-tuning brought something; else the model is its start, the linear probe."""
        return self.steps > 0 and not np.array_equal(self.correct, self.looks[0])


def built(row: Row, backbone: "Backbone") -> Any:
    """The model of a row, with the weights that it was trained to."""
    from builders.build import HeadWeights, build_model

    if row.frozen:
        kernel, bias = row.weights
        return build_model(row.strategy, HeadWeights(kernel=kernel, bias=bias), backbone)
    model = build_model(row.strategy, None, backbone)
    model.set_weights(list(row.weights))
    return model


@dataclass(frozen=True, kw_only=True, eq=False)
class Outcome:
    """The recommended strategy and its rivals, trained on the same images and judged by the same others.

    Attributes:
        rows: by accuracy, the best first.
        winner: the row with the highest accuracy.
        preferred: the cheapest within one standard error of the winner; the best of several of like cost.
        recommended: the advice's; None where it was not trained.
        accuracy: of choosing the best of all as it was done: the winner's own is the best of many, and too high.
        interval: 95 % of it.
        regret: by how much that is better than the advice on the same images; 0 where the advice won.
        gaps: the same for each row.
        skipped: label of a strategy -> why it was not trained.
        n_training: images that were learnt from.
        n_held_out: images that judged.
        n_images: that there are; these may be a sample.
        is_sample: whether they are.
        judged_by: "validation" for the user's own split, or "held-out part".
        augmentation: what fine-tuning did to pictures at random; None where it was not asked.
        curve: accuracy of a linear probe against the number of images; None where there was no time for it.
        curve_label: of which row.
        advice: what was recommended, for people.
        interrupted: whether Ctrl-C ended it.
        budget: in seconds.
        seconds: that it took.
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
        """On the advice: "right", "tied", "wrong", or "unknown" where it was not trained."""
        if self.recommended is None or self.regret is None:
            return "unknown"
        if self.recommended is self.winner:
            return "right"
        return "wrong" if self.regret.clear else "tied"

    @property
    def ties(self) -> tuple[Row, ...]:
        """Rows that are as good as the best as far as can be told, the winner among them."""
        return tuple(row for row, gap in zip(self.rows, self.gaps, strict=True) if row is self.winner or not gap.clear)

    def build(self, row: Row | None = None) -> Any:
        """The model of a row, trained and compiled; by default the preferred one's. A new one at each call."""
        return built(self.preferred if row is None else row, self.backbone)

    @cached_property
    def detector(self) -> "Detector | None":
        """Tells pictures unlike the training images, for the preferred model; None where there are too few of these."""
        return self.detect(self.preferred)
