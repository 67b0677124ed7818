"""The end of a training: calibration, the detector of out-of-distribution images, the result."""

import sys
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from probes.data.splits import Rows
from probes.evaluation.evaluation import apply_temperature, calibrate, evaluate
from probes.evaluation.out_of_distribution import FEWEST, Detector, fit_detector
from recommender.fit.plan import FitSession
from recommender.fit.result import LINEAR_PROBE, FitResult, Predictions
from recommender.rules.thresholds import HEAD_LEARNING_RATE

MOST_IMAGES = 1000  # training images that a detector is fitted on, and held-out images that its threshold comes from


def calibrated(
    session: FitSession,
    probabilities: npt.NDArray[np.float64],
    rows: Rows,
    files: Sequence[str],
) -> dict[str, Any]:
    """Fold a temperature into the prediction layer if it helps; the fields of the result that say so.

    It comes from `probabilities` of the held-out `rows` with these names, of shape (n, classes).
    """
    found = calibrate(probabilities, rows.labels, seed=session.options.seed, groups=rows.groups)
    helps = found.helps and session.frozen_split.head_input is not None
    temperature = found.temperature if helps else 1.0
    if helps:
        layer = session.model.layers[-1]
        layer.set_weights([part / temperature for part in layer.get_weights()])
    scaled = apply_temperature(probabilities, temperature)
    return {
        "evaluation": evaluate(scaled, rows.labels, groups=rows.groups),
        "predictions": Predictions.of(files, rows.labels, scaled),
        "calibration": (found.error_before, found.error_after),
        "temperature": temperature,
    }


def finish(session: FitSession, **known: Any) -> FitResult:
    """Compile the model for the user; `known` are fields of the result."""
    from builders.build import compile_model
    from builders.surgery.freeze import freeze_below, hold_batch_norm

    rate = session.found.strategy.learning_rate
    if known["chosen"] == LINEAR_PROBE and not session.given:
        freeze_below(session.model, session.found.strategy.cut)
        rate = HEAD_LEARNING_RATE
    if not session.given:  # statistics of BatchNorm would move in the user's own training
        hold_batch_norm(session.model, train_batch_norm=session.found.strategy.train_batch_norm)
    compile_model(session.model, rate)
    session.clock.lap("judge")
    about: dict[str, Any] = {"found": session.found, "seconds": session.clock.seconds, "peak_memory": peak_memory()}
    return FitResult(model=session.model, **about, **known)


def peak_memory() -> int | None:
    """Largest resident memory of the process in bytes; None if the system does not report it."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def fitted_detector(
    blocks: Sequence[npt.NDArray[Any]],
    held_out: Sequence[npt.NDArray[Any]] | None,
    groups: npt.NDArray[np.int64] | None,
    seed: int,
) -> Detector | None:
    """A detector of out-of-distribution images, on features at each cut point; None if there are too few images."""
    if len(blocks[0]) < FEWEST or (held_out is not None and not len(held_out[0])):
        return None
    return fit_detector(blocks, held_out, groups=groups, seed=seed)
