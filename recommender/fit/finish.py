"""The end of a training: choice of the check, calibration, the detector of out-of-distribution images, the result."""

import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from probes.data.splits import Rows
from probes.evaluation.evaluation import apply_temperature, calibrate, evaluate
from probes.evaluation.out_of_distribution import FEWEST, Detector, fit_detector
from probes.evaluation.selection import Chosen, cross_chosen
from recommender.fit.plan import FitSession
from recommender.fit.result import FitResult

if TYPE_CHECKING:
    from builders.training.state import TrainingState

MOST_IMAGES = 1000  # training images that a detector is fitted on, and held-out images that its threshold comes from


def finish(
    session: FitSession,
    probabilities: npt.ArrayLike | None,
    rows: Rows,
    head: tuple[Any, Any] | None = None,
    **known: Any,
) -> FitResult:
    """Calibrate, evaluate and compile the model.

    `probabilities` of the held-out `rows` have the shape (n, classes), and are None if there are none. `head`: new
    kernel and bias of the prediction layer. `known`: further fields of the result.
    """
    from builders.build import compile_model

    temperature = 1.0
    if probabilities is not None:
        found = calibrate(probabilities, rows.labels, seed=session.options.seed, groups=rows.groups)
        if found.helps and session.frozen_split.head_input is not None:
            temperature = found.temperature
        scaled = apply_temperature(probabilities, temperature)
        known["evaluation"] = evaluate(scaled, rows.labels, groups=rows.groups)
        known["calibration"] = (found.error_before, found.error_after)
    layer = session.model.layers[-1]
    if head is not None or temperature != 1.0:
        kernel, bias = layer.get_weights() if head is None else head
        layer.set_weights([kernel / temperature, bias / temperature])
    compile_model(session.model, session.found.strategy.learning_rate)
    session.clock.lap("judge")
    return FitResult(
        model=session.model,
        temperature=temperature,
        seconds=session.clock.seconds,
        peak_memory=peak_memory(),
        **known,
    )


def chosen_check(state: "TrainingState", held_out: Rows, seed: int, *, stratified: bool = False) -> Chosen | None:
    """The best check as judged by images that did not choose it; None if it is no better than the start.

    The best of many checks is better than the start by chance, too. `stratified`: whether the halves that choose for
    each other are stratified by class, as strategies are compared.
    """
    labels = held_out.labels if stratified else None
    chosen = cross_chosen(state.correct, seed=seed, groups=held_out.groups, labels=labels)
    return chosen if state.best_check and chosen.accuracy > state.checks[0].accuracy else None


def peak_memory() -> int | None:
    """Largest resident memory of the process in bytes; None if the system does not report it."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return int(peak if sys.platform == "darwin" else peak * 1024)


def fitted_detector(
    features: npt.NDArray[np.float32],
    held_out: npt.NDArray[np.float32] | None,
    groups: npt.NDArray[np.int64] | None,
    seed: int,
) -> Detector | None:
    """A detector of out-of-distribution images; None if there are too few images."""
    if len(features) < FEWEST or (held_out is not None and not len(held_out)):
        return None
    return fit_detector(features, held_out, groups=groups, seed=seed)
