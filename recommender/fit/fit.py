"""Train what was recommended; with a frozen backbone that is the linear probe on all images, solved at once."""

import importlib.util
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from builders.surgery.frozen_split import split_frozen
from probes.data.splits import Rows
from probes.separability.linear_probe import fit_linear_probe
from recommender.errors import RecommendError
from recommender.fit.data import notes_on
from recommender.fit.fine_tuning import fit_tuned
from recommender.fit.finish import finish, fitted_detector
from recommender.fit.images import FloatArray, content_order, n_read, rows_of_everything, run_pass, whole_sample
from recommender.fit.inputs import frozen_function
from recommender.fit.plan import SOLVED_AT_ONCE, FitOptions, FitSession, check_choices, phases
from recommender.fit.result import LINEAR_PROBE, FitResult, TrainingPlan
from recommender.progress import Clock

if TYPE_CHECKING:
    from recommender.pipeline.decision import Decision

_PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")
_OF_FINE_TUNING = ("epochs", "steps", "batch_size", "learning_rate", "augmentation", "callbacks", "logs", "resume")


def fit(found: "Decision", model: Any, options: FitOptions) -> FitResult:
    """Train the model of a recommendation; `recommender.Recommendation.fit` documents the arguments."""
    _check_options(options)
    clock = Clock()
    given = model is not None
    model = model if given else found.build()
    _check_model(model, len(found.measurements.size.class_names))
    frozen_split = split_frozen(model)
    session = FitSession(found=found, model=model, frozen_split=frozen_split, given=given, options=options, clock=clock)
    n_images = sum(len(names) for names in found.index.files)  # of a stream, a sample
    return fit_frozen(session) if frozen_split.solvable and n_images <= SOLVED_AT_ONCE else fit_tuned(session)


def _check_options(options: FitOptions) -> None:
    options.schedule(1000)
    check_choices(options.augmentation, options.seed)
    if options.precision not in (None, *_PRECISIONS):
        raise RecommendError(
            f"Expected `precision` to be one of {', '.join(_PRECISIONS)}. Received: {options.precision!r}."
        )
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


def fit_frozen(session: FitSession) -> FitResult:
    """Fit the prediction layer on all training images; cross-validation or the user's validation split judges it."""
    blocks, rows, notes = _features(session)
    session.clock.lap("images")
    balanced, seed = session.class_weight is not None, session.options.seed
    training = int(rows.training.sum())
    plan = TrainingPlan(
        phases=phases(training, (sum(block.shape[1] for block in blocks) + 1) * session.n_classes, None, 0, None),
        n_training=training,
        n_held_out=int(rows.held_out.sum()),
        class_weight=session.class_weight,
        cached=True,
    )
    session.announce(plan)
    probe = fit_linear_probe(blocks, rows, session.n_classes, seed=seed, balanced=balanced)
    session.clock.lap("linear_probe")
    fitted = np.concatenate(blocks, axis=1)[rows.training]
    if unused := ", ".join(name for name in _OF_FINE_TUNING if getattr(session.options, name)):
        notes = (*notes, f"Without effect, since the prediction layer is solved at once: {unused}.")
    result = finish(
        session,
        None if probe.judged is None else probe.judged.probabilities,
        rows if probe.judged is None else rows.taken(probe.judged.rows),
        head=(probe.kernel, probe.bias),
        plan=plan,
        chosen=LINEAR_PROBE,
        judged_by="nothing",
        detector=fitted_detector(fitted, None, rows.groups[rows.training], seed),
        notes=notes,
    )
    judged = result.evaluation
    if judged is None:
        return result
    by = "validation" if rows.held_out.any() else "cross-validation"
    return replace(result, start=judged, accuracy=judged.accuracy, interval=judged.interval, judged_by=by)


def _features(session: FitSession) -> tuple[list[FloatArray], Rows, tuple[str, ...]]:
    """The inputs of the prediction layer for every image, from the recommendation if it measured all of them."""
    found, split, sample = session.found, session.frozen_split, whole_sample(session.found.index)
    if n_read(found.features) == sample.n_wanted and not session.given:
        return [found.features.pooled[level] for level in found.strategy.head.levels], found.rows, notes_on(session, 0)
    run = frozen_function(split, [split.split])

    def compute(_: Any, pictures: FloatArray) -> dict[str, FloatArray]:
        return {"head": run(pictures)[0]}

    features = run_pass(found.index, sample, split.size, split.channels, compute, session.options.at("images"))
    rows, order = rows_of_everything(found.index, features, session.options.seed), content_order(features)
    notes = notes_on(session, len(features.skipped.failures))
    return session.blocks(features.pooled["head"][order]), rows.taken(order), notes
