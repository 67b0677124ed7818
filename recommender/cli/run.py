"""Measure, recommend, and then compare, train and write what was asked for. Imports nothing heavy at first."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from recommender.cli.terminal import loading_quietly, progress

if TYPE_CHECKING:
    from recommender.comparison.comparison import Comparison
    from recommender.fit.result import FitResult
    from recommender.recommendation import Recommendation


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What is wanted beyond the recommendation.

    Attributes:
        target: the .keras file to write; None writes none.
        exports: formats to export the model to.
        fit: arguments of `Recommendation.fit`; None trains nothing.
        budget: seconds for the comparison; None compares nothing.
        plot: file for the plot of the comparison.
        as_json: print one JSON object and nothing else.
        quiet: show no progress, and print the answer in one line.
        verbose: describe the backbone, too.
    """

    target: Path | None
    exports: tuple[str, ...]
    fit: dict[str, Any] | None = None
    budget: float | None = None
    plot: Path | None = None
    as_json: bool
    quiet: bool
    verbose: bool

    @classmethod
    def take(cls, arguments: dict[str, Any], **others: Any) -> "Request":
        """Take the request's own out of a sub-command's arguments; those of `recommend` are left."""
        own = {name: arguments.pop(name) for name in cls.__slots__ if name in arguments}
        own["exports"] = tuple(dict.fromkeys(own["exports"]))
        if own["exports"] and own["target"] is None:
            raise click.UsageError("Expected --export to come with --build. Received: --export alone.")
        return cls(**own, **others)

    @property
    def page(self) -> bool:
        """Whether a person reads the output."""
        return not (self.as_json or self.quiet)

    def check(self) -> None:
        """Make sure, before anything is measured, that everything can be written."""
        from recommender import atomic_files as files

        if self.target is not None:
            files.check_target(self.target)
        if self.exports:
            from builders.export.formats import check_format

            for name in self.exports:
                check_format(name)
        if self.plot is not None:
            files.check_plot(self.plot)
        if self.fit is not None:
            from builders.training.schedule import plan_schedule

            plan_schedule(1000, epochs=self.fit["epochs"], steps=self.fit["steps"])
            if self.fit["logs"] is not None:
                files.check_folder(self.fit["logs"])


def run(data: str, request: Request, *, command: str, check: str | None = None, **arguments: Any) -> None:
    """Do what a sub-command asks for.

    Args:
        data: what `recommend` takes.
        request: what is wanted beyond the recommendation.
        command: the command line that repeats it.
        check: "sample" or "full" prints the findings in place of the recommendation.
        arguments: of `recommend`.
    """
    from recommender.recommendation import recommend

    request.check()
    with progress(shown=request.page) as show:
        found = recommend(data, check=check, progress=loading_quietly(show), **arguments)
    if request.page or (request.quiet and not request.as_json and request.fit is None and request.budget is None):
        _print(found, request, check=check is not None)
    description = found.to_dict()
    comparison = None if request.budget is None else _compare(found, request, description)
    result = None if request.fit is None else _fit(found, request, description)
    if request.target is not None:
        _write(found, result, comparison, request, request.target, description, command)
        if result is not None and not result.interrupted:
            result.forget()  # the model is written: nothing has to be resumed
    if request.as_json:
        click.echo(json.dumps(description, indent=2, allow_nan=False))


def _print(found: "Recommendation", request: Request, *, check: bool) -> None:
    from recommender.reports import data_check_page, recommendation_page
    from recommender.reports.console import console

    page = data_check_page if check else recommendation_page
    if request.quiet:
        click.echo(page.one_line(found))
        return
    if request.verbose:
        from builders.surgery.describe import describe

        click.echo(f"{describe(found.backbone.network)}\n")
    page.print_page(found, console())


def _compare(found: "Recommendation", request: Request, description: dict[str, Any]) -> "Comparison":
    from recommender.comparison.compare import compare

    with progress(shown=request.page) as show:
        comparison = compare(found, budget=request.budget or 0.0, progress=show)
    description["comparison"] = comparison.to_dict()
    if request.plot is not None:
        comparison.save_plot(request.plot)
    if request.page:
        from recommender.reports.comparison_page import print_comparison
        from recommender.reports.console import console

        print_comparison(comparison, console())
    elif not request.as_json:
        click.echo(comparison.sentence)
    return comparison


def _fit(found: "Recommendation", request: Request, description: dict[str, Any]) -> "FitResult":
    from recommender.reports import fit_page
    from recommender.reports.console import console

    with progress(shown=request.page) as show:
        result = found.fit(
            progress=show,
            announce=(lambda plan: fit_page.print_plan(plan, console())) if request.page else None,
            on_check=fit_page.CheckLines(click.echo) if request.page else None,
            keep_state=request.target is not None,
            **(request.fit or {}),
        )
    description["fit"] = result.to_dict()
    if request.page:
        fit_page.print_result(result, found.measurements.size.class_names, console())
    elif not request.as_json:
        click.echo(fit_page.one_line(result))
    return result


def _write(
    found: "Recommendation",
    result: "FitResult | None",
    comparison: "Comparison | None",
    request: Request,
    target: Path,
    description: dict[str, Any],
    command: str,
) -> None:
    """Write the trained, the compared or the recommended model, what describes it, and its exports."""
    from recommender.explanation.text import clean
    from recommender.saving.bundle import detector_of, write_bundle

    if result is not None:
        model, detector = result.model, result.detector
    elif comparison is not None:
        model, detector = comparison.build(), comparison.detector
    else:
        model, detector = found.build(), detector_of(found)
    with progress(shown=request.page) as show:
        show("writing", 0, 1)
        written = write_bundle(
            found,
            model,
            target,
            description,
            detector=detector,
            result=result,
            exports=request.exports,
            command=command,
        )
    if request.page:
        click.echo("\n" + clean(f"Wrote {', '.join(str(path) for path in written.paths)}"))
        for line in written.lines:
            click.echo(clean(line))
