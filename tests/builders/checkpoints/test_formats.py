"""The conformance suite of checkpoint formats: each format passes the same checks."""

import zipfile

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from checkpoint_files import KINDS, PATHS, STRUCTURED, arrays, network, same, scramble, values, write
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from builders.checkpoints.read import READERS, read_checkpoint
from builders.checkpoints.warm_start import ShapeMismatch, plan_warm_start, warm_start
from builders.errors import BuildError

ONE_LINE = r"^Expected [^\n]* Received: [^\n]*\. [^\n]*\.$"


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def source():
    return network(seed=1)


@pytest.fixture(scope="module")
def path(kind, source, tmp_path_factory):
    """A checkpoint of the source."""
    return write(kind, source, tmp_path_factory.mktemp("checkpoint"))


def test_all_variables_and_statistics_are_restored(path, source):
    target = network(seed=2)
    report = warm_start(target, path)
    assert report.restored == PATHS
    assert (report.other_shape, report.missing, report.unused) == ((), (), ())
    assert same(target, values(source))


def test_the_reader_gives_names_shapes_and_types_without_a_model(path, source):
    checkpoint = read_checkpoint(path)
    assert len({weight.name for weight in checkpoint.weights}) == len(checkpoint.weights)
    assert sorted(weight.shape for weight in checkpoint.weights) == sorted(tuple(one.shape) for one in source.weights)
    assert {weight.value.dtype.name for weight in checkpoint.weights} == {"float32"}


def test_one_reader_alone_recognises_it(kind, path):
    found = [reader.kind for reader in READERS if reader.recognises(path)]
    assert len(found) == 1 or (kind, found) == (".keras", ["HDF5 file", "zip archive of arrays"])


def test_a_plan_reports_and_changes_nothing_until_it_is_applied(path):
    target = network(seed=2, classes=7)
    before = values(target)
    plan = plan_warm_start(target, path)
    assert same(target, before)
    assert str(plan.report) == (
        "7 variables restored; 2 of other shape (head/kernel (5, 3), not (5, 7), head/bias (3,), not (7,)); 0 missing; "
        "0 unused"
    )
    assert plan.apply() == plan.report
    assert not same(target, before)


def test_a_head_of_another_size_is_reported_and_stays(path, source):
    target = network(seed=2, classes=7)
    before = arrays(target)
    report = warm_start(target, str(path))
    assert report.restored == PATHS[:7]
    assert report.other_shape == (
        ShapeMismatch(name="head/kernel", expected=(5, 7), received=(5, 3)),
        ShapeMismatch(name="head/bias", expected=(7,), received=(3,)),
    )
    assert (report.missing, report.unused) == ((), ())
    assert same(target, [*values(source)[:7], before["head/kernel"], before["head/bias"]])


def test_a_variable_that_one_side_lacks_is_missing_or_unused(kind, tmp_path):
    source = network(seed=1, top=[keras.layers.Dense(2, name="top")])
    target = network(seed=2, names=("conv1", "bn1", "conv2", "other"))
    report = warm_start(target, write(kind, source, tmp_path))
    assert report.restored == PATHS[:7]
    assert report.missing == ("other/kernel", "other/bias")
    assert sorted(name.split("/")[0] for name in report.unused) == ["head", "head", "top", "top"]


def test_names_are_mapped_by_regular_expressions_in_order(kind, tmp_path):
    source, target = network(seed=1, prefix="old_"), network(seed=2)
    report = warm_start(target, write(kind, source, tmp_path), rename={"old": "new", r"^new_(\w+)": r"\1"})
    assert report.restored == PATHS
    assert same(target, values(source))


def test_names_that_become_one_are_refused(kind, tmp_path):
    path = write(kind, network(names=("conv1", "bn1", "conv2", "extra")), tmp_path)
    with pytest.raises(BuildError, match=r"Expected `rename` to give each name once. Received: both '"):
        warm_start(network(), path, rename={"extra": "conv1"})


def test_the_checkpoint_of_another_network_is_refused_with_names_of_both(path):
    inputs = keras.Input((6,))
    target = scramble(keras.Model(inputs, keras.layers.Dense(9, name="b")(keras.layers.Dense(9, name="a")(inputs))), 0)
    before = values(target)
    with pytest.raises(BuildError, match=r"Received: none of the same name and shape; the checkpoint has .* the model"):
        warm_start(target, path)
    assert same(target, before)


def test_the_name_of_the_model_may_precede_its_variables_on_one_side(kind, path, source, tmp_path):
    sequential = network(seed=2, sequential=True)
    assert sequential.weights[0].path == "net/conv1/kernel"
    assert len(warm_start(sequential, path).restored) == 9
    assert same(sequential, values(source))
    scramble(sequential, 3)
    target = network(seed=2)
    assert warm_start(target, write(kind, sequential, tmp_path)).restored == PATHS
    assert same(target, values(sequential))


def test_models_of_a_class_may_have_other_automatic_names(kind, tmp_path):
    source, target = (network(seed=seed, sequential=True, name=None) for seed in (1, 2))
    assert source.weights[0].path.split("/")[0] != target.weights[0].path.split("/")[0]
    assert len(warm_start(target, write(kind, source, tmp_path)).restored) == 9
    assert same(target, values(source))


def nested(seed):
    """The network as a layer of another one."""
    inner = network(seed=seed)
    inputs = keras.Input((8, 8, 3))
    hidden = keras.layers.Dense(6, name="neck")(inner(keras.layers.Rescaling(1.0)(inputs)))
    return scramble(keras.Model(inputs, keras.layers.Dense(2, name="out")(hidden), name="whole"), seed)


