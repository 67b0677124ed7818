"""The answer in a few lines: what terminal page, `str(found)` and the card in notebooks have in common."""

import shlex
import textwrap
from collections.abc import Sequence

from probes.quality.findings import SEVERITIES, Finding, count
from recommender.explanation.text import clean, data_name, duration, interval_text, percent, rows_text
from recommender.explanation.verdict import (
    condition_of_runner_up,
    kind_of_accuracy,
    source_of,
    sureness,
    trial_words,
)
from recommender.fit.plan import expected_seconds, planned
from recommender.pipeline.decision import Decision
from recommender.rules.scenario import Similarity

_FINDING = 96  # characters of the first finding that are shown
_FLAGS = ("--verbose", "--quiet", "--json", "--no-thumbnails", "--trial")  # of output: a next command has its own
_VALUED = ("--build", "--export", "--report")


def lines(found: Decision) -> tuple[tuple[str, str], ...]:
    """A name each, and what there is to say: how sure the answer is, what it gives and what it costs."""
    return (
        ("Data", _data(found)),
        ("Confidence", sureness(found)),
        ("Trial", trial_words(found)),
        ("Accuracy", gives(found)),
        ("Cost", _costs(found)),
        ("Runner-up", runner_up(found)),
        ("Data check", _findings(found)),
    )


def as_text(found: Decision, width: int = 80) -> str:
    """The answer as plain text."""
    first, *others = next_calls(found)
    rows = [*lines(found), ("Next", first), *(("", call) for call in others)]
    head = f"Scenario {found.scenario.id} {found.scenario.name}"
    return f"{head}\n{textwrap.fill(answer(found), width)}\n\n{rows_text(rows, width)}"


def next_calls(found: Decision) -> tuple[str, ...]:
    """What to write next in Python."""
    first = "recommend(..., trial=True)" if found.verdict.may_be_tried else "compare(found)"
    return f"netgraft.{first}", "found.fit().model.save('model.keras')"


def answer(found: Decision) -> str:
    """What is built, in one sentence: by the strategy, whatever its scenario is called."""
    strategy, title = found.strategy, clean(found.backbone.title)
    kept = f"the whole of {title}"
    if strategy.cut != found.plan.cuts[-1].layer:
        kept = f"the first {percent(strategy.cut_depth, 0)} of {title}, up to {clean(strategy.cut)}"
    if strategy.freeze is None:
        return f"Start from the pretrained weights of {kept}, and train all of it with a new prediction layer."
    if strategy.freeze == strategy.cut:
        return f"Keep {kept}, freeze it, and put a new prediction layer on top."
    return (
        f"Keep {kept}, freeze the first {percent(strategy.freeze_depth, 0)}, and train the rest with a new prediction "
        "layer."
    )


def gives(found: Decision) -> str:
    """The accuracy to expect, with its interval; balanced where the classes have equal weight."""
    judged, n_held_out = found.judged, found.measurements.n_held_out
    if judged is None:
        return "not known: no class has two images that can be split"
    accuracy, interval = percent(judged.accuracy), interval_text(judged.interval)
    if found.class_weight is not None:
        balanced, of_classes = percent(judged.balanced_accuracy), interval_text(judged.balanced_interval)
        said = f"balanced accuracy {balanced}, the mean over classes (90 % interval {of_classes}); "
        said += f"{accuracy} of all new images right"
    else:
        said = f"{accuracy} of new images right (90 % interval {interval})"
    how = f"on {n_held_out:,} images of your validation split" if n_held_out else "by cross-validation"
    if not found.scenario.fine_tunes:
        return f"{said}, {how}, before any training"
    outcomes = found.verdict.outcomes
    after, span = percent(outcomes.expected(found.scenario)), interval_text(outcomes.interval(found.scenario))
    kind = "" if found.class_weight is None else f"{kind_of_accuracy(found)} "
    return f"{kind}{after} expected after `fit` (90 % interval {span}); before any training {said}, {how}"


def training_line(found: Decision) -> str:
    """What `fit` does, in words, and about how long that takes."""
    plan = planned(found)
    if plan.schedule is None:
        if found.measurements.size.n_sampled >= plan.n_training:
            return "`fit` has nothing left to train: it evaluates the model, and writes it"
        return f"`fit` reads all {plan.n_training:,} images once"
    often = f", up to {plan.trials} times" if plan.trials > 1 else ""
    steps = f"{plan.schedule.steps:,} steps of {plan.schedule.batch_size} images"
    seconds = expected_seconds(found)
    takes = "" if seconds is None else f", about {duration(seconds)} in all"
    return f"`fit` trains for {steps}{often}{takes}"


def repeat_command(command: str, verb: str, *more: str) -> str:
    """The command line for another sub-command on the same data: "recommend fit 'my photos' --build model.keras".

    `verb`: the sub-command, empty for the recommendation itself.
    """
    kept, words = [], iter(shlex.split(command)[1:])
    for word in words:
        if word in _VALUED:
            next(words, None)
        elif word not in _FLAGS and not word.startswith(tuple(f"{name}=" for name in _VALUED)):
            kept.append(word)
    if kept[:1] == ["recommend"]:
        kept = kept[1:]
    return shlex.join(["recommend", *([verb] if verb else []), *kept, *more])


def _data(found: Decision) -> str:
    size, similarity = found.measurements.size, found.verdict.similarity
    return (
        f"{clean(data_name(size.path))}: {count(size.n_images, 'image')} in {size.n_classes:,} classes, "
        f"{per_class(found)} a class; {'like' if similarity is Similarity.SIMILAR else 'unlike'} {source_of(found)}"
    )


def per_class(found: Decision) -> str:
    """ "20", or "3 to 20"."""
    counts = found.measurements.size.class_counts
    fewest, most = min(counts), max(counts)
    return f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"


def _costs(found: Decision) -> str:
    pace = ""
    if found.milliseconds is not None:
        most = "" if found.strategy.cut == found.plan.cuts[-1].layer else "at most "
        pace = f", {most}{found.milliseconds:.3g} ms an image on this machine"
    spent = duration(sum(found.seconds.values()))
    return f"{spent} for this answer; {training_line(found)}; model {found.megabytes:.3g} MB{pace}"


def runner_up(found: Decision) -> str:
    """The scenario that comes next, and what is expected of it."""
    return f"{found.runner_up.id} {found.runner_up.name}: {condition_of_runner_up(found)}"


def _findings(found: Decision) -> str:
    if not found.findings:
        return ""
    first = clean(found.findings[0].message)
    if len(first) > _FINDING:
        first = f"{first[:_FINDING].rsplit(' ', 1)[0]} …"
    return f"{tally(found.findings)}; first: {first}"


def tally(findings: Sequence[Finding]) -> str:
    """How many there are of each severity: "1 error, 2 warnings"."""
    numbers = {name: sum(finding.severity == name for finding in findings) for name in SEVERITIES}
    return ", ".join(count(number, name) for name, number in numbers.items() if number)
