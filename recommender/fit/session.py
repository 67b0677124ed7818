"""One training: its options, its model, its data."""

import importlib.util
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from builders.training.schedule import AUGMENTATIONS, Schedule, plan_schedule
from recommender.errors import RecommendError
from recommender.fit.result import TrainingPlan
from recommender.progress import Clock
from recommender.rules.class_balance import class_weights

if TYPE_CHECKING:
    from builders.surgery.frozen_split import FrozenSplit
    from builders.training.state import Check
    from recommender.pipeline.decision import Decision

SOLVED_AT_ONCE = 20_000  # images of which a linear classifier is fitted in one go
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """What may be said of the training; `recommender.Recommendation.fit` tells what each means."""

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
        """Who is told of the progress of a phase."""
        progress = self.progress
        return None if progress is None else (lambda done, wanted: progress(phase, done, wanted))

    def schedule(self, n_images: int, *, anew: bool = False) -> Schedule:
        """The schedule of fine-tuning for that many training images; `anew` as in `plan_schedule`."""
        return plan_schedule(
            n_images,
            anew=anew,
            epochs=self.epochs,
            steps=self.steps,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            optimizer=self.optimizer,
            seed=self.seed,
        )


def check_options(options: FitOptions) -> None:
    """Raises `RecommendError` or `BuildError` if an option is out of range."""
    options.schedule(1000)
    unknown = [name for name in options.augmentation or () if name not in AUGMENTATIONS]
    if unknown:
        raise RecommendError(
            f"Expected `augmentation` to hold some of {', '.join(AUGMENTATIONS)}. Received: {unknown[0]!r}."
        )
    if options.precision not in (None, "float32", "mixed_float16", "mixed_bfloat16"):
        raise RecommendError(
            "Expected `precision` to be 'float32', 'mixed_float16' or 'mixed_bfloat16'. "
            f"Received: {options.precision!r}."
        )
    if options.logs is not None and importlib.util.find_spec("tensorboard") is None:
        raise RecommendError(
            "Expected the package that writes logs. Received: no tensorboard. Install with: pip install "
            "'netgraft[logs]'."
        )


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FitSession:
    """What is trained, how, and who is told.

    Attributes:
        found: the recommendation.
        model: the whole model.
        frozen_split: its frozen part and the rest.
        given: whether the user handed the model in.
        options: what the user said.
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
        """What the prediction layer reads, by cut point; each block is scaled on its own."""
        shapes = {point.layer: point.shape for point in self.found.plan.cuts}
        widths = [int(shapes[level][-1] or 0) for level in self.found.strategy.head.levels]
        if sum(widths) != features.shape[1]:
            return [features]
        return np.split(features, np.cumsum(widths)[:-1], axis=1)


def check_model(model: Any, n_classes: int) -> None:
    """Raises `RecommendError` if the model can't be trained on the classes."""
    shape = tuple(getattr(model, "output_shape", ()) or ())
    if len(shape) != 2 or shape[-1] != n_classes:
        raise RecommendError(
            f"Expected a Keras model that puts out a probability for each of {n_classes} classes. Received: "
            f"{type(model).__name__} with an output of shape {shape or 'unknown'}. Start from what `build` returns."
        )
    last = model.layers[-1]
    activation = "softmax" if type(last).__name__ == "Softmax" else _name_of(getattr(last, "activation", None))
    if activation != "softmax":
        raise RecommendError(
            f"Expected the model's last layer to have the activation softmax. Received: {activation}. Start from what "
            "`build` returns, or add a softmax layer."
        )


def _name_of(activation: Any) -> str | None:
    return getattr(activation, "__name__", None)
