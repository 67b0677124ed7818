"""The table by depth: drift and accuracy at each cut point, what was chosen, and why not a better-looking row."""

from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Depth:
    """What is known of a cut point."""

    layer: str
    depth: float
    drift: float | None
    accuracy: float | None
    interval: tuple[float, float] | None  # 90 %
    marks: tuple[str, ...]  # "cut", "freeze", "head"


def depths(found: Decision) -> list[Depth]:
    """All cut points, from input to output."""
    similarity, strategy, separability = found.measurements.similarity, found.strategy, found.measurements.separability
    drift = {} if similarity is None else {layer.layer: layer.drift for layer in similarity.per_layer}
    evidence = {cut.cut: cut for cut in separability.per_cut}
    places = {"cut": (strategy.cut,), "freeze": (strategy.freeze,), "head": strategy.head.levels}
    rows = []
    for point in found.plan.cuts:
        known = evidence.get(point.layer)
        rows.append(
            Depth(
                layer=clean(point.layer),
                depth=point.depth,
                drift=drift.get(point.batch_norm or "", drift.get(point.layer)),
                accuracy=None if known is None else known.accuracy,
                interval=None if known is None else accuracy_interval(known.correct, separability.groups),
                marks=tuple(name for name, layers in places.items() if point.layer in layers),
            )
        )
    return rows


def depth_table(found: Decision, width: int) -> Table:
    """Drift and accuracy at each cut point, with the cut and the freeze depth marked."""
    rows, wide = depths(found), width >= _WIDE
    largest = max((row.drift for row in rows if row.drift is not None), default=1.0) or 1.0
    table = Table(box=None, padding=(0, 1, 0, 1), header_style="bold")
    for name, justify in (("Depth", "right"), ("Cut point", "left"), ("Drift", "left")):
        table.add_column(name, justify=justify, overflow="fold", no_wrap=name != "Cut point")  # type: ignore[arg-type]
    table.add_column("Accuracy", justify="right", no_wrap=True)
    table.add_column("90 % interval", justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    for row in rows:
        chosen, frozen = "cut" in row.marks, "freeze" in row.marks
        accuracy = "" if row.accuracy is None else percent(row.accuracy)
        table.add_row(
            percent(row.depth, 0),
            row.layer,
            "" if row.drift is None else f"{row.drift:4.2f} {bar(row.drift / largest, 20 if wide else 5)}",
            f"{accuracy}  {bar(row.accuracy, 20)}" if wide and row.accuracy is not None else accuracy,
            "" if row.interval is None else interval_text(row.interval),
            "◀ chosen" if chosen else "◀ frozen" if frozen else "",
            style="bold" if chosen else "",
        )
    return table


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
