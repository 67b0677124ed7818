"""From a folder and a backbone to measurements: the probes, called in their order."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice

import numpy as np

from builders.backbones.backbone import Backbone
from builders.backbones.pixel_scaling import SCALINGS
from builders.errors import BuildError
from probes.data.image_index import ImageIndex
from probes.data.sampling import Sample
from probes.data.splits import Rows
from probes.errors import ProbeError
from probes.images.decode import quiet_decoders
from probes.images.facts_table import Inspection
from probes.images.prepare import Skipped, readable
from probes.network.features import Features, Network, Tapped, extract, tapped
from probes.quality.repeats import Repeats
from probes.similarity.feature_similarity import FeatureSimilarity
from probes.similarity.pixel_scaling import PICTURES, ScalingChoice, choose_scaling
from probes.similarity.reference import Reference, find_reference
from probes.similarity.score import (
    LEAST_NORMS,
    Baseline,
    enlargement_of,
    measure_similarity,
    reference_baseline,
    yardstick_baseline,
)
from probes.similarity.standard_photos import load_standard, measure_yardstick, photograph_drift
from recommender.pipeline.probed_network import probed_network
from recommender.rules import thresholds


def with_scaling(backbone: Backbone, index: ImageIndex, sample: Sample) -> tuple[Backbone, ScalingChoice | None]:
    """The backbone with the scaling of its pixels in front; measured where it is not known.

    Raises:
        BuildError: it is not known, and the network has no BatchNorm to tell it by.
    """
    if backbone.scaling is not None:
        return backbone, None
    network = probed_network(backbone)
    if not network.norms:
        raise BuildError(
            f"Expected to know how {backbone.name} wants its pixels scaled. Received: a network without BatchNorm to "
            f"tell it by, and without a scaling layer. Name it with --pixels: {', '.join(SCALINGS)}."
        )
    with quiet_decoders():
        pictures = readable(index, sample.train, network.input_size, network.channels, Skipped())
        shown = [picture.pixels for picture in islice(pictures, PICTURES)]
    candidates = {name: scaling.apply for name, scaling in SCALINGS.items()}
    choice = choose_scaling(network, tapped(network), candidates, shown)
    return backbone.scaled(SCALINGS[choice.name]), choice


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pass:
    """One pass over the sample, and what drift can be compared with."""

    features: Features
    network: Network
    run: Tapped
    reference: Reference | None


def run_network(
    backbone: Backbone, index: ImageIndex, sample: Sample, progress: Callable[[int, int], None] | None
) -> Pass:
    """Run the network once over the sample."""
    reference = _fitting(find_reference(backbone.fingerprint), backbone)
    norms = reference.norms(backbone.input_size) if reference is not None else ()
    network = probed_network(backbone, norms or None)
    run = tapped(network)
    return Pass(features=extract(index, sample, network, progress, run), network=network, run=run, reference=reference)


def _fitting(reference: Reference | None, backbone: Backbone) -> Reference | None:
    """The reference, if it was made at the places where this form of the network can be looked into."""
    if reference is None:
        return None
    if reference.moments:
        fits = [point.layer for point in backbone.points] == list(reference.layers)
        return reference if fits else None
    return reference if len(probed_network(backbone).norms) == len(reference.layers) else None


def similarity_of(seen: Pass, backbone: Backbone, n_classes: int, seed: int) -> FeatureSimilarity | None:
    """How like the source the sample looks; None where the network shows too little to tell."""
    features, network = seen.features.rows(~seen.features.validation), seen.network
    if len(network.norms) < LEAST_NORMS:
        return None
    enlargement = enlargement_of(features, backbone.input_size)
    return measure_similarity(
        features,
        _baseline(seen, backbone, enlargement),
        input_size=backbone.input_size,
        n_classes=n_classes,
        threshold=thresholds.DRIFT_THRESHOLD,
        seed=seed,
    )


def _baseline(seen: Pass, backbone: Backbone, enlargement: float) -> Baseline:
    reference = seen.reference
    if reference is not None and reference.shipped:
        return reference_baseline(
            reference,
            source=reference.source or backbone.source,
            input_size=backbone.input_size,
            enlargement=enlargement,
        )
    measured = measure_yardstick(seen.network, seen.run)
    times = max(1.0, enlargement)
    enlarged = measured.plain if times == 1.0 else photograph_drift(seen.network, seen.run, enlargement=times)
    stand_in = yardstick_baseline(
        measured,
        load_standard(),
        source=backbone.source,
        share=backbone.input_size / backbone.native_size,
        enlargement=times,
        enlarged=enlarged,
    )
    if reference is None:
        return stand_in
    own = reference_baseline(
        reference, source=reference.source or backbone.source, input_size=backbone.input_size, enlargement=1.0
    )
    # The source's own pictures give the floor at their own resolution; photographs, what enlarging adds to it.
    return replace(own, unit=stand_in.unit, floor=own.floor + np.maximum(enlarged - measured.plain, 0.0))


def require_finite(backbone: Backbone, features: Features) -> None:
    """Features that are no numbers say nothing.

    Raises:
        ProbeError: the network puts some out.
    """
    for layer, pooled in features.pooled.items():
        if not np.isfinite(pooled).all():
            scaling = backbone.scaling.name if backbone.scaling is not None else "unknown"
            raise ProbeError(
                f"Expected {backbone.title} to put out finite numbers. Received: others at {layer}, with pixels scaled "
                f"{scaling}. Check its weights, or name another scaling with --pixels."
            )


def require_readable(index: ImageIndex, sample: Sample, features: Features) -> None:
    """Every class that was drawn needs an image that can be read."""
    read = set(features.labels[~features.validation].tolist())
    for label, (name, wanted) in enumerate(zip(index.class_names, sample.train.quota, strict=True)):
        if wanted and label not in read:
            files = sample.train.candidates[label]
            why = {failed.file: failed.error for failed in features.skipped.failures}
            raise ProbeError(
                f"Expected the class {name!r} to hold a readable image. Received: {len(files)} files, none readable, "
                f"the first {files[0]!r}: {why[files[0]]}. Mend or remove them."
            )


def rows_of(index: ImageIndex, features: Features, seen: Inspection, repeated: Repeats) -> Rows:
    """The measured images as the splitter sees them: which belong together, which the user holds out.

    Args:
        index: the images.
        features: of those that were measured.
        seen: what was seen of them, and of others.
        repeated: which of the images that were seen belong together.

    Raises:
        ProbeError: fewer than two classes have an image whose weight is not 0.
    """
    number = {seen.names[place]: row for row, place in enumerate(seen.read["place"].tolist())}
    places = np.array([number[name] for name in features.files], np.int64)
    weights = np.array([index.weights.get(name, 1.0) for name in features.files])
    if len(set(features.labels[~features.validation & (weights > 0)].tolist())) < 2:
        raise ProbeError(
            f"Expected weights above 0 in at least two classes. Received: {index.source!r}, whose images weigh 0 in "
            "all but one. Mend the column `weight`, or leave it out."
        )
    return Rows.of(
        features.labels,
        repeated.together[places],
        features.validation,
        weights,
        features.validation & repeated.leaked[places],
    )
