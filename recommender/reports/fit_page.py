"""What a person reads of a training: the plan before it, a line for each look, the result after it."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from builders.training.schedule import Schedule
from recommender.explanation.text import clean, duration
from recommender.fit.result import AS_GIVEN, FINE_TUNED, FitResult, TrainingPlan
from recommender.reports.console import heading, print_plainly

if TYPE_CHECKING:
    from builders.training.state import Check

_CLASSES_SHOWN = 10
_JUDGED = {
    "cross-validation": "by cross-validation over",
    "held-out part": "held out:",
    "validation": "on your validation split's",
}


def print_plan(plan: TrainingPlan, console: Console) -> None:
    """Print what training will do."""
    print_plainly(Group(Text(), heading("Training"), plan_table(plan)), console)


def plan_table(plan: TrainingPlan) -> RenderableType:
    """The plan, a phase a line."""
    table = _grid()
    for number, phase in enumerate(plan.phases, start=1):
        name = phase.name.replace("_", " ")
        table.add_row(f"{number} {name}", f"{phase.what}; {phase.trainable_parameters:,} parameters")
        if phase.steps and plan.schedule is not None:
            table.add_row("", _schedule_line(plan.schedule))
    if plan.n_held_out:
        table.add_row("Images", f"{plan.n_training:,} to learn from, {plan.n_held_out:,} held out to judge")
    elif plan.phases:
        table.add_row("Images", f"{plan.n_training:,}, all to learn from; cross-validation judges")
    else:
        table.add_row("Images", f"{plan.n_training:,}; none can be held out, so there is no fine-tuning")
    if plan.schedule is not None:
        table.add_row("Augmentation", _augmentation(plan))
        if plan.cached is not None:
            table.add_row("Frozen part", "computed once" if plan.cached else "computed at each step: too large to keep")
    if plan.class_weight is not None:
        table.add_row("Classes", "each counts alike, since they are unbalanced")
    if plan.precision != "float32":
        table.add_row("Precision", plan.precision)
    if plan.resumed_at is not None:
        table.add_row("Resumed", f"at step {plan.resumed_at:,}" if plan.resumed_at else "no: nothing to go on with")
    if plan.seconds:
        table.add_row("Time", f"about {duration(plan.seconds)} on this machine, looks at held-out images included")
    return table


def _schedule_line(schedule: Schedule) -> str:
    rates = f"rate up to {schedule.learning_rate:g}, lower in lower layers"
    extra = f", mixup {schedule.mixup:g}" if schedule.mixup else ""
    extra += f", label smoothing {schedule.label_smoothing:g}" if schedule.label_smoothing else ""
    return (
        f"{schedule.steps:,} steps of {schedule.batch_size} images; {schedule.optimizer}, {rates}; "
        f"warm-up over {schedule.warm_up:,} steps, then cosine{extra}; a look every {schedule.check_every:,} steps"
    )


def _augmentation(plan: TrainingPlan) -> str:
    words = {"mirror": "left and right changed", "crop": "cropped to 70 to 100 % of the area"}
    return ", ".join(words[name] for name in plan.augmentation) or "none: changed pictures would not keep their labels"


class CheckLines:
    """Prints a line for each look at the held-out images.

    Args:
        write: what prints a line.
    """

    def __init__(self, write: Callable[[str], object]) -> None:
        self._write = write
        self._start: float | None = None

    def __call__(self, check: "Check", schedule: Schedule) -> None:
        if self._start is None:
            self._start = check.accuracy
            self._write(f"\n  start{'':>{len(f'{schedule.steps:,}') * 2 + 6}}   held-out accuracy {check.accuracy:.1%}")
            return
        width = len(f"{schedule.steps:,}")
        change = 100 * (check.accuracy - self._start)
        step = f"step {check.step:>{width},} of {schedule.steps:,}"
        self._write(f"  {step}   held-out accuracy {check.accuracy:.1%}   {change:+.1f}")


def print_result(result: FitResult, class_names: Sequence[str], console: Console) -> None:
    """Print how the trained model does."""
    parts: list[RenderableType] = [Text(), heading("Trained"), _summary(result)]
    if result.evaluation is not None:
        parts += [Text(), _classes(result, class_names)]
    print_plainly(Group(*parts), console)


def one_line(result: FitResult) -> str:
    """The result in one line."""
    if result.accuracy is None or result.interval is None:
        return f"{result.chosen}: accuracy unknown, no image can be held out"
    low, high = result.interval
    return f"{result.chosen}: accuracy {result.accuracy:.3f}, 95% interval {low:.3f} to {high:.3f}"


def _summary(result: FitResult) -> RenderableType:
    table = _grid()
    table.add_row("Model", _verdict(result))
    if result.accuracy is not None and result.interval is not None and result.evaluation is not None:
        low, high = result.interval
        table.add_row(
            "Accuracy",
            f"{result.accuracy:.1%}, 95% interval {low:.1%} to {high:.1%}, "
            f"{_JUDGED[result.judged_by]} {result.evaluation.n:,} images",
        )
        table.add_row("Balanced", f"{result.evaluation.balanced_accuracy:.1%}, the mean over classes")
        table.add_row("Calibration", _calibration(result))
    if result.gain is not None:
        gain = result.gain
        around = f"{100 * gain.low:+.1f} to {100 * gain.high:+.1f}"
        table.add_row("Gain", f"{100 * gain.difference:+.1f} points over the start ({around})")
    for note in result.notes:
        table.add_row("Mind", clean(note))
    memory = "" if result.peak_memory is None else f", {result.peak_memory / 2**30:.1f} GiB at the peak"
    table.add_row("Time", f"{duration(sum(result.seconds.values()))}{memory}")
    return table


def _verdict(result: FitResult) -> str:
    if result.chosen == FINE_TUNED:
        words = "fine-tuned"
    elif result.plan.schedule is None:
        start = "model as it was given, its prediction layer" if result.chosen == AS_GIVEN else "linear probe,"
        words = f"the {start} fitted on all {result.plan.n_training:,} images"
    else:
        start = "model as it was given" if result.chosen == AS_GIVEN else "linear probe"
        words = f"the {start}: fine-tuning brought nothing that the held-out images confirm"
    if result.interrupted:
        words += "; interrupted, the best until then (--resume goes on)"
    elif result.stopped_early:
        words += "; stopped early for want of gain"
    return words


def _calibration(result: FitResult) -> str:
    error = result.calibration_error
    if error is None:
        return "not measured"
    scaled = f", scaled by a temperature of {result.temperature:.2f}" if result.temperature != 1.0 else ""
    return f"probabilities are off by {error:.1%} on average{scaled}"


def _classes(result: FitResult, class_names: Sequence[str]) -> RenderableType:
    """Precision and recall of each class, the worst recall first where there are many, and the commonest confusions."""
    found = result.evaluation
    if found is None:
        return Text()
    table = Table(box=None, padding=(0, 1), header_style="bold")
    table.add_column("Class", no_wrap=True, overflow="ellipsis")
    for name in ("Images", "Precision", "Recall"):
        table.add_column(name, justify="right")
    table.add_column("Taken for", overflow="fold")
    labels = [label for label in range(len(class_names)) if found.support[label]]
    labels.sort(key=lambda label: found.recall[label])
    shown = labels[:_CLASSES_SHOWN]
    for label in shown:
        table.add_row(
            clean(class_names[label]),
            f"{found.support[label]:,}",
            _share(found.precision[label]),
            _share(found.recall[label]),
            _taken_for(found.confusion[label], label, class_names),
        )
    more = len(labels) - len(shown)
    rest = [Text(f" … and {more:,} more classes with a higher recall (all with --json)", "dim")] if more else []
    return Group(table, *rest)


def _share(value: float) -> str:
    return "" if value != value else f"{value:.0%}"


def _taken_for(row: "Sequence[int]", label: int, class_names: Sequence[str]) -> str:
    others = sorted(((int(n), other) for other, n in enumerate(row) if other != label and n), reverse=True)
    return ", ".join(f"{clean(class_names[other])} {n}" for n, other in others[:3])


def _grid() -> Table:
    table = Table.grid(padding=(0, 2, 0, 1))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    return table
