"""What the command does, once its arguments are read. Nothing heavy is imported before the work begins."""

import io
import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from recommender.cli.terminal import import_tensorflow, loading_quietly, progress

if TYPE_CHECKING:
    from recommender.comparison.comparison import Comparison
    from recommender.fit.result import FitResult
    from recommender.recommendation import Recommendation


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What is to be done beyond the recommendation.

    Attributes:
        target: the .keras file to write; None writes none.
        exports: formats to export the model to.
        fit: arguments of `Recommendation.fit`; None trains nothing.
        budget: seconds for the comparison; None compares nothing.
        plot: where to draw the comparison.
        as_json: print one JSON object and nothing else.
        quiet: no progress, and the answer in one line.
        verbose: describe the backbone, too.
    """

    target: Path | None
    exports: tuple[str, ...]
    fit: dict[str, Any] | None
    budget: float | None
    plot: Path | None
    as_json: bool
    quiet: bool
    verbose: bool

    @property
    def page(self) -> bool:
        """Whether a person reads along."""
        return not (self.as_json or self.quiet)


def is_the_users(error: Exception) -> bool:
    """Whether the error is one that a user can cause, and so is told in one line."""
    from builders.errors import BuildError
    from probes.errors import ProbeError
    from recommender.errors import RecommendError

    return isinstance(error, (BuildError, ProbeError, RecommendError))


def print_findings(error: Exception, *, as_json: bool) -> None:
    """What was found in data that can't be measured."""
    from probes.errors import BrokenData

    if not isinstance(error, BrokenData):
        return
    from rich.console import Console

    from recommender.reports import data_check_page as check_report
    from recommender.reports.json_report import finding_as_dict

    if as_json:
        click.echo(json.dumps({"findings": [finding_as_dict(finding) for finding in error.findings]}, indent=2))
    else:
        check_report.print_findings(error.findings, Console())


def fail(message: str) -> None:
    line = "".join(
        char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode() for char in message
    )
    click.echo(f"Error: {line}", err=True)
    sys.exit(1)


def list_cuts(backbone: str, *, trust: bool) -> None:
    from builders.backbones.registry import check_backbone

    check_backbone(backbone)
    import_tensorflow()
    from builders.backbones.load import structure
    from builders.surgery.cut import cut_points
    from recommender.reports.recommendation_page import cut_table

    for line in cut_table(cut_points(structure(backbone, trust=trust))):
        click.echo(line)


def make_reference(pictures: Path, *, as_json: bool, quiet: bool, **arguments: Any) -> None:
    from recommender.pipeline.make_reference import make_reference

    for name in ("scenario", "check", "columns"):
        arguments.pop(name)
    with progress(shown=not (quiet or as_json)) as show:
        path = make_reference(pictures, progress=loading_quietly(show), **arguments)
    click.echo(json.dumps({"reference": str(path)}) if as_json else f"Wrote {path}")


def run(data: str, wanted: Wanted, *, command: str, **arguments: Any) -> None:
    """Measure, recommend, and do what else is wanted."""
    from recommender.recommendation import recommend

    _check(wanted)
    with progress(shown=wanted.page) as show:
        found = recommend(data, progress=loading_quietly(show), **arguments)
    if wanted.page and wanted.verbose:
        from builders.surgery.describe import describe

        click.echo(f"{describe(found.backbone.network)}\n")
    further = wanted.budget is not None or wanted.fit is not None
    if not wanted.as_json and (wanted.page or not further):
        _print(found, quiet=wanted.quiet, check=arguments["check"] is not None)
    description = found.to_dict()
    comparison = None if wanted.budget is None else _compare(found, wanted, description)
    result = None if wanted.fit is None else _fit(found, wanted, description)
    if wanted.target is not None:
        _write(found, result, comparison, wanted, description, command)
        if result is not None and not result.interrupted:
            result.forget()  # the model is in its place
    if wanted.as_json:
        click.echo(json.dumps(description, indent=2, allow_nan=False))


def _check(wanted: Wanted) -> None:
    """Make sure, before anything is measured, that everything can be written."""
    from recommender import atomic_files as files

    if wanted.target is not None:
        files.check_target(wanted.target)
    if wanted.exports:
        from builders.export.formats import check_format

        for name in wanted.exports:
            check_format(name)
    if wanted.plot is not None:
        files.check_plot(wanted.plot)
    if wanted.fit is not None:
        from builders.training.schedule import plan_schedule

        plan_schedule(1000, epochs=wanted.fit["epochs"], steps=wanted.fit["steps"])
        if wanted.fit["logs"] is not None:
            files.check_folder(wanted.fit["logs"])


def _compare(found: "Recommendation", wanted: Wanted, description: dict[str, Any]) -> "Comparison":
    from recommender.comparison.compare import compare

    with progress(shown=wanted.page) as show:
        comparison = compare(found, budget=wanted.budget or 0.0, progress=show)
    description["comparison"] = comparison.to_dict()
    if wanted.plot is not None:
        comparison.save_plot(wanted.plot)
    if wanted.page:
        from recommender.reports.comparison_page import print_comparison

        print_comparison(comparison, _console())
    elif wanted.quiet and not wanted.as_json:
        click.echo(comparison.sentence)
    return comparison


def _fit(found: "Recommendation", wanted: Wanted, description: dict[str, Any]) -> "FitResult":
    from recommender.reports import fit_page as fit_report

    with progress(shown=wanted.page) as show:
        result = found.fit(
            progress=show,
            announce=(lambda plan: fit_report.print_plan(plan, _console())) if wanted.page else None,
            on_check=fit_report.CheckLines(click.echo) if wanted.page else None,
            keep_state=wanted.target is not None,
            **(wanted.fit or {}),
        )
    description["fit"] = result.to_dict()
    if wanted.page:
        fit_report.print_result(result, found.measurements.size.class_names, _console())
    elif wanted.quiet and not wanted.as_json:
        click.echo(fit_report.one_line(result))
    return result


def _write(
    found: "Recommendation",
    result: "FitResult | None",
    comparison: "Comparison | None",
    wanted: Wanted,
    description: dict[str, Any],
    command: str,
) -> None:
    """Write the trained, the compared or the recommended model, what describes it, and its exports."""
    from recommender.saving.bundle import detector_of, write_bundle

    if wanted.target is None:
        return
    if result is not None:
        model, detector = result.model, result.detector
    elif comparison is not None:
        model, detector = comparison.build(), comparison.detector
    else:
        model, detector = found.build(), detector_of(found)
    with progress(shown=wanted.page) as show:
        show("writing", 0, 1)
        written = write_bundle(
            found,
            model,
            wanted.target,
            description,
            detector=detector,
            result=result,
            exports=wanted.exports,
            command=command,
        )
    if wanted.page:
        from recommender.explanation.text import clean

        click.echo("\n" + clean(f"Wrote {', '.join(str(path) for path in written.paths)}"))
        for line in written.lines:
            click.echo(clean(line))


def _console() -> Any:
    from rich.console import Console

    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="replace")  # what the terminal's encoding lacks must not cost the answer
    return Console()


def command_line(arguments: list[str]) -> str:
    """The command that repeats a run."""
    return shlex.join(["recommend", *arguments])


def _print(found: "Recommendation", *, quiet: bool, check: bool) -> None:
    from recommender.reports import recommendation_page as report

    console = _console()
    if check:
        from recommender.reports import data_check_page as check_report

        if quiet:
            click.echo(check_report.one_line(found))
        else:
            check_report.print_page(found, console)
    elif quiet:
        click.echo(report.one_line(found))
    else:
        report.print_page(found, console)
