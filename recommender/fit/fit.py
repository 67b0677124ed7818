"""Train what was recommended; with a frozen backbone that is the linear probe on all images, solved at once."""

import importlib.util
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from builders.surgery.frozen_split import split_frozen
from recommender.errors import RecommendError
from recommender.fit.frozen import fit_frozen
from recommender.fit.plan import SOLVED_AT_ONCE, FitOptions, FitSession, check_choices
from recommender.fit.result import FINE_TUNED, LINEAR_PROBE, FitResult
from recommender.fit.tuned import fit_tuned
from recommender.progress import Clock, reported
from recommender.rules.scenario import Scenario

if TYPE_CHECKING:
    from recommender.pipeline.decision import Decision

_PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")


def fit(found: "Decision", model: Any, options: FitOptions) -> FitResult:
    """Train the model of a recommendation; `recommender.Recommendation.fit` documents the arguments.

    Trials decide between fine-tuning and the best frozen model, where the first is recommended or the two are too
    close to call, unless the user asked for one of them.
    """
    _check_options(options)
    with reported(options.progress) as report:
        if options.progress is None:
            report("loading", 0, 1)
        options = replace(options, progress=report)
        verdict = found.verdict
        if model is not None or verdict.settled:
            result = _fit(found, model, options)
            rejected = model is None and result.chosen == LINEAR_PROBE and found.scenario.fine_tunes
            return _as_whole_and_frozen(result) if rejected else result
        frozen_found = found
        if verdict.scenario.fine_tunes:
            frozen_found = found.with_scenario(verdict.best_frozen, by_trial=True)
            tried = _fit(found, None, options)
        elif verdict.rival is None:
            return _fit(found, None, options)
        else:
            tried = _fit(found.with_scenario(verdict.rival, by_trial=True), None, options)
        if tried.chosen == FINE_TUNED:
            return tried
        if tried.interrupted:
            return _as_whole_and_frozen(tried)
        frozen = _fit(frozen_found, None, options.of_no_training())
    seen = {name: getattr(tried, name) for name in ("gain", "trials", "history", "forget")}
    phases = {**tried.seconds, **frozen.seconds}
    seen["seconds"] = {name: round(tried.seconds.get(name, 0) + frozen.seconds.get(name, 0), 3) for name in phases}
    return replace(frozen, notes=(*tried.notes, *frozen.notes), **seen)


def _as_whole_and_frozen(result: FitResult) -> FitResult:
    """A result of fine-tuning that returns its start, described as what that is."""
    found = result.found
    return replace(result, found=found and found.with_scenario(Scenario.LINEAR_PROBE, by_trial=True))


def _fit(found: "Decision", model: Any, options: FitOptions) -> FitResult:
    session = session_of(found, options, model)
    n_images = sum(len(names) for names in found.index.files)  # of a stream, a sample
    return fit_frozen(session) if session.frozen_split.solvable and n_images <= SOLVED_AT_ONCE else fit_tuned(session)


def session_of(found: "Decision", options: FitOptions, model: Any = None) -> FitSession:
    """What is to be trained, and how; the model is built unless it is given."""
    clock, given = Clock(), model is not None
    model = model if given else found.build()
    _check_model(model, len(found.measurements.size.class_names))
    split = split_frozen(model, train_norms=not given)
    return FitSession(found=found, model=model, frozen_split=split, given=given, options=options, clock=clock)


def _check_options(options: FitOptions) -> None:
    options.schedule(1000)
    check_choices(options.augmentation, options.seed)
    if options.precision not in (None, *_PRECISIONS):
        raise RecommendError(
            f"Expected `precision` to be one of {', '.join(_PRECISIONS)}. Received: {options.precision!r}."
        )
    for callback in options.callbacks:
        if not hasattr(callback, "set_model"):
            raise RecommendError(f"Expected `callbacks` to be Keras callbacks. Received: {callback!r} among them.")
    if options.logs is not None and importlib.util.find_spec("tensorboard") is None:
        raise RecommendError(
            "Expected the package that writes logs. Received: no tensorboard. Install with: pip install "
            "'netgraft[logs]'."
        )


def _check_model(model: Any, n_classes: int) -> None:
    """Refuse a model that can't be trained on the classes."""
    shape = tuple(getattr(model, "output_shape", ()) or ())
    last = (getattr(model, "layers", None) or [None])[-1]
    activation = getattr(getattr(last, "activation", None), "__name__", type(last).__name__)
    if len(shape) != 2 or shape[-1] != n_classes or activation not in ("softmax", "Softmax"):
        raise RecommendError(
            f"Expected a Keras model that ends in a softmax over each of {n_classes} classes. Received: "
            f"{type(model).__name__} with an output of shape {shape or 'unknown'} after {activation}. Start from what "
            "`build` returns."
        )