def test_a_nested_model_is_restored_inside_and_can_be_taken_out(kind, tmp_path):
    source, target, backbone = nested(1), nested(2), network(seed=2)
    path = write(kind, source, tmp_path)
    assert len(warm_start(target, path).restored) == len(target.weights) == 13
    assert same(target, values(source))
    if kind in STRUCTURED:
        report = warm_start(backbone, path)
        assert report.restored == PATHS
        assert sorted(name.split("/")[0] for name in report.unused) == ["neck", "neck", "out", "out"]
        assert same(backbone, values(source.get_layer("net")))


@pytest.mark.parametrize(
    "kind", ["object-based", "object-based, a child", ".weights.h5", ".keras", "legacy .h5, whole"]
)
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file")
def test_the_state_of_optimizers_and_random_generators_is_left_out(kind, tmp_path):
    source = network(seed=1, front=[keras.layers.RandomFlip()])
    source.compile("adam", "mse", jit_compile=False)
    source.optimizer.build(source.trainable_variables)
    report = warm_start(network(), write(kind, source, tmp_path))
    assert (report.restored, report.unused) == (PATHS, ())


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


def parts(path):
    """The files of a checkpoint."""
    return [path] if path.exists() else sorted(path.parent.glob(f"{path.name}.*"))


@pytest.mark.parametrize("share", [0.7, *(pytest.param(share, marks=pytest.mark.slow) for share in (0.0, 0.3, 0.99))])
def test_a_truncated_file_is_refused_in_one_line_and_nothing_changes(kind, source, share, tmp_path):
    path = write(kind, source, tmp_path)
    for part in parts(path):
        content = part.read_bytes()
        part.write_bytes(content[: int(share * len(content))])
        target = network(seed=2)
        before = values(target)
        with pytest.raises(BuildError, match=ONE_LINE):
            warm_start(target, path)
        assert same(target, before)
        part.write_bytes(content)


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["name-based", "object-based", ".npz", ".safetensors"])  # libhdf5 can hang
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_random_damage_is_refused_or_harmless(kind, source, tmp_path, data):
    path = write(kind, source, tmp_path)
    part = data.draw(st.sampled_from(parts(path)))
    content = bytearray(part.read_bytes())
    for _ in range(data.draw(st.integers(1, 8))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    part.write_bytes(content)
    model = network()
    before = values(model)
    try:
        report = warm_start(model, path)
    except BuildError:
        assert same(model, before)
    else:
        assert report.restored


@pytest.mark.parametrize("suffix", [".index", ".data-00000-of-00001"])
def test_a_tensorflow_checkpoint_without_one_of_its_files_is_refused(suffix, tmp_path):
    path = write("object-based", network(), tmp_path)
    (tmp_path / f"ckpt{suffix}").unlink()
    with pytest.raises(BuildError, match=r"Expected .*ckpt to be a readable TensorFlow checkpoint. Received: "):
        warm_start(network(), path)


def test_a_changed_byte_in_an_archive_is_noticed(tmp_path):
    path = write(".npz", network(seed=1), tmp_path)
    content = bytearray(path.read_bytes())
    content[content.index(b"conv2/kernel.npy") + 200] ^= 1
    path.write_bytes(content)
    with pytest.raises(BuildError, match=r"readable zip archive.* Received: Bad CRC-32 for file 'conv2/kernel.npy'"):
        warm_start(network(), path)


def test_a_path_that_is_no_checkpoint_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    (tmp_path / "fake.h5").write_text("hello")
    (tmp_path / "empty").mkdir()
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("a.txt", "hello")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        file["data"] = np.zeros(3)
    for name, reason in {
        "none.h5": "which does not exist",
        "ckpt-1": "which does not exist",
        "none/ckpt-1": "which does not exist",
        "notes.txt": "which is none of them",
        "fake.h5": "file signature not found",
        "empty": "none, or one whose files are missing",
        "a.zip": "a zip archive of a.txt",
        "a.h5": "an HDF5 file with none",
    }.items():
        with pytest.raises(BuildError, match=rf"^Expected .* Received: .*{reason}"):
            read_checkpoint(tmp_path / name)


def test_pickled_objects_are_never_loaded(tmp_path):
    np.savez(tmp_path / "m.npz", **{"conv1/kernel": np.array([print, {}], dtype=object)})
    with pytest.raises(BuildError, match="Received: Object arrays cannot be loaded"):
        read_checkpoint(tmp_path / "m.npz")


def test_arrays_in_other_files_are_not_followed(tmp_path):
    path = write(".weights.h5", network(seed=1), tmp_path)
    with h5py.File(path, "a") as file:
        group = file["layers/conv2d/vars"]
        del group["0"]
        group["0"] = h5py.ExternalLink(tmp_path / "other.h5", "/x")
    assert "conv1/kernel" in warm_start(network(), path).missing


def test_a_folder_stands_for_its_latest_checkpoint(tmp_path):
    models = [network(seed=seed) for seed in (1, 2, 3)]
    for number, model in enumerate(models[:2], start=1):
        manager = tf.train.CheckpointManager(tf.train.Checkpoint(model=model), tmp_path, max_to_keep=2)
        manager.save(checkpoint_number=number)
    for name, expected in (("", models[1]), ("ckpt-1.index", models[0])):
        assert warm_start(models[2], tmp_path / name).restored == PATHS
        assert same(models[2], values(expected))
