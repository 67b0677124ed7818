"""What drift is compared with: images of the source, or the standard photographs in their place."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from probes.network.features import Network, Tapped
from probes.similarity.reference import Reference
from probes.similarity.score import PART_WEIGHTS, layer_parts, part_means, weighted
from probes.similarity.standard_photos import (
    PhotoDrift,
    StandardPhotos,
    load_standard_photos,
    measure_standard_photos,
    photo_drift,
)

# Floors of networks trained on photographs lie no farther than this above EfficientNet-Lite0's, early and middle.
# benchmarks/results/networks.jsonl: MobileNet's by 0.12 and 0.02 at most.
_IN_DISTRIBUTION = np.array([0.25, 0.10])
_INVISIBLE = 1e-6  # drift that a degradation adds where a network can't see it
_LEAST_UNIT, _MOST_UNIT = 0.25, 4.0  # beyond, the measurement is noise

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Baseline:
    """What drift is compared with.

    Attributes:
        basis: "reference" where images of the source were measured, "yardstick" where the standard photographs take
            their place, "foreign" where these are out-of-distribution for the network and EfficientNet-Lite0's floor
            is used. These values stand in the JSON document.
        source: the name of the data set that the network was trained on, or None if that is not known.
        floor: drift of in-distribution images at each norm and at the target's resolution, of shape (layers,).
        sharp_floor: the same for images that are not enlarged.
        unit: drift that counts as 1 of EfficientNet-Lite0's.
        labels: names of the source's classes; empty if they are not known.
        embeddings: of images of the source, of shape (images, channels); None without any.
    """

    basis: str
    source: str | None
    floor: Array
    sharp_floor: Array
    unit: float = 1.0
    labels: tuple[str, ...] = ()
    embeddings: npt.NDArray[np.float32] | None = None


def choose_baseline(
    network: Network,
    run: Tapped,
    reference: Reference | None,
    *,
    source: str | None,
    native_size: int,
    enlargement: float,
) -> Baseline:
    """The baseline for a network: its shipped reference, the user's own, or the standard photographs.

    Args:
        network: where drift is measured.
        run: the network compiled by `probes.network.features.tapped`.
        reference: statistics of images of its source, if there are any.
        source: the name of its source, if it is known and the reference does not say.
        native_size: input size in px that the network was trained at.
        enlargement: factor by which the target's median image is enlarged; below 1 it is shrunk.
    """
    source, times = (reference and reference.source) or source, max(1.0, enlargement)
    if reference is not None and reference.shipped:
        return reference_baseline(reference, source=source, input_size=network.input_size, enlargement=times)
    photos = measure_standard_photos(network, run)
    enlarged = photos.plain if times == 1.0 else photo_drift(network, run, enlargement=times)
    share = network.input_size / native_size
    by_photos = standard_photos_baseline(
        photos, load_standard_photos(), source=source, share=share, enlargement=times, enlarged=enlarged
    )
    if reference is None:
        return by_photos
    own = reference_baseline(reference, source=source, input_size=network.input_size, enlargement=1.0)
    # The source's own images give the floor at their own resolution; photographs give what enlarging adds to it.
    return replace(own, unit=by_photos.unit, floor=own.floor + np.maximum(enlarged - photos.plain, 0.0))


def reference_baseline(reference: Reference, *, source: str | None, input_size: int, enlargement: float) -> Baseline:
    """A baseline from stored statistics of the source's own images, enlarged as much as the target's."""
    return Baseline(
        basis="reference",
        source=source,
        floor=reference.floor(input_size, max(1.0, enlargement)),
        sharp_floor=reference.floor(input_size),
        labels=reference.labels,
        embeddings=reference.source_embeddings(input_size),
    )


def standard_photos_baseline(
    measured: PhotoDrift,
    standard: StandardPhotos,
    *,
    source: str | None,
    share: float,
    enlargement: float = 1.0,
    enlarged: Array | None = None,
) -> Baseline:
    """A baseline from the standard photographs.

    Args:
        measured: how the network sees them.
        standard: how EfficientNet-Lite0 does.
        source: the name of the network's source, or None.
        share: input size over native size.
        enlargement: of the target's images, at least 1.
        enlarged: drift of the photographs enlarged as much, of shape (layers,); needed where that is more than 1.
    """
    known, above = standard.at(share)
    unit = unit_of(part_means(measured.degraded), standard.degraded_at(share))
    foreign = bool((part_means(measured.plain) - unit * above > known + _IN_DISTRIBUTION).any())
    unit = 1.0 if foreign else unit

    def floor(plain: Array, times: float) -> Array:
        known, above = standard.at(share, times)
        found = known if foreign else part_means(plain) - unit * above
        parts = dict(zip(PART_WEIGHTS, found, strict=True))
        # Late layers have no weight in the score; the photographs' own drift is their floor.
        return np.array([parts.get(part, value) for part, value in zip(layer_parts(len(plain)), plain, strict=True)])

    return Baseline(
        basis="foreign" if foreign else "yardstick",
        source=source,
        floor=floor(measured.plain if enlarged is None else enlarged, enlargement),
        sharp_floor=floor(measured.plain, 1.0),
        unit=unit,
    )


def unit_of(own: npt.ArrayLike, standard: npt.ArrayLike) -> float:
    """Drift of a network that counts as 1 of EfficientNet-Lite0's, by what degrading the photographs adds to both.

    Args:
        own: early and middle drift that each degradation adds, of shape (degradations, 2). Degradations that the
            network can't see are left out.
        standard: the same for EfficientNet-Lite0.
    """
    added, known = weighted(own), weighted(standard)
    seen = np.abs(added) > _INVISIBLE
    return float(np.clip(added[seen].sum() / known[seen].sum(), _LEAST_UNIT, _MOST_UNIT)) if seen.any() else 1.0
