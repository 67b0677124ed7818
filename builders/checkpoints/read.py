"""Reading a checkpoint of any kind: what is in it first, its arrays only when they are asked for.

Nothing in a file is ever run: no pickle, no Keras configuration, no TensorFlow graph.
"""

import os
import re
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np

from builders.checkpoints import hdf5 as h5_checkpoints
from builders.checkpoints import tf_checkpoint as tensorflow_checkpoints
from builders.checkpoints.stored_weights import Checkpoint, Layout, Read, Weight, readable, unreadable
from builders.errors import BuildError

_KINDS = (
    "a TensorFlow checkpoint (its prefix, or the folder with its `checkpoint` file), .weights.h5, .keras, .h5, .npz or "
    ".safetensors"
)
_HDF5 = b"\x89HDF\r\n\x1a\n"
_ZIP = b"PK"
_TABLE = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"  # ends a TensorFlow 1 checkpoint of one file
_TF_PART = re.compile(r"\.(index|data-\d{5}-of-\d{5}|meta)$")

PathLike: TypeAlias = "str | os.PathLike[str]"


def read_checkpoint(path: PathLike) -> Checkpoint:
    """Read what a checkpoint holds, without its arrays.

    Args:
        path: a file, the prefix of a TensorFlow checkpoint ("dir/ckpt-1"), or a folder with its `checkpoint` file, from
            which the latest one is taken. The kind is told from the content.

    Returns:
        Names, shapes and places of its variables.

    Raises:
        BuildError: there is no such file, its kind is unknown, or it is damaged.
    """
    path = Path(path)
    with readable(path):
        if path.is_dir():
            return tensorflow_checkpoints.read_folder(path)
        if path.is_file():
            return _read_file(path)
        prefix = _prefix(path)
        if prefix is not None:
            return tensorflow_checkpoints.read_prefix(prefix)
    raise BuildError(f"Expected `checkpoint` to name {_KINDS}. Received: {path}, which does not exist. Check the path.")


def _read_file(path: Path) -> Checkpoint:
    """A checkpoint by its first bytes, and by its suffix where they say nothing."""
    with path.open("rb") as file:
        start = file.read(len(_HDF5))
        file.seek(max(0, path.stat().st_size - len(_TABLE)))
        end = file.read()
    if start == _HDF5:
        return h5_checkpoints.read_h5(path)
    if start.startswith(_ZIP):
        return _read_zip(path)
    if path.suffix == ".safetensors":
        return _read_safetensors(path)
    expected = {".h5": "HDF5 file", ".hdf5": "HDF5 file", ".keras": "zip archive", ".npz": "zip archive"}
    if path.suffix in expected:
        raise unreadable(path, expected[path.suffix], "a file that does not start like one")
    if end == _TABLE and not path.name.endswith(".index"):
        return tensorflow_checkpoints.read_prefix(path)
    prefix = _prefix(path)
    if prefix is not None:
        return tensorflow_checkpoints.read_prefix(prefix)
    raise BuildError(f"Expected `checkpoint` to name {_KINDS}. Received: {path}, which is none of them.")


def _prefix(path: Path) -> Path | None:
    """The prefix of the TensorFlow checkpoint that a path names, by itself or by one of its files."""
    for prefix in (path, path.with_name(_TF_PART.sub("", path.name))):
        if Path(f"{prefix}.index").exists():
            return prefix
        if prefix.parent.is_dir() and any(
            other.name.startswith(f"{prefix.name}.data-") for other in prefix.parent.iterdir()
        ):
            raise unreadable(prefix, "TensorFlow checkpoint", f"no file {prefix.name}.index beside its data")
    return None


def _read_zip(path: Path) -> Checkpoint:
    """A `.keras` or `.npz` archive."""
    with readable(path, "zip archive"), zipfile.ZipFile(path) as archive:
        members = archive.namelist()
        if h5_checkpoints.MEMBER in members:
            return h5_checkpoints.read_h5(path)
        arrays = [member for member in members if member.endswith(".npy")]
        if not arrays or "config.json" in members:
            raise BuildError(
                f"Expected {path} to be a .keras archive with {h5_checkpoints.MEMBER} in it or an .npz archive of "
                f"arrays. Received: a zip archive of {', '.join(members[:2]) or 'nothing'}."
            )
        weights = tuple(_npy_weight(path, archive, member) for member in arrays)
    return Checkpoint(path=path, layout=Layout.NAMES, weights=weights, opener=partial(_open_npz, path))


def _npy_weight(path: Path, archive: zipfile.ZipFile, member: str) -> Weight:
    """Name, shape and type of an array, from its header alone."""
    with archive.open(member) as file:
        shape, dtype = _npy_header(file)
    if dtype.hasobject:
        raise BuildError(
            f"Expected {path} to hold arrays of numbers. Received: pickled objects in {member}, which could run code "
            "and are never loaded. Save it with np.savez from numeric arrays."
        )
    name = member.removesuffix(".npy").removesuffix(":0")
    return Weight(name=name, shape=shape, dtype=dtype.name, address=member)


def _npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], np.dtype[Any]]:
    version = np.lib.format.read_magic(file)
    if version not in {(1, 0), (2, 0)}:
        raise ValueError(f"an array of the unknown format {version}")
    header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = header(file)
    return shape, dtype


@contextmanager
def _open_npz(path: Path) -> Iterator[Read]:
    with zipfile.ZipFile(path) as archive:

        def read(member: str) -> Any:
            with archive.open(member) as file:
                array = np.lib.format.read_array(file, allow_pickle=False)
                file.read()  # to the end, where the checksum is compared
            return array

        yield read


def _read_safetensors(path: Path) -> Checkpoint:
    import safetensors

    try:
        with safetensors.safe_open(path, framework="np") as file:
            weights = []
            for key in file.keys():  # noqa: SIM118 - no mapping
                view = file.get_slice(key)
                dtype = _SAFETENSORS_DTYPES.get(view.get_dtype(), view.get_dtype())
                weights.append(
                    Weight(name=key.removesuffix(":0"), shape=tuple(view.get_shape()), dtype=dtype, address=key)
                )
    except safetensors.SafetensorError as error:
        raise unreadable(path, "safetensors file", str(error)) from error
    return Checkpoint(path=path, layout=Layout.NAMES, weights=tuple(weights), opener=partial(_open_safetensors, path))


_SAFETENSORS_DTYPES = {
    "BF16": "bfloat16",
    "F16": "float16",
    "F32": "float32",
    "F64": "float64",
    **{f"{kind}{bits}": f"{name}{bits}" for kind, name in (("I", "int"), ("U", "uint")) for bits in (8, 16, 32, 64)},
    "BOOL": "bool",
}


@contextmanager
def _open_safetensors(path: Path) -> Iterator[Read]:
    import safetensors

    try:
        with safetensors.safe_open(path, framework="np") as file:
            yield file.get_tensor
    except safetensors.SafetensorError as error:
        raise unreadable(path, "safetensors file", str(error)) from error
