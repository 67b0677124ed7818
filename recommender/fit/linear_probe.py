"""Training where all but the prediction layer is frozen: the linear probe on all images, solved at once."""

from typing import Any

import numpy as np
import numpy.typing as npt

from probes.data.splits import Rows
from probes.evaluation.calibration import apply_temperature, calibrate
from probes.evaluation.evaluation import evaluate
from probes.separability.linear_probe import Judged, fit_linear_probe
from recommender.fit.data import notes_on
from recommender.fit.finish import Calibrated, finish, fitted_detector, peak_memory
from recommender.fit.plan import phases
from recommender.fit.result import LINEAR_PROBE, FitResult, TrainingPlan
from recommender.fit.session import FitOptions, FitSession
from recommender.fit.split import rows_of_everything


def fit_frozen(session: FitSession) -> FitResult:
    """Fit the prediction layer on all training images; cross-validation or the user's validation split judges it.

    Nothing is held out for good: a classifier of the same make, fitted without an image, tells how such an image fares.
    """
    blocks, rows, notes = _features(session)
    session.clock.lap("images")
    balanced = session.class_weight is not None
    training = int(rows.training.sum())
    plan = TrainingPlan(
        phases=phases(training, (sum(block.shape[1] for block in blocks) + 1) * session.n_classes, None, 0, None),
        schedule=None,
        augmentation=(),
        n_training=training,
        n_held_out=int(rows.held_out.sum()),
        class_weight=session.class_weight,
        cached=True,
        precision="float32",
    )
    if session.options.announce is not None:
        session.options.announce(plan)
    probe = fit_linear_probe(blocks, rows, session.n_classes, seed=session.options.seed, balanced=balanced)
    session.clock.lap("linear_probe")
    found = _calibrated(probe.judged, rows, session.options.seed)
    finish(session, head=(probe.kernel, probe.bias), temperature=found.temperature)
    fitted = np.concatenate(blocks, axis=1)[rows.training]
    detector = fitted_detector(fitted, None, rows.groups[rows.training], session.options.seed)
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
    """What was said that can't count here."""
    said = {
        "epochs": options.epochs is not None,
        "steps": options.steps is not None,
        "batch_size": options.batch_size is not None,
        "learning_rate": options.learning_rate is not None,
        "augmentation": bool(options.augmentation),
        "callbacks": bool(options.callbacks),
        "logs": options.logs is not None,
        "resume": options.resume,
    }
    names = ", ".join(name for name, value in said.items() if value)
    return (f"Without effect, since the prediction layer is solved at once: {names}.",) if names else ()


def _features(session: FitSession) -> tuple[list[npt.NDArray[np.float32]], Rows, tuple[str, ...]]:
    """What the prediction layer reads of every image: as it was measured, or from a pass of its own."""
    found = session.found
    wanted = sum(len(names) for split in (found.index.files, found.index.validation) for names in split)
    measured = len(found.features.files) + len(found.features.skipped.failures) + len(found.features.skipped.copies)
    if measured == wanted and not session.given:
        return [found.features.pooled[level] for level in found.strategy.head.levels], found.rows, notes_on(session, 0)
    from recommender.fit.feature_pass import gather

    gathered = gather(
        found.index, session.frozen_split, mirrored=False, keep_inputs=False, progress=session.options.at("images")
    )
    rows = rows_of_everything(found.index, gathered.features, session.options.seed)
    features: Any = gathered.features.pooled["head"][gathered.order]
    failed = len(gathered.features.skipped.failures)
    return session.blocks(features), rows.taken(gathered.order), notes_on(session, failed)


def _calibrated(judged: Judged | None, rows: Rows, seed: int) -> Calibrated:
    if judged is None:
        return Calibrated(temperature=1.0, errors=None, evaluation=None)
    labels, groups = rows.labels[judged.rows], rows.groups[judged.rows]
    found = calibrate(judged.probabilities, labels, seed=seed, groups=groups)
    temperature = found.temperature if found.helps else 1.0
    return Calibrated(
        temperature=temperature,
        errors=(found.error_before, found.error_after),
        evaluation=evaluate(apply_temperature(judged.probabilities, temperature), labels, groups=groups),
    )
