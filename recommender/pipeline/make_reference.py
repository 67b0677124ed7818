"""Make a reference for a network of one's own, from pictures of what it was trained on."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from builders.backbones.registry import check_backbone
from probes.data.sampling import draw_splits
from probes.data.sources.folder import index_pictures
from probes.errors import ProbeError
from probes.network.features import Features, Network, Norm, extract
from probes.similarity.drift import bootstrap_drift, bootstrap_weights
from probes.similarity.reference import Reference, save_reference
from recommender.limits import LARGEST_SEED

if TYPE_CHECKING:
    from builders.backbones.backbone import Backbone

_STEP, _SMALLEST = 64, 96  # px: input sizes that are measured for a network that takes any
_FEWEST = 50  # pictures: below, the moments say more of the pictures than of the source
_RESAMPLES = 200

FloatArray = npt.NDArray[np.float64]


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
    progress: Callable[[str, int, int], None] | None = None,
) -> Path:
    """Measure how pictures of the source look to a network, and keep it under the fingerprint of the weights.

    Args:
        pictures: a folder with pictures of what the network was trained on, at any depth.
        backbone: see `recommender.recommend`, as are `weights`, `pixels`, `trust`, `input_size`, `max_images`, `seed`
            and `progress`.
        source: what the source is called.

    Returns:
        The file that was written.

    Raises:
        ProbeError: there are too few pictures, or the file can't be written.
        BuildError: the backbone can't be loaded.
    """
    if not 0 <= seed <= LARGEST_SEED:
        raise ProbeError(f"Expected `seed` to be from 0 to {LARGEST_SEED}. Received: {seed}.")
    check_backbone(backbone)
    index = index_pictures(pictures)
    sample = draw_splits(index, max_images, seed)
    if progress is not None:
        progress("loading", 0, 1)
    from builders.backbones.load import open_backbone
    from recommender.pipeline.network_pass import with_scaling
    from recommender.pipeline.probed_network import probed_network

    opened = open_backbone(backbone, weights=weights, scaling=pixels, trust=trust)
    sizes = _sizes(opened, input_size)
    drifts, moments, embeddings, name = [], [], [], ""
    for number, size in enumerate(sizes):
        loaded, scaling = with_scaling(opened.at(size), index, sample)
        pixels = loaded.scaling.name if scaling is not None and loaded.scaling is not None else pixels

        def told(done: int, wanted: int, before: int = number) -> None:
            if progress is not None:
                progress("network", before * wanted + done, len(sizes) * wanted)

        norms, drift, features = _measure(loaded, index, sample, told, seed)
        _require_enough(len(features.labels), pictures)
        drifts.append(drift)
        moments.append(tuple(np.stack([norm.centre, norm.scale]) for norm in norms))
        embeddings.append(features.pooled[loaded.points[-1].layer])
        name = loaded.fingerprint
        own = not probed_network(loaded).norms
        layers = tuple(norm.layer for norm in norms)
    return save_reference(
        Reference(
            fingerprint=name,
            source=source or "",
            layers=layers,
            sizes=np.array(sizes, np.float64),
            enlargements=np.ones(1),
            drift=np.array(drifts)[:, None],
            labels=(),
            embedding_sizes=np.array(sizes, np.float64),
            embeddings=np.stack(embeddings).astype(np.float32),
            moments=tuple(moments) if own else (),
        )
    )


def _sizes(opened: Any, input_size: int | None) -> list[int]:
    """Input sizes in px at which pictures are measured."""
    if input_size is not None or opened.fixed:
        return [input_size or opened.native_size]
    first = max(_SMALLEST, opened.smallest_size)
    return [*range(first, opened.native_size - _STEP // 2, _STEP), opened.native_size]


def _require_enough(n_read: int, pictures: str | os.PathLike[str]) -> None:
    if n_read < _FEWEST:
        raise ProbeError(
            f"Expected at least {_FEWEST} readable pictures of the source. Received: {n_read} in "
            f"{os.fspath(pictures)!r}. A thousand of all kinds make a good reference."
        )


def _measure(
    backbone: "Backbone", index: Any, sample: Any, progress: Callable[[int, int], None], seed: int
) -> tuple[tuple[Norm, ...], list[float], Features]:
    """Where drift is measured, the source's own drift there, and the features."""
    from recommender.pipeline.probed_network import probed_network

    network = probed_network(backbone)
    if network.norms:
        features = extract(index, sample, network, progress)
        weights = bootstrap_weights(len(features.labels), _RESAMPLES, seed)
        drift = [
            bootstrap_drift(features.norm_means[norm.layer], features.norm_squares[norm.layer], weights).value
            for norm in network.norms
        ]
        return network.norms, drift, features
    return measure_cuts(backbone, lambda bare: extract(index, sample, bare, progress), seed=seed)


def measure_cuts(
    backbone: "Backbone", run: Callable[[Network], Features], *, seed: int
) -> tuple[tuple[Norm, ...], list[float], Features]:
    """Moments of the source at every cut point of a network without BatchNorm.

    Args:
        backbone: the network.
        run: runs it over the source's pictures.
        seed: of the bootstrap.

    Returns:
        The moments, the drift between two halves of the pictures, and the features.
    """
    from recommender.pipeline.probed_network import probed_network

    widths = {point.layer: point.shape[-1] or 0 for point in backbone.points}
    bare = [Norm(layer=layer, centre=np.zeros(width), scale=np.ones(width)) for layer, width in widths.items()]
    features = run(probed_network(backbone, bare))
    norms, drift = [], []
    for layer in widths:
        means, squares = (np.asarray(part[layer], np.float64) for part in (features.norm_means, features.norm_squares))
        norms.append(_norm_of(layer, means, squares))
        drift.append(_halves_drift(layer, means, squares, seed))
    return tuple(norms), drift, features


def _norm_of(layer: str, means: FloatArray, squares: FloatArray) -> Norm:
    """The source's own moments at a cut point."""
    mean = means.mean(0)
    return Norm(layer=layer, centre=mean, scale=np.sqrt(np.maximum(squares.mean(0) - mean**2, 0.0)))


def _halves_drift(layer: str, means: FloatArray, squares: FloatArray, seed: int) -> float:
    """Drift of one half of the pictures to the other: what another sample of the source would have."""
    half = len(means) // 2
    norm = _norm_of(layer, means[:half], squares[:half])
    kept = norm.scale > 1e-3 * norm.scale.max()
    centre, scale = norm.centre[kept], norm.scale[kept]
    z_means = (means[half:, kept] - centre) / scale
    z_squares = (squares[half:, kept] - 2 * centre * means[half:, kept] + centre**2) / scale**2
    weights = bootstrap_weights(len(z_means), _RESAMPLES, seed)
    return bootstrap_drift(z_means, z_squares, weights).value
