"""Which scaling of the pixels a network's weights were trained on, told by its BatchNorm statistics."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probes.errors import ProbeError
from probes.images.prepare import Prepared
from probes.network.features import Network, Tapped, run_over
from probes.similarity.drift import Moments
from probes.similarity.standard_photos import prepared

PICTURES = 32  # of the target's own, at most
_SHARE = 3  # the first third of the norms: the scaling acts on them before anything else does

FloatArray = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class ScalingChoice:
    """How a scaling was told.

    Attributes:
        name: of the scaling under which pictures lie nearest to the network's statistics.
        drift: geometric mean of the drift of early layers under it.
        runner_up: the name of the next one.
        runner_up_drift: the same under that.
    """

    name: str
    drift: float
    runner_up: str
    runner_up_drift: float


def choose_scaling(
    network: Network,
    run: Tapped,
    candidates: Mapping[str, Callable[[FloatArray], FloatArray]],
    pictures: Sequence[FloatArray],
) -> ScalingChoice:
    """Try each scaling on photographs and on the target's own pictures; the nearer of the two counts.

    A wrong scaling shifts and stretches what the first layers see. Photographs tell it for networks trained on
    photographs, whatever the target is; the target's pictures tell it for networks trained on the like of them.

    Args:
        network: from scaled pixels, with BatchNorm.
        run: the same compiled by `probes.network.features.tapped`.
        candidates: name -> function from pixels 0..255 to scaled ones.
        pictures: of the target, 0..255, each of shape (size, size, channels).

    Returns:
        The choice.
    """
    squares = [item.pixels for item in prepared(network.input_size, network.channels)]
    found = {}
    for name, scale in candidates.items():
        near = [_early_drift(network, run, [scale(pixels) for pixels in some]) for some in (squares, pictures) if some]
        found[name] = min(near)
    if not np.isfinite(min(found.values())):
        raise ProbeError(
            "Expected the network to put out finite numbers for some scaling of the pixels. Received: none. Check its "
            "weights."
        )
    first, second = sorted(found, key=lambda name: found[name])[:2]
    return ScalingChoice(name=first, drift=found[first], runner_up=second, runner_up_drift=found[second])


def _early_drift(network: Network, run: Tapped, pictures: Sequence[FloatArray]) -> float:
    items = (Prepared(pixels=pixels, label=0, file="", size=(1, 1), grey=False) for pixels in pictures)
    features = run_over(network, items, run=run)
    early = network.norms[: max(1, len(network.norms) // _SHARE)]
    with np.errstate(all="ignore"):  # a wrong scaling may overflow half precision
        drift = [Moments.of(features.norm_means[norm.layer], features.norm_squares[norm.layer]).drift for norm in early]
    mean = float(np.exp(np.mean(np.log(np.maximum(drift, 1e-9)))))
    return mean if np.isfinite(mean) else np.inf
