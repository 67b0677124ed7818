"""Make a reference for the user's own network, from images of what it was trained on."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from builders.backbones.backbone import Backbone, OpenedBackbone
from builders.backbones.load import open_backbone
from builders.backbones.registry import check_backbone
from probes.data.sampling import draw_splits
from probes.data.sources.folder import index_pictures
from probes.errors import ProbeError
from probes.network.features import Features, Network, Norm, about, extract, standardise
from probes.network.readout import FloatArray
from probes.similarity.drift import N_RESAMPLES, bootstrap_drift, bootstrap_weights, layer_drifts
from probes.similarity.reference import Reference, save_reference
from recommender.limits import LARGEST_SEED
from recommender.pipeline.loading import with_scaling
from recommender.pipeline.probed_network import probed_network
from recommender.progress import Progress, no_progress

_STEP, _SMALLEST = 64, 96  # px: input sizes that are measured for a network that takes any
_FEWEST = 50  # images: with fewer the moments depend more on the images than on the source


def make_reference(
    pictures: str | os.PathLike[str],
    *,
    backbone: Any = "efficientnet_lite0",
    weights: str | os.PathLike[str] | None = None,
    pixels: str | None = None,
    trust: bool = False,
    input_size: int | None = None,
    max_images: int = 1000,
    seed: int = 0,
    source: str | None = None,
    progress: Progress | None = None,
) -> Path:
    """Measure how a network sees images of its source, and store that under the fingerprint of the weights.

    Args:
        pictures: a folder with images of what the network was trained on, at any depth.
        backbone: see `recommender.recommend`, as are `weights`, `pixels`, `trust`, `input_size`, `max_images`, `seed`
            and `progress`.
        source: the name of the source.

    Returns:
        The file that was written.

    Raises:
        ProbeError: there are too few images, or the file can't be written.
        BuildError: the backbone can't be loaded.
    """
    if not 0 <= seed <= LARGEST_SEED:
        raise ProbeError(f"Expected `seed` to be from 0 to {LARGEST_SEED}. Received: {seed}.")
    check_backbone(backbone)
    index = index_pictures(pictures)
    sample = draw_splits(index, max_images, seed)
    report = progress or no_progress
    report("loading", 0, 1)
    opened = open_backbone(backbone, weights=weights, scaling=pixels, trust=trust)
    sizes = _sizes(opened) if input_size is None else [input_size]
    found = []
    for number, size in enumerate(sizes):

        def count(done: int, wanted: int, before: int = number) -> None:
            report("network", before * wanted + done, len(sizes) * wanted)

        loaded, _ = with_scaling(opened.at(size), index, sample)
        found.append(_measured(loaded, partial(extract, index, sample, progress=count), pictures, seed))
    layers, drift, embeddings, moments = zip(*found, strict=True)
    return save_reference(
        Reference(
            fingerprint=loaded.fingerprint,
            source=source or "",
            layers=layers[-1],
            sizes=np.array(sizes, np.float64),
            enlargements=np.ones(1),
            drift=np.array(drift)[:, None],
            labels=(),
            embedding_sizes=np.array(sizes, np.float64),
            embeddings=np.stack(embeddings).astype(np.float32),
            moments=tuple(filter(None, moments)),
        )
    )


def _sizes(opened: OpenedBackbone) -> list[int]:
    """Input sizes in px at which the images are measured."""
    if opened.fixed:
        return [opened.native_size]
    smallest = max(_SMALLEST, opened.smallest_size)
    return [*range(smallest, opened.native_size - _STEP // 2, _STEP), opened.native_size]


def _measured(
    backbone: Backbone, run: Callable[[Network], Features], pictures: str | os.PathLike[str], seed: int
) -> tuple[tuple[str, ...], npt.NDArray[np.float64], FloatArray, tuple[npt.NDArray[np.float64], ...]]:
    """At one input size: layers, the drift at each, the embeddings, and the moments as in `Reference`."""
    network = probed_network(backbone)
    moments: tuple[npt.NDArray[np.float64], ...] = ()
    if network.norms:
        norms, features = network.norms, run(network)
        drift = layer_drifts(features, seed=seed)[0]
    else:
        norms, drift, features = measure_cuts(backbone, run, seed=seed)
        moments = tuple(np.stack([norm.centre, norm.scale]) for norm in norms)
    if len(features.labels) < _FEWEST:
        raise ProbeError(
            f"Expected at least {_FEWEST} readable pictures of the source. Received: {len(features.labels)} in "
            f"{os.fspath(pictures)!r}. A thousand of all kinds make a good reference."
        )
    return tuple(norm.layer for norm in norms), drift, features.pooled[network.cuts[-1]], moments


def measure_cuts(
    backbone: Backbone, run: Callable[[Network], Features], *, seed: int
) -> tuple[tuple[Norm, ...], npt.NDArray[np.float64], Features]:
    """The source's moments at every cut point of a network without BatchNorm, the drift between halves, the features.

    `run` runs a network over the source's images.
    """
    widths = {point.layer: point.shape[-1] or 0 for point in backbone.points}
    plain = [Norm(layer=layer, centre=np.zeros(width), scale=np.ones(width)) for layer, width in widths.items()]
    features = run(probed_network(backbone, plain))
    pairs = {layer: (features.norm_means[layer], features.norm_squares[layer]) for layer in widths}
    norms = tuple(_moments(layer, *pair) for layer, pair in pairs.items())
    drift = np.array([_drift_of_halves(layer, *pair, seed) for layer, pair in pairs.items()])
    return norms, drift, features


def _moments(layer: str, means: FloatArray, squares: FloatArray) -> Norm:
    """The source's own moments at a cut point."""
    mean = means.mean(0, dtype=np.float64)
    variance = squares.mean(0, dtype=np.float64) - mean**2
    return Norm(layer=layer, centre=mean, scale=np.sqrt(np.maximum(variance, 0.0)))


def _drift_of_halves(layer: str, means: FloatArray, squares: FloatArray, seed: int) -> float:
    """Drift of one half of the images from the other: that of another sample of the source."""
    half = len(means) // 2
    norm = _moments(layer, means[:half], squares[:half])
    z_means, z_squares = standardise(norm, *about(norm.centre, means[half:], squares[half:]))
    return bootstrap_drift(z_means, z_squares, bootstrap_weights(np.arange(len(z_means)), N_RESAMPLES, seed))[0]
