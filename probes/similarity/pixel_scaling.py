"""Find the pixel scaling that a network was trained with, by its BatchNorm statistics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probes.errors import ProbeError
from probes.images.prepare import Prepared
from probes.network.features import Network, run_over
from probes.similarity.drift import plain_drift
from probes.similarity.standard_photos import prepared

PICTURES = 32  # images of the target that are tried, at most
_SHARE = 3  # the first third of the norms: the scaling acts on them first

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingChoice:
    """The scaling that fits best, and the next one, with the geometric mean of the drift of early layers."""

    name: str
    drift: float
    runner_up: str
    runner_up_drift: float


def choose_scaling(
    network: Network, candidates: Mapping[str, Callable[[FloatArray], FloatArray]], pictures: Sequence[FloatArray]
) -> ScalingChoice:
    """Try each scaling, from pixels 0..255, on the standard photographs and on the target; the smaller drift counts.

    A wrong scaling shifts and stretches what the first layers see. Photographs show it in networks trained on
    photographs, whatever the target is; the target's images show it in networks trained on images like them.
    """
    squares = [item.pixels for item in prepared(network.input_size, network.channels)]
    drift = {
        name: min(_early_drift(network, [scale(x) for x in some]) for some in (squares, pictures) if some)
        for name, scale in candidates.items()
    }
    first, second = sorted(drift, key=lambda name: drift[name])[:2]
    if not np.isfinite(drift[first]):
        raise ProbeError(
            "Expected finite outputs of the network for some scaling of the pixels. Received: none. Check its weights."
        )
    return ScalingChoice(name=first, drift=drift[first], runner_up=second, runner_up_drift=drift[second])


def _early_drift(network: Network, pictures: Sequence[FloatArray]) -> float:
    """Geometric mean of the drift of the first norms; infinite where it is not finite."""
    items = (Prepared(pixels=pixels, label=0, file="", size=(1, 1), grey=False) for pixels in pictures)
    features = run_over(network, items)
    early = [norm.layer for norm in network.norms[: max(1, len(network.norms) // _SHARE)]]
    with np.errstate(all="ignore"):  # a wrong scaling may overflow half precision
        drift = [plain_drift(features.norm_means[layer], features.norm_squares[layer]) for layer in early]
    mean = float(np.exp(np.mean(np.log(np.maximum(drift, 1e-9)))))
    return mean if np.isfinite(mean) else np.inf
