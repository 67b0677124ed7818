"""Reading a checkpoint of any format. Nothing in a file is ever run: no pickle, no Keras configuration, no graph."""

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from builders.checkpoints import keras_hdf5, tf_checkpoint
from builders.checkpoints.checkpoint import Checkpoint, Weight
from builders.errors import BuildError, first_line


class Reader(NamedTuple):
    """One format."""

    kind: str
    recognises: Callable[[Path], bool]  # whether a path names a checkpoint of this format, damaged or not
    read: Callable[[Path], Checkpoint]  # raises anything on a damaged file


def _file(*suffixes: str, magic: bytes | None = None) -> Callable[[Path], bool]:
    """Recognises files by their suffixes, or by their first bytes."""

    def recognises(path: Path) -> bool:
        if not path.is_file():
            return False
        with path.open("rb") as file:
            return path.suffix in suffixes or (magic is not None and file.read(len(magic)) == magic)

    return recognises


def _named(path: Path, arrays: Iterable[tuple[str, Any]]) -> Checkpoint:
    """A checkpoint of a format that keeps names alone."""
    weights = tuple(Weight(name=name.removesuffix(":0"), value=array) for name, array in arrays)
    return Checkpoint(path=path, weights=weights)


def _read_npz(path: Path) -> Checkpoint:
    with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
        if not all(f"{name}.npy" in arrays.zip.namelist() for name in arrays):
            raise ValueError(f"a zip archive of {', '.join(list(arrays)[:2])}")
        return _named(path, arrays.items())


def _read_safetensors(path: Path) -> Checkpoint:
    import safetensors

    with safetensors.safe_open(path, framework="np") as file:
        return _named(path, [(name, file.get_tensor(name)) for name in file.keys()])  # noqa: SIM118 - no mapping


READERS = (
    Reader("HDF5 file", _file(".h5", ".hdf5", ".keras", magic=b"\x89HDF\r\n\x1a\n"), keras_hdf5.read),
    Reader("zip archive of arrays", _file(".npz", magic=b"PK"), _read_npz),
    Reader("safetensors file", _file(".safetensors"), _read_safetensors),
    Reader("TensorFlow checkpoint", tf_checkpoint.recognises, tf_checkpoint.read),
)


def read_checkpoint(path: str | os.PathLike[str]) -> Checkpoint:
    """Read what a checkpoint holds.

    Args:
        path: a file, the prefix of a TensorFlow checkpoint ("dir/ckpt-1"), or a folder with its `checkpoint` file, from
            which the latest one is taken.

    Returns:
        Names and values of its variables, and their places in the network.

    Raises:
        BuildError: there is no such file, its format is unknown, or it is damaged.
    """
    path, kind = Path(path), "checkpoint"
    try:
        for reader in READERS:
            if reader.recognises(path):
                kind = reader.kind
                return reader.read(path)
    except (BuildError, ImportError, MemoryError):
        raise
    except Exception as error:  # zipfile, NumPy, h5py and TensorFlow raise nearly anything on unexpected bytes
        reason = (isinstance(error, OSError) and error.strerror) or first_line(error)
        raise BuildError(
            f"Expected {path} to be a readable {kind}. Received: {reason}. Copy or download it again."
        ) from error
    problem = "which is none of them" if path.exists() else "which does not exist"
    raise BuildError(
        "Expected `checkpoint` to name a TensorFlow checkpoint (its prefix, or the folder with its `checkpoint` file), "
        f".weights.h5, .keras, .h5, .npz or .safetensors. Received: {path}, {problem}. Check the path."
    )
