"""Charts of what was measured: the map of data sets, drift by depth, accuracy by cut."""

import csv
from dataclasses import replace
from pathlib import Path
from string import ascii_lowercase
from typing import NamedTuple

from markupsafe import Markup

from probes.similarity.drift import PART_WEIGHTS
from probes.similarity.similarity import FeatureSimilarity
from recommender.explanation.text import interval_text, percent
from recommender.explanation.verdict import score_interval
from recommender.pipeline.decision import Decision
from recommender.reports.depth_table import Depth
from recommender.reports.html.svg import Axis, Plot, linear_axis, log_axis, share_axis, whole_percent
from recommender.rules import thresholds
from recommender.rules.outcomes import images_needed
from recommender.rules.scenario import Amount, Scenario, Similarity
from recommender.rules.scenario_rule import excess_of

_LEAST_IMAGES, _MOST_IMAGES = 30, 30_000  # that the map shows at least


class ReferenceSet(NamedTuple):
    """A data set of the benchmarks, as a letter on the map."""

    letter: str
    name: str
    n_images: int
    score: float


def reference_sets() -> list[ReferenceSet]:
    """The data sets of the benchmarks, from reference_sets.csv."""
    text = Path(__file__).with_name("reference_sets.csv").read_text(encoding="utf-8")
    rows = csv.DictReader(line for line in text.splitlines() if not line.startswith("#"))
    named = zip(ascii_lowercase, rows, strict=False)
    return [ReferenceSet(letter, row["name"], int(row["n_images"]), float(row["score"])) for letter, row in named]


def map_chart(found: Decision) -> Markup:
    """Amount and similarity: the four scenarios, the sets of the benchmarks, and the user's own."""
    similarity, n_images = found.measurements.similarity, found.measurements.size.n_images
    plot = Plot(
        words=f"Map of amount and similarity; your {n_images:,} images lie in scenario {found.scenario.id}.",
        x=log_axis(min(_LEAST_IMAGES, n_images / 2), max(_MOST_IMAGES, n_images * 2), "training images"),
        y=linear_axis(0.0, 1.0, "similarity to the source"),
    )
    threshold = thresholds.SIMILAR_SCORE
    plot.line(_boundary(found, plot), "threshold")
    plot.line([(plot.x.low, threshold), (plot.x.high, threshold)], "threshold")
    for amount, x, place, shift in ((Amount.LIMITED, plot.x.low, "", 6), (Amount.PLENTIFUL, plot.x.high, "end", -6)):
        for side, down in ((Similarity.SIMILAR, -7), (Similarity.DISSIMILAR, 17)):
            scenario = Scenario.of(amount, side)
            chosen = " strong" if scenario is found.scenario else ""
            words = f"{scenario.id} {scenario.name.lower().replace('fine_', 'fine-').replace('_', ' ')}"
            plot.text(x, threshold, words, f"{place} quarter{chosen}", dx=shift, dy=down)
    for known in reference_sets():
        title = f"{known.name}: {known.n_images:,} images, score {known.score:.2f}"
        plot.mark(known.n_images, known.score, "known", title=title, scale=1.6)
        plot.text(known.n_images, known.score, known.letter, "middle letter", dy=4)
    if similarity is None:
        plot.line([(n_images, 0.0), (n_images, 1.0)], "own")
        plot.text(n_images, threshold, "your images", "strong halo", dx=6, dy=-6)
        return plot.render()
    plot.interval(n_images, *(score_interval(similarity) or (similarity.score, similarity.score)), "own")
    plot.mark(n_images, similarity.score, "own", "diamond", f"your images: {similarity.score:.2f}", 1.7)
    left = plot.x.share(n_images) > 0.6
    plot.text(n_images, similarity.score, "your images", "strong halo" + " end" * left, dx=-13 if left else 13, dy=5)
    return plot.render()


def _boundary(found: Decision, plot: Plot) -> list[tuple[float, float]]:
    """From how many images on fine-tuning is expected to be better than freezing, by the similarity alone."""
    scores = [step / 40 for step in range(1, 41)]
    tasks = [replace(found.verdict.task, excess_drift=excess_of(score)) for score in scores]
    return [
        (min(max(images_needed(task), plot.x.low), plot.x.high), score)
        for task, score in zip(tasks, scores, strict=True)
    ]


def drift_chart(similarity: FeatureSimilarity) -> Markup:
    """Drift at each norm, its floor, and the threshold above that."""
    layers = similarity.per_layer
    limit = thresholds.DRIFT_THRESHOLD * similarity.unit
    bounded = [number for number, layer in enumerate(layers) if layer.part in PART_WEIGHTS]
    most = max(*(layer.drift for layer in layers), *(layer.floor + limit for layer in layers))
    plot = Plot(
        words=f"Drift at {len(layers)} norms from input to output, its floor, and the threshold above the floor.",
        x=Axis(low=-0.5, high=len(layers) - 0.5, title="norm, from input to output", ticks=_part_ticks(similarity)),
        y=linear_axis(0.0, 1.05 * most, "drift"),
    )
    for number in range(1, len(layers)):
        if layers[number].part != layers[number - 1].part:
            plot.line([(number - 0.5, 0.0), (number - 0.5, plot.y.high)], "divider")
    plot.line([(number, layer.floor) for number, layer in enumerate(layers)], "floor")
    plot.line([(number, layers[number].floor + limit) for number in bounded], "threshold")
    plot.line([(number, layer.drift) for number, layer in enumerate(layers)], "own")
    for number, layer in enumerate(layers):
        plot.mark(
            number, layer.drift, "own", title=f"{layer.layer}: {layer.drift:.3f}, floor {layer.floor:.3f}", scale=0.7
        )
    return plot.render()


def _part_ticks(similarity: FeatureSimilarity) -> list[tuple[float, str]]:
    """The name of each part, at its middle."""
    numbers: dict[str, list[int]] = {}
    for number, layer in enumerate(similarity.per_layer):
        numbers.setdefault(layer.part, []).append(number)
    return [(sum(each) / len(each), part) for part, each in numbers.items()]


def cuts_chart(rows: list[Depth]) -> Markup:
    """Accuracy of a linear classifier at each cut point, the choice marked."""
    judged = [
        (row, row.accuracy, row.interval) for row in rows if row.accuracy is not None and row.interval is not None
    ]
    chosen = next((row for row in rows if "cut" in row.marks), rows[-1])
    plot = Plot(
        words=f"Accuracy at {len(judged)} cut points by depth; the cut chosen is {chosen.layer}.",
        x=linear_axis(0.0, 1.0, "depth of the cut", whole_percent),
        y=share_axis((low for _, _, (low, _) in judged), "held-out accuracy"),
    )
    plot.line([(row.depth, accuracy) for row, accuracy, _ in judged], "faint")
    for row, accuracy, (low, high) in judged:
        kind, shape, scale = ("own", "diamond", 1.6) if row is chosen else ("known", "circle", 1.0)
        plot.interval(row.depth, low, high, kind)
        title = f"{row.layer}: {percent(accuracy)} ({interval_text((low, high))})"
        plot.mark(row.depth, accuracy, kind, shape, title, scale)
        if row is chosen:
            left = row.depth > 0.5
            plot.text(row.depth, low, "cut here", "strong halo" + " end" * left, dx=4 if left else -4, dy=16)
    return plot.render()
