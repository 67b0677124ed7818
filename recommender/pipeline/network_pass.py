"""One pass of the network over the sample, and the checks of what it read."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from builders.backbones.backbone import Backbone
from probes.data.image_index import ImageIndex, Store
from probes.data.sampling import Sample
from probes.data.splits import Rows
from probes.errors import ProbeError
from probes.images.image_facts import Inspection
from probes.images.prepare import Reader
from probes.network.features import Features, Network, extract
from probes.quality.repeats import Repeats
from probes.similarity.reference import Reference, find_reference
from recommender.pipeline.loading import LoadedBackbone
from recommender.pipeline.probed_network import probed_network

Spread = Callable[[Store, Network], Reader]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class NetworkPass:
    """One pass over the sample, and what drift can be compared with."""

    backbone: Backbone
    network: Network  # the backbone as the probes see it
    features: Features  # one row for each image of the sample
    reference: Reference | None  # statistics of images of the backbone's source


def run_network(
    loaded: LoadedBackbone,
    index: ImageIndex,
    sample: Sample,
    progress: Callable[[int, int], None] | None,
    spread: Spread | None = None,
) -> NetworkPass:
    """Run the network once over the sample; `spread` makes a reader that runs it on other machines."""
    backbone = loaded.backbone
    network = probed_network(backbone, program=loaded.program)
    reference = find_reference(backbone.fingerprint)
    if reference is not None and not reference.fits(network.cuts, len(network.norms)):
        reference = None
    if reference is not None and reference.moments:
        network = probed_network(backbone, reference.norms(backbone.input_size), loaded.program)
    features = extract(index, sample, network, progress, spread and spread(index.store, network))
    return NetworkPass(backbone=backbone, network=network, features=features, reference=reference)


def require_finite(backbone: Backbone, features: Features) -> None:
    """Refuse features that are not finite."""
    for layer, pooled in features.pooled.items():
        if not np.isfinite(pooled).all():
            scaling = backbone.scaling.name if backbone.scaling is not None else "unknown"
            raise ProbeError(
                f"Expected finite outputs of {backbone.title}. Received: others at {layer}, with pixels scaled "
                f"{scaling}. Check its weights, or name another scaling with --pixels."
            )


def require_readable(index: ImageIndex, sample: Sample, features: Features) -> None:
    """Refuse a class of the sample without a readable image."""
    read = set(features.labels[~features.validation].tolist())
    for label, (name, wanted) in enumerate(zip(index.class_names, sample.train.quota, strict=True)):
        if wanted and label not in read:
            files = sample.train.candidates[label]
            why = {failed.file: failed.error for failed in features.skipped.failures}
            raise ProbeError(
                f"Expected the class {name!r} to hold a readable image. Received: none readable of {len(files)}, "
                f"the first {files[0]!r}: {why[files[0]]}. Mend or remove them."
            )


def rows_of(index: ImageIndex, features: Features, seen: Inspection, repeated: Repeats) -> Rows:
    """The measured images with their groups, weights and the user's validation split; facts of all have been seen."""
    number = {seen.names[place]: row for row, place in enumerate(seen.read["place"].tolist())}
    places = np.array([number[name] for name in features.files], np.int64)
    weights = np.array([index.weights.get(name, 1.0) for name in features.files])
    if len(set(features.labels[~features.validation & (weights > 0)].tolist())) < 2:
        raise ProbeError(
            f"Expected weights above 0 in at least two classes. Received: {index.source!r}, whose images weigh 0 in "
            "all but one. Mend the column `weight`, or leave it out."
        )
    barred = features.validation & repeated.leaked[places]
    return Rows.of(features.labels, repeated.together[places], features.validation, weights, barred)
