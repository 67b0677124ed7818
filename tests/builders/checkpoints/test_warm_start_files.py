"""Warm start: damaged files, values that don't fit; all or nothing."""

import zipfile
from dataclasses import replace

import h5py
import keras
import numpy as np
import pytest
from checkpoint_files import KINDS, PATHS, arrays, network, same, values, write

from builders.checkpoints.read import read_checkpoint
from builders.checkpoints.warm_start import plan_warm_start, warm_start
from builders.errors import BuildError


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.7, 0.99])
def test_a_truncated_file_of_any_kind_is_refused_in_one_line(kind, share, tmp_path):
    path = write(kind, network(seed=1), tmp_path)
    for part in [path] if path.exists() else [path.with_name(f"{path.name}.data-00000-of-00001")]:
        part.write_bytes(part.read_bytes()[: int(share * part.stat().st_size)])
    target = network()
    before = values(target)
    with pytest.raises(BuildError, match=r"^Expected .* Received: [^\n]*\. [^\n]*\.$"):
        warm_start(target, path)
    assert same(target, before)


@pytest.mark.parametrize("part", ["ckpt.index", "ckpt.data-00000-of-00001"])
@pytest.mark.parametrize("cut", [0, 20, None])
def test_a_tensorflow_checkpoint_without_one_of_its_files_is_refused(part, cut, tmp_path):
    path = write("object-based", network(seed=1), tmp_path)
    content = (tmp_path / part).read_bytes()
    (tmp_path / part).unlink()
    if cut is not None:
        (tmp_path / part).write_bytes(content[:cut])
    with pytest.raises(BuildError, match=r"Expected .*ckpt to be a readable (TensorFlow )?checkpoint. Received: "):
        warm_start(network(), path)


def test_a_flipped_byte_in_an_archive_is_noticed(tmp_path):
    path = write(".npz", network(seed=1), tmp_path)
    content = bytearray(path.read_bytes())
    content[content.index(b"conv2/kernel.npy") + 200] ^= 1
    path.write_bytes(content)
    target = network()
    before = values(target)
    with pytest.raises(BuildError, match=r"readable zip archive. Received: Bad CRC-32 for file 'conv2/kernel.npy'"):
        warm_start(target, path)
    assert same(target, before)


def test_what_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "fake.h5").write_text("hello")
    (tmp_path / "empty").mkdir()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.txt", "hello")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = np.zeros(3)
    for name, told in {
        "none.h5": "which does not exist",
        "ckpt-1": "which does not exist",
        "notes.txt": "which is none of them",
        "fake.h5": "a file that does not start like one",
        "empty": "none, or one whose files are missing",
        "a.zip": "a zip archive of a.txt",
        "a.h5": "an HDF5 file with none",
    }.items():
        with pytest.raises(BuildError, match=rf"^Expected .* Received: .*{told}"):
            read_checkpoint(tmp_path / name)


def test_pickled_objects_are_never_loaded(tmp_path):
    np.savez(tmp_path / "m.npz", **{"conv1/kernel": np.array([print, {}], dtype=object)})
    with pytest.raises(BuildError, match=r"Received: pickled objects in conv1/kernel.npy, which could run code"):
        read_checkpoint(tmp_path / "m.npz")


def test_arrays_in_other_files_are_not_followed(tmp_path):
    path = write(".weights.h5", network(seed=1), tmp_path)
    with h5py.File(path, "a") as file:
        group = file["layers/conv2d/vars"]
        del group["0"]
        group["0"] = h5py.ExternalLink(tmp_path / "other.h5", "/x")
    report = warm_start(network(), path)
    assert "conv1/kernel" in report.missing


def test_a_model_that_is_not_built_or_none_at_all_is_refused(tmp_path):
    path = write(".npz", network(), tmp_path)
    for model in (keras.Sequential([keras.layers.Dense(1)]), "model"):
        with pytest.raises(BuildError, match=r"Expected `model` to be a built keras.Model. Received: "):
            warm_start(model, path)


@pytest.mark.parametrize(
    ("values_of", "told"),
    [
        (lambda array: np.full_like(array, np.nan), "values in head/bias that are not finite in float32"),
        (lambda array: array.astype(np.float64) * 1e300, "values in head/bias that are not finite in float32"),
        (lambda array: array.astype("U8"), "values of type str256 for head/bias, which has float32"),
        (lambda array: array.astype(np.int32), "values of type int32 for head/bias, which has float32"),
        (lambda array: array.astype(np.complex64), "values of type complex64 for head/bias, which has float32"),
    ],
)
def test_values_that_a_variable_can_not_take_are_refused_and_nothing_changes(values_of, told, tmp_path):
    stored = arrays(network(seed=1))
    stored["head/bias"] = values_of(stored["head/bias"])
    np.savez(tmp_path / "m.npz", **stored)
    target = network(seed=2)
    before = values(target)
    with pytest.raises(BuildError, match=told):
        warm_start(target, tmp_path / "m.npz")
    assert same(target, before)


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_floats_of_another_size_are_converted(dtype, tmp_path):
    source, target = network(seed=1), network(seed=2)
    np.savez(tmp_path / "m.npz", **{name: array.astype(dtype) for name, array in arrays(source).items()})
    warm_start(target, tmp_path / "m.npz")
    assert same(target, [array.astype(dtype).astype("float32") for array in values(source)])


@pytest.mark.parametrize("kind", ["object-based", ".weights.h5", ".keras", ".safetensors"])
def test_bfloat16_is_read_and_written(kind, tmp_path):
    keras.config.set_dtype_policy("bfloat16")
    try:
        source, target = network(seed=1), network(seed=2)
    finally:
        keras.config.set_dtype_policy("float32")
    wide = network(seed=3)
    path = write(kind, source, tmp_path)
    assert warm_start(target, path).restored == warm_start(wide, path).restored == PATHS
    assert same(target, values(source))
    assert same(wide, [array.astype("float32") for array in values(source)])


class Stubborn:
    """A variable's place in a plan whose assignment fails."""

    def __init__(self, variable):
        self.path, self.dtype, self.numpy = variable.path, variable.dtype, variable.numpy

    def assign(self, _):
        raise MemoryError("no room")


def test_an_assignment_that_fails_leaves_every_variable_as_it_was(tmp_path):
    target = network(seed=2)
    before = values(target)
    plan = plan_warm_start(target, write(".npz", network(seed=1), tmp_path))
    pairs = [
        (Stubborn(variable) if index == 6 else variable, weight) for index, (variable, weight) in enumerate(plan.pairs)
    ]
    with pytest.raises(MemoryError, match="no room"):
        replace(plan, pairs=tuple(pairs)).apply()
    assert same(target, before)


def test_a_file_that_changes_after_it_was_read_is_refused(tmp_path):
    target = network(seed=2)
    before = values(target)
    path = write(".npz", network(seed=1), tmp_path)
    checkpoint = read_checkpoint(path)
    write(".npz", network(seed=1, classes=7), tmp_path)
    with pytest.raises(BuildError, match=r"Received: head/kernel has the shape \(5, 7\) and should have \(5, 3\)"):
        warm_start(target, checkpoint)
    assert same(target, before)
