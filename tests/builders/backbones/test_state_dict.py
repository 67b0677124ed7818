"""Reading a legacy torch file without torch, and without running what is in it."""

import hashlib
import pickle
import struct
from collections import OrderedDict

import numpy as np
import pytest

from builders.backbones.efficientnet_lite import read_state_dict
from builders.errors import BuildError


class _Global:
    """Pickles as a reference to a name that need not exist here."""

    def __init__(self, name):
        self.name = name

    def __reduce__(self):
        return self.name


class _LegacyPickler(pickle._Pickler):
    """Writes tensors as torch's legacy format does."""

    def persistent_id(self, obj):
        if isinstance(obj, np.ndarray):
            return ("storage", _name("torch", "FloatStorage"), str(id(obj)), "cpu", obj.size)
        return None

    def save_global(self, obj, name=None):
        if isinstance(obj, _Name):
            self.write(pickle.GLOBAL + f"{obj.module}\n{obj.qualname}\n".encode())
        else:
            super().save_global(obj, name)


class _Name:
    def __init__(self, module, qualname):
        self.module, self.qualname = module, qualname

    def __call__(self, *_):
        raise AssertionError("never called while writing")


def _name(module, qualname):
    return _Name(module, qualname)


_LegacyPickler.dispatch = dict(pickle._Pickler.dispatch)
_LegacyPickler.dispatch[_Name] = _LegacyPickler.save_global


class _Tensor:
    def __init__(self, storage, offset, shape, strides):
        self.parts = (storage, offset, shape, strides, False, OrderedDict())

    def __reduce_ex__(self, _protocol):
        return _name("torch._utils", "_rebuild_tensor_v2"), self.parts


def write(path, state, storages):
    with path.open("wb") as file:
        for head in (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}):
            pickle.dump(head, file, 2)
        _LegacyPickler(file, 2).dump(state)
        pickle.dump([str(id(storage)) for storage in storages], file, 2)
        for storage in storages:
            file.write(struct.pack("<q", storage.size) + storage.tobytes())
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture
def storage():
    return np.arange(12, dtype=np.float32)


def test_shapes_offsets_and_strides_are_followed(tmp_path, storage):
    path = tmp_path / "w.pth"
    state = OrderedDict(whole=_Tensor(storage, 0, (3, 4), (4, 1)), turned=_Tensor(storage, 2, (4, 2), (1, 4)))
    digest = write(path, state, [storage])
    read = read_state_dict(path, sha256=digest)
    assert (read["whole"] == storage.reshape(3, 4)).all()
    assert (read["turned"] == np.lib.stride_tricks.as_strided(storage[2:], (4, 2), (4, 16))).all()


def test_a_file_with_another_hash_is_refused_before_it_is_parsed(tmp_path):
    path = tmp_path / "w.pth"
    path.write_bytes(b"anything")
    with pytest.raises(BuildError, match="SHA-256 digest 00"):
        read_state_dict(path, sha256="00")


def test_code_in_the_file_is_not_run(tmp_path):
    class Evil:
        def __reduce__(self):
            return print, ("run",)

    path = tmp_path / "w.pth"
    digest = write(path, OrderedDict(a=Evil()), [])
    with pytest.raises(pickle.UnpicklingError, match="is not allowed in a state dict"):
        read_state_dict(path, sha256=digest)


def test_a_missing_file_is_reported(tmp_path):
    with pytest.raises(BuildError, match="No such file"):
        read_state_dict(tmp_path / "none.pth", sha256="00")
