"""Warm start: checkpoints as other programs write them: Keras 2, TensorFlow 1, plain modules, training runs."""

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf
from checkpoint_files import PATHS, arrays, network, same, scramble, values, write_names

from builders.checkpoints.warm_start import warm_start


def tf_keras_network(tf_keras, seed, names=("conv1", "bn1", "conv2", "head"), classes=3):
    layers = tf_keras.layers
    inputs = tf_keras.Input((8, 8, 3))
    hidden = layers.BatchNormalization(name=names[1])(layers.Conv2D(4, 3, name=names[0])(inputs))
    hidden = layers.GlobalAveragePooling2D()(layers.Conv2D(5, 3, use_bias=False, name=names[2])(layers.ReLU()(hidden)))
    model = tf_keras.Model(inputs, layers.Dense(classes, name=names[3])(hidden), name="net")
    rng = np.random.default_rng(seed)
    model.set_weights([rng.uniform(0.5, 1.5, variable.shape) for variable in model.weights])
    return model


@pytest.fixture(scope="module")
def tf_keras():
    return pytest.importorskip("tf_keras", reason="tf_keras is not installed")


TF_KERAS = {
    "object-based": ("ckpt", lambda model, path: tf.train.Checkpoint(model).write(str(path))),
    "object-based, a child": ("ckpt", lambda model, path: tf.train.Checkpoint(model=model).write(str(path))),
    "save_weights of Keras 2": ("ckpt", lambda model, path: model.save_weights(str(path), save_format="tf")),
    ".weights.h5": ("m.weights.h5", lambda model, path: model.save_weights(str(path))),
    ".keras": ("m.keras", lambda model, path: model.save(str(path))),
    "legacy .h5, weights": ("m.h5", lambda model, path: model.save_weights(str(path))),
    "SavedModel": ("saved", lambda model, path: model.save(str(path), save_format="tf")),
}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:You are saving your model as an HDF5 file:UserWarning")
@pytest.mark.parametrize("names", [("conv1", "bn1", "conv2", "head"), (None,) * 4], ids=["given", "automatic"])
@pytest.mark.parametrize("kind", TF_KERAS)
def test_keras_2_checkpoints_are_restored(kind, names, tf_keras, tmp_path):
    name, writer = TF_KERAS[kind]
    source, target = tf_keras_network(tf_keras, 1, names), network(seed=2, names=names)
    writer(source, tmp_path / name)
    report = warm_start(target, tmp_path / name)
    assert (len(report.restored), report.unused) == (9, ())
    assert same(target, source.get_weights())


@pytest.mark.parametrize("named", [True, False], ids=["named", "unnamed"])
def test_a_plain_module_is_matched_by_its_names_or_attributes(named, tmp_path):
    source, target = network(seed=1), network(seed=2)
    root = tf.Module()
    for path, array in arrays(source).items():
        layer, key = path.split("/")
        if not hasattr(root, layer):
            setattr(root, layer, tf.Module())
        setattr(getattr(root, layer), key, tf.Variable(array, name=path if named else None))
    prefix = tf.train.Checkpoint(net=root).save(tmp_path / "ckpt")
    report = warm_start(target, prefix)
    assert (report.restored, report.unused) == (PATHS, ())
    assert same(target, values(source))


def test_an_optimizer_that_is_saved_beside_the_model_is_left_out(tmp_path):
    source = network(seed=1)
    source.compile("adam", "mse", jit_compile=False)
    source.fit(np.zeros((2, 8, 8, 3)), np.zeros((2, 3)), verbose=0)
    optimizer = tf.train.Checkpoint(model=source, optimizer=source.optimizer, step=tf.Variable(3, name="step"))
    report = warm_start(network(), optimizer.save(tmp_path / "all"))
    assert (report.restored, report.unused) == (PATHS, ("step",))


def test_slots_of_an_optimizer_of_tensorflow_1_are_listed_as_unused(tmp_path):
    source = network(seed=1)
    stored = arrays(source)
    slots = {"beta1_power": np.float32(0.9), "conv1/kernel/Adam": stored["conv1/kernel"], "global_step": np.int64(7)}
    write_names(stored | slots, tmp_path / "model.ckpt-7")
    report = warm_start(network(), tmp_path / "model.ckpt-7")
    assert (report.restored, report.unused) == (PATHS, tuple(sorted(slots)))


@pytest.mark.slow
def test_a_moving_average_of_the_weights_can_be_taken_instead(tmp_path):
    source, target = network(seed=1), network(seed=2)
    averages = {f"{path}/ExponentialMovingAverage": array for path, array in arrays(source).items()}
    write_names(arrays(network(seed=3)) | averages, tmp_path / "model.ckpt")
    rename = {r"^(?!.*/ExponentialMovingAverage$)": "raw/", "/ExponentialMovingAverage$": ""}
    assert warm_start(target, tmp_path / "model.ckpt", rename=rename).restored == PATHS
    assert same(target, values(source))


def test_an_exported_model_is_restored_from_its_variables(tmp_path):
    source, target = network(seed=1), network(seed=2)
    source.export(tmp_path / "saved", verbose=False)
    assert warm_start(target, tmp_path / "saved").restored == PATHS
    assert same(target, values(source))


@pytest.mark.parametrize(
    ("group", "names"),
    [
        ("conv", ["conv/kernel:0", "conv/bias:0"]),
        ("conv", ["conv/conv/kernel:0", "conv/conv/bias:0"]),
        ("conv", ["conv_1/kernel:0", "conv_1/bias:0"]),
        ("conv", ["conv_W", "conv_b"]),
        ("conv", ["kernel:0", "bias:0"]),
        ("other", ["conv/depthwise_kernel:0", "conv/bias:0"]),
    ],
)
def test_weights_are_found_under_the_names_of_older_keras(group, names, tmp_path):
    source, target = (
        scramble(keras.Sequential([keras.Input((4, 4, 3)), keras.layers.DepthwiseConv2D(2, name="conv")]), seed)
        for seed in (1, 2)
    )
    with h5py.File(tmp_path / "m.h5", "w") as file:
        file.attrs["layer_names"] = [b"input_1", group.encode()]
        file.create_group("input_1").attrs["weight_names"] = np.array([])
        file.create_group(group).attrs["weight_names"] = [name.encode() for name in names]
        for name, array in zip(names, values(source), strict=True):
            file[group][name] = array
    assert len(warm_start(target, tmp_path / "m.h5").restored) == 2
    assert same(target, values(source))
