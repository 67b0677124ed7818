"""The page of a recommendation: rich on a terminal, plain text elsewhere."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from probes.data.dataset_size import DatasetSize
from recommender.explanation.reasons import cautions, explain, source_of
from recommender.explanation.text import clean
from recommender.fit.plan import planned
from recommender.pipeline.decision import Decision
from recommender.reports.console import bullets, grid, print_plainly
from recommender.rules import thresholds
from recommender.rules.backbone_rule import BackboneChoice
from recommender.rules.input_size_rule import InputSizeChoice
from recommender.rules.scenario import Similarity
from recommender.rules.scenario_rule import similarity_verdict

if TYPE_CHECKING:
    from builders.graph.cut_search import CutPoint

_CLASSES_SHOWN = 10
_BAR, _SMALL_BAR = 16, 8  # characters


def print_page(found: Decision, console: Console) -> None:
    """Print the whole page."""
    parts: list[RenderableType] = [_headline(found), Text(), _measures(found), Text(), _depths(found), Text()]
    if choice := found.measurements.extra.get("backbone"):
        parts += [Text("Networks tried", "bold"), _networks(choice), Text()]
    parts += [Text("What is built", "bold"), _strategy(found), Text(), bullets("Why", explain(found))]
    if notes := cautions(found):
        parts += [Text(), bullets("Warnings", notes)]
    if found.findings:
        parts.append(Text("   `recommend check` lists the files, what was done and what you may do.", "dim"))
    print_plainly(parts, console)


def cut_table(points: "Sequence[CutPoint]") -> list[str]:
    """The cut points of a network as lines of a table."""
    rows = [("layer", "depth", "shape", "stride", "parameters")]
    for point in points:
        stride = "" if point.stride is None else str(point.stride)
        shape = "×".join("?" if side is None else str(side) for side in point.shape)
        rows.append((clean(point.layer), f"{point.depth:.1%}", shape, stride, f"{point.parameters:,}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    form = "  ".join(f"{{:{side}{width}}}" for side, width in zip("<><>>", widths, strict=True))
    return [form.format(*row) for row in rows]


def one_line(found: Decision) -> str:
    """The answer in one line."""
    strategy, accuracy = found.strategy, found.expected_accuracy
    expected = "" if accuracy is None else f", expected accuracy {accuracy:.3f}"
    return (
        f"{found.scenario.id} {found.scenario.name}: {strategy.backbone} at {strategy.input_size} px, "
        f"cut {strategy.cut}, freeze {strategy.freeze or 'nothing'}{expected}"
    )


def _bar(share: float, width: int) -> str:
    filled = round(min(max(share, 0.0), 1.0) * width)
    return "█" * filled + "░" * (width - filled)


def _headline(found: Decision) -> Text:
    scenario, verdict = found.scenario, found.verdict
    like = "like" if scenario.similarity is Similarity.SIMILAR else "unlike"
    asked = "" if verdict.overridden is None else f"\n as you asked; the rules would choose {verdict.overridden.id}"
    return Text.assemble(
        (f" Scenario {scenario.id} ", "bold white on blue"),
        (f" {scenario.name} ", "bold blue"),
        f" {scenario.amount} data, {like} {source_of(found)}; confidence {verdict.confidence:.0%}",
        (" (a close call)\n" if verdict.close else "\n", "yellow"),
        (f" {scenario.recipe}", "italic"),
        (asked, "yellow"),
    )


def _measures(found: Decision) -> Table:
    size, similarity = found.measurements.size, found.measurements.similarity
    rows: list[tuple[str, str | Text]] = [("Data", _data_line(size))]
    if similarity is None:
        score = "not measured: the network has no BatchNorm, and there is no reference for it"
        return grid(*rows, ("Similarity", score))
    verdict, also = similarity_verdict(similarity.score), []
    spread = "" if similarity.standard_error is None else f" ± {similarity.standard_error:.2f}"
    shown = f"{similarity.score:.2f}{spread} {_bar(similarity.score, _BAR)}"
    colour = "green" if verdict is Similarity.SIMILAR else "red"
    threshold = f" {verdict} (threshold {thresholds.SIMILAR_SCORE:.2f})"
    if similarity.frechet is not None and similarity.kid is not None:
        also.append(f"Fréchet distance {similarity.frechet:.1f}, KID {similarity.kid:.2f}")
    if similarity.source_confidence is not None:
        classifier = f"the {similarity.source} classifier"
        also.append(f"mean top probability of {classifier} {similarity.source_confidence:.2f}")
    return grid(
        *rows,
        ("Similarity", Text.assemble((shown, colour), threshold)),
        ("Also measured", ", ".join(also)),
        ("Classified as", _source_labels(size.class_names, similarity.looks_like)),
    )


def _data_line(size: DatasetSize) -> str:
    fewest, most = min(size.class_counts), max(size.class_counts)
    per_class = f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}"
    split = "training " if len(size.splits) > 1 else ""
    width, height = size.median_size_px
    grey = f", {share} greyscale" if (share := f"{size.grey_share:.0%}") != "0%" else ""
    return (
        f"{clean(size.path)}: {size.n_images:,} {split}images in {size.n_classes:,} classes, {per_class} per class; "
        f"median {width} × {height} px{grey}; {size.n_sampled:,} measured"
    )


def _source_labels(class_names: Sequence[str], looks_like: Sequence[Sequence[tuple[str, float]]]) -> Text:
    """What the network's own classifier takes each class for."""
    lines = []
    for name, labels in list(zip(class_names, looks_like, strict=False))[:_CLASSES_SHOWN]:
        shares = ", ".join(f"{label} {share:.0%}" for label, share in labels)
        lines.append(f"{clean(name)} → {shares or 'not in the sample'}")
    if len(looks_like) > _CLASSES_SHOWN:
        lines.append(f"… and {len(looks_like) - _CLASSES_SHOWN:,} more classes (all with --json)")
    return Text("\n".join(lines), no_wrap=True, overflow="ellipsis")


