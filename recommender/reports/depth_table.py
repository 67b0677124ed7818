"""The table by depth: drift and accuracy at each cut point, what was chosen, and why not a better-looking row."""

from rich.table import Table

from probes.evaluation.intervals import accuracy_interval, paired_gain
from recommender.explanation.text import clean, interval_text, percent, points_text
from recommender.pipeline.decision import Decision
from recommender.rules.scenario import Scenario

_WIDE = 110  # characters from which the accuracy has a bar, too


def bar(share: float, width: int) -> str:
    """A share from 0 to 1 as a bar of so many characters."""
    filled = round(min(max(share, 0.0), 1.0) * width)
    return "█" * filled + "░" * (width - filled)


def depth_table(found: Decision, width: int) -> Table:
    """Drift and accuracy at each cut point, with the cut and the freeze depth marked."""
    separability = found.measurements.separability
    evidence = {cut.cut: cut for cut in separability.per_cut}
    drift = drift_by_layer(found)
    largest = max(drift.values(), default=1.0) or 1.0
    table = Table(box=None, padding=(0, 1, 0, 1), header_style="bold")
    for name, justify in (("Depth", "right"), ("Cut point", "left"), ("Drift", "left")):
        table.add_column(name, justify=justify, overflow="fold", no_wrap=name != "Cut point")  # type: ignore[arg-type]
    table.add_column("Accuracy", justify="right", no_wrap=True)
    table.add_column("90 % interval", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for point in found.plan.cuts:
        here, cut = drift.get(point.layer), evidence.get(point.layer)
        long = f"  {bar(cut.accuracy, 20)}" if cut is not None and width >= _WIDE else ""
        table.add_row(
            percent(point.depth, 0),
            clean(point.layer),
            "" if here is None else f"{here:4.2f} {bar(here / largest, 20 if width >= _WIDE else 5)}",
            "" if cut is None else percent(cut.accuracy) + long,
            "" if cut is None else interval_text(accuracy_interval(cut.correct, separability.groups)),
            _mark(found, point.layer),
            style="bold" if point.layer == found.strategy.cut else "",
        )
    return table


def drift_by_layer(found: Decision) -> dict[str, float]:
    """Cut point -> drift there, where it was measured."""
    similarity = found.measurements.similarity
    by_norm = {} if similarity is None else {layer.layer: layer.drift for layer in similarity.per_layer}
    norms = {point.layer: by_norm.get(point.batch_norm or "", by_norm.get(point.layer)) for point in found.plan.cuts}
    return {layer: drift for layer, drift in norms.items() if drift is not None}


def _mark(found: Decision, layer: str) -> str:
    if layer == found.strategy.cut:
        return "◀ chosen"
    return "◀ frozen" if layer == found.strategy.freeze else ""


def notes(found: Decision) -> list[str]:
    """What the table shows, in sentences: what its marks mean, what the model reads, why not the best row."""
    strategy = found.strategy
    chosen = "kept up to here and frozen"
    if strategy.freeze is None:
        chosen = "kept up to here, and all of it trains"
    elif strategy.freeze != strategy.cut:
        chosen = "kept up to here; it is frozen up to ◀ frozen, and the rest trains"
    lines = [
        f"◀ chosen: the network is {chosen}. Drift: 0 as for the images that it was trained on; more is less alike."
    ]
    if not found.measurements.separability.per_cut:
        return [*lines, "The accuracy could not be measured: too few images can be held out."]
    line = "Accuracy: of a linear classifier on that cut point alone, before any training."
    levels, accuracy = len(strategy.head.levels), found.expected_accuracy
    if levels > 1 and accuracy is not None and not found.measurements.size.unsampled_classes:
        line += f" The model reads {levels} of them together and is right on {percent(accuracy)}."
    return [*lines, line, *_passed_over(found)]


def _passed_over(found: Decision) -> list[str]:
    """Why the row with the highest accuracy was not chosen."""
    separability = found.measurements.separability
    by_cut = {cut.cut: cut for cut in separability.per_cut}
    chosen, best = by_cut.get(found.strategy.cut), max(separability.per_cut, key=lambda cut: cut.accuracy)
    if chosen is None or best.accuracy <= chosen.accuracy:
        return []
    gain = paired_gain(chosen.correct, best.correct, separability.groups)
    depth = next(point.depth for point in found.plan.cuts if point.layer == best.cut)
    against = f"{percent(best.accuracy)} against {percent(chosen.accuracy)}"
    compared = f"Not {clean(best.cut)} at {percent(depth, 0)}, with {against}"
    difference = f"{100 * gain.difference:+.1f} points (90 % interval {points_text((gain.low, gain.high))})"
    if not gain.clear:
        return [f"{compared}: {difference} is within noise."]
    if found.scenario is Scenario.SHALLOW_FEATURES and best.cut == found.plan.cuts[-1].layer:
        why = "scenario 4 cuts earlier by its definition; `recommend compare` measures both in full"
        return [f"{compared}: it is better here by {difference}, but {why}."]
    if found.strategy.freeze != found.strategy.cut:
        return [f"{compared}: fine-tuning starts from the whole network, which these frozen features don't judge."]
    return [f"{compared}: {difference} is the best of many rows, and too little to move the cut (see Why)."]
