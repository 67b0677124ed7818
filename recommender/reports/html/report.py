"""Assemble the report."""

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

from probes.evaluation.evaluation import apply_temperature
from recommender.explanation.cautions import cautions
from recommender.explanation.reasons import explain
from recommender.explanation.text import class_name, clean, data_name, duration, interval_text, percent, printable
from recommender.explanation.verdict import expected_rows, kind_of_accuracy, measured_note, rounded, source_of
from recommender.fit.result import AS_GIVEN, FINE_TUNED, Predictions
from recommender.pipeline.decision import Decision
from recommender.reports.depth_table import depths
from recommender.reports.html import embedding_map, measured_charts, occlusion, result_charts, words
from recommender.reports.html.health import health
from recommender.reports.html.thumbnails import MOST, read_thumbnails
from recommender.reports.json_output import with_results
from recommender.rules import thresholds
from recommender.versions import versions

if TYPE_CHECKING:
    from jinja2 import Template

    from recommender.comparison.comparison import Comparison
    from recommender.fit.result import FitResult

_MISTAKES = 24  # thumbnails
_CLASSES = 24  # in a list of classes
_LARGEST_JSON = 2_500_000  # bytes of the JSON inside; larger ones are left out
_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}  # of what may end a script element
_CHOSEN = {
    FINE_TUNED: "The fine-tuned model.",
    AS_GIVEN: "The model as it was given.",
}
_INTERRUPTED = " The training was interrupted, so it may not be what a whole training returns."


def report(
    found: Decision,
    *,
    fit: "FitResult | None" = None,
    comparison: "Comparison | None" = None,
    thumbnails: bool = True,
    command: str | None = None,
) -> str:
    """The report as HTML; arguments as of `Recommendation.save_report`."""
    parts = {**_measured(found), **_trained(found, fit), **_repeated(found, fit, comparison, command)}
    maps, why_none = occlusion.occlusion_maps(found, fit, parts["mistakes"], thumbnails=thumbnails)
    text = _template().render(
        **parts,
        **_images(found, parts, thumbnails=thumbnails),
        occluded=maps,
        not_occluded=why_none,
        found=found,
        fit=fit,
        comparison=comparison,
        measured=measured_charts,
        results=result_charts,
        embedding=embedding_map,
        json_text=embedded_json(with_results(found, fit, comparison)),
    )
    return printable(text)


def _measured(found: Decision) -> dict[str, Any]:
    """What the template reads of the recommendation."""
    measured = found.measurements
    return {
        "size": measured.size,
        "similarity": measured.similarity,
        "backbones": measured.extra.get("backbone"),
        "input_sizes": measured.extra.get("input_size"),
        "answer": words.answer(found),
        "measured_note": measured_note(found),
        "glossary": words.GLOSSARY,
        "reasons": explain(found),
        "warnings": cautions(found)[len(found.findings) :],
        "source": source_of(found),
        "thresholds": thresholds,
        "expected_rows": expected_rows,
        "kind_of_accuracy": kind_of_accuracy(found),
        "rounded": rounded,
        "depths": depths(found),
        "findings": health(found),
        "places": embedding_map.embedding_map(found),
    }


def _trained(found: Decision, fit: "FitResult | None") -> dict[str, Any]:
    """What it reads of the trained model, or before training of the linear classifier."""
    judged = _predictions(found, fit)
    returned = "The linear probe on the frozen backbone."
    return {
        "accuracies": words.accuracies(found, fit),
        "costs": words.costs(found, fit),
        "judged": judged,
        "confusion": None if judged is None else result_charts.confusion(judged),
        "mistakes": [] if judged is None else result_charts.worst_mistakes(judged, _MISTAKES).tolist(),
        "chosen": "" if fit is None else _CHOSEN.get(fit.chosen, returned) + (_INTERRUPTED if fit.interrupted else ""),
    }


def _repeated(
    found: Decision, fit: "FitResult | None", comparison: "Comparison | None", command: str | None
) -> dict[str, Any]:
    """What it reads of how the answer came about."""
    return {
        "data_name": data_name(found.measurements.size.path),
        "made": time.strftime("%Y-%m-%d %H:%M"),
        "command": command,
        "next_steps": words.next_steps(found, fit, comparison, command),
        "python": words.python_code(found, fit, comparison),
        "facts": words.facts(found, versions()),
        "most_classes": _CLASSES,
    }


def _images(found: Decision, parts: dict[str, Any], *, thumbnails: bool) -> dict[str, Any]:
    """Thumbnails: those of findings, of mistakes, and of some images on the map, in this order."""
    files, places, judged = found.features.files, parts["places"], parts["judged"]
    wanted = [name for each in parts["findings"] for example in each.examples for name in example.images]
    wanted += [judged.files[row] for row in parts["mistakes"]]
    wanted += [files[row] for row in _in_turns(found, places)]
    pictures: dict[str, str | None] = {}
    if thumbnails:
        pictures = read_thumbnails(found.index, wanted, dict(zip(files, found.features.sizes.tolist(), strict=True)))
    shots = {f"{row}": uri for row in places.rows.tolist() if (uri := pictures.get(files[row]))}
    return {"thumbnails": thumbnails, "pictures": pictures, "limit": MOST, "shots_json": embedded_json(shots)}


def embedded_json(value: Any) -> Markup | None:
    """JSON that no name in it can end the script element of; None if it is too large."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=False, separators=(",", ":"))
    if len(text.encode("utf-8", "surrogatepass")) > _LARGEST_JSON:
        return None
    return Markup(text.translate(_ESCAPES))  # noqa: S704 - every < is escaped


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


def _in_turns(found: Decision, places: embedding_map.EmbeddingMap) -> list[int]:
    """Rows of the map, one of each class in turn."""
    seen: dict[int, int] = {}
    turns = []
    for row in places.rows.tolist():
        label = int(found.features.labels[row])
        seen[label] = seen.get(label, -1) + 1
        turns.append((seen[label], row))
    return [row for _, row in sorted(turns)]


def _template() -> "Template":
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=percent,
        span=interval_text,
        clean=lambda text: clean(str(text)),
        duration=duration,
        clipped=words.clipped,
        **{"class": class_name},
    )
    return environment.get_template("report.html.jinja")