def _depths(found: Decision) -> Table:
    """Drift and accuracy at each cut point, the cut and the freeze marked."""
    similarity, strategy = found.measurements.similarity, found.strategy
    drift = {} if similarity is None else {layer.layer: layer.drift for layer in similarity.per_layer}
    accuracy = {cut.cut: cut.accuracy for cut in found.measurements.separability.per_cut}
    largest = max(drift.values(), default=1.0) or 1.0
    table = Table(box=None, padding=(0, 1), header_style="bold")
    table.add_column("Depth", justify="right", no_wrap=True, min_width=5)
    table.add_column("Cut point", no_wrap=True, overflow="ellipsis")
    for name in ("Drift", "Accuracy", ""):
        table.add_column(name, no_wrap=True, min_width=12)
    for point in found.plan.cuts:
        here, right = drift.get(point.batch_norm or "", drift.get(point.layer)), accuracy.get(point.layer)
        cut = "top" if point.layer == found.plan.cuts[-1].layer else "cut"
        marked = [name for name, at in ((cut, strategy.cut), ("freeze", strategy.freeze)) if at == point.layer]
        table.add_row(
            f"{point.depth:.0%}",
            point.layer,
            "" if here is None else f"{here:5.2f} {_bar(here / largest, _SMALL_BAR)}",
            "" if right is None else f"{right:6.1%} {_bar(right, _SMALL_BAR)}",
            f"◀ {', '.join(marked)}" if marked else "",
            style="" if point.depth <= strategy.cut_depth else "dim",
        )
    return table


def _networks(choice: BackboneChoice) -> Table:
    """What each network that was tried gives and costs."""
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("Network", overflow="fold", min_width=18)
    for name in ("px", "Accuracy", "Gain", "ms", "MB", "Images"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for each in choice.tried:
        measured = ("",) * 3
        if each.accuracy is not None and each.gain is not None:
            error, gain_error = each.standard_error or 0, each.gain_error or 0
            gain = "leads" if each.name == choice.leader else f"{100 * each.gain:+.1f} ± {100 * gain_error:.1f}"
            measured = (f"{each.accuracy:.1%} ± {error:.1%}", gain, f"{each.milliseconds:.1f}")
        accuracy, gain, milliseconds = measured
        table.add_row(
            clean(each.name),
            f"{each.input_size}",
            accuracy,
            gain,
            milliseconds,
            f"{each.megabytes:.1f}",
            f"{each.n_images:,}",
            "◀ chosen" if each is choice.tried[0] else "dropped" if each.dropped else "",
            style="dim" if each.dropped else "",
        )
    return table


def _sizes(choice: InputSizeChoice | None) -> str:
    """What each input size that was tried gives and costs."""
    if choice is None:
        return ""
    tried = ", ".join(
        f"{each.size} px {each.accuracy:.1%} in {each.seconds:.1f} s per 1,000 images" for each in choice.tried
    )
    return f"{choice.size} px; tried on {choice.n_images:,} images: {tried}; the rule's is {choice.prior} px"


def _strategy(found: Decision) -> Table:
    strategy, judged, schedule = found.strategy, found.probe.judged, planned(found).schedule
    frozen, trainable = found.parameters
    levels = len(strategy.head.levels)
    pooled = "global average pooling" + ("" if levels == 1 else f" of {levels} cut points, concatenated")
    training = "only the linear probe, fitted already; `recommend fit` fits it on all images and evaluates it"
    if schedule is not None:
        steps = f"{schedule.steps:,} steps of {schedule.batch_size} images"
        training = f"`recommend fit`: the linear probe, then {steps}, learning rate up to {schedule.learning_rate:g}"
    accuracy = ""
    if judged is not None:
        balanced = f" (balanced {judged.balanced_accuracy:.1%} ± {judged.balanced_error:.1%})"
        share = f"{judged.accuracy:.1%} ± {judged.standard_error:.1%}{balanced if found.class_weight else ''}"
        accuracy = f"{share} before any training"
    return grid(
        ("Backbone", Text(f"{clean(found.backbone.title)}, images resized to {strategy.input_size} px")),
        ("Input size", _sizes(found.measurements.extra.get("input_size"))),
        ("Cut", f"after {strategy.cut}, {strategy.cut_depth:.0%} of the depth"),
        ("Freeze", f"up to {strategy.freeze}, {strategy.freeze_depth:.0%}" if strategy.freeze else "nothing"),
        ("Head", f"{pooled}, softmax over {strategy.head.classes:,} classes"),
        ("Parameters", f"{frozen:,} frozen, {trainable:,} trainable"),
        ("Training", training),
        ("Accuracy", accuracy),
    )
