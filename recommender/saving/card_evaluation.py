"""What a model card says of how well the model does, and where not to trust it."""

from collections.abc import Iterator
from typing import Any

from probes.evaluation.intervals import wilson
from recommender.rules import thresholds
from recommender.saving.markdown import bullets, escaped, table

_NORMAL_95 = 1.96  # standard errors on either side of a mean that hold 95 % of a normal distribution
_NAMED = 10  # classes in a sentence
_PERCENT = 100


def evaluation(description: dict[str, Any]) -> str:
    """How it was judged, and the figures; empty where nothing was judged."""
    fit = description.get("fit")
    rows = list(_fitted(fit) if fit else _untrained(description))
    if not rows:
        return ""
    judged = _judged_by(description)
    header = ("Measure", "Value", "95 % interval")
    return f"### Testing Data, Factors & Metrics\n\n{judged}\n\n### Results\n\n{table(header, rows, (1,))}"


def _interval(share: float, error: float | None, n: int) -> str:
    """From a standard error; where that says nothing, since all or none were right, from the number of images."""
    if error:
        return _between(max(share - _NORMAL_95 * error, 0.0), min(share + _NORMAL_95 * error, 1.0))
    return _between(*wilson(share * n, n)) if n else ""


def _between(low: float, high: float) -> str:
    return f"{low:.1%} to {high:.1%}"


def _untrained(description: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    n = _n_judged(description)
    for name, key in (("Accuracy", "expected_accuracy"), ("Balanced accuracy", "expected_balanced_accuracy")):
        share = description.get(key)
        if share is not None:
            yield name, f"{share:.1%}", _interval(share, description.get(f"{key}_standard_error"), n)


def _fitted(fit: dict[str, Any]) -> Iterator[tuple[str, str, str]]:
    accuracy, interval, gain = fit.get("accuracy"), fit.get("interval"), fit.get("gain")
    if accuracy is None:
        return
    yield "Accuracy", f"{accuracy:.1%}", _between(*interval) if interval else ""
    if (balanced := fit.get("balanced_accuracy")) is not None:
        yield "Balanced accuracy", f"{balanced:.1%}", ""
    if (start := fit.get("start_accuracy")) is not None:
        yield "Accuracy before fine-tuning", f"{start:.1%}", ""
    if gain:
        low, high = (_PERCENT * bound for bound in gain["interval"])
        yield "Gain by fine-tuning, points", f"{_PERCENT * gain['difference']:+.1f}", f"{low:+.1f} to {high:+.1f}"
    if (error := fit.get("calibration_error")) is not None:
        yield "Expected calibration error", f"{error:.3f}", ""


def _n_judged(description: dict[str, Any]) -> int:
    held_out = (description.get("fit") or description).get("n_held_out") or 0
    return int(held_out or description.get("separability", {}).get("n_images", 0))


def _judged_by(description: dict[str, Any]) -> str:
    fit, n = description.get("fit") or {}, _n_judged(description)
    way = fit.get("judged_by") or description.get("accuracy_from")
    images = f"{n:,} images" if n else "the images"
    folds = description.get("separability", {}).get("folds")
    told = {
        "cross-validation": f"By cross-validation over {images}{f' in {folds} folds' if folds and not fit else ''}: "
        "each one is judged by a classifier that did not learn from it.",
        "validation": f"On {images} of the data's own validation split, which the model did not learn from.",
        "held-out part": f"On {images} held out of the training data at random.",
    }.get(str(way), f"On {images} that the model did not learn from.")
    balanced = " Balanced accuracy is the mean over classes of each class's own accuracy."
    calibration = (
        " Calibration error is the mean distance between the probability it gives and the share of such answers that "
        "are right."
    )
    return told + balanced + (calibration if fit.get("calibration_error") is not None else "")


def limits(description: dict[str, Any]) -> str:
    """What to keep in mind; the findings about the data are among it."""
    lines = [*_scope(description), *_classes(description), *_similarity(description)]
    findings = description.get("findings") or ()
    told = {finding["message"] for finding in findings}
    lines += [escaped(f"{finding['message']} {finding.get('done') or ''}") for finding in findings]
    lines += [escaped(note) for note in description.get("warnings") or () if note not in told]
    return bullets(lines)


def _scope(description: dict[str, Any]) -> Iterator[str]:
    judged = (description.get("fit") or {}).get("accuracy", description.get("expected_accuracy")) is not None
    if judged:
        yield (
            "It was judged on pictures like those it was made from, and on no others. On pictures from another camera, "
            "place or time expect less."
        )
    else:
        yield "Nobody knows how often it is right: too few images could be held out to judge it."
    yield "It answers with one of its classes even where a picture shows none of them."


def _classes(description: dict[str, Any]) -> Iterator[str]:
    data = description.get("dataset") or {}
    counts: dict[str, int] = data.get("class_counts") or {}
    few = sorted((count, name) for name, count in counts.items() if count < thresholds.PLENTIFUL_IMAGES_PER_CLASS)
    if few:
        named = ", ".join(f"{escaped(name)} ({count:,})" for count, name in few[:_NAMED])
        more = f" and {len(few) - _NAMED:,} more" if len(few) > _NAMED else ""
        yield (
            f"Of {len(few):,} class{'es' if len(few) > 1 else ''} it has seen fewer than "
            f"{thresholds.PLENTIFUL_IMAGES_PER_CLASS} images, and knows little: {named}{more}."
        )
    told = any(finding.get("kind") == "imbalance" for finding in description.get("findings") or ())
    if description.get("class_weight") and not told:
        yield (
            f"The largest class has {data.get('imbalance', 0):.3g} times as many images as the smallest. Each class "
            "was made to count alike, so that rare ones are found; accuracy over all pictures may be lower for it."
        )


def _similarity(description: dict[str, Any]) -> Iterator[str]:
    found = description.get("similarity")
    if found is None:
        if "similarity" in description:
            yield "How like its pictures are to what the backbone was trained on could not be measured."
        return
    source = escaped(str(found.get("source") or "what the backbone was trained on"))
    drift = found.get("drift") or {}
    parts = ", ".join(f"{drift[part]:.2f} in {part} layers" for part in ("early", "middle", "late") if part in drift)
    verdict = "look like" if found["verdict"] == "similar" else "do not look like"
    yield (
        f"To the backbone its pictures {verdict} {source}: similarity {found['score']:.2f} of 1"
        f"{f'; drift {parts}' if parts else ''}."
        + ("" if found["verdict"] == "similar" else " What it learnt there helps less here.")
    )
