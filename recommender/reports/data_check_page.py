"""The page of `recommend check`: what is wrong or unusual, in which files, what was done, what the user may do."""

from collections.abc import Sequence

from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from probes.quality.findings import ERROR, EXAMPLES, WARNING, Finding
from recommender.explanation.text import clean, data_name
from recommender.pipeline.decision import Decision
from recommender.reports.console import print_plainly
from recommender.reports.summary import tally

_SHOWN = 5  # examples of a finding
_COLOURS = {ERROR: "bold red", WARNING: "yellow", "note": "cyan"}


def print_page(found: Decision, console: Console) -> None:
    """Print all findings."""
    size = found.measurements.size
    name, found_in_all = clean(data_name(size.path)), tally(found.findings) or "nothing found"
    listed = ", ".join(f"{number:,} {split}" for split, number in size.splits.items())
    head = f"{listed} images in {size.n_classes:,} classes; {size.n_checked:,} checked: "
    parts: list[RenderableType] = [Text.assemble((f"{name} ", "bold"), head, (found_in_all, "bold")), Text()]
    parts += map(_block, found.findings)
    if size.n_checked < sum(size.splits.values()):
        parts.append(Text("Only a sample was checked; `recommend check --full` checks every image.", "dim"))
    print_plainly(parts, console)


def print_findings(findings: Sequence[Finding], console: Console) -> None:
    """Print what was found in data that can't be measured."""
    print_plainly(map(_block, findings), console)


def one_line(found: Decision) -> str:
    """How many findings there are of each severity, and the worst of them."""
    if not found.findings:
        return "nothing found"
    return f"{tally(found.findings)}; first: {clean(found.findings[0].message)}"


def _block(finding: Finding) -> RenderableType:
    table = Table.grid(padding=(0, 2, 0, 0))
    table.add_column(no_wrap=True, min_width=8)
    table.add_column(overflow="fold")
    table.add_row(Text(finding.severity, _COLOURS[finding.severity]), Text(clean(finding.message), "bold"))
    for example in finding.examples[:_SHOWN]:
        table.add_row("", Text(clean(example), "dim"))
    if len(finding.examples) > _SHOWN:
        rest = f"{len(finding.examples) - _SHOWN:,} more (all with --json)"
        rest = rest if len(finding.examples) < EXAMPLES else f"more (the first {EXAMPLES:,} with --json)"
        table.add_row("", Text(f"… and {rest}", "dim"))
    table.add_row("", Text(f"Done: {finding.done}"))
    table.add_row("", Text(f"You may: {finding.advice}\n"))
    return table
