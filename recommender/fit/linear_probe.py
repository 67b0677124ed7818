"""Training with a frozen backbone: the linear probe on all images, solved at once."""

import numpy as np

from builders.build import compile_model
from probes.data.splits import Rows
from probes.separability.linear_probe import fit_linear_probe
from recommender.fit.data import notes_on
from recommender.fit.finish import Calibrated, calibrated, fitted_detector, peak_memory, set_head
from recommender.fit.images import FloatArray, content_order, n_read, rows_of_everything, run_pass, whole_sample
from recommender.fit.inputs import frozen_function
from recommender.fit.plan import phases
from recommender.fit.result import LINEAR_PROBE, FitResult, TrainingPlan
from recommender.fit.session import FitOptions, FitSession


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
    if session.options.announce is not None:
        session.options.announce(plan)
    probe = fit_linear_probe(blocks, rows, session.n_classes, seed=seed, balanced=balanced)
    session.clock.lap("linear_probe")
    judged = probe.judged
    found = Calibrated() if judged is None else calibrated(judged.probabilities, rows.taken(judged.rows), seed)
    set_head(session.model.layers[-1], (probe.kernel, probe.bias), temperature=found.temperature)
    compile_model(session.model, session.found.strategy.learning_rate)
    fitted = np.concatenate(blocks, axis=1)[rows.training]
    detector = fitted_detector(fitted, None, rows.groups[rows.training], seed)
    session.clock.lap("judge")
    evaluation = found.evaluation
    return FitResult(
        model=session.model,
        plan=plan,
        chosen=LINEAR_PROBE,
        start=evaluation,
        evaluation=evaluation,
        accuracy=None if evaluation is None else evaluation.accuracy,
        interval=None if evaluation is None else evaluation.interval,
        judged_by="nothing" if evaluation is None else "validation" if rows.held_out.any() else "cross-validation",
        temperature=found.temperature,
        calibration=found.errors,
        detector=detector,
        notes=(*notes, *_without_effect(session.options)),
        seconds=session.clock.seconds,
        peak_memory=peak_memory(),
    )


def _without_effect(options: FitOptions) -> tuple[str, ...]:
    """A note on the options that have no effect on a linear probe."""
    given = {
        "epochs": options.epochs is not None,
        "steps": options.steps is not None,
        "batch_size": options.batch_size is not None,
        "learning_rate": options.learning_rate is not None,
        "augmentation": bool(options.augmentation),
        "callbacks": bool(options.callbacks),
        "logs": options.logs is not None,
        "resume": options.resume,
    }
    names = ", ".join(name for name, value in given.items() if value)
    return (f"Without effect, since the prediction layer is solved at once: {names}.",) if names else ()


def _features(session: FitSession) -> tuple[list[FloatArray], Rows, tuple[str, ...]]:
    """The inputs of the prediction layer for every image, from the recommendation if it measured all of them."""
    found, split = session.found, session.frozen_split
    if n_read(found.features) == whole_sample(found.index).n_wanted and not session.given:
        return [found.features.pooled[level] for level in found.strategy.head.levels], found.rows, notes_on(session, 0)
    run = frozen_function(split, [split.split])
    features = run_pass(
        found.index,
        whole_sample(found.index),
        split.size,
        split.channels,
        lambda _, pictures: {"head": run(pictures)[0]},
        session.options.at("images"),
    )
    rows, order = rows_of_everything(found.index, features, session.options.seed), content_order(features)
    notes = notes_on(session, len(features.skipped.failures))
    return session.blocks(features.pooled["head"][order]), rows.taken(order), notes
