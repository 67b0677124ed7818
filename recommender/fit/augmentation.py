"""Which augmentations keep the labels of the user's images, as measured."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

import numpy as np

from builders.training.schedule import AUGMENTATIONS
from probes.images.decode import in_order, quiet_decoders
from probes.images.prepare import Prepared
from probes.separability.invariance import augmented_blocks, measure_invariance
from recommender.pipeline.reread_images import read_prepared

if TYPE_CHECKING:
    from recommender.pipeline.decision import Decision

MOST_IMAGES = 250  # as in benchmarks/results/invariance.jsonl, where the rule comes from
_DEPTHS = (0.5, 1.0)  # cut depths whose features are compared, as there

Progress = Callable[[int, int], None]


def fitting_augmentation(found: "Decision", progress: Progress | None = None) -> tuple[str, ...]:
    """Names of the augmentations under which the images keep their labels.

    Args:
        found: the recommendation, with the training images that it measured.
        progress: called with images done and wanted.
    """
    from recommender.pipeline.probed_network import probed_network

    training = np.flatnonzero(found.rows.training)
    chosen = np.random.default_rng(found.seed).permutation(training)[:MOST_IMAGES]
    points = found.plan.cuts
    depths = np.array([point.depth for point in points])
    cuts = list(dict.fromkeys(points[int(np.abs(depths - depth).argmin())].layer for depth in _DEPTHS))
    network = probed_network(found.backbone)
    with quiet_decoders():
        copies = augmented_blocks(network, _pictures(found, chosen.tolist(), progress), AUGMENTATIONS, seed=found.seed)
    measured = measure_invariance(
        [found.features.pooled[cut] for cut in cuts],
        {name: [blocks[cut] for cut in cuts] for name, blocks in copies.items()},
        found.rows,
        chosen,
        seed=found.seed,
        balanced=found.class_weight is not None,
    )
    return tuple(each.name for each in measured if each.keeps)


def _pictures(found: "Decision", rows: list[int], progress: Progress | None) -> Iterator[Prepared]:
    size, channels = found.strategy.input_size, found.backbone.channels

    def read(row: int) -> Prepared:
        name, label = found.features.files[row], int(found.features.labels[row])
        picture, pixels = read_prepared(found.index, name, size, channels)
        return Prepared(file=name, label=label, size=picture.size, grey=picture.grey, pixels=pixels)

    for done, item in enumerate(in_order(read, rows, workers=4, ahead=32), start=1):
        if progress is not None:
            progress(done, len(rows))
        yield item
