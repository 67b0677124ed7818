"""The page of a training: the plan before it, a line for each validation check, the result after it."""

from collections.abc import Sequence

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from builders.training.schedule import Schedule
from builders.training.state import Check
from probes.evaluation.evaluation import Evaluation
from recommender.explanation.text import class_name, duration, percent
from recommender.fit.result import FitResult, TrainingPlan
from recommender.reports.console import grid, print_plainly

_CLASSES_SHOWN, _CONFUSIONS_SHOWN = 10, 3
_AUGMENTATIONS = {"mirror": "mirrored left to right", "shift": "shifted and zoomed", "brightness": "brighter or darker"}
_CACHED = {True: "computed once", False: "computed at each step: too large to keep", None: ""}


def print_plan(plan: TrainingPlan, console: Console) -> None:
    """Print what training will do, a phase per line."""
    phases = [
        (f"{number} {phase.name.replace('_', ' ')}", f"{phase.what}; {phase.trainable_parameters:,} parameters")
        for number, phase in enumerate(plan.phases, start=1)
    ]
    augmentation, cached = "", ""
    if plan.schedule is not None:
        words = ", ".join(_AUGMENTATIONS[name] for name in plan.augmentation)
        augmentation = words or "none"
        cached = _CACHED[plan.cached]
    resumed = f"at step {plan.resumed_at:,}" if plan.resumed_at else "no: there is no earlier state"
    table = grid(
        *phases,
        ("Schedule", "" if plan.schedule is None else _schedule_line(plan.schedule)),
        ("Images", _images_line(plan)),
        ("Augmentation", augmentation),
        ("Frozen part", cached),
        ("Classes", "" if plan.class_weight is None else "weighted equally, since they are unbalanced"),
        ("Precision", "" if plan.precision == "float32" else plan.precision),
        ("Resumed", "" if plan.resumed_at is None else resumed),
        ("Time", f"up to about {duration(plan.seconds)} on this machine" if plan.seconds else ""),
    )
    console.print()
    print_plainly((Text("Training", "bold"), table), console)


def _images_line(plan: TrainingPlan) -> str:
    if plan.schedule is None:
        judged = f"{plan.n_held_out:,} of your validation split evaluate" if plan.n_held_out else "cross-validated"
        return f"{plan.n_training:,} to train on; the accuracy: {judged}"
    if not plan.trials:
        return f"{plan.n_training:,} to train on, none can be held out"
    trials, show = ("a trial", "shows") if plan.trials == 1 else (f"up to {plan.trials} trials", "show")
    then = "; if it helps, all images train" if plan.refits else ""
    return f"{plan.n_training:,}; {trials} with {plan.n_held_out:,} held out {show} whether fine-tuning helps{then}"


def _schedule_line(schedule: Schedule) -> str:
    return (
        f"{schedule.steps:,} steps of {schedule.batch_size} images; Adam, learning rate up to "
        f"{schedule.learning_rate:g}; warm-up over {schedule.warm_up:,} steps, then cosine to 0; a validation check "
        f"every {schedule.check_every:,} steps"
    )


def print_check(check: Check, schedule: Schedule, console: Console) -> None:
    """Print a line for a validation check; that at step 0 is of the start."""
    step = f"{check.step:>{len(f'{schedule.steps:,}')},}"
    accuracy = "" if check.accuracy is None else f"   held-out accuracy {percent(check.accuracy)}"
    accuracy += " (the frozen model, before a trial)" if accuracy and not check.step else ""
    console.print(f"  step {step} of {schedule.steps:,}{accuracy}", highlight=False)


def print_result(result: FitResult, class_names: Sequence[str], console: Console) -> None:
    """Print the accuracy of the trained model, as a whole and by class."""
    console.print()
    parts: list[RenderableType] = [Text("Trained", "bold"), grid(*result.lines)]
    if result.evaluation is not None:
        parts += [Text(), _classes(result.evaluation, class_names)]
    print_plainly(parts, console)


def one_line(result: FitResult) -> str:
    """The result in one line."""
    if result.accuracy is None or result.interval is None:
        return f"{result.chosen}: accuracy unknown, no image can be held out"
    kind, share, interval = "accuracy", result.accuracy, result.interval
    if result.plan.class_weight is not None and result.evaluation is not None:
        kind, share = "balanced accuracy", result.evaluation.balanced_accuracy
        interval = result.evaluation.balanced_interval
    low, high = interval
    return f"{result.chosen}: {kind} {share:.3f}, 90 % interval {low:.3f} to {high:.3f}"


def _classes(found: Evaluation, class_names: Sequence[str]) -> Table:
    """Precision, recall and the most frequent confusions of each class, the lowest recall first."""
    table = Table(box=None, padding=(0, 1), header_style="bold")
    table.add_column("Class", overflow="fold", min_width=8)
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
            class_name(class_names[label]),
            f"{found.support[label]:,}",
            *("" if value != value else percent(value, 0) for value in (found.precision[label], found.recall[label])),
            ", ".join(f"{class_name(class_names[other])} ({n}×)" for n, other in others[:_CONFUSIONS_SHOWN]),
        )
    if len(present) > _CLASSES_SHOWN:
        table.add_row(f"… and {len(present) - _CLASSES_SHOWN:,} more (all with --json)", style="dim")
    return table
