"""Training where all but the prediction layer is frozen: the linear probe on all images, solved at once."""

from typing import Any

import numpy as np
import numpy.typing as npt

from probes.calibration import apply_temperature, calibrate
from probes.evaluation import evaluate
from probes.linear_probe import Judged, fit_linear_probe
from probes.splits import Rows
from recommender.fit_data import notes_on
from recommender.fit_finish import Calibrated, finish, fitted_detector, peak_memory
from recommender.fit_plan import phases
from recommender.fit_result import LINEAR_PROBE, FitResult, TrainingPlan
from recommender.fit_split import rows_of_everything
from recommender.fitting import FitOptions, Lesson


def fit_frozen(lesson: Lesson) -> FitResult:
    """Fit the prediction layer on all training images; cross-validation or the user's validation split judges it.

    Nothing is held out for good: a classifier of the same make, fitted without an image, tells how such an image fares.
    """
    blocks, rows, notes = _features(lesson)
    lesson.clock.lap("images")
    balanced = lesson.class_weight is not None
    training = int(rows.training.sum())
    plan = TrainingPlan(
        phases=phases(training, (sum(block.shape[1] for block in blocks) + 1) * lesson.n_classes, None, 0, None),
        schedule=None,
        augmentation=(),
        n_training=training,
        n_held_out=int(rows.held_out.sum()),
        class_weight=lesson.class_weight,
        cached=True,
        precision="float32",
    )
    if lesson.options.announce is not None:
        lesson.options.announce(plan)
    probe = fit_linear_probe(blocks, rows, lesson.n_classes, seed=lesson.options.seed, balanced=balanced)
    lesson.clock.lap("linear_probe")
    found = _calibrated(probe.judged, rows, lesson.options.seed)
    finish(lesson, head=(probe.kernel, probe.bias), temperature=found.temperature)
    fitted = np.concatenate(blocks, axis=1)[rows.training]
    detector = fitted_detector(fitted, None, rows.groups[rows.training], lesson.options.seed)
    lesson.clock.lap("judge")
    evaluation = found.evaluation
    return FitResult(
        model=lesson.model,
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
        notes=(*notes, *_without_effect(lesson.options)),
        seconds=lesson.clock.seconds,
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


def _features(lesson: Lesson) -> tuple[list[npt.NDArray[np.float32]], Rows, tuple[str, ...]]:
    """What the prediction layer reads of every image: as it was measured, or from a pass of its own."""
    found = lesson.found
    wanted = sum(len(names) for split in (found.index.files, found.index.validation) for names in split)
    measured = len(found.features.files) + len(found.features.skipped.failures) + len(found.features.skipped.copies)
    if measured == wanted and not lesson.given:
        return [found.features.pooled[level] for level in found.strategy.head.levels], found.rows, notes_on(lesson, 0)
    from recommender.fit_pass import gather

    gathered = gather(
        found.index, lesson.parted, mirrored=False, keep_inputs=False, progress=lesson.options.at("images")
    )
    rows = rows_of_everything(found.index, gathered.features, lesson.options.seed)
    features: Any = gathered.features.pooled["head"][gathered.order]
    failed = len(gathered.features.skipped.failures)
    return lesson.blocks(features), rows.taken(gathered.order), notes_on(lesson, failed)


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
