"""The answer, its price and how to repeat it, in words."""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy.typing as npt
from scipy.stats import norm

from probes.evaluation.intervals import effective_size
from recommender.explanation.reasons import explain
from recommender.explanation.text import clean, duration
from recommender.pipeline.decision import Decision
from recommender.rules.scenario import Scenario

if TYPE_CHECKING:
    from recommender.fit.result import FitResult

TRAINED = "95 % interval"  # of what `fit` and `compare` report
_Z = float(norm.ppf(0.95))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the first section says."""

    sentence: str
    confidence: str
    meaning: str  # of the confidence
    runner_up: str  # and what it would take


def answer(found: Decision) -> Answer:
    """The verdict, how sure it is, and the runner-up. All that the report says of them is worded here."""
    verdict, scenario = found.verdict, found.scenario
    asked, confidence = "", percent(verdict.confidence, 0)
    meaning = "the share of resamples of your images that lead to the same scenario."
    if verdict.overridden is not None:
        asked, confidence, meaning = " as you asked", "not rated", f"the rules would choose {verdict.overridden.id}."
    close = " A threshold is near: the choice is a close call." if verdict.close else ""
    return Answer(
        sentence=f"Scenario {scenario.id}, {scenario.name}{asked}: {_built(found)}",
        confidence=confidence,
        meaning=f"{meaning}{close}",
        runner_up=explain(found)[-1].split("The runner-up is ")[-1],
    )


def _built(found: Decision) -> str:
    """What is built, in one clause; the scenario's name says the same."""
    strategy, title = found.strategy, clean(found.backbone.title)
    last = found.plan.cuts[-1].layer
    kept = (
        f"keep {title} whole"
        if strategy.cut == last
        else f"cut {title} at {percent(strategy.cut_depth, 0)} of its depth"
    )
    trained = {
        Scenario.PARTIAL_FINE_TUNE: f"freeze the first {percent(strategy.freeze_depth, 0)} and fine-tune the rest",
        Scenario.FULL_FINE_TUNE: "fine-tune all of it",
    }.get(found.scenario, "freeze it")
    return f"{kept}, {trained}, and put a new prediction layer on top."


def accuracies(found: Decision, fit: "FitResult | None") -> list[tuple[str, str]]:
    """The accuracy before any training, and after it, with intervals; (name, value)."""
    rows = [("Accuracy before training", _before(found))]
    if fit is not None and fit.accuracy is not None and fit.interval is not None:
        rows.append(("Accuracy after training", f"{percent(fit.accuracy)} ({TRAINED} {span(fit.interval)})"))
    return rows


def _before(found: Decision) -> str:
    judged = found.probe.judged
    if judged is None:
        return "not known: no image can be held out"
    n = effective_size(judged.correct, found.rows.groups[judged.rows])
    how = "your validation split" if found.measurements.n_held_out else "cross-validation"
    interval = span(wilson_90(judged.accuracy * n, n))
    return f"{percent(judged.accuracy)}, by {how} (90 % interval {interval})"


def costs(found: Decision, fit: "FitResult | None") -> list[tuple[str, str]]:
    """What was spent, and what the model weighs; (name, value) of what is known."""
    n_images, network = len(found.features.files), found.seconds.get("network", 0.0)
    rows = [("Time to measure and decide", duration(sum(found.seconds.values())))]
    if fit is not None:
        rows.append(("Time to fit", duration(sum(fit.seconds.values()))))
    elif fitted := found.seconds.get("head"):
        rows.append(("Time to fit the linear classifier", duration(fitted)))
    rows.append(("Model size", f"{4e-6 * sum(found.parameters):.1f} MB in 32 bits"))
    if n_images and network:
        rows.append(("Time for an image", f"{1000 * network / n_images:.1f} ms, with decoding and checks, here"))
    return rows


def class_name(name: str) -> str:
    """The name of a class; in quotes where it has no letter, so that nobody takes it for a number."""
    shown = clean(name)
    return shown if any(char.isalpha() for char in shown) else f"'{shown}'"


def clipped(text: str, most: int) -> str:
    """A name on one line, its end kept where it is too long."""
    shown = clean(text)
    return shown if len(shown) <= most else f"…{shown[1 - most :]}"


def percent(share: float, digits: int = 1) -> str:
    """A share for a reader, "92.7 %", without a line break in it."""
    return f"{100 * share:.{digits}f}\N{NO-BREAK SPACE}%"


def span(interval: tuple[float, float]) -> str:
    """An interval of a share for a reader: "90.2 to 94.6 %"."""
    low, high = interval
    return f"{100 * low:.1f} to {100 * high:.1f}\N{NO-BREAK SPACE}%"


def wilson_90(correct: float, n: float) -> tuple[float, float]:
    """90 % interval of the share of n images that were right, as `probes.evaluation.intervals.wilson` is of 95 %."""
    share, z2 = min(max(correct / n, 0.0), 1.0), _Z**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = _Z / (1 + z2 / n) * (share * (1 - share) / n + z2 / (4 * n**2)) ** 0.5
    return max(centre - half, 0.0), min(centre + half, 1.0)


def share_interval(correct: npt.ArrayLike, groups: npt.ArrayLike | None) -> tuple[float, float]:
    """The same from what was right; images of one group may be correlated."""
    n = effective_size(correct, groups)
    return wilson_90(sum(map(bool, correct)) / len(correct) * n, n)  # type: ignore[arg-type]


def python_code(found: Decision, fit: Any, comparison: Any) -> str:
    """A program that repeats the recommendation, and what followed it."""
    size, in_memory = found.measurements.size, found.index.kind in ("arrays", "paths", "stream", "dataset")
    data = "data" if in_memory else repr(size.path)
    asked = f", scenario={found.scenario.id}" if found.verdict.overridden is not None else ""
    lines = ["import netgraft", ""]
    lines.append(
        f"found = netgraft.recommend({data}, backbone={found.backbone.name!r}, "
        f"input_size={found.strategy.input_size}{asked}, seed={found.seed})"
    )
    if comparison is not None:
        lines.append(f"comparison = netgraft.compare(found, budget={comparison.budget:g})")
    lines.append("result = found.fit()" if fit is not None else "model = found.build()")
    return "\n".join(lines)


def facts(found: Decision, versions: dict[str, str]) -> list[tuple[str, str]]:
    """Versions, seed and hashes; (name, value)."""
    digests = sorted(facts.digest for facts in found.features.facts)
    rows = [
        ("Versions", ", ".join(f"{name} {version}" for name, version in versions.items())),
        ("Seed", f"{found.seed}"),
        ("Network", f"{found.backbone.name}, SHA-256 of its weights {found.backbone.fingerprint}"),
        ("Engine", found.network.engine),
    ]
    if digests:
        shown = hashlib.sha256(b"".join(digests)).hexdigest()
        rows.append((f"The {len(digests):,} measured images", f"SHA-256 of their pixels, in sorted order, {shown}"))
    return rows
