"""Which augmentations training may use: those under which the user's images keep their labels, measured."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from builders.training.schedule import AUGMENTATIONS
from probes.images.decode import in_order, quiet_decoders
from probes.images.prepare import Prepared
from probes.separability.augmentations import augmented_blocks
from probes.separability.invariance import Invariance, measure_invariance
from recommender.pipeline.reread_images import read_prepared

if TYPE_CHECKING:
    from recommender.pipeline.decision import Decision

MOST_IMAGES = 250  # as in benchmarks/results/invariance.jsonl, where the rule comes from
_MIDDLE, _TOP = 0.5, 1.0  # cut depths whose features are asked, as there


def measured_augmentation(
    found: "Decision", progress: Callable[[int, int], None] | None = None
) -> tuple[Invariance, ...]:
    """Ask for each augmentation that training knows whether the images keep their labels under it.

    Args:
        found: the recommendation, whose measured training images are asked.
        progress: called with images done and wanted.
    """
    from recommender.pipeline.probed_network import probed_network

    training = np.flatnonzero(found.rows.training)
    chosen = training[np.random.default_rng(found.seed).permutation(len(training))[:MOST_IMAGES]]
    cuts = _cuts(found)
    network = probed_network(found.backbone)
    with quiet_decoders():
        copies = augmented_blocks(network, _pictures(found, chosen.tolist(), progress), AUGMENTATIONS, seed=found.seed)
    return measure_invariance(
        [found.features.pooled[cut] for cut in cuts],
        {name: [blocks[cut] for cut in cuts] for name, blocks in copies.items()},
        found.rows,
        chosen,
        seed=found.seed,
        balanced=found.class_weight is not None,
    )


def fitting_augmentation(found: "Decision", progress: Callable[[int, int], None] | None = None) -> tuple[str, ...]:
    """Names of the augmentations under which the images keep their labels."""
    return tuple(asked.name for asked in measured_augmentation(found, progress) if asked.keeps)


def _cuts(found: "Decision") -> list[str]:
    """A cut point in the middle, and the last."""
    points = found.plan.cuts
    depths = np.array([point.depth for point in points])
    return list(dict.fromkeys(points[int(np.abs(depths - depth).argmin())].layer for depth in (_MIDDLE, _TOP)))


def _pictures(found: "Decision", rows: list[int], progress: Callable[[int, int], None] | None) -> Iterator[Prepared]:
    size, channels = found.strategy.input_size, found.backbone.channels

    def read(row: int) -> Prepared:
        name = found.features.files[row]
        picture, pixels = read_prepared(found.index, name, size, channels)
        return Prepared(
            file=name,
            label=int(found.features.labels[row]),
            size=picture.size,
            grey=picture.grey,
            pixels=pixels,
        )

    for done, item in enumerate(in_order(read, rows, workers=4, ahead=32), start=1):
        if progress is not None:
            progress(done, len(rows))
        yield item
