"""Training with a frozen backbone: the linear probe on all images, solved at once."""

from dataclasses import replace

import numpy as np

from probes.data.splits import Rows
from probes.separability.linear_probe import fit_linear_probe
from recommender.fit.data import notes_on
from recommender.fit.finish import finish, fitted_detector
from recommender.fit.images import FloatArray, content_order, n_read, rows_of_everything, run_pass, whole_sample
from recommender.fit.inputs import frozen_function
from recommender.fit.plan import FitSession, phases
from recommender.fit.result import LINEAR_PROBE, FitResult, TrainingPlan

_OF_FINE_TUNING = ("epochs", "steps", "batch_size", "learning_rate", "augmentation", "callbacks", "logs", "resume")


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
    features = run_pass(
        found.index,
        sample,
        split.size,
        split.channels,
        lambda _, pictures: {"head": run(pictures)[0]},
        session.options.at("images"),
    )
    rows, order = rows_of_everything(found.index, features, session.options.seed), content_order(features)
    notes = notes_on(session, len(features.skipped.failures))
    return session.blocks(features.pooled["head"][order]), rows.taken(order), notes
