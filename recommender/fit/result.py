"""The records of a training: its plan and its result."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from builders.training.schedule import Phase, Schedule
from recommender import json_records

if TYPE_CHECKING:
    from builders.training.state import Check
    from probes.evaluation.evaluation import Evaluation
    from probes.evaluation.intervals import Gain
    from probes.evaluation.out_of_distribution import Detector

_DENSE = 200 * 200  # cells of a confusion matrix that is written whole
_JUDGED = ("balanced_accuracy", "confusion", "precision", "recall", "log_loss")  # of an evaluation
FINE_TUNED, LINEAR_PROBE, AS_GIVEN = "fine_tuned", "linear_probe", "as_given"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """What training will do."""

    phases: tuple[Phase, ...]
    schedule: Schedule | None = None  # None if the linear probe is the whole training
    augmentation: tuple[str, ...] = ()  # some of "mirror" and "crop"
    n_training: int
    n_held_out: int = 0  # 0 if accuracy is cross-validated
    class_weight: tuple[float, ...] | None  # of each class in the loss; None if classes are balanced
    cached: bool | None  # whether the outputs of the frozen part are kept; None if nothing is frozen
    precision: str = "float32"  # or "mixed_float16", "mixed_bfloat16"
    seconds: float | None = None  # estimated from a few timed steps on this machine; None before
    resumed_at: int | None = None  # step; 0 if there is none to resume, None if not asked for


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FitResult:
    """A trained model, and its accuracy on images that it was not trained on, None if no image can be held out."""

    model: Any = field(repr=False)  # compiled, with the weights of the best check; never worse than the start
    plan: TrainingPlan  # what was done
    chosen: str  # "fine_tuned", "linear_probe" if that brought no gain or there was none, or "as_given" if nothing did
    judged_by: str  # "cross-validation", "held-out part", "validation", or "nothing"
    start: "Evaluation | None" = None  # of the model before fine-tuning
    # Of `model` on the held-out images. Too optimistic if it is the best of several checks on them: see `accuracy`.
    evaluation: "Evaluation | None" = None
    accuracy: float | None = None  # of the choice among checks, each image judged by the check that others chose
    interval: tuple[float, float] | None = None  # its 95 % interval
    gain: "Gain | None" = None  # over the start, on the same images; None if the start was chosen
    history: "tuple[Check, ...]" = ()  # validation checks
    temperature: float = 1.0  # that the logits of the prediction layer were divided by; 1.0 if that did not help
    calibration: tuple[float, float] | None = None  # expected error before and after, cross-fitted
    interrupted: bool = False  # by Ctrl-C
    stopped_early: bool = False  # because the checks brought no gain
    resumed_at: int | None = None  # step at which an earlier run was resumed
    held_out: tuple[tuple[str, int], ...] = field(default=(), repr=False)  # (name in the index, class number)
    detector: "Detector | None" = field(default=None, repr=False)  # None if there are too few images
    notes: tuple[str, ...] = ()  # what else the user should know, in sentences
    seconds: dict[str, float]  # by phase
    peak_memory: int | None  # of the process, in bytes; None if the system does not report it
    forget: Callable[[], None] = field(default=lambda: None, repr=False)  # removes the state kept by `keep_state`

    @property
    def calibration_error(self) -> float | None:
        """Expected calibration error of `model`, on images that did not choose the temperature."""
        return None if self.calibration is None else self.calibration[0 if self.temperature == 1.0 else 1]

    def to_dict(self) -> dict[str, Any]:
        """All of it but the model, as plain data; `docs/recommendation.schema.json` describes it under "fit"."""
        judged = {name: getattr(self.evaluation, name, None) for name in _JUDGED}
        if self.evaluation is not None and self.evaluation.confusion.size > _DENSE:
            judged["confusion"] = None
        return json_records.Fit.of(
            self,
            **judged,
            n_held_out=0 if self.evaluation is None else self.evaluation.n,
            start_accuracy=None if self.start is None else self.start.accuracy,
            gain=json_records.Gain.measured(self.gain),
            plan=json_records.TrainingPlan.of(self.plan),
            history=[json_records.Check.of(check) for check in self.history],
        ).to_dict()
