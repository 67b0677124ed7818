"""Reading `.npz`: arrays by the names of variables. Pickled objects are never loaded."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from builders.checkpoints.checkpoint import Checkpoint, Weight, readable, starts_with


def recognises(path: Path) -> bool:
    """Whether the path is a zip archive or says that it is one."""
    return path.is_file() and (path.suffix == ".npz" or starts_with(path, b"PK"))


def read(path: Path) -> Checkpoint:
    """Read names and shapes.

    Raises:
        BuildError: the archive is damaged or holds something else than arrays of numbers.
    """
    weights = []
    with readable(path, "zip archive of arrays"), _open(path) as array_of:
        for name in array_of.__self__:
            array = array_of(name)
            weights.append(
                Weight(name=name.removesuffix(":0"), shape=array.shape, dtype=array.dtype.name, address=name)
            )
    return Checkpoint(path=path, weights=tuple(weights), opener=partial(_open, path))


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        if not all(f"{name}.npy" in arrays.zip.namelist() for name in arrays):
            raise ValueError(f"a zip archive of {', '.join(list(arrays)[:2])}")
        yield arrays.__getitem__
