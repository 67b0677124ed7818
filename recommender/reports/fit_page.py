"""The page of a training: the plan before it, a line for each validation check, the result after it."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from builders.training.schedule import Schedule
from recommender.explanation.text import clean, duration
from recommender.fit.result import AS_GIVEN, FINE_TUNED, FitResult, TrainingPlan
from recommender.reports.console import grid, heading, print_plainly

if TYPE_CHECKING:
    from builders.training.state import Check
    from probes.evaluation.evaluation import Evaluation

_CLASSES_SHOWN, _CONFUSIONS_SHOWN = 10, 3
_JUDGED = {
    "cross-validation": "cross-validated over",
    "held-out part": "on",
    "validation": "on your validation split's",
}
_AUGMENTATIONS = {"mirror": "mirrored left to right", "crop": "cropped to 70 to 100 % of the area"}


def print_plan(plan: TrainingPlan, console: Console) -> None:
    """Print what training will do, a phase per line."""
    table = grid()
    for number, phase in enumerate(plan.phases, start=1):
        name = phase.name.replace("_", " ")
        table.add_row(f"{number} {name}", f"{phase.what}; {phase.trainable_parameters:,} parameters")
        if phase.steps and plan.schedule is not None:
            table.add_row("", _schedule_line(plan.schedule))
    if plan.n_held_out:
        table.add_row("Images", f"{plan.n_training:,} to train on, {plan.n_held_out:,} held out to evaluate")
    elif plan.phases:
        table.add_row("Images", f"{plan.n_training:,}, all to train on; the accuracy is cross-validated")
    else:
        table.add_row("Images", f"{plan.n_training:,}; none can be held out, so there is no fine-tuning")
    if plan.schedule is not None:
        words = ", ".join(_AUGMENTATIONS[name] for name in plan.augmentation)
        table.add_row("Augmentation", words or "none: changed images would not keep their labels")
        if plan.cached is not None:
            table.add_row("Frozen part", "computed once" if plan.cached else "computed at each step: too large to keep")
    if plan.class_weight is not None:
        table.add_row("Classes", "weighted equally, since they are unbalanced")
    if plan.precision != "float32":
        table.add_row("Precision", plan.precision)
    if plan.resumed_at is not None:
        table.add_row("Resumed", f"at step {plan.resumed_at:,}" if plan.resumed_at else "no: there is no earlier state")
    if plan.seconds:
        table.add_row("Time", f"about {duration(plan.seconds)} on this machine, with validation checks")
    print_plainly(Group(Text(), heading("Training"), table), console)


def _schedule_line(schedule: Schedule) -> str:
    extra = f", mixup {schedule.mixup:g}" if schedule.mixup else ""
    extra += f", label smoothing {schedule.label_smoothing:g}" if schedule.label_smoothing else ""
    return (
        f"{schedule.steps:,} steps of {schedule.batch_size} images; {schedule.optimizer}, learning rate up to "
        f"{schedule.learning_rate:g}, lower in lower layers; warm-up over {schedule.warm_up:,} steps, then "
        f"cosine{extra}; a validation check every {schedule.check_every:,} steps"
    )


class CheckLines:
    """Prints a line for each validation check.

    Args:
        write: what prints a line.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._start: float | None = None

    def __call__(self, check: "Check", schedule: Schedule) -> None:
        width = len(f"{schedule.steps:,}")
        if self._start is None:
            self._start = check.accuracy
            self._write(f"\n  {'start':{2 * width + 9}}   held-out accuracy {check.accuracy:.1%}")
        else:
            step = f"step {check.step:>{width},} of {schedule.steps:,}"
            change = 100 * (check.accuracy - self._start)
            self._write(f"  {step}   held-out accuracy {check.accuracy:.1%}   {change:+.1f}")


