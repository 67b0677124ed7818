"""Measure, recommend, and then compare, train and write what was asked for. Imports nothing heavy at first."""

import json
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import rich_click as click

from builders.export.formats import check_format
from recommender.cli.terminal import INTERRUPTED
from recommender.explanation.text import clean, duration
from recommender.progress import loading_quietly, progress_bar

if TYPE_CHECKING:
    from recommender.comparison.comparison import Comparison
    from recommender.fit.result import FitResult
    from recommender.recommendation import Recommendation


@dataclass(frozen=True, slots=True, kw_only=True)
class _Request:
    """What is wanted of a sub-command beyond the arguments of `recommend`."""

    command: str  # the command line that repeats it
    check: str | None = None  # "sample" or "full": the findings in place of the recommendation
    fit: dict[str, Any] | None = None  # arguments of `Recommendation.fit`; None trains nothing
    budget: float | None = None  # seconds for the comparison; None compares nothing
    plot: Path | None = None
    report: Path | None = None
    thumbnails: bool = True
    target: Path | None = None  # the .keras file
    exports: tuple[str, ...] = ()
    as_json: bool
    quiet: bool
    verbose: bool = False

    @property
    def page(self) -> bool:
        """Whether a person reads the output."""
        return not (self.as_json or self.quiet)

    @property
    def needs_keras(self) -> bool:
        """Whether the network itself is needed beyond the measurements."""
        trains = self.budget is not None or self.fit is not None
        return trains or self.target is not None or (self.verbose and self.page)

    def prepare(self) -> None:
        """Make sure, before anything is measured, that everything can be written."""
        from builders.training.schedule import check_augmentation, plan_schedule
        from recommender import atomic_files as files

        if self.target is not None:
            files.check_target(self.target)
        for name in self.exports:
            check_format(name)
        if self.plot is not None:
            files.check_plot(self.plot)
        if self.report is not None:
            files.check_report(self.report)
        if self.fit is not None:
            plan_schedule(1000, epochs=self.fit["epochs"], steps=self.fit["steps"])
            check_augmentation(self.fit["augmentation"] or ())
            if self.fit["logs"] is not None:
                files.check_folder(self.fit["logs"])


def run(command: str, /, **arguments: Any) -> None:
    """Do what a sub-command asks for; its options are a request's fields and the arguments of `recommend`."""
    own = {name: arguments.pop(name) for name in _Request.__slots__ if name in arguments}
    request = _Request(command=command, **own)
    if request.exports and request.target is None:
        raise click.UsageError("Expected --export to come with --build. Received: --export alone.")
    with progress_bar(shown=request.page, first="Starting") as show:
        from recommender.recommendation import recommend

        request.prepare()
        found = recommend(check=request.check, progress=loading_quietly(show), **arguments)
        if request.needs_keras:
            loading_quietly(show)("loading", 0, 1)
    _print(found, request)
    description = found.to_dict()
    comparison = result = None
    if request.budget is not None:
        comparison = _compare(found, request, request.budget)
        description["comparison"] = comparison.to_dict()
    if request.fit is not None:
        result = _fit(found, request, request.fit)
        found = cast("Recommendation", result.found)
        description = {**found.to_dict(), "fit": result.to_dict()}
    if request.target is not None:
        if comparison is not None:
            from recommender.reports.json_output import as_compared

            description |= as_compared(found, comparison)
        _write(found, comparison, result, request, request.target, description)
    if request.report is not None:
        _report(found, comparison, result, request, request.report)
    if request.as_json:
        click.echo(json.dumps(description, indent=2, allow_nan=False))
    if any(part.interrupted for part in (comparison, result) if part is not None):
        sys.exit(INTERRUPTED)


def _print(found: "Recommendation", request: _Request) -> None:
    from recommender.reports import data_check_page, recommendation_page
    from recommender.reports.console import console

    if request.page and request.check is not None:
        data_check_page.print_page(found, console())
    elif request.page:
        recommendation_page.print_page(found, console(), commands=_next(found, request), verbose=request.verbose)
        if request.verbose:
            from builders.surgery.describe import describe

            click.echo(f"\n{describe(found.backbone.network)}")
    elif not request.as_json and request.fit is None and request.budget is None:
        page = recommendation_page if request.check is None else data_check_page
        click.echo(page.one_line(found))


