"""The verdict in words: how sure it is, what comes next, and what the images are compared with."""

import numpy as np

from probes.evaluation.intervals import z
from probes.quality.findings import count
from probes.similarity.similarity import LEAST_NORMS, FeatureSimilarity
from recommender.explanation.text import duration, interval_text, percent, points_text
from recommender.pipeline.decision import Decision
from recommender.rules import thresholds

TOO_FEW_NORMS = f"fewer than {LEAST_NORMS} BatchNorm layers"  # why drift can't be measured
MAKE_REFERENCE = "`recommend reference IMAGES --backbone ...`"
_NEARLY_THE_SAME = 0.005  # of two accuracies


def gain_interval(gain: float, error: float | None) -> str:
    """90 % interval of a gain in accuracy, from its standard error, in points: "-0.4 to +2.8"."""
    half = z() * (error or 0.0)
    return points_text((gain - half, gain + half))


def source_of(found: Decision) -> str:
    """The name of what the network was trained on, or a phrase where that is not known."""
    similarity = found.measurements.similarity
    named = similarity.source if similarity is not None else found.backbone.source
    return named or f"what {found.backbone.title} was trained on"


def sureness(found: Decision) -> str:
    """How sure the scenario is, in words: the one place that says what `Verdict.confidence` means."""
    verdict = found.verdict
    asked = ""
    if verdict.overridden is not None:
        ruled = verdict.overridden
        asked = f"you asked for this scenario; the rules would choose {ruled.id} {ruled.name}. "
    points = percent(thresholds.NEARLY_BEST, 0).split()[0]
    what = f"the probability that no other scenario is better by more than {points} point"
    sure = f"{percent(verdict.confidence, 0)}: {what}"
    if not verdict.close or asked:
        return f"{asked}{sure}"
    close = f"too close to call between {verdict.scenario.id} and {verdict.runner_up.id}; {sure}"
    if verdict.rival is not None:
        return f"{close}. `fit` tries fine-tuning as well, and keeps the better"
    if verdict.undecided and not verdict.may_be_tried and not verdict.scenario.fine_tunes:
        return f"{close}. Too few images judge for a trial to tell more"
    return close


def trial_words(found: Decision) -> str:
    """What a trial showed; empty without one."""
    trial = found.verdict.trial
    if trial is None:
        return ""
    kind, scenario = kind_of_accuracy(found), f"{trial.scenario.id} {trial.scenario.name}"
    return (
        f"{kind} of the frozen model {percent(trial.frozen)}, after {scenario} {percent(trial.tuned)}: "
        f"{100 * trial.gain:+.1f} points (90 % interval {points_text(trial.interval)}) on "
        f"{count(trial.n_images, 'held-out image')}; took {duration(trial.seconds)}"
    )


def score_interval(similarity: FeatureSimilarity) -> tuple[float, float] | None:
    """90 % interval of the similarity score, by its resamples; None for a single image."""
    if not similarity.replicates:
        return None
    low, high = np.quantile(similarity.replicates, [0.05, 0.95])
    return float(low), float(high)


def condition_of_runner_up(found: Decision) -> str:
    """What is expected of the runner-up beside what is expected of the choice: the one place that words the gap."""
    verdict = found.verdict
    expected = verdict.outcomes.expected
    other, low_high = expected(verdict.runner_up), interval_text(verdict.outcomes.interval(verdict.runner_up))
    own = "the rules' own choice; " if verdict.overridden is not None else ""
    return (
        f"{own}{percent(other)} expected (90 % interval {low_high}), against {percent(expected(verdict.scenario))} of "
        f"{verdict.scenario.id}"
    )


def measured_note(found: Decision) -> str:
    """Why less, or more, is expected of a frozen model than was measured; empty where the two are nearly the same."""
    balanced, scenario = found.class_weight is not None, found.verdict.scenario
    measured = found.expected_balanced_accuracy if balanced else found.expected_accuracy
    if measured is None or scenario.fine_tunes or found.measurements.size.unsampled_classes:
        return ""
    if abs(measured - found.verdict.outcomes.expected(scenario)) < _NEARLY_THE_SAME:
        return ""
    return (
        f"{percent(measured)} was measured of scenario {scenario.id}. What is expected of it also counts how "
        "few images measured that, and how such measurements turned out on other data sets."
    )


def kind_of_accuracy(found: Decision) -> str:
    """The name of the accuracy that is expected: the balanced one where classes are weighted."""
    return "accuracy" if found.class_weight is None else "balanced accuracy"


def expected_rows(found: Decision) -> list[tuple[str, str, str, str]]:
    """What each scenario is expected to give, by number: its name, the accuracy, the 90 % interval, and a mark."""
    outcomes, verdict = found.verdict.outcomes, found.verdict
    marks = {verdict.runner_up: "runner-up", verdict.textbook: "textbook", verdict.scenario: "chosen"}
    if verdict.textbook is verdict.scenario:
        marks[verdict.scenario] = "chosen, as the textbook says"
    return [
        (
            f"{scenario.id} {scenario.name}",
            percent(outcomes.expected(scenario)),
            interval_text(outcomes.interval(scenario)),
            marks.get(scenario, ""),
        )
        for scenario in sorted(outcomes.scenarios, key=lambda each: each.id)
    ]


def rounded(number: float) -> str:
    """A number of images with two significant digits."""
    return f"{float(f'{number:.2g}'):,.0f}"


def small_class_words(n_classes: int) -> str:
    """The class whose images are counted, in words."""
    ignored = int(thresholds.NEGLIGIBLE_CLASSES * (n_classes - 1))
    if not ignored:
        return "the smallest class"
    return f"the smallest class ({count(ignored, 'class', 'classes')} not counted)"
