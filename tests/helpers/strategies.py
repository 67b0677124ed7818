"""Rows of a comparison that never ran."""

import numpy as np

from builders.strategy import HeadSpec, Strategy
from recommender.comparison.ranking import Row
from recommender.rules.scenario import Scenario


def row(label, correct, seconds, *, recommended=False, ended_early=False, checks=None):
    """A strategy, fine-tuned from the layer `label`, that was right on some held-out images."""
    hits = np.asarray(correct, bool)
    strategy = Strategy(
        backbone="b",
        input_size=32,
        cut="top",
        cut_depth=1.0,
        freeze=label,
        freeze_depth=0.0,
        train_batch_norm=False,
        learning_rate=1e-4,
        head=HeadSpec(classes=2),
    )
    return Row(
        strategy=strategy,
        scenario=Scenario.FULL_FINE_TUNE,
        recommended=recommended,
        accuracy=float(hits.mean()),
        interval=(0.0, 1.0),
        balanced_accuracy=float(hits.mean()),
        seconds=seconds,
        ended_early=ended_early,
        correct=hits,
        checks=hits[None] if checks is None else np.asarray(checks, bool),
        weights=(),
    )


def right(share, n=200, shift=0):
    """A share of n images right, the wrong ones together, starting at `shift`."""
    hits = np.ones(n, bool)
    hits[(np.arange(round((1 - share) * n)) + shift) % n] = False
    return hits
