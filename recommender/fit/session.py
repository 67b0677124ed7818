"""A training in progress: options, model and clock."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from builders.training.schedule import Schedule, plan_schedule
from recommender.fit.result import TrainingPlan
from recommender.progress import Clock, Progress
from recommender.rules.class_balance import class_weights

if TYPE_CHECKING:
    from builders.surgery.frozen_split import FrozenSplit
    from builders.training.state import Check
    from recommender.pipeline.decision import Decision

SOLVED_AT_ONCE = 20_000  # training images of a linear probe at most


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """The options of `recommender.Recommendation.fit`, which documents them."""

    epochs: float | None = None
    steps: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    optimizer: str = "adamw"
    augmentation: Sequence[str] | None = None
    cache: bool = True
    precision: str | None = None
    callbacks: Sequence[Any] = ()
    logs: Path | None = None
    resume: bool = False
    seed: int = 0
    progress: Progress | None = None
    keep_state: bool = False
    announce: "Callable[[TrainingPlan], None] | None" = None
    on_check: "Callable[[Check, Schedule], None] | None" = None

    def at(self, phase: str) -> Callable[[int, int], None] | None:
        """The callback for the progress of one phase."""
        progress = self.progress
        return None if progress is None else (lambda done, wanted: progress(phase, done, wanted))

    def schedule(self, n_images: int, *, dissimilar: bool = False) -> Schedule:
        """The schedule of fine-tuning, as by `plan_schedule`."""
        return plan_schedule(
            n_images,
            dissimilar=dissimilar,
            epochs=self.epochs,
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            optimizer=self.optimizer,
            seed=self.seed,
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FitSession:
    """What is trained, and how.

    Attributes:
        found: the recommendation.
        model: the whole model.
        frozen_split: its frozen part and its tail.
        given: whether the user handed the model in.
        options: of the user.
        clock: seconds by phase.
    """

    found: "Decision"
    model: Any
    frozen_split: "FrozenSplit"
    given: bool
    options: FitOptions
    clock: Clock

    @property
    def n_classes(self) -> int:
        return len(self.found.measurements.size.class_names)

    @property
    def class_weight(self) -> tuple[float, ...] | None:
        return class_weights(self.found.measurements.size.file_counts)

    def blocks(self, features: npt.NDArray[np.float32]) -> list[npt.NDArray[np.float32]]:
        """Inputs of the prediction layer, split by cut point: each block is scaled on its own."""
        shapes = {point.layer: point.shape for point in self.found.plan.cuts}
        widths = [int(shapes[level][-1] or 0) for level in self.found.strategy.head.levels]
        if sum(widths) != features.shape[1]:
            return [features]
        return np.split(features, np.cumsum(widths)[:-1], axis=1)
