"""Assemble the report, and write it."""

import json
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from probes.evaluation.evaluation import apply_temperature
from recommender.atomic_files import check_report, write_together
from recommender.explanation.reasons import cautions, explain, source_of
from recommender.explanation.text import clean, duration, printable
from recommender.fit.result import AS_GIVEN, FINE_TUNED, Predictions
from recommender.pipeline.decision import Decision
from recommender.reports.html import embedding_map, measured_charts, result_charts, words
from recommender.reports.html.health import health
from recommender.reports.html.thumbnails import MOST, read_thumbnails
from recommender.reports.json_output import as_dict
from recommender.rules import thresholds
from recommender.versions import versions

if TYPE_CHECKING:
    from jinja2 import Environment

    from recommender.comparison.comparison import Comparison
    from recommender.fit.result import FitResult

_HERE = Path(__file__).parent
_MISTAKES = 24  # thumbnails
_CLASSES = 24  # in a list of classes
_LARGEST_JSON = 2_500_000  # bytes of the JSON inside; larger ones are left out
_CHOSEN = {
    FINE_TUNED: "The fine-tuned model was returned.",
    AS_GIVEN: "The model was returned as it was given.",
}


def write_report(
    found: Decision,
    path: Path,
    *,
    fit: "FitResult | None" = None,
    comparison: "Comparison | None" = None,
    thumbnails: bool = True,
    command: str | None = None,
) -> None:
    """Write the report as one file, or nothing; arguments as of `Recommendation.save_report`."""
    check_report(path)
    text = report(found, fit=fit, comparison=comparison, thumbnails=thumbnails, command=command)
    write_together({path: lambda target: target.write_text(text, encoding="utf-8")})


def report(
    found: Decision,
    *,
    fit: "FitResult | None" = None,
    comparison: "Comparison | None" = None,
    thumbnails: bool = True,
    command: str | None = None,
) -> str:
    """The report as HTML."""
    description = as_dict(found)
    description |= {} if fit is None else {"fit": fit.to_dict()}
    description |= {} if comparison is None else {"comparison": comparison.to_dict()}
    findings, places = health(found), embedding_map.embedding_map(found)
    judged = _predictions(found, fit)
    mistakes = [] if judged is None else result_charts.worst_mistakes(judged, _MISTAKES).tolist()
    wanted = [name for each in findings for example in each.examples for name in (*example.files, example.like) if name]
    wanted += [] if judged is None else [judged.files[row] for row in mistakes]
    pictures: dict[str, str | None] = {}
    if thumbnails:
        sizes = {name: (int(width), int(height)) for name, (width, height) in _sizes(found)}
        spare = (found.features.files[row] for row in _in_turns(found, places))
        pictures = read_thumbnails(found.index, [*wanted, *spare], sizes)
    text = (
        _environment()
        .get_template("report.html.jinja")
        .render(
            found=found,
            fit=fit,
            comparison=comparison,
            size=found.measurements.size,
            similarity=found.measurements.similarity,
            answer=words.answer(found),
            expected=words.expected(found),
            costs=words.costs(found, fit),
            reasons=explain(found),
            warnings=cautions(found)[len(found.findings) :],
            source=source_of(found),
            thresholds=thresholds,
            depths=measured_charts.depths(found),
            backbones=found.measurements.extra.get("backbone"),
            input_sizes=found.measurements.extra.get("input_size"),
            findings=findings,
            judged=judged,
            confusion=None if judged is None else result_charts.confusion(judged),
            mistakes=mistakes,
            chosen=""
            if fit is None
            else _CHOSEN.get(fit.chosen, "The linear probe on the frozen backbone was returned."),
            places=places,
            measured=measured_charts,
            results=result_charts,
            embedding=embedding_map,
            most_classes=_CLASSES,
            pictures=pictures,
            thumbnails=thumbnails,
            limit=MOST,
            shots_json=embedded_json(_shots(found, pictures, places)),
            command=command,
            python=words.python_code(found, fit, comparison),
            facts=words.facts(found, versions()),
            made=time.strftime("%Y-%m-%d %H:%M"),
            json_text=embedded_json(description),
        )
    )
    return printable(text)


def embedded_json(value: Any) -> Markup | None:
    """JSON that no name in it can end the script element of; None if it is too large."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    if len(text.encode("utf-8", "surrogatepass")) > _LARGEST_JSON:
        return None
    escapes = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
    return Markup("".join(escapes.get(char, char) for char in text))  # noqa: S704 - every < is escaped


def _predictions(found: Decision, fit: "FitResult | None") -> Predictions | None:
    """Of the trained model, or before training those of the linear classifier; None if no image can be held out."""
    if fit is not None:
        return fit.predictions
    judged = found.probe.judged
    if judged is None:
        return None
    files, labels = found.features.files, found.features.labels[judged.rows]
    scaled = apply_temperature(judged.probabilities, found.probe.temperature)
    return Predictions.of([files[row] for row in judged.rows], labels, scaled)


def _sizes(found: Decision) -> Any:
    return zip(found.features.files, found.features.sizes, strict=True)


def _in_turns(found: Decision, places: embedding_map.EmbeddingMap) -> list[int]:
    """Rows of the map, one of each class in turn."""
    seen: dict[int, int] = {}
    turns = []
    for row in places.rows.tolist():
        label = int(found.features.labels[row])
        seen[label] = seen.get(label, -1) + 1
        turns.append((seen[label], row))
    return [row for _, row in sorted(turns)]


def _shots(found: Decision, pictures: dict[str, str | None], places: embedding_map.EmbeddingMap) -> dict[str, str]:
    """Row of the map -> data URI, of the images that have one."""
    named = {f"{row}": pictures.get(found.features.files[row]) for row in places.rows.tolist()}
    return {row: uri for row, uri in named.items() if uri}


def _environment() -> "Environment":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters.update(
        percent="{:.1%}".format, commas="{:,g}".format, clean=lambda text: clean(str(text)), duration=duration
    )
    environment.globals.update(style=partial(_asset, "report.css"), script=partial(_asset, "report.js"))
    return environment


def _asset(name: str) -> Markup:
    """A file of this folder, as it is."""
    return Markup((_HERE / name).read_text(encoding="utf-8"))  # noqa: S704 - our own file
