"""The page that a person reads: rich on a terminal, plain text elsewhere."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console, Group, RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from probes.data.dataset_size import DatasetSize
from probes.similarity.feature_similarity import FeatureSimilarity
from recommender.explanation.reasons import cautions, explain, source_of
from recommender.explanation.text import clean
from recommender.fit.plan import planned
from recommender.pipeline.decision import Decision
from recommender.reports.console import bullets, heading, print_plainly
from recommender.rules import thresholds
from recommender.rules.class_balance import small_class
from recommender.rules.scenario import Similarity
from recommender.rules.scenario_rule import amount, similarity_verdict

if TYPE_CHECKING:
    from builders.surgery.cut import CutPoint

_BAR = 16  # characters
_SMALL_BAR = 8
_CLASSES_SHOWN = 10


def print_page(found: Decision, console: Console) -> None:
    """Print the whole page."""
    print_plainly(_page(found), console)


def cut_table(points: "Sequence[CutPoint]") -> list[str]:
    """The cut points of a network as lines of a table."""
    header = ("layer", "depth", "shape", "stride", "parameters")
    rows = [header]
    for point in points:
        stride = "" if point.stride is None else str(point.stride)
        shape = "×".join("?" if side is None else str(side) for side in point.shape)
        rows.append((clean(point.layer), f"{point.depth:.1%}", shape, stride, f"{point.parameters:,}"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
    return [
        "  ".join(
            cell.ljust(width) if column in (0, 2) else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        for row in rows
    ]


def one_line(found: Decision) -> str:
    """The answer in one line."""
    strategy, accuracy = found.strategy, found.expected_accuracy
    freeze = strategy.freeze or "nothing"
    expected = "" if accuracy is None else f", expected accuracy {accuracy:.3f}"
    return (
        f"{found.scenario.id} {found.scenario.name}: {strategy.backbone} at {strategy.input_size} px, "
        f"cut {strategy.cut}, freeze {freeze}{expected}"
    )


def _page(found: Decision) -> RenderableType:
    parts: list[RenderableType] = [_headline(found), Text(), _measures(found), Text(), _depths(found), Text()]
    parts += [heading("What is built"), _strategy(found), Text(), heading("Why"), bullets(explain(found))]
    notes = cautions(found)
    if notes:
        parts += [Text(), heading("Mind"), bullets(notes)]
    if found.findings:
        parts.append(Text("   `--check` tells more of the data: which files, what was done, what you may do.", "dim"))
    return Group(*parts)


def _headline(found: Decision) -> Text:
    scenario = found.scenario
    source = source_of(found)
    alike = "like" if scenario.similarity is Similarity.SIMILAR else "unlike"
    line = Text.assemble(
        (f" Scenario {scenario.id} ", "bold white on blue"),
        (f" {scenario.name} ", "bold blue"),
        f" {scenario.amount} data, {alike} {source}; confidence {found.verdict.confidence:.0%}",
        (" (a close call)\n" if found.verdict.close else "\n", "yellow"),
        (f" {scenario.recipe}", "italic"),
    )
    if found.verdict.overridden is not None:
        line.append(f"\n as you asked; the rules would choose {found.verdict.overridden.id}", "yellow")
    return line


def _measures(found: Decision) -> RenderableType:
    size, similarity = found.measurements.size, found.measurements.similarity
    counts = np.array(size.class_counts)
    width, height = size.median_size_px
    table = Table.grid(padding=(0, 2, 0, 1))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row(
        "Data",
        Text(
            f"{clean(size.path)}: {size.n_images:,} {_split_word(size)}images in {size.n_classes:,} classes, "
            f"{counts.min():,} to {counts.max():,} a class; median {width} × {height} px, "
            f"{size.grey_share:.0%} without colour; {size.n_sampled:,} measured"
        ),
    )
    table.add_row("Size", f"{amount(size.n_images, small_class(size.class_counts))}")
    if similarity is None:
        table.add_row("Similarity", "not measured: the network has no BatchNorm, and there is no reference for it")
        return table
    spread = "" if similarity.standard_error is None else f" ± {similarity.standard_error:.2f}"
    colour = "green" if similarity_verdict(similarity.score) is Similarity.SIMILAR else "red"
    table.add_row(
        "Similarity",
        Text.assemble(
            (f"{similarity.score:.2f}{spread} ", colour),
            (_bar(similarity.score), colour),
            f" {similarity_verdict(similarity.score)} (threshold {thresholds.SIMILAR_SCORE:.2f})",
        ),
    )
    beside = []
    if similarity.frechet is not None and similarity.kid is not None:
        beside.append(f"Fréchet distance {similarity.frechet:.1f}, KID {similarity.kid:.2f}")
    if similarity.source_confidence is not None:
        beside.append(f"mean top probability of the {similarity.source} classifier {similarity.source_confidence:.2f}")
    if beside:
        table.add_row("Beside it", ", ".join(beside))
    if similarity.looks_like:
        table.add_row("Looks like", _looks(size, similarity))
    return table


def _split_word(size: DatasetSize) -> str:
    return "training " if len(size.splits) > 1 else ""


def _looks(size: DatasetSize, similarity: FeatureSimilarity) -> Text:
    lines = []
    for name, labels in list(zip(size.class_names, similarity.looks_like, strict=True))[:_CLASSES_SHOWN]:
        shares = ", ".join(f"{label} {share:.0%}" for label, share in labels)
        lines.append(f"{clean(name)} → {shares or 'not in the sample'}")
    if size.n_classes > _CLASSES_SHOWN:
        lines.append(f"… and {size.n_classes - _CLASSES_SHOWN:,} more classes (all with --json)")
    return Text("\n".join(lines), no_wrap=True, overflow="ellipsis")


def _bar(share: float, width: int = _BAR) -> str:
    filled = round(min(max(share, 0.0), 1.0) * width)
    return "█" * filled + "░" * (width - filled)


def _depths(found: Decision) -> RenderableType:
    """Drift and accuracy by depth, the cut and the freeze marked."""
    similarity = found.measurements.similarity
    drift = {} if similarity is None else {layer.layer: layer for layer in similarity.per_layer}
    evidence = {cut.cut: cut for cut in found.measurements.separability.per_cut}
    most = max((layer.drift for layer in drift.values()), default=1.0) or 1.0
    table = Table(box=None, padding=(0, 1), header_style="bold", pad_edge=True)
    table.add_column("Depth", justify="right", no_wrap=True, min_width=5)
    table.add_column("Cut point", no_wrap=True, overflow="ellipsis")
    table.add_column("Drift", no_wrap=True, min_width=6 + _SMALL_BAR)
    table.add_column("Accuracy", no_wrap=True, min_width=7 + _SMALL_BAR)
    table.add_column(no_wrap=True, min_width=12)
    for point in found.plan.cuts:
        layer = drift.get(point.batch_norm or "") or drift.get(point.layer)
        there = evidence.get(point.layer)
        kept = point.depth <= found.strategy.cut_depth
        table.add_row(
            f"{point.depth:.0%}",
            point.layer,
            "" if layer is None else f"{layer.drift:5.2f} {_bar(layer.drift / most, _SMALL_BAR)}",
            "" if there is None else f"{there.accuracy:6.1%} {_bar(there.accuracy, _SMALL_BAR)}",
            _mark(found, point.layer),
            style="" if kept else "dim",
        )
    return table


def _mark(found: Decision, layer: str) -> str:
    marks = []
    if layer == found.strategy.cut:
        marks.append("top" if layer == found.plan.cuts[-1].layer else "cut")
    if layer == found.strategy.freeze:
        marks.append("freeze")
    return "◀ " + ", ".join(marks) if marks else ""


def _strategy(found: Decision) -> RenderableType:
    strategy = found.strategy
    frozen, trainable = found.parameters
    levels = len(strategy.head.levels)
    reads = "" if levels == 1 else f" of {levels} cut points, joined"
    table = Table.grid(padding=(0, 2, 0, 1))
    table.add_column(style="bold", no_wrap=True)
    table.add_column(overflow="fold")
    table.add_row("Backbone", f"{clean(found.backbone.title)}, pictures resized to {strategy.input_size} px")
    table.add_row("Cut", f"after {strategy.cut}, {strategy.cut_depth:.0%} of the depth")
    table.add_row(
        "Freeze", "nothing" if strategy.freeze is None else f"up to {strategy.freeze}, {strategy.freeze_depth:.0%}"
    )
    table.add_row("Head", f"global average pooling{reads}, softmax over {strategy.head.classes:,} classes")
    table.add_row("Parameters", f"{frozen:,} frozen, {trainable:,} trainable")
    table.add_row("Training", _training(found))
    judged = found.probe.judged
    if judged is not None:
        balanced = f" (balanced {judged.balanced_accuracy:.1%} ± {judged.balanced_error:.1%})"
        beside = balanced if found.class_weight else ""
        table.add_row("Accuracy", f"{judged.accuracy:.1%} ± {judged.standard_error:.1%}{beside} before any training")
    return Padding(table, 0)


def _training(found: Decision) -> str:
    training = planned(found)
    schedule = training.schedule
    if schedule is None:
        return "none but the linear probe, which is fitted already; `--fit` fits it on all images and judges it"
    return (
        f"`--fit`: the linear probe, then {schedule.steps:,} steps of {schedule.batch_size} images on "
        f"{training.n_training:,}, rate up to {schedule.learning_rate:g}"
    )
