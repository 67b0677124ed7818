"""What a model card says of the data and of how the model was made."""

import re
from collections.abc import Iterator
from typing import Any

from recommender.saving.markdown import bullets, escaped, facts, span, table

MOST_CLASSES = 50  # in the table
_PHASES = {"linear_probe": "Linear probe", "fine_tune": "Fine-tuning"}


def training(description: dict[str, Any]) -> str:
    """Data and procedure; empty where neither is known."""
    parts = [_data(description), _procedure(description)]
    return "\n\n".join(part for part in parts if part)


def _data(description: dict[str, Any]) -> str:
    data = description.get("dataset")
    if not data:
        return ""
    name = re.split(r"[/\\]", data["path"].rstrip("/\\"))[-1] or data["path"]
    repeats = data.get("n_repeats", 0)
    lines = [
        ("Name", f"{escaped(name)} ({escaped(str(data.get('kind', 'data')))})"),
        ("Images", f"{data['n_images']:,} in {data['n_classes']:,} classes"),
        ("Images a class", "{min:,} to {max:,}, median {median:,g}".format(**data["images_per_class"])),
        ("Repeats left out", f"{repeats:,}" if repeats else None),
        ("Splits", _splits(data.get("splits", {}))),
    ]
    counts = data["class_counts"]
    text = f"### Training Data\n\n{facts(lines)}"
    if len(counts) > MOST_CLASSES:
        return f"{text}\n\nThe {len(counts):,} classes and their counts are in the JSON beside the model."
    rows = ((str(place), escaped(name), f"{count:,}") for place, (name, count) in enumerate(counts.items()))
    return f"{text}\n\n{table(('Output', 'Class', 'Images'), rows, (0, 2))}"


def _splits(splits: dict[str, int]) -> str | None:
    return ", ".join(f"{name} {count:,}" for name, count in splits.items()) if len(splits) > 1 else None


def _procedure(description: dict[str, Any]) -> str:
    parts = []
    if reasons := description.get("reasons"):
        parts += ["Why it was made so:", bullets(escaped(reason) for reason in reasons)]
    if strategy := description.get("strategy"):
        parts += ["What is built:", facts(_strategy(strategy))]
    if fit := description.get("fit"):
        parts += ["How it was trained:", facts(_fit(fit))]
    elif strategy:
        parts.append(
            "Beyond its prediction layer, a logistic regression on what the backbone sees, it has not been trained."
        )
    return "### Training Procedure\n\n" + "\n\n".join(parts) if parts else ""


def _strategy(strategy: dict[str, Any]) -> Iterator[tuple[str, str | None]]:
    cut, freeze, head = strategy["cut"], strategy["freeze"], strategy["head"]
    levels = len(head.get("levels", ()))
    yield "Kept", f"up to {span(cut['layer'])}, {cut['depth']:.0%} of the depth"
    layer = freeze["layer"]
    yield "Frozen", "nothing" if layer is None else f"up to {span(layer)}, {freeze['depth']:.0%} of the depth"
    read = f" of {levels} cut points, joined" if levels > 1 else ""
    yield "Head", f"global {head['pooling']} pooling{read}, softmax over {head['classes']:,} classes"
    yield "Parameters", f"{freeze['frozen_parameters']:,} frozen, {freeze['trainable_parameters']:,} trainable"


def _fit(fit: dict[str, Any]) -> Iterator[tuple[str, str | None]]:
    plan = fit.get("plan") or {}
    chosen = {
        "fine_tuned": "the fine-tuned network",
        "linear_probe": "the linear probe: fine-tuning brought nothing, or was not tried",
        "as_given": "the model as it was: training brought nothing",
    }
    kept = fit.get("chosen")
    yield "Outcome", None if kept is None else chosen.get(kept, escaped(str(kept)))
    for phase in plan.get("phases", ()):
        steps = f", at most {phase['steps']:,} steps" if phase.get("steps") else ""
        rate = f", learning rate up to {phase['learning_rate']:g}" if phase.get("learning_rate") else ""
        yield (
            _PHASES.get(phase.get("name"), "Phase"),
            f"{escaped(str(phase.get('what', '')))}{steps}{rate}",
        )
    yield "Learnt from", f"{plan['n_training']:,} images" if plan.get("n_training") else None
    yield "Augmentation", ", ".join(map(escaped, plan["augmentation"])) if plan.get("augmentation") else None
    yield "Precision", escaped(str(plan["precision"])) if plan.get("precision") else None
    seconds = fit.get("seconds")
    total = sum(seconds.values()) if isinstance(seconds, dict) else seconds
    yield "Time", None if not total else f"{total:,.0f} s"
    yield "Cut short", "by the user" if fit.get("interrupted") else None