def print_result(result: FitResult, class_names: Sequence[str], console: Console) -> None:
    """Print the accuracy of the trained model, as a whole and by class."""
    parts: list[RenderableType] = [Text(), heading("Trained"), _summary(result)]
    if result.evaluation is not None:
        parts += [Text(), *_classes(result.evaluation, class_names)]
    print_plainly(Group(*parts), console)


def one_line(result: FitResult) -> str:
    """The result in one line."""
    if result.accuracy is None or result.interval is None:
        return f"{result.chosen}: accuracy unknown, no image can be held out"
    low, high = result.interval
    return f"{result.chosen}: accuracy {result.accuracy:.3f}, 95% interval {low:.3f} to {high:.3f}"


def _summary(result: FitResult) -> RenderableType:
    table = grid()
    table.add_row("Model", _chosen(result))
    if result.accuracy is not None and result.interval is not None and result.evaluation is not None:
        low, high = result.interval
        held_out = " that were held out" if result.judged_by == "held-out part" else ""
        table.add_row(
            "Accuracy",
            f"{result.accuracy:.1%}, 95% interval {low:.1%} to {high:.1%}, {_JUDGED[result.judged_by]} "
            f"{result.evaluation.n:,} images{held_out}",
        )
        table.add_row("Balanced", f"{result.evaluation.balanced_accuracy:.1%}, the mean over classes")
        table.add_row("Calibration", _calibration(result))
    if result.gain is not None:
        gain = result.gain
        interval = f"{100 * gain.low:+.1f} to {100 * gain.high:+.1f}"
        table.add_row("Gain", f"{100 * gain.difference:+.1f} points over the start ({interval})")
    for note in result.notes:
        table.add_row("Note", clean(note))
    memory = "" if result.peak_memory is None else f", {result.peak_memory / 2**30:.1f} GiB at the peak"
    table.add_row("Time", f"{duration(sum(result.seconds.values()))}{memory}")
    return table


def _chosen(result: FitResult) -> str:
    """Which model came back, and why training ended."""
    start = "the model as it was given" if result.chosen == AS_GIVEN else "the linear probe"
    if result.chosen == FINE_TUNED:
        words = "fine-tuned"
    elif result.plan.schedule is None:
        words = f"{start}, its prediction layer fitted on all {result.plan.n_training:,} images"
    else:
        words = f"{start}: fine-tuning brought no gain that the held-out images confirm"
    if result.interrupted:
        return f"{words}; interrupted, the best until then (--resume continues)"
    return f"{words}; stopped early, without further gain" if result.stopped_early else words


def _calibration(result: FitResult) -> str:
    if result.calibration_error is None:
        return "not measured"
    scaled = f", scaled by a temperature of {result.temperature:.2f}" if result.temperature != 1.0 else ""
    return f"probabilities are off by {result.calibration_error:.1%} on average{scaled}"


def _classes(found: "Evaluation", class_names: Sequence[str]) -> list[RenderableType]:
    """Precision, recall and the most frequent confusions of each class, the lowest recall first."""
    table = Table(box=None, padding=(0, 1), header_style="bold")
    table.add_column("Class", no_wrap=True, overflow="ellipsis")
    for name in ("Images", "Precision", "Recall"):
        table.add_column(name, justify="right")
    table.add_column("Confused with", overflow="fold")
    present = sorted(
        (label for label in range(len(class_names)) if found.support[label]), key=lambda n: found.recall[n]
    )
    for label in present[:_CLASSES_SHOWN]:
        row = found.confusion[label]
        others = sorted(((int(n), other) for other, n in enumerate(row) if other != label and n), reverse=True)
        table.add_row(
            clean(class_names[label]),
            f"{found.support[label]:,}",
            *("" if value != value else f"{value:.0%}" for value in (found.precision[label], found.recall[label])),
            ", ".join(f"{clean(class_names[other])} {n}" for n, other in others[:_CONFUSIONS_SHOWN]),
        )
    more = len(present) - _CLASSES_SHOWN
    rest = [Text(f" … and {more:,} more classes with a higher recall (all with --json)", "dim")] if more > 0 else []
    return [table, *rest]
