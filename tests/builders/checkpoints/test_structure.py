"""Warm start: which layer of a checkpoint is which of the model, where names alone do not decide."""

import shutil

import h5py
import keras
import numpy as np
import pytest
from checkpoint_files import PATHS, STRUCTURED, arrays, network, same, scramble, values, write

from builders.checkpoints.warm_start import warm_start
from builders.errors import BuildError

QUICK = ".weights.h5"


@pytest.fixture(params=[pytest.param(kind, marks=[pytest.mark.slow] * (kind != QUICK)) for kind in STRUCTURED])
def kind(request):
    return request.param


def test_layers_with_other_names_are_matched_by_their_places(kind, tmp_path):
    source, target = network(seed=1, prefix="theirs_"), network(seed=2, classes=4)
    report = warm_start(target, write(kind, source, tmp_path))
    assert report.restored == PATHS[:7]
    assert [one.name for one in report.other_shape] == ["head/kernel", "head/bias"]
    assert same(target, [*values(source)[:7], *values(target)[7:]])


def test_automatic_names_of_another_session_do_not_mislead(kind, tmp_path):
    keras.utils.clear_session()
    source = network(seed=1, names=(None,) * 4)
    keras.layers.Conv2D(1, 1)
    target = network(seed=2, names=(None,) * 4, front=[keras.layers.Rescaling(2.0), keras.layers.Resizing(8, 8)])
    assert target.layers[3].name == "conv2d_3"
    report = warm_start(target, write(kind, source, tmp_path))
    assert len(report.restored) == 9
    assert same(target, values(source))


def test_automatic_names_count_where_they_agree_better_than_places(kind, tmp_path):
    keras.utils.clear_session()
    inputs = keras.Input((4,))
    first = keras.layers.Dense(4)(inputs)
    source = scramble(keras.Model(inputs, keras.layers.Dense(5)(keras.layers.Dense(4)(first))), 1)
    target = scramble(keras.models.clone_model(keras.Model(first, source.output)), 2)  # lacks the first layer
    report = warm_start(target, write(kind, source, tmp_path))
    assert sorted(report.restored) == ["dense_1/bias", "dense_1/kernel", "dense_2/bias", "dense_2/kernel"]
    assert all(np.array_equal(arrays(target)[name], arrays(source)[name]) for name in report.restored)


def test_a_name_that_agrees_decides_against_a_position_that_agrees(kind, tmp_path):
    inputs = keras.Input((4,))
    source = keras.Model(inputs, keras.layers.Dense(4, name="b")(keras.layers.Dense(4, name="a")(inputs)))
    target = keras.Model(inputs, keras.layers.Dense(4, name="c")(keras.layers.Dense(4, name="b")(inputs)))
    scramble(source, 1), scramble(target, 2)
    report = warm_start(target, write(kind, source, tmp_path))
    assert (report.restored, report.missing) == (("b/kernel", "b/bias"), ("c/kernel", "c/bias"))
    assert sorted(name.split("/")[0] for name in report.unused) == ["a", "a"]
    assert np.array_equal(target.get_layer("b").kernel.numpy(), source.get_layer("b").kernel.numpy())


class Subclassed(keras.Model):
    """Layers on attributes, with automatic names."""

    def __init__(self, reverse=False):
        super().__init__()
        names = ["stem", "neck", "head"]
        for name in reversed(names) if reverse else names:
            setattr(self, name, keras.layers.Dense(4))

    def call(self, inputs):
        return self.head(self.neck(self.stem(inputs)))


@pytest.mark.parametrize("kind", [QUICK, "object-based", pytest.param("object-based, a child", marks=pytest.mark.slow)])
def test_subclassed_models_are_matched_by_their_attributes(kind, tmp_path):
    keras.utils.clear_session()
    source, target = Subclassed(), Subclassed(reverse=kind.startswith("object"))
    source(np.zeros((1, 4))), target(np.zeros((1, 4)))
    scramble(source, 1), scramble(target, 2)
    report = warm_start(target, write(kind, source, tmp_path))
    assert len(report.restored) == 6
    for name in ("stem", "neck", "head"):
        assert np.array_equal(getattr(target, name).kernel.numpy(), getattr(source, name).kernel.numpy())


def without_names(path):
    """As Keras wrote a store before it kept the names of layers."""
    with h5py.File(path, "a") as file:
        file.visititems(lambda _, item: item.attrs.pop("name", None) and None)  # anything but None would end the visit
    return path


def test_a_store_without_names_is_matched_by_its_places(tmp_path):
    source, target = network(seed=1), network(seed=2, classes=4, front=[keras.layers.Rescaling(1.0)])
    report = warm_start(target, without_names(write(".weights.h5", source, tmp_path)))
    assert report.restored == PATHS[:7]
    assert [one.name for one in report.other_shape] == ["head/kernel", "head/bias"]


def test_a_layer_of_a_kind_that_the_checkpoint_lacks_disturbs_no_other(kind, tmp_path):
    """Keras's EfficientNet has a Normalization layer, which has weights, where others have none."""
    source = network(seed=1, prefix="theirs_")
    target = network(seed=2, front=[keras.layers.Normalization(mean=0.0, variance=1.0), keras.layers.Normalization()])
    report = warm_start(target, write(kind, source, tmp_path))
    assert report.restored == PATHS
    assert len(report.missing) == 3
    assert all(name.startswith("normalization") for name in report.missing)


