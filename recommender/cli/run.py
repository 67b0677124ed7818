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
    _Run(request, found).finish()


class _Run:
    """A recommendation, and what follows it."""

    def __init__(self, request: _Request, found: "Recommendation") -> None:
        self.request, self.found = request, found
        self.comparison: Comparison | None = None
        self.result: FitResult | None = None

    def finish(self) -> None:
        """Print the answer; compare, train, write and report what was asked for."""
        request = self.request
        self._print()
        if request.budget is not None:
            self._compare(request.budget)
        if request.fit is not None:
            self._fit(request.fit)
        from recommender.reports.json_output import as_compared, with_results

        description = with_results(self.found, self.result, self.comparison)
        if request.target is not None:
            if self.comparison is not None:
                description |= as_compared(self.found, self.comparison)
            self._write(request.target, description)
        if request.report is not None:
            self._report(request.report)
        if request.as_json:
            click.echo(json.dumps(description, indent=2, allow_nan=False))
        if any(part.interrupted for part in (self.comparison, self.result) if part is not None):
            sys.exit(INTERRUPTED)

    def _print(self) -> None:
        from recommender.reports import data_check_page, recommendation_page
        from recommender.reports.console import console

        found, request = self.found, self.request
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

    def _compare(self, budget: float) -> None:
        from recommender.comparison.compare import compare
        from recommender.reports.comparison_page import print_comparison
        from recommender.reports.console import console

        request = self.request
        with progress_bar(shown=request.page) as show:
            self.comparison = comparison = compare(self.found, budget=budget, progress=show)
        if request.plot is not None:
            comparison.save_plot(request.plot)
        if request.page:
            print_comparison(comparison, console())
        elif not request.as_json:
            click.echo(comparison.sentence)

    def _fit(self, options: dict[str, Any]) -> None:
        from recommender.reports import fit_page
        from recommender.reports.console import console

        request, shown = self.request, dict[str, Any]()
        if request.page:
            shown["announce"] = lambda plan: fit_page.print_plan(plan, console())
            shown["on_check"] = lambda check, schedule: fit_page.print_check(check, schedule, console())
        with progress_bar(shown=request.page) as show:
            result = self.found.fit(progress=show, keep_state=request.target is not None, **shown, **options)
        if request.page:
            fit_page.print_result(result, self.found.class_names, console())
        elif not request.as_json:
            click.echo(fit_page.one_line(result))
        self.result, self.found = result, cast("Recommendation", result.found)

    def _write(self, target: Path, description: dict[str, Any]) -> None:
        """Write the trained, the compared or the recommended model, what describes it, and its exports."""
        from recommender.saving.bundle import detector_of, write_bundle

        request, result = self.request, self.result
        if result is not None:
            model, detector = result.model, result.detector
        elif self.comparison is not None:
            model, detector = self.comparison.build(), self.comparison.detector
        else:
            model, detector = self.found.build(), detector_of(self.found)
        with progress_bar(shown=request.page) as show:
            show("writing", 0, 1)
            written = write_bundle(
                self.found,
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

    def _report(self, path: Path) -> None:
        request = self.request
        with progress_bar(shown=request.page) as show:
            show("reporting", 0, 1)
            self.found.save_report(
                path,
                fit=self.result,
                comparison=self.comparison,
                thumbnails=request.thumbnails,
                command=request.command,
            )
        if request.page:
            click.echo("\n" + clean(f"Wrote {path}"))


def _next(found: "Recommendation", request: _Request) -> tuple[str, ...]:
    """What to type after a recommendation; nothing where it was only the beginning."""
    if request.fit is not None or request.budget is not None:
        return ()
    from recommender.fit.plan import expected_seconds
    from recommender.reports.summary import repeat_command

    model = f"{request.target or 'model.keras'}"
    check = f"{repeat_command(request.command, 'compare')}  # was the advice right? takes up to 10 minutes"
    if found.verdict.may_be_tried and "--ray" not in request.command:
        time = expected_seconds(found, found.verdict.best_tuned, refit=False)
        takes = "" if time is None else f", in about {duration(time)} at most"
        check = f"{repeat_command(request.command, '', '--trial')}  # tries fine-tuning on a part of the images{takes}"
    decided = () if found.verdict.trial is None else ("--scenario", f"{found.scenario.id}")
    return (
        f"{repeat_command(request.command, 'fit', *decided, '--build', model)}  # train, evaluate, write the model",
        f"{_predict_command(model)}  # classify new images with it",
        check,
    )


def _predict_command(model: Path | str) -> str:
    return shlex.join(["recommend", "predict", f"{model}", "NEW_IMAGES"])
