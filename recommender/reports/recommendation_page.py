"""The page of a recommendation: rich on a terminal, plain text elsewhere."""

from collections.abc import Sequence

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from builders.graph.cut_search import CutPoint
from recommender.explanation.cautions import cautions
from recommender.explanation.reasons import explain
from recommender.explanation.text import class_name, clean, percent
from recommender.explanation.verdict import (
    TOO_FEW_NORMS,
    expected_rows,
    gain_interval,
    kind_of_accuracy,
    measured_note,
    score_interval,
)
from recommender.pipeline.decision import Decision
from recommender.reports.console import bullets, grid, points, print_plainly
from recommender.reports.depth_table import bar, depth_table, notes
from recommender.reports.summary import answer, lines, training_line
from recommender.rules import thresholds
from recommender.rules.backbone_rule import BackboneChoice
from recommender.rules.input_size_rule import InputSizeChoice
from recommender.rules.scenario import Similarity
from recommender.rules.scenario_rule import similarity_verdict

WIDEST = 120  # characters: longer lines are hard to read
_CLASSES_SHOWN = 10
_BAR = 16  # characters


def print_page(found: Decision, console: Console, *, commands: Sequence[str] = (), verbose: bool = False) -> None:
    """Print the answer, and below it the details; `commands` are what to type next."""
    console.width = min(console.width, WIDEST)
    parts: list[RenderableType] = [first_screen(found, commands), Text()]
    parts += [_section(f"Expected {kind_of_accuracy(found)} after training, with its 90 % interval"), _expected(found)]
    parts += [points([note]) for note in (measured_note(found),) if note] + [Text()]
    parts += [_section("By depth")]
    parts += [depth_table(found, console.width), Text(), points(notes(found)), Text()]
    if choice := found.measurements.extra.get("backbone"):
        parts += [_section("Networks that were tried"), _networks(choice), Text()]
    if choice := found.measurements.extra.get("input_size"):
        parts += [_section("Input sizes that were tried"), Text(f" {_sizes(choice)}"), Text()]
    parts += [bullets("Why", explain(found)), Text(), _section("Also measured"), _measures(found, verbose)]
    if verbose:
        parts += [Text(), _section("What is built"), _strategy(found)]
    if messages := cautions(found):
        parts += [Text(), bullets("Warnings", messages)]
    if found.findings:
        parts.append(Text("   `recommend check` lists the files, what was done and what you may do."))
    print_plainly(parts, console)


def first_screen(found: Decision, commands: Sequence[str] = ()) -> RenderableType:
    """The answer: what is built, how sure that is, what it gives and costs, and what to type next."""
    scenario = found.scenario
    parts: list[RenderableType] = [
        Text.assemble((f" Scenario {scenario.id} ", "bold white on blue"), (f" {scenario.name}", "bold blue")),
        Text(f" {answer(found)}", "bold"),
        Text(),
        grid(*lines(found)),
    ]
    if commands:
        parts += [Text(), _section("Next")]  # each command on one line, to be copied, however long it is
        parts += [Text(f"  {clean(command)}", no_wrap=True, overflow="ignore") for command in commands]
    return Group(*parts)


def _expected(found: Decision) -> Table:
    table = Table.grid(padding=(0, 2))
    for scenario, accuracy, interval, mark in expected_rows(found):
        table.add_row(f" {scenario}", accuracy, interval, mark)
    return table


def _section(title: str) -> Text:
    return Text(title, "bold")


def cut_table(points: Sequence[CutPoint]) -> list[str]:
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
    """The answer in one line; of classes with equal weight the accuracy is the balanced one."""
    strategy, balanced = found.strategy, found.class_weight is not None
    accuracy = found.expected_balanced_accuracy if balanced else found.expected_accuracy
    interval = found.balanced_interval if balanced else found.interval
    expected = ""
    if accuracy is not None and interval is not None:
        low, high = interval
        kind = "balanced accuracy" if balanced else "accuracy"
        expected = f", expected {kind} {accuracy:.3f}, 90 % interval {low:.3f} to {high:.3f}"
    return (
        f"{found.scenario.id} {found.scenario.name}: {strategy.backbone} at {strategy.input_size} px, "
        f"cut {strategy.cut}, freeze {strategy.freeze or 'nothing'}{expected}"
    )


