"""What training brought, as data."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from builders.training.schedule import Phase, Schedule
from recommender import json_records

if TYPE_CHECKING:
    from builders.training.state import Check
    from probes.evaluation.evaluation import Evaluation, Gain
    from probes.evaluation.out_of_distribution import Detector

_DENSE = 200 * 200  # cells of a confusion matrix that is written whole
_JUDGED = ("balanced_accuracy", "confusion", "precision", "recall", "log_loss")  # of an evaluation
FINE_TUNED, LINEAR_PROBE, AS_GIVEN = "fine_tuned", "linear_probe", "as_given"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """What training will do.

    Attributes:
        phases: in order.
        schedule: of the fine-tuning; None where the linear probe is the whole training.
        augmentation: what is done to pictures at random: "mirror", "crop"; empty for nothing.
        n_training: images that are learnt from.
        n_held_out: images that judge; 0 where accuracy is cross-validated.
        class_weight: of each class in the loss; None where classes are balanced.
        cached: whether the frozen part is computed once; None where nothing is frozen.
        precision: "float32" or "mixed_float16".
        seconds: estimated from a few timed steps on this machine; None before they were timed.
        resumed_at: step at which it goes on, 0 where there was nothing to go on with; None where that was not asked.
    """

    phases: tuple[Phase, ...]
    schedule: Schedule | None
    augmentation: tuple[str, ...]
    n_training: int
    n_held_out: int
    class_weight: tuple[float, ...] | None
    cached: bool | None
    precision: str
    seconds: float | None = None
    resumed_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FitResult:
    """A trained model, and how it does on images that it did not learn from.

    Attributes:
        model: compiled; the best of all looks. Never worse on the held-out images than the start.
        plan: what was done.
        chosen: "fine_tuned", or "linear_probe" where fine-tuning brought nothing or there was none; "as_given" where
            nothing was better than the model that was handed in.
        start: how the linear probe does, before fine-tuning; None where nothing can be held out.
        evaluation: how `model` does on the held-out images, calibration included. Where `chosen` is the best of
            several looks at them, `accuracy` is the honester figure.
        accuracy: of choosing as it was chosen, each image judged by a choice that the others made; None where nothing
            can be held out.
        interval: 95 % of it.
        gain: over the start, on the same images, with its 95 % interval; None where the start is what comes back.
        judged_by: "cross-validation", "held-out part" or "validation"; "nothing" where no image can be held out.
        history: looks at the held-out images.
        temperature: that the prediction layer was divided by; 1.0 where that did not help.
        calibration: expected calibration error before and after, cross-fitted; None where it was not measured.
        interrupted: whether Ctrl-C ended it.
        stopped_early: whether it ended for want of gain.
        resumed_at: step at which an earlier run was gone on with; None for a run of its own.
        held_out: (name in the index, class number) of each image that judged, where some were held out for good.
        detector: tells pictures unlike the training images; None where there are too few of these.
        notes: what else a reader has to know, in sentences.
        seconds: by phase.
        peak_memory: of the process, in bytes; None where the system does not tell.
        forget: removes what is kept of the training to go on from, where `keep_state` asked for that.
    """

    model: Any = field(repr=False)
    plan: TrainingPlan
    chosen: str
    judged_by: str
    start: "Evaluation | None" = None
    evaluation: "Evaluation | None" = None
    accuracy: float | None = None
    interval: tuple[float, float] | None = None
    gain: "Gain | None" = None
    history: "tuple[Check, ...]" = ()
    temperature: float = 1.0
    calibration: tuple[float, float] | None = None
    interrupted: bool = False
    stopped_early: bool = False
    resumed_at: int | None = None
    held_out: tuple[tuple[str, int], ...] = field(default=(), repr=False)
    detector: "Detector | None" = field(default=None, repr=False)
    notes: tuple[str, ...] = ()
    seconds: dict[str, float]
    peak_memory: int | None
    forget: Callable[[], None] = field(default=lambda: None, repr=False)

    @property
    def calibration_error(self) -> float | None:
        """By how much probabilities are off on average, the temperature judged by images that did not choose it."""
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