def convolutions(widths, seed):
    hidden = inputs = keras.Input((8, 8, 3))
    for width in widths:
        hidden = keras.layers.Conv2D(width, 1)(hidden)
    return scramble(keras.Model(inputs, hidden), seed)


def test_a_deeper_network_is_not_matched_by_the_shapes_that_agree_by_chance(tmp_path):
    """As VGG16's and VGG19's do: what lies behind the additional layer would get its neighbour's weights."""
    path = write(".weights.h5", convolutions((4, 4, 6, 6, 8, 8, 8), 1), tmp_path)
    target = convolutions((4, 4, 6, 6, 6, 8, 8, 8, 8), 2)
    before = values(target)
    with pytest.raises(BuildError, match="none of the same name and shape"):
        warm_start(target, without_names(path))
    assert same(target, before)


def test_a_first_layer_for_other_channels_is_of_another_shape(kind, tmp_path):
    source = convolutions((4, 4, 6), 1)
    inputs = keras.Input((8, 8, 1))
    hidden = inputs
    for width in (4, 4, 6):
        hidden = keras.layers.Conv2D(width, 1)(hidden)
    report = warm_start(keras.Model(inputs, hidden), write(kind, source, tmp_path))
    assert [(one.expected, one.received) for one in report.other_shape] == [((1, 1, 1, 4), (1, 1, 3, 4))]
    assert (len(report.restored), report.missing, report.unused) == (5, (), ())


def test_a_batch_norm_without_scale_takes_nothing_by_its_number(tmp_path):
    """Stores number variables: number 0 is the scale in one layer and the offset in the other."""
    models = [
        scramble(keras.Sequential([keras.Input((4,)), keras.layers.Dense(4, name="a"), norm]), seed)
        for seed, norm in enumerate(
            (keras.layers.BatchNormalization(name="bn"), keras.layers.BatchNormalization(name="bn", scale=False))
        )
    ]
    report = warm_start(models[1], write(".weights.h5", models[0], tmp_path))
    assert [name.split("/")[-2] for name in report.restored] == ["a", "a"]
    assert len(report.missing) == 3


def test_names_that_two_layers_of_the_model_share_do_not_choose_between_them(tmp_path):
    inputs = keras.Input((8, 8, 3))
    towers = [network(seed=seed, name=f"tower{seed}") for seed in (1, 2)]
    model = keras.Model(inputs, keras.layers.Add()([tower(inputs) for tower in towers]))
    with pytest.raises(BuildError, match="none of the same name and shape"):
        warm_start(model, write(".npz", towers[0], tmp_path))
    source = keras.models.clone_model(model)
    report = warm_start(model, write(".weights.h5", scramble(source, 3), tmp_path))
    assert report.restored == PATHS * 2
    assert same(model, values(source))


@pytest.fixture
def mobilenet_file(shared_datasets):
    path = shared_datasets.parent / "weights" / "keras3_MobileNet_alpha0.75.weights.h5"
    if not path.is_file():
        pytest.skip(f"needs {path}")
    return path


@pytest.fixture(scope="module")
def mobilenet():
    return keras.applications.MobileNet(alpha=0.75, weights=None, include_top=False, input_shape=(96, 96, 3))


@pytest.mark.slow
def test_a_real_mobilenet_is_restored_without_its_top(mobilenet_file, mobilenet):
    report = warm_start(scramble(mobilenet, 0), mobilenet_file)
    assert len(report.restored) == len(mobilenet.weights) == 135
    assert (report.other_shape, report.missing) == ((), ())
    assert report.unused == ("conv_preds/vars/0", "conv_preds/vars/1")
    with h5py.File(mobilenet_file) as file:
        stored = file["layers/batch_normalization_10/vars/3"][()]
    assert np.array_equal(mobilenet.get_layer("conv_pw_5_bn").moving_variance.numpy(), stored)


@pytest.mark.slow
@pytest.mark.parametrize("named", [True, False], ids=["with names", "without names"])
def test_a_flat_rebuild_behind_preprocessing_is_restored_as_well(named, mobilenet_file, mobilenet, tmp_path):
    path = shutil.copy(mobilenet_file, tmp_path / "m.weights.h5")
    path.chmod(0o644)
    inputs = keras.Input((None, None, 3))
    hidden = keras.layers.Resizing(96, 96)(keras.layers.Rescaling(1 / 127.5, offset=-1)(inputs))
    for layer in mobilenet.layers[1:]:
        hidden = type(layer).from_config(layer.get_config())(hidden)
    hidden = keras.layers.Dense(5)(keras.layers.GlobalAveragePooling2D()(hidden))
    rebuilt = keras.Model(inputs, hidden)
    report = warm_start(rebuilt, path if named else without_names(path))
    assert len(report.restored) == 135
    assert [name.split("/")[-1] for name in report.missing] == ["kernel", "bias"]
    warm_start(mobilenet, mobilenet_file)
    assert same(mobilenet, values(rebuilt)[:135])