def _measures(found: Decision, verbose: bool) -> Table:
    size, similarity = found.measurements.size, found.measurements.similarity
    width, height = size.median_size_px
    grey = "" if not size.grey_share else f"; {percent(size.grey_share, 0)} are grey"
    resized = f"median {width} × {height} px, run at {found.strategy.input_size} px"
    rows: list[tuple[str, str | Text]] = [("Images", f"{size.n_sampled:,} measured; {resized}{grey}")]
    if similarity is None:
        why = f"not measured: the network has {TOO_FEW_NORMS}, and there is no reference for it"
        return grid(*rows, ("Similarity", why))
    verdict, also = similarity_verdict(similarity.score), []
    interval = score_interval(similarity)
    spread = "" if interval is None else ", 90 % interval {:.2f} to {:.2f}".format(*interval)
    like = "like" if verdict is Similarity.SIMILAR else "unlike"
    shown = f"{similarity.score:.2f} {bar(similarity.score, _BAR)} {like}"
    threshold = f" (threshold {thresholds.SIMILAR_SCORE:.2f}; 1 is the same){spread}"
    if similarity.source_confidence is not None:
        also.append(
            f"the {similarity.source} classifier gives its first guess a probability of "
            f"{similarity.source_confidence:.2f} on average"
        )
    if verbose and similarity.frechet is not None and similarity.kid is not None:
        also.append(
            f"Fréchet distance of the last features {similarity.frechet:.1f}, kernel distance (KID) "
            f"{similarity.kid:.2f}: 0 for equal images, without a scale of their own; they decide nothing"
        )
    return grid(
        *rows,
        ("Similarity", Text.assemble((shown, "bold"), threshold)),
        ("Classifier", "; ".join(also)),
        ("Classified as", _source_labels(size.class_names, similarity.looks_like, verbose)),
    )


def _source_labels(
    class_names: Sequence[str], looks_like: Sequence[Sequence[tuple[str, float]]], verbose: bool
) -> Text:
    """What the network's own classifier takes each class for."""
    shown, lines = len(looks_like) if verbose else _CLASSES_SHOWN, []
    for name, labels in list(zip(class_names, looks_like, strict=False))[:shown]:
        shares = ", ".join(f"{label} {percent(share, 0)}" for label, share in labels)
        lines.append(f"{class_name(name)} → {shares or 'not in the sample'}")
    if len(looks_like) > shown:
        lines.append(f"… and {len(looks_like) - shown:,} more classes (all with --verbose)")
    return Text("\n".join(lines), overflow="fold")


def _networks(choice: BackboneChoice) -> Table:
    """What each network that was tried gives and costs."""
    table = Table(box=None, padding=(0, 1, 0, 1), header_style="bold")
    table.add_column("Network", overflow="fold", min_width=12)
    for name in ("px", "Accuracy", "Gain, 90 % interval", "ms", "MB", "Images"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("")
    for each in choice.tried:
        measured = ("",) * 3
        if each.accuracy is not None and each.gain is not None:
            gain = f"{100 * each.gain:+.1f} ({gain_interval(each.gain, each.gain_error)})"
            gain = "leads" if each.name == choice.leader else gain
            measured = (percent(each.accuracy), gain, f"{each.milliseconds:.1f}")
        table.add_row(
            clean(each.name),
            f"{each.input_size}",
            *measured,
            f"{each.megabytes:.1f}",
            f"{each.n_images:,}",
            "◀ chosen" if each is choice.tried[0] else "dropped" if each.dropped else "",
        )
    return table


def _sizes(choice: InputSizeChoice) -> str:
    """What each input size that was tried gives and costs."""
    tried = "; ".join(
        f"{each.size} px: {percent(each.accuracy)}, {each.seconds:.1f} s per 1,000 images" for each in choice.tried
    )
    return f"{choice.size} px is used. On {choice.n_images:,} images, {tried}. The rule alone gives {choice.prior} px."


def _strategy(found: Decision) -> Table:
    strategy = found.strategy
    frozen, trainable = found.parameters
    levels = len(strategy.head.levels)
    pooled = "global average pooling" + ("" if levels == 1 else f" of {levels} cut points, side by side")
    freeze = f"up to {strategy.freeze}, {percent(strategy.freeze_depth, 0)}" if strategy.freeze else "nothing"
    return grid(
        ("Scenario", found.scenario.recipe),
        ("Backbone", Text(f"{clean(found.backbone.title)}, images resized to {strategy.input_size} px")),
        ("Cut", f"after {strategy.cut}, {percent(strategy.cut_depth, 0)} of the depth"),
        ("Freeze", freeze),
        ("Head", f"{pooled}, softmax over {strategy.head.classes:,} classes"),
        ("Parameters", f"{frozen:,} frozen, {trainable:,} trainable"),
        ("Training", training_line(found)),
    )
