"""Read a legacy (not zip) PyTorch weight file with NumPy alone.

The file is four pickles (magic number, protocol, machine, the state dict), a pickled list of storage keys, and then the
raw storages in that order, each behind an 8-byte element count. The unpickler admits only the names that a state dict
needs, so that no code from the file is ever run.
"""

import collections
import hashlib
import pickle
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from builders.errors import BuildError

_MAGIC = 0x1950A86A20F9469CFC6C
_STORAGE_DTYPES = {
    "FloatStorage": np.dtype("<f4"),
    "DoubleStorage": np.dtype("<f8"),
    "HalfStorage": np.dtype("<f2"),
    "LongStorage": np.dtype("<i8"),
    "IntStorage": np.dtype("<i4"),
}

StateDict: TypeAlias = dict[str, npt.NDArray[Any]]


@dataclass(slots=True)
class _Storage:
    """Raw numbers of which several tensors may be views; they are read after the tensors."""

    dtype: np.dtype[Any]
    raw: bytes = b""


class _Tensor:
    """A view of a storage: its offset, shape and strides in elements."""

    def __init__(self, storage: _Storage, offset: int, shape: Sequence[int], strides: Sequence[int], *_: Any) -> None:
        self.storage, self.offset, self.shape, self.strides = storage, offset, shape, strides

    def to_numpy(self) -> npt.NDArray[Any]:
        """Its own copy of the numbers; NumPy raises ValueError for a view that exceeds the storage."""
        dtype = self.storage.dtype
        strides = [step * dtype.itemsize for step in self.strides]
        return np.ndarray(self.shape, dtype, self.storage.raw, self.offset * dtype.itemsize, strides).copy()


class _StateDictUnpickler(pickle.Unpickler):
    """An unpickler that knows ordered dicts, tensors and storages, and refuses every other name."""

    def __init__(self, file: IO[bytes]) -> None:
        super().__init__(file)
        self.storages: dict[str, _Storage] = {}

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return collections.OrderedDict
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _Tensor
        if module == "torch" and name in _STORAGE_DTYPES:
            return _STORAGE_DTYPES[name]
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a state dict")

    def persistent_load(self, reference: Any) -> _Storage:
        kind, dtype, key, _location, _size, *_ = reference
        if kind != "storage" or not isinstance(dtype, np.dtype):
            raise pickle.UnpicklingError(f"unknown reference {kind!r}")
        return self.storages.setdefault(key, _Storage(dtype))


def _read(file: IO[bytes]) -> StateDict:
    if _StateDictUnpickler(file).load() != _MAGIC:
        raise pickle.UnpicklingError("the magic number of a legacy torch file is missing")
    _StateDictUnpickler(file).load()
    if not _StateDictUnpickler(file).load().get("little_endian"):
        raise pickle.UnpicklingError("the numbers are big-endian")
    unpickler = _StateDictUnpickler(file)
    tensors = unpickler.load()
    for key in _StateDictUnpickler(file).load():
        storage = unpickler.storages[key]
        storage.raw = file.read(int.from_bytes(file.read(8), "little") * storage.dtype.itemsize)
    return {name: tensor.to_numpy() for name, tensor in tensors.items()}


def read_state_dict(path: Path, *, sha256: str) -> StateDict:
    """The tensors of a legacy torch file by name; its SHA-256 digest is checked before anything is parsed.

    Raises:
        BuildError: the file can't be read, is not the expected one, or is no legacy torch state dict.
    """
    try:
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
            if digest != sha256:
                raise BuildError(
                    f"Expected {path} to have the SHA-256 digest {sha256}. Received: {digest}. Install its package "
                    "again."
                )
            file.seek(0)
            return _read(file)
    except OSError as error:
        raise BuildError(f"Expected to read the weights in {path}. Received: {error.strerror}.") from error
    except (pickle.UnpicklingError, EOFError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise BuildError(f"Expected {path} to be a legacy torch state dict. Received: {error}.") from error
