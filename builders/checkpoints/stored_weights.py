"""What a checkpoint holds: names, shapes and places of its variables, and the arrays when they are asked for."""

import re
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any, TypeAlias

import numpy.typing as npt

from builders.errors import BuildError

Read: TypeAlias = Callable[[Any], npt.NDArray[Any]]


class Layout(Enum):
    """How a file says where in its network a variable belongs."""

    NAMES = "by the variable's name alone"
    STORE = "by Keras 3's path of attributes and layer classes"
    OBJECTS = "by TensorFlow's graph of tracked objects"
    LEGACY = "by the layer's name and the order of layers"


@dataclass(frozen=True, slots=True, kw_only=True)
class Weight:
    """One variable, of a file or of a model.

    Attributes:
        name: as it is shown; unique in the file.
        shape: its extents.
        dtype: of its values, by NumPy's name.
        layer: names of the layers around it, from the outermost to its own, joined by "/"; "" if none is known.
        place: where its layer lies in the structure, independent of names; "" if that is not known.
        key: what tells it from the other variables of its layer: "kernel", or "0" where files number them.
        address: where the file keeps it, or its index in the model.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    layer: str = ""
    place: str = ""
    key: str = ""
    address: Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """A checkpoint of which no array has been read yet.

    Attributes:
        path: the file; for TensorFlow's checkpoints the prefix of its files.
        layout: how its variables find their places.
        weights: what is in it, in the file's order. State of optimizers, metrics and random generators and save
            counters are left out where the file marks them as such.
        opener: opens the file and gives a function from a weight's address to its array; no need to call it.
    """

    path: Path
    layout: Layout
    weights: tuple[Weight, ...]
    opener: Callable[[], AbstractContextManager[Read]] = field(repr=False)

    @contextmanager
    def open(self) -> Iterator[Callable[[Weight], npt.NDArray[Any]]]:
        """Open the file; gives a function that reads the array of one weight.

        Raises:
            BuildError: the file is gone, damaged or has changed.
        """
        with readable(self.path), self.opener() as read:

            def read_weight(weight: Weight) -> npt.NDArray[Any]:
                with readable(self.path):
                    array = read(weight.address)
                    if array.shape != weight.shape:
                        raise ValueError(f"{weight.name} has the shape {array.shape} and should have {weight.shape}")
                return array

            yield read_weight


@contextmanager
def readable(path: Path, kind: str = "checkpoint") -> Iterator[None]:
    """Turn what a damaged or absent file makes libraries raise into one line."""
    # What zipfile, NumPy, h5py and TensorFlow's reader raise on bytes that they don't expect.
    damage = (ValueError, LookupError, RuntimeError, EOFError, TypeError, zipfile.BadZipFile, zlib.error)
    try:
        yield
    except OSError as error:
        raise unreadable(path, kind, error.strerror or str(error)) from error
    except damage as error:
        raise unreadable(path, kind, str(error) or type(error).__name__) from error


def unreadable(path: Path, kind: str, reason: str) -> BuildError:
    """The error for a file that can't be read, on one line."""
    reason = re.sub(r"\s+", " ", reason).strip().rstrip(".")[:200]
    return BuildError(f"Expected {path} to be a readable {kind}. Received: {reason}. Copy or download it anew.")
