"""What a format of exported models is. Imports neither TensorFlow nor Keras."""

import abc
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:  # `recommend --help` lists the formats, and NumPy takes half of its time
    import numpy as np
    import numpy.typing as npt

Pixels: TypeAlias = "npt.NDArray[np.float32]"
_BATCH = 32


class ExportFormat(abc.ABC):
    """One kind of file. A new one is a subclass, and one line in `builders.export.formats`.

    Attributes:
        name: as `--export` takes it.
        title: for people.
        suffix: what is added to the stem of the model's name.
        packages: modules that must be importable besides TensorFlow and Keras.
        extra: of netgraft, that brings them; empty where none is needed.
        folder: the file that marks an export which is a folder; empty where it is one file.
        any_size: whether it holds the model whole, with its resizing. The others hold the network behind that.
        one_by_one: whether it takes a single picture at a time.
        quantised: whether its probabilities differ from the Keras model's by more than rounding.
    """

    name: str
    title: str
    suffix: str
    packages: tuple[str, ...] = ()
    extra: str = ""
    folder: str = ""
    any_size: bool = False
    one_by_one: bool = False
    quantised: bool = False

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

    starts = range(0, len(pictures), _BATCH)
    return np.concatenate([np.asarray(function(pictures[start : start + _BATCH]), np.float32) for start in starts])
