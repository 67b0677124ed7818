"""The end of a training: choice of the check, calibration, the detector of out-of-distribution images, memory."""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from probes.evaluation.evaluation import Evaluation, apply_temperature, calibrate, evaluate
from probes.evaluation.out_of_distribution import FEWEST, Detector, fit_detector
from probes.evaluation.selection import Chosen, cross_chosen

if TYPE_CHECKING:
    from builders.training.state import TrainingState
    from probes.data.splits import Rows

MOST_IMAGES = 1000  # training images that a detector is fitted on, and held-out images that its threshold comes from


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibrated:
    """Calibrated probabilities on held-out images.

    Attributes:
        temperature: divides the logits; 1.0 if that does not help.
        errors: expected calibration error before and after, cross-fitted; None without held-out images.
        evaluation: of the calibrated probabilities; None without held-out images.
    """

    temperature: float = 1.0
    errors: tuple[float, float] | None = None
    evaluation: Evaluation | None = None


def calibrated(probabilities: npt.ArrayLike, rows: "Rows", seed: int, *, scalable: bool = True) -> Calibrated:
    """Choose the temperature and evaluate with it.

    Args:
        probabilities: of the held-out images, of shape (n, classes).
        rows: the held-out images.
        seed: of the cross-fitting.
        scalable: whether the prediction layer can take a temperature.
    """
    found = calibrate(probabilities, rows.labels, seed=seed, groups=rows.groups)
    temperature = found.temperature if found.helps and scalable else 1.0
    return Calibrated(
        temperature=temperature,
        errors=(found.error_before, found.error_after),
        evaluation=evaluate(apply_temperature(probabilities, temperature), rows.labels, groups=rows.groups),
    )


def chosen_check(state: "TrainingState", held_out: "Rows", seed: int, *, stratified: bool = False) -> Chosen | None:
    """The best check as judged by images that did not choose it; None if it is no better than the start.

    The best of many checks is better than the start by chance, too.

    Args:
        state: of the training.
        held_out: the held-out images.
        seed: of the halves that choose for each other.
        stratified: whether the halves are stratified by class, as strategies are compared.
    """
    labels = held_out.labels if stratified else None
    chosen = cross_chosen(state.correct, seed=seed, groups=held_out.groups, labels=labels)
    return chosen if state.best_check and chosen.accuracy > state.checks[0].accuracy else None


def set_head(layer: Any, weights: "tuple[Any, Any] | None" = None, *, temperature: float = 1.0) -> None:
    """Set the prediction layer, its logits divided by a temperature.

    Args:
        layer: a dense layer, if anything changes.
        weights: kernel and bias; by default its own.
        temperature: above 0.
    """
    if weights is not None or temperature != 1.0:
        kernel, bias = layer.get_weights() if weights is None else weights
        layer.set_weights([kernel / temperature, bias / temperature])


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
