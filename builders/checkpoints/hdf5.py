"""Reading HDF5 weights, in Keras 3's layout (`.weights.h5`, `.keras`) or the older one (`.h5`)."""

import zipfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from builders.checkpoints import keras_legacy, keras_store
from builders.checkpoints.checkpoint import Checkpoint, Read, readable, starts_with
from builders.errors import BuildError

_MEMBER = "model.weights.h5"  # of a .keras archive
_ZIP = b"PK"


def recognises(path: Path) -> bool:
    """Whether the path is an HDF5 file, an archive with one in it, or says so by its suffix."""
    if not path.is_file():
        return False
    if path.suffix in {".h5", ".hdf5", ".keras"} or starts_with(path, b"\x89HDF\r\n\x1a\n"):
        return True
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return _MEMBER in archive.namelist()


def read(path: Path) -> Checkpoint:
    """Read names, shapes and places.

    Raises:
        BuildError: the file is damaged or holds no weights.
    """
    with readable(path, "HDF5 file"), _open_file(path) as file:
        layout = keras_legacy if keras_legacy.recognises(file) else keras_store
        weights = tuple(layout.weights(file))
    if not weights:
        raise BuildError(f"Expected {path} to hold the weights of a Keras model. Received: an HDF5 file with none.")
    return Checkpoint(path=path, weights=weights, opener=partial(_open_arrays, path), places=layout.places)


@contextmanager
def _open_file(path: Path) -> Iterator[Any]:
    import h5py

    with ExitStack() as stack:
        source: Any = stack.enter_context(path.open("rb"))
        if starts_with(path, _ZIP):
            source = stack.enter_context(stack.enter_context(zipfile.ZipFile(source)).open(_MEMBER))
        yield stack.enter_context(h5py.File(source, "r"))


@contextmanager
def _open_arrays(path: Path) -> Iterator[Read]:
    with _open_file(path) as file:

        def read_array(address: str) -> Any:
            dataset = file[address]
            if dataset.is_virtual or dataset.external:
                raise ValueError(f"{address} is kept in another file")
            if dataset.attrs.get("dtype") == "bfloat16":
                import ml_dtypes

                return np.array(dataset, dtype=ml_dtypes.bfloat16)
            return np.asarray(dataset[()])

        yield read_array
