"""Batches of labelled inputs, for training and prediction on any Keras backend."""

import contextlib
import ctypes
import logging
import sys
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from builders.training.data import Examples, FloatArray, Outputs, Rows

PREDICTION_BATCH = 64


class _Batches(keras.utils.PyDataset):  # type: ignore[misc]
    """Batches that remember why one could not be read: TensorFlow would hide it in an error of its own.

    When all are read they forget their examples: TensorFlow never frees a data set that Keras made of Python code.
    """

    error: Exception | None = None

    def __init__(self, examples: Examples) -> None:
        super().__init__()
        self.examples: Examples | None = examples
        self.n = len(examples)

    def __getitem__(self, index: int) -> Any:
        try:
            return None if self.examples is None else self.batch(index, self.examples)
        except Exception as error:
            self.error = error
            raise

    def batch(self, index: int, examples: Examples) -> Any:
        raise NotImplementedError

    @contextlib.contextmanager
    def read(self) -> Iterator[None]:
        """Raise what reading a batch raised."""
        try:
            yield
        except Exception:
            if self.error is None:
                raise
            raise self.error from None
        finally:
            self.examples = None


class TrainingBatches(_Batches):
    """Endless augmented batches of (inputs, labels, weights) from a step on.

    A batch depends on the seed and the number of its step alone, so that a run can be resumed. One shuffle of all
    examples follows another, and batches may lie across two.
    """

    num_batches = None

    def __init__(self, examples: Examples, batch_size: int, seed: int, first_step: int = 0) -> None:
        super().__init__(examples)
        self.batch_size, self.seed, self.first_step = batch_size, seed, first_step

    def batch(self, index: int, examples: Examples) -> tuple[Outputs, npt.NDArray[np.int64], FloatArray]:
        step = self.first_step + index
        places = self.places(step)
        inputs = examples.inputs.varied(examples.rows[places], np.random.default_rng([self.seed, step]))
        return inputs, examples.labels[places], examples.weights[places].astype(np.float32)

    def places(self, step: int) -> Rows:
        """Which of the examples are in the batch of a step."""
        n, size = self.n, self.batch_size
        epochs, places = np.divmod(np.arange(step * size, (step + 1) * size), n)
        orders = {
            int(epoch): np.random.default_rng([self.seed, int(epoch), 1]).permutation(n) for epoch in np.unique(epochs)
        }
        return np.array([orders[epoch][place] for epoch, place in zip(epochs.tolist(), places, strict=True)], np.int64)


class _PlainBatches(_Batches):
    @property
    def num_batches(self) -> int:
        return -(-self.n // PREDICTION_BATCH)

    def batch(self, index: int, examples: Examples) -> tuple[Outputs]:
        first = index * PREDICTION_BATCH
        return (examples.inputs.plain(examples.rows[first : first + PREDICTION_BATCH]),)


def predict(model: Any, examples: Examples) -> FloatArray:
    """Outputs of a model for plain examples, of shape (n, outputs)."""
    batches = _PlainBatches(examples)
    with batches.read():
        return np.asarray(model.predict(batches, verbose=0), np.float32)


@contextlib.contextmanager
def quiet_tracing() -> Iterator[None]:
    """Silence TensorFlow's warning of many traced graphs: there are many models."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


# Parameters of glibc's mallopt, with the values for a training and those of malloc.h.
_MALLOC = ((-4, 0, 65_536), (-1, 2**31 - 1, 128 * 1024), (-2, 256 * 2**20, 128 * 1024))  # mmap_max, trim, top_pad


@contextlib.contextmanager
def kept_memory() -> Iterator[None]:
    """Let the C library keep what a training step frees, for the next one; elsewhere than on glibc without effect.

    glibc returns large blocks to the system at once, and TensorFlow gets its tensors page by page again at each step.
    """
    library: Any = ctypes.CDLL(None) if sys.platform == "linux" else None
    if not hasattr(library, "mallopt"):
        yield
        return
    for parameter, value, _ in _MALLOC:
        library.mallopt(parameter, value)
    try:
        yield
    finally:
        for parameter, _, value in _MALLOC:
            library.mallopt(parameter, value)
        library.malloc_trim(0)
