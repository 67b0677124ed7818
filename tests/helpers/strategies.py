"""Rows of a comparison that never ran."""

import numpy as np

from builders.strategy import HeadSpec, Strategy
from recommender.comparison.ranking import Results, Row
from recommender.rules.scenario import Scenario


def row(label, correct, seconds, *, frozen=False, judged=None, **options):
    """A strategy, fine-tuned from the layer `label` or frozen at it, that was right on some of the judged images."""
    hits = np.asarray(correct, bool)
    known = np.ones(len(hits), bool) if judged is None else np.asarray(judged, bool)
    strategy = Strategy(
        backbone="b",
        input_size=32,
        cut=label if frozen else "top",
        cut_depth=1.0,
        freeze=label,
        freeze_depth=1.0 if frozen else 0.0,
        train_batch_norm=False,
        learning_rate=1e-4,
        head=HeadSpec(classes=2),
    )
    known_hits = hits[known]
    return Row(
        strategy=strategy,
        scenario=Scenario.LINEAR_PROBE if frozen else Scenario.FULL_FINE_TUNE,
        **{"accuracy": float(known_hits.mean()), "interval": (0.0, 1.0), "balanced_accuracy": 0.5, **options},
        seconds=seconds,
        results=Results(judged=known, correct=hits & known),
        weights=(),
    )


def right(share, n=200, shift=0):
    """A share of n images right, the wrong ones together, starting at `shift`."""
    hits = np.ones(n, bool)
    hits[(np.arange(round((1 - share) * n)) + shift) % n] = False
    return hits