def _next(found: "Recommendation", request: _Request) -> tuple[str, ...]:
    """What to type after a recommendation; nothing where it was only the beginning."""
    if request.fit is not None or request.budget is not None:
        return ()
    from recommender.fit.plan import expected_seconds
    from recommender.reports.summary import repeat_command

    model = f"{request.target or 'model.keras'}"
    check = f"{repeat_command(request.command, 'compare')}  # was the advice right? takes up to 10 minutes"
    if found.verdict.may_be_tried:
        time = expected_seconds(found, found.verdict.best_tuned, refit=False)
        takes = "" if time is None else f", at most about {duration(time)}"
        check = f"{repeat_command(request.command, '', '--trial')}  # tries which is better{takes}"
    return (
        f"{repeat_command(request.command, 'fit', '--build', model)}  # train, evaluate, write the model",
        f"{_predict_command(model)}  # classify new images with it",
        check,
    )


def _predict_command(model: Path | str) -> str:
    return shlex.join(["recommend", "predict", f"{model}", "NEW_IMAGES"])


def _compare(found: "Recommendation", request: _Request, budget: float) -> "Comparison":
    from recommender.comparison.compare import compare
    from recommender.reports.comparison_page import print_comparison
    from recommender.reports.console import console

    with progress_bar(shown=request.page) as show:
        comparison = compare(found, budget=budget, progress=show)
    if request.plot is not None:
        comparison.save_plot(request.plot)
    if request.page:
        print_comparison(comparison, console())
    elif not request.as_json:
        click.echo(comparison.sentence)
    return comparison


def _fit(found: "Recommendation", request: _Request, options: dict[str, Any]) -> "FitResult":
    from recommender.reports import fit_page
    from recommender.reports.console import console

    shown: dict[str, Any] = {}
    if request.page:
        shown["announce"] = lambda plan: fit_page.print_plan(plan, console())
        shown["on_check"] = lambda check, schedule: fit_page.print_check(check, schedule, console())
    with progress_bar(shown=request.page) as show:
        result = found.fit(progress=show, keep_state=request.target is not None, **shown, **options)
    if request.page:
        fit_page.print_result(result, found.measurements.size.class_names, console())
    elif not request.as_json:
        click.echo(fit_page.one_line(result))
    return result


def _report(
    found: "Recommendation",
    comparison: "Comparison | None",
    result: "FitResult | None",
    request: _Request,
    path: Path,
) -> None:
    with progress_bar(shown=request.page) as show:
        show("reporting", 0, 1)
        found.save_report(
            path, fit=result, comparison=comparison, thumbnails=request.thumbnails, command=request.command
        )
    if request.page:
        click.echo("\n" + clean(f"Wrote {path}"))


def _write(
    found: "Recommendation",
    comparison: "Comparison | None",
    result: "FitResult | None",
    request: _Request,
    target: Path,
    description: dict[str, Any],
) -> None:
    """Write the trained, the compared or the recommended model, what describes it, and its exports."""
    from recommender.saving.bundle import detector_of, write_bundle

    if result is not None:
        model, detector = result.model, result.detector
    elif comparison is not None:
        model, detector = comparison.build(), comparison.detector
    else:
        model, detector = found.build(), detector_of(found)
    with progress_bar(shown=request.page) as show:
        show("writing", 0, 1)
        written = write_bundle(
            found,
            model,
            target,
            description,
            detector=detector,
            result=result,
            exports=tuple(dict.fromkeys(request.exports)),
            command=request.command,
        )
    if result is not None and not result.interrupted:
        result.forget()  # the model is written: nothing has to be resumed
    if request.page:
        click.echo("\n" + clean(f"Wrote {', '.join(str(path) for path in written.paths)}"))
        for line in written.lines:
            click.echo(clean(line))
        click.echo(f"Classify new images: {clean(_predict_command(target))}")
