"""The answer, its price and how to repeat it, in words."""

import hashlib
from typing import Any, NamedTuple

from probes.quality.findings import count
from recommender.explanation.text import clean, duration, interval_text, percent
from recommender.explanation.verdict import sureness, trial_words
from recommender.fit.result import FitResult
from recommender.pipeline.decision import Decision
from recommender.reports import summary
from recommender.rules.scenario import Scenario

_MEANINGS = {
    Scenario.LINEAR_PROBE: "The pretrained network stays as it is. Only a new last layer learns your classes.",
    Scenario.PARTIAL_FINE_TUNE: "The first layers of the pretrained network stay as they are. Its last layers and a "
    "new last layer learn from your images.",
    Scenario.FULL_FINE_TUNE: "All layers of the pretrained network learn further from your images.",
    Scenario.SHALLOW_FEATURES: "The first layers of the pretrained network stay as they are. Its last ones are left "
    "out: they know other things than your images show. A new last layer learns your classes.",
}
GLOSSARY = (
    ("Backbone", "a network that has learned from other images, without the layer that names their classes"),
    ("Prediction layer", "the new last layer, which gives a probability for each of your classes"),
    ("Frozen", "not changed by training"),
    ("Fine-tuning", "training layers of the backbone further on your images"),
    ("Cross-validation", "each image is judged by a classifier that was fitted without it"),
    ("90 % interval", "a range that holds the true value in 9 of 10 cases; it is wide where few images were measured"),
    ("Balanced accuracy", "the mean over classes of the share that is right: a large class does not hide a small one"),
    ("Calibration", "whether 80 of 100 predictions that are given 80 % are right"),
    ("Similarity, drift", "how much your images look to the network like those that it has learned from"),
    ("Cut point, depth", "a place inside the network where it can be cut, and how far that is from the input"),
)


class Step(NamedTuple):
    """Something to do next."""

    words: str
    command: str = ""  # for a terminal


def answer(found: Decision) -> dict[str, str]:
    """The verdict, what it means without terms of machine learning, how sure it is, and the runner-up."""
    return {
        "sentence": f"Scenario {found.scenario.id}, {found.scenario.name}: {summary.answer(found)}",
        "meaning": _MEANINGS[found.scenario],
        "confidence": sureness(found),
        "runner_up": summary.runner_up(found),
    }


def accuracies(found: Decision, fit: FitResult | None) -> list[tuple[str, str]]:
    """What a trial showed, the accuracy before any training, and what was measured after it; (name, value)."""
    rows = [("Trial", trial_words(found))] if found.verdict.trial is not None else []
    rows.append(("Accuracy", summary.gives(found)))
    if fit is not None and fit.accuracy is not None and fit.interval is not None:
        after = f"{percent(fit.accuracy)} of new images right (90 % interval {interval_text(fit.interval)})"
        rows.append(("After training", after))
    return rows


def costs(found: Decision, fit: FitResult | None) -> list[tuple[str, str]]:
    """What was spent, and what the model weighs; (name, value) of what is known."""
    rows = [("Time to measure and decide", duration(sum(found.seconds.values())))]
    if fit is not None:
        rows.append(("Time to fit", duration(sum(fit.seconds.values()))))
    rows.append(("Model size", f"{found.megabytes:.1f} MB in 32 bits"))
    if found.milliseconds is not None:
        rows.append(("Time for an image", f"{found.milliseconds:.3g} ms, with decoding and checks, on this machine"))
    return rows


def next_steps(found: Decision, fit: FitResult | None, comparison: Any, command: str | None) -> list[Step]:
    """What a reader may do with the answer: commands, or without a `command` that made the report calls of Python."""

    def typed(call: str, verb: str, *more: str) -> str:
        if command is None:
            return call
        own = command if fit is None and comparison is None else "recommend DATA"  # no options of another sub-command
        return summary.repeat_command(own, verb, *more)

    steps = []
    if found.findings:
        steps.append(Step(f"Look through {count(len(found.findings), 'finding')} about the images in section 3."))
    if fit is None:
        train = typed("found.fit().model.save('model.keras')", "fit", "--build", "model.keras")
        steps.append(Step("Train, evaluate and write the model:", train))
    steps.append(Step("Look at the mistakes in section 2. Are they ones that matter to you?"))
    words = "The accuracy is that of images like these. Try the written model on images from another day or place:"
    steps.append(Step(words, "recommend predict model.keras NEW_IMAGES"))
    if comparison is None and found.verdict.close and found.verdict.overridden is None:
        words = "The answer is close. Train the strategies and compare them, in up to 10 minutes:"
        steps.append(Step(words, typed("netgraft.compare(found)", "compare")))
    return steps


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
