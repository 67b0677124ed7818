"""The records of a training: its plan and its result."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from builders.training.schedule import Phase, Schedule
from recommender import json_records
from recommender.errors import RecommendError
from recommender.explanation.text import class_name, clean, duration, interval_text, percent, points_text, rows_text
from recommender.rules.scenario import Scenario

if TYPE_CHECKING:
    from builders.training.state import Check
    from probes.evaluation.evaluation import Evaluation
    from probes.evaluation.intervals import Gain
    from probes.evaluation.out_of_distribution import Detector
    from recommender.pipeline.decision import Decision

_DENSE = 200 * 200  # cells of a confusion matrix that is written whole
_JUDGED = ("balanced_accuracy", "balanced_interval", "confusion", "precision", "recall", "log_loss")  # of an evaluation
_JUDGED_BY = {
    "cross-validation": "by cross-validation",
    "held-out part": "that were held out",
    "validation": "of your validation split",
    "nothing": "",
}
_UNJUDGED = "Expected a result that held-out images judged. Received: one without. Add images of each class."
FINE_TUNED, LINEAR_PROBE, AS_GIVEN = "fine_tuned", "linear_probe", "as_given"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingPlan:
    """What training will do."""

    phases: tuple[Phase, ...]
    schedule: Schedule | None = None  # None if the linear probe is the whole training
    augmentation: tuple[str, ...] = ()  # some of `builders.training.schedule.AUGMENTATIONS`
    n_training: int  # images that the returned model trains on
    n_held_out: int = 0  # of a trial, which trains on the others; 0 if there is none
    trials: int = 0  # trainings at most that judge whether fine-tuning helps, each with other images held out
    refits: bool = False  # whether fine-tuning that helps is repeated on all images
    class_weight: tuple[float, ...] | None  # of each class in the loss; None if classes are balanced
    cached: bool | None  # whether the outputs of the frozen part are kept; None if nothing is frozen
    precision: str = "float32"  # or "mixed_float16", "mixed_bfloat16"
    seconds: float | None = None  # at most, estimated from a few timed steps on this machine; None before
    resumed_at: int | None = None  # step; 0 if there is none to resume, None if not asked for


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictions:
    """What a model said of n images that it was not trained on; arrays of shape (n,)."""

    files: tuple[str, ...]  # names in the index
    labels: npt.NDArray[np.int64]  # class numbers
    predicted: npt.NDArray[np.int64]  # the most probable class
    confidence: npt.NDArray[np.float64]  # its probability

    @classmethod
    def of(cls, files: Sequence[str], labels: npt.NDArray[np.int64], probabilities: npt.ArrayLike) -> "Predictions":
        """From class probabilities, of shape (n, classes)."""
        values = np.asarray(probabilities, np.float64)
        return cls(files=tuple(files), labels=labels, predicted=values.argmax(1), confidence=values.max(1))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FitResult:
    """A trained model, and its accuracy on images that it was not trained on, None if no image can be held out."""

    model: Any = field(repr=False)  # compiled; fine-tuned only where that is probably better than the frozen model
    plan: TrainingPlan  # what was planned
    chosen: str  # "fine_tuned"; "linear_probe", the frozen model, if that was not probably better; or "as_given"
    judged_by: str  # "cross-validation", "held-out part", "validation", or "nothing"
    start: "Evaluation | None" = None  # of the frozen model on the images that judge
    # Of what was chosen, on images that it did not train on. If fine-tuned: of the trials, averaged with the start.
    evaluation: "Evaluation | None" = None
    # By the images that judged; if fine-tuned again on all images, by what is expected of that, too.
    accuracy: float | None = None
    interval: tuple[float, float] | None = None  # its 90 % interval
    gain: "Gain | None" = None  # of fine-tuning over the frozen model on the held-out images; None without a trial
    trials: int = 0  # trainings that judged whether fine-tuning helps
    share: float | None = None  # of the trained weights in the returned average with the start; None if not fine-tuned
    history: "tuple[Check, ...]" = ()  # validation checks of the first trial
    temperature: float = 1.0  # that the logits of the prediction layer were divided by; 1.0 if that did not help
    calibration: tuple[float, float] | None = None  # expected error before and after, cross-fitted
    interrupted: bool = False  # by Ctrl-C
    resumed_at: int | None = None  # step at which an earlier run was resumed
    # The images that judged: (name, class number).
    held_out: tuple[tuple[str, int], ...] = field(default=(), repr=False)
    predictions: Predictions | None = field(default=None, repr=False)  # on the images that judged
    found: "Decision | None" = field(default=None, repr=False)  # that the model follows; a trial may have changed it
    detector: "Detector | None" = field(default=None, repr=False)  # None if there are too few images
    notes: tuple[str, ...] = ()  # what else the user should know, in sentences
    seconds: dict[str, float]  # by phase
    peak_memory: int | None  # of the process, in bytes; None if the system does not report it
    forget: Callable[[], None] = field(default=lambda: None, repr=False)  # removes the state kept by `keep_state`

    def __repr__(self) -> str:
        if self.accuracy is None or self.interval is None:
            return f"<FitResult {self.chosen}, accuracy not measured>"
        return f"<FitResult {self.chosen}, accuracy {self.accuracy:.3f}, 90 % interval {interval_text(self.interval)}>"

    def __str__(self) -> str:
        """What came back, and how accurate it is, as plain text."""
        return rows_text(self.lines)

    def _repr_html_(self) -> str:
        return f"<pre>{escape(str(self))}</pre>"

    @property
    def lines(self) -> tuple[tuple[str, str], ...]:
        """A name, and what there is to say: of the model, its accuracy, calibration, gain and time."""
        memory = "" if self.peak_memory is None else f", {self.peak_memory / 2**30:.1f} GiB at the peak"
        return (
            ("Model", self._model()),
            *self._accuracies(),
            ("Calibration", self._calibration()),
            ("Gain", self._gain()),
            *(("Note", clean(note)) for note in self.notes),
            ("Time", f"{duration(sum(self.seconds.values()))}{memory}"),
        )

    def _model(self) -> str:
        """Which model came back, and why."""
        words = {FINE_TUNED: "fine-tuned", AS_GIVEN: "as given"}.get(self.chosen, self._frozen())
        if self.chosen == FINE_TUNED and self.share is not None and self.share < 1:
            words += f", averaged with its start ({percent(self.share, 0)} of the trained weights)"
        if self.interrupted:
            return f"{words}; interrupted (--resume continues)"
        if self.chosen != FINE_TUNED and self.plan.schedule is not None:
            words += ": held-out images don't show that fine-tuning is better"
        return words

    def _frozen(self) -> str:
        kept = "a frozen backbone"
        if self.found is not None and self.found.scenario is Scenario.SHALLOW_FEATURES:
            kept = f"the frozen backbone up to {self.found.strategy.cut} (scenario 4)"
        return f"the linear probe on {kept}"

    def _accuracies(self) -> tuple[tuple[str, str], ...]:
        """Accuracy and balanced accuracy; the latter leads where classes have the same weight."""
        if self.accuracy is None or self.interval is None or self.evaluation is None:
            return ()
        how, of_mean = f"on {self.evaluation.n:,} images {_JUDGED_BY[self.judged_by]}", "the mean over classes"
        if self.accuracy != self.evaluation.accuracy:
            of_mean = f"on the held-out images alone, {of_mean}"
            how = f"from {percent(self.evaluation.accuracy)} {how}, and what was expected"
        interval, of_classes = interval_text(self.interval), interval_text(self.evaluation.balanced_interval)
        plain = ("Accuracy", f"{percent(self.accuracy)}, 90 % interval {interval}, {how}")
        mean = f"{percent(self.evaluation.balanced_accuracy)}, 90 % interval {of_classes}: {of_mean}"
        balanced = ("Balanced", f"{mean} of each one's accuracy")
        return (plain, balanced) if self.plan.class_weight is None else (balanced, plain)

    def _calibration(self) -> str:
        if self.calibration_error is None:
            return "not measured"
        scaled = f", scaled by a temperature of {self.temperature:.2f}" if self.temperature != 1.0 else ""
        return f"probabilities are off by {percent(self.calibration_error)} on average{scaled}"

    def _gain(self) -> str:
        if self.gain is None:
            return ""
        trials = "a trial" if self.trials == 1 else f"{self.trials} trials"
        interval = points_text((self.gain.low, self.gain.high))
        return (
            f"{100 * self.gain.difference:+.1f} points by fine-tuning over the whole backbone, frozen (90 % interval "
            f"{interval}), in {trials}"
        )

    @property
    def calibration_error(self) -> float | None:
        """Expected calibration error of `model`, on images that did not choose the temperature."""
        return None if self.calibration is None else self.calibration[0 if self.temperature == 1.0 else 1]

    def save_report(self, path: str | os.PathLike[str], *, thumbnails: bool = True) -> None:
        """Write the HTML report of the recommendation and its training; see `Recommendation.save_report`."""
        if self.found is None:
            raise RecommendError("Expected a result of `fit`. Received: one without its recommendation. Fit again.")
        self.found.save_report(path, fit=self, thumbnails=thumbnails)

    def plot_confusion(self) -> Any:
        """Draw which classes are taken for which, as a matplotlib figure.

        Raises:
            RecommendError: there is no matplotlib, or nothing was evaluated.
        """
        from recommender.plots import confusion_figure

        found, evaluation = self._judged()
        return confusion_figure(evaluation.confusion, found.measurements.size.class_names)

    def plot_mistakes(self, n: int = 12) -> Any:
        """Draw the images that were classified wrong with the highest probabilities, as a matplotlib figure.

        Raises:
            RecommendError: there is no matplotlib, or nothing was evaluated.
            ProbeError: an image has changed since it was measured.
        """
        from recommender.pipeline.reread_images import read_prepared
        from recommender.plots import mistakes_figure

        found, _ = self._judged()
        said, names = self.predictions, [class_name(name) for name in found.measurements.size.class_names]
        if said is None:
            raise RecommendError(_UNJUDGED)
        wrong = np.flatnonzero(said.predicted != said.labels)
        worst = wrong[np.argsort(-said.confidence[wrong], kind="stable")][:n]
        size, channels = found.strategy.input_size, found.backbone.channels
        return mistakes_figure(
            [read_prepared(found.index, said.files[row], size, channels)[1] for row in worst],
            [
                f"{names[said.labels[row]]}\ntaken for {names[said.predicted[row]]}, {percent(said.confidence[row], 0)}"
                for row in worst
            ],
            f"{len(wrong):,} of {len(said.labels):,} images classified wrong",
        )

    def _judged(self) -> "tuple[Decision, Evaluation]":
        if self.found is None or self.evaluation is None:
            raise RecommendError(_UNJUDGED)
        return self.found, self.evaluation

    def to_dict(self) -> dict[str, Any]:
        """All of it but the model, as plain data; `docs/recommendation.schema.json` describes it under "fit"."""
        judged = {name: getattr(self.evaluation, name, None) for name in _JUDGED}
        if self.evaluation is not None and self.evaluation.confusion.size > _DENSE:
            judged["confusion"] = None
        return json_records.Fit.of(
            self,
            **judged,
            n_held_out=0 if self.evaluation is None else self.evaluation.n,
            held_out_accuracy=None if self.evaluation is None else self.evaluation.accuracy,
            start_accuracy=None if self.start is None else self.start.accuracy,
            gain=json_records.Gain.measured(self.gain),
            plan=json_records.TrainingPlan.of(self.plan),
            history=[json_records.Check.of(check) for check in self.history],
        ).to_dict()
