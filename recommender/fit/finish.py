"""The end of a training: temperature into the prediction layer, the model compiled, memory counted."""

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from probes.evaluation.out_of_distribution import FEWEST, Detector, fit_detector

if TYPE_CHECKING:
    from probes.evaluation.evaluation import Evaluation
    from recommender.fit.session import FitSession

MOST_IMAGES = 1000  # that the detector of foreign pictures is fitted on, and as many that its threshold comes from


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Calibrated:
    """How well probabilities are what they say.

    Attributes:
        temperature: to divide the logits by; 1.0 where that does not help.
        errors: expected calibration error before and after, cross-fitted; None where there was nothing to judge by.
        evaluation: with the temperature; None likewise.
    """

    temperature: float
    errors: tuple[float, float] | None
    evaluation: "Evaluation | None"


def finish(
    session: "FitSession",
    *,
    head: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]] | None = None,
    temperature: float = 1.0,
) -> None:
    """Set the prediction layer, its logits divided by the temperature, and compile the model as it was built.

    Args:
        session: with the model.
        head: kernel and bias; by default those that the layer has.
        temperature: 1.0 where the layer is no dense one.
    """
    from builders.build import compile_model

    last = session.model.layers[-1]
    if head is not None or temperature != 1.0:
        kernel, bias = last.get_weights() if head is None else head
        last.set_weights([kernel / temperature, bias / temperature])
    compile_model(session.model, session.found.strategy.learning_rate)


def peak_memory() -> int | None:
    """Bytes that the process had in memory at its peak; None where the system does not tell."""
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
    """A detector, where there are images enough."""
    if len(features) < FEWEST or (held_out is not None and not len(held_out)):
        return None
    return fit_detector(features, held_out, groups=groups, seed=seed)
