"""The detector of foreign pictures for a strategy of a comparison."""

from typing import TYPE_CHECKING

import numpy as np

from recommender.comparison.outcome import Row, built
from recommender.comparison.shared_data import Seen, prepared
from recommender.fit.finish import MOST_IMAGES, fitted_detector

if TYPE_CHECKING:
    from probes.evaluation.out_of_distribution import Detector
    from recommender.pipeline.decision import Decision

_BATCH = 64


def detector_of(row: Row, found: "Decision", seen: Seen, seed: int) -> "Detector | None":
    """Of pictures unlike the training images, by what the row's prediction layer reads of both parts."""
    parts = (seen.split.training, seen.split.held_out)
    if row.frozen:
        levels = [seen.features.pooled[level] for level in row.strategy.head.levels]
        training, held_out = (np.concatenate([level[part] for level in levels], axis=1) for part in parts)
        return fitted_detector(training, held_out, None, seed)
    import keras

    pictures = prepared(found, seen, until=float("inf"), progress=None)
    if pictures is None:
        return None
    model = built(row, found.backbone)
    below = keras.Model(model.input, model.layers[-1].input)
    features = []
    for part in parts:
        drawn = np.sort(np.random.default_rng(seed).permutation(part)[:MOST_IMAGES])
        batches = np.array_split(drawn, max(1, len(drawn) // _BATCH))
        found_here = [np.asarray(below(pictures[batch].astype(np.float32), training=False)) for batch in batches]
        features.append(np.concatenate(found_here))
    return fitted_detector(features[0], features[1], None, seed)
