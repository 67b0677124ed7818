"""Labelled inputs, mixed for training, and what a model puts out for them."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from builders.training.inputs import FloatArray, Inputs

PREDICTION_BATCH = 64


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Examples:
    """Labelled inputs.

    Attributes:
        inputs: of these and maybe of other images.
        rows: where they are among the inputs, of shape (n,).
        labels: class numbers, of shape (n,).
        weights: of the images in the loss, of shape (n,).
    """

    inputs: Inputs
    rows: npt.NDArray[np.int64]
    labels: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.labels)


def mixed(
    inputs: FloatArray, targets: FloatArray, weights: FloatArray, share: float, other: npt.NDArray[np.int64]
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Mix each example with another one; each brings its own weight along.

    Args:
        inputs: of shape (n, ...).
        targets: of shape (n, classes).
        weights: of shape (n,).
        share: of the example itself, in [0, 1].
        other: the number of the other one, of shape (n,).

    Reference:
        Zhang et al., mixup: beyond empirical risk minimization, ICLR 2018.
    """
    own, others = share * weights, (1.0 - share) * weights[other]
    both = own + others
    counted = np.where(both > 0, both, 1.0)[:, None]
    return (
        (share * inputs + (1.0 - share) * inputs[other]).astype(np.float32),
        ((own[:, None] * targets + others[:, None] * targets[other]) / counted).astype(np.float32),
        both.astype(np.float32),
    )


def drawn_rows(n: int, most: int, seed: int) -> npt.NDArray[np.int64]:
    """At most that many of n numbers, drawn at random, ascending."""
    return np.sort(np.random.default_rng(seed).permutation(n)[:most])


def outputs_of(model: Any, examples: Examples, *, most: int | None = None, seed: int = 0) -> FloatArray:
    """What a model puts out for examples, or for at most that many of them, drawn at random, of shape (n, outputs)."""
    drawn = drawn_rows(len(examples), len(examples) if most is None else most, seed)
    found = []
    for start in range(0, len(drawn), PREDICTION_BATCH):
        rows = examples.rows[drawn[start : start + PREDICTION_BATCH]]
        inputs = examples.inputs.plain(rows)
        if start and len(rows) < PREDICTION_BATCH:  # a batch of another size would be traced anew
            inputs = np.concatenate([inputs, np.zeros((PREDICTION_BATCH - len(rows), *inputs.shape[1:]), np.float32)])
        # Under a strategy each replica answers for the whole batch: the first answer is enough.
        found.append(np.asarray(model.predict_on_batch(inputs), np.float32)[: len(rows)])
    return np.concatenate(found)
