"""What a format of exported models is. Imports neither TensorFlow nor Keras."""

import abc
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:  # `recommend --help` lists the formats, and NumPy takes half of its time
    import numpy as np
    import numpy.typing as npt

Pixels: TypeAlias = "npt.NDArray[np.float32]"


class ExportFormat(abc.ABC):
    """One kind of file. A new one is a subclass, and one line in `builders.export.formats`."""

    name: str  # as `--export` takes it
    title: str  # for people
    suffix: str  # is added to the stem of the model's name
    packages: tuple[str, ...] = ()  # modules that must be importable besides TensorFlow and Keras
    extra: str = ""  # of netgraft, that brings them; empty where none is needed
    folder: str = ""  # the file that marks an export which is a folder; empty where it is one file
    any_size: bool = False  # whether it holds the model whole; the others hold the network behind its resizing
    one_by_one: bool = False  # whether it takes a single picture at a time
    quantised: bool = False  # whether its probabilities differ from the Keras model's by more than rounding

    @abc.abstractmethod
    def write(self, network: Any, path: Path, pictures: Pixels) -> None:
        """Write a network.

        Args:
            network: a `keras.Model`; of one input size, unless `any_size`.
            path: of the file or folder, where nothing is.
            pictures: of shape (n, height, width, channels), 0 to 255, of the network's size, to calibrate with.
        """

    @abc.abstractmethod
    def run(self, path: Path, pictures: Pixels) -> Pixels:
        """Probabilities of shape (n, classes) of pictures of shape (n, any height, any width, channels), 0 to 255."""


def in_batches(function: Callable[[Pixels], Any], pictures: Pixels) -> Pixels:
    """What a function of batches returns for all pictures."""
    import numpy as np

    batches = (pictures[start : start + 32] for start in range(0, len(pictures), 32))
    return np.concatenate([np.asarray(function(batch), np.float32) for batch in batches])


def resized(pictures: Pixels, height: int, width: int) -> Pixels:
    """Pictures of shape (n, height, width, channels), resized in px as the model does it: bilinear, antialiased."""
    if pictures.shape[1:3] == (height, width):
        return pictures
    import keras

    return in_batches(
        lambda batch: keras.ops.image.resize(batch, (height, width), interpolation="bilinear", antialias=True), pictures
    )
