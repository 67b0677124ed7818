"""The answer, its price and how to repeat it, in words."""

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from recommender.explanation.text import clean, duration, interval_text, percent
from recommender.explanation.verdict import condition_of_runner_up, sureness
from recommender.pipeline.decision import Decision
from recommender.reports import summary

if TYPE_CHECKING:
    from recommender.fit.result import FitResult


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What the first section says."""

    sentence: str
    confidence: str
    runner_up: str


def answer(found: Decision) -> Answer:
    """The verdict, how sure it is, and the runner-up. All that the report says of them is worded here."""
    runner_up = found.runner_up
    return Answer(
        sentence=f"Scenario {found.scenario.id}, {found.scenario.name}: {summary.answer(found)}",
        confidence=sureness(found),
        runner_up=f"{runner_up.id} {runner_up.name}: {condition_of_runner_up(found)}",
    )


def accuracies(found: Decision, fit: "FitResult | None") -> list[tuple[str, str]]:
    """What accuracy to expect before any training, and what was measured after it; (name, value)."""
    rows = [("Gives", summary.gives(found))]
    if fit is not None and fit.accuracy is not None and fit.interval is not None:
        after = f"{percent(fit.accuracy)} of new images right, 90 % interval {interval_text(fit.interval)}"
        rows.append(("After training", after))
    return rows


def costs(found: Decision, fit: "FitResult | None") -> list[tuple[str, str]]:
    """What was spent, and what the model weighs; (name, value) of what is known."""
    rows = [("Time to measure and decide", duration(sum(found.seconds.values())))]
    if fit is not None:
        rows.append(("Time to fit", duration(sum(fit.seconds.values()))))
    rows.append(("Model size", f"{found.megabytes:.1f} MB in 32 bits"))
    if found.milliseconds is not None:
        rows.append(("Time for an image", f"{found.milliseconds:.3g} ms, with decoding and checks, on this machine"))
    return rows


def clipped(text: str, most: int) -> str:
    """A name on one line, its end kept where it is too long."""
    shown = clean(text)
    return shown if len(shown) <= most else f"…{shown[1 - most :]}"


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
