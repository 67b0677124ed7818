"""The conformance suite of SavedModels: one of each kind becomes a model that is cut, frozen, trained and saved."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from saved_modules import (
    BLOCKS,
    WRITERS,
    Module,
    fitted,
    labels,
    network,
    pictures,
    plain,
    save_keras3,
    save_tf_keras,
    why_whole,
)

from builders.saved_model.load import load_saved_model
from builders.surgery.cut import cut, cut_points
from builders.surgery.freeze import freeze

EPSILON = 1e-3
STATISTICS = ("mean", "variance")
KINDS = [pytest.param(kind, marks=[pytest.mark.slow] * (kind == "tf_keras")) for kind in WRITERS]


@pytest.fixture(scope="module", params=KINDS)
def kind(request):
    return request.param


@pytest.fixture(scope="module")
def saved(kind, tmp_path_factory):
    """A module's folder, and the function that its author would call."""
    folder = tmp_path_factory.mktemp("saved") / "module"
    return folder, WRITERS[kind](folder)


@pytest.fixture(scope="module")
def opened(saved):
    """The module as it was opened. Never change it."""
    return load_saved_model(saved[0])


@pytest.fixture
def model(opened):
    """A copy to train."""
    copy = keras.models.clone_model(opened)
    copy.set_weights(opened.get_weights())
    return copy


def segments(model):
    return model.layers[1:]


def is_statistic(path):
    return any(word in path for word in STATISTICS)


def test_it_computes_what_the_module_computes_for_batches_of_any_size(opened, saved):
    assert (opened.input_shape, opened.output_shape) == ((None, 16, 16, 3), (None, 5))
    for count in (1, 3):
        expected = np.asarray(saved[1](pictures(count)))
        np.testing.assert_allclose(opened(pictures(count)), expected, atol=1e-5)
        np.testing.assert_allclose(opened.predict(pictures(count), verbose=0), expected, atol=1e-5)


def test_its_cut_points_are_those_of_the_network_that_was_saved(kind, opened):
    points = cut_points(opened)
    assert why_whole(opened) is None
    if kind == "tf.Module":
        assert [(point.layer, point.shape) for point in points] == [("Relu", (8, 8, 4)), ("add", (8, 8, 4))]
        return
    expected = cut_points(network())
    assert [point.layer for point in points] == [point.layer for point in expected] == BLOCKS
    assert [point.shape for point in points] == [point.shape for point in expected]
    assert [point.depth for point in points] == pytest.approx([point.depth for point in expected])
    assert [point.parameters for point in points] == [point.parameters for point in expected]


def test_a_cut_inside_computes_the_map_at_the_cut_point(kind, opened):
    names = [layer.name for layer in segments(opened)]
    part = cut(opened, names[-2])
    assert [layer.name for layer in segments(part)] == names[:-1]
    if kind == "tf.Module":
        assert part(pictures()).shape == (6, 8, 8, 4)
        return
    original = network()
    expected = keras.Model(original.input, original.get_layer("b2_add").output)(pictures())
    np.testing.assert_allclose(part(pictures()), expected, atol=1e-5)


def test_gradients_reach_exactly_the_trainable_half(opened):
    names = [layer.name for layer in segments(opened)]
    half = freeze(opened, names[len(names) // 2 - 1]).model
    with tf.GradientTape() as tape:
        loss = tf.reduce_sum(half(pictures(), training=True) ** 2)
    gradients = tape.gradient(loss, [weight.value for weight in half.trainable_weights])
    assert all(gradient is not None for gradient in gradients)
    expected = {
        weight.path
        for layer in segments(half)[len(names) // 2 :]
        for weight in layer.weights
        if not is_statistic(weight.path)
    }
    assert {weight.path for weight in half.trainable_weights} == expected


def test_training_moves_all_but_the_statistics_and_the_file_needs_no_folder(model, tmp_path):
    assert all(is_statistic(weight.path) for weight in model.non_trainable_weights)
    assert fitted(model) == {weight.path for weight in model.trainable_weights}
    np.testing.assert_allclose(model(pictures(), training=True), model(pictures(), training=False))
    segments(model)[1].train_batch_norm = True
    model.save(tmp_path / "model.keras")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(tf.saved_model, "load", lambda path: pytest.fail(f"loaded {path}"))
        loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(pictures()), model(pictures()), atol=1e-6)
    assert [weight.path for weight in loaded.trainable_weights] == [weight.path for weight in model.trainable_weights]
    assert [layer.train_batch_norm for layer in segments(loaded)] == [
        layer.train_batch_norm for layer in segments(model)
    ]


@pytest.mark.slow
def test_training_of_batch_norm_moves_the_statistics_of_segments_that_are_not_frozen(model):
    first, *rest = segments(model)
    for layer in segments(model):
        layer.train_batch_norm = True
    first.trainable = False
    moved = fitted(model)
    assert not {path for path in moved if path.startswith(f"{first.name}/")}
    assert any("variance" in path for path in moved) == any(layer.norms for layer in rest)


def standardised_inputs(kind):
    """The input of each segment's last BatchNorm, standardised by its statistics, computed from the original."""
    if kind == "tf.Module":
        module = Module(plain)
        yield tf.nn.conv2d(pictures(), module.kernel, 2, "SAME"), module.mean, module.variance
        return
    original = network()
    for name in ("stem_bn", "b0_bn1", "b1_bn1", "b2_bn1"):
        norm = original.get_layer(name)
        yield keras.Model(original.input, norm.input)(pictures()), norm.moving_mean, norm.moving_variance


def test_the_moments_in_front_of_the_last_batch_norm_of_each_segment_are_read(kind, opened):
    seen, x = [], tf.constant(pictures())
    for layer in segments(opened):
        if layer.norms:
            assert all(norm.epsilon == pytest.approx(EPSILON) for norm in layer.norms)
            output, y = tf.function(layer.call_with_norm)(x)
            np.testing.assert_allclose(output, layer(x), atol=1e-6)
            gamma, beta = layer.norm_affine()
            seen.append((y.numpy() - beta) / gamma)
        x = layer(x)
    for z, (before, mean, variance) in zip(seen, standardised_inputs(kind), strict=True):
        direct = (before.numpy() - mean.numpy()) / np.sqrt(variance.numpy() + EPSILON)
        for power in (1, 2):
            np.testing.assert_allclose((z**power).mean((1, 2)), (direct**power).mean((1, 2)), rtol=1e-4, atol=1e-5)


def test_each_load_gives_the_same_names(saved, opened):
    again = load_saved_model(saved[0])
    assert [weight.path for weight in again.weights] == [weight.path for weight in opened.weights]


@pytest.mark.slow
def test_an_exported_copy_opens_with_the_same_cut_points(opened, tmp_path):
    opened.export(tmp_path / "again", verbose=False)
    again = load_saved_model(tmp_path / "again")
    assert [point.layer for point in cut_points(again)] == [point.layer for point in cut_points(opened)]
    np.testing.assert_allclose(again(pictures()), opened(pictures()), atol=1e-5)


@pytest.mark.slow
def test_a_file_loads_in_another_process(opened, tmp_path, run_python):
    opened.save(tmp_path / "model.keras")
    np.save(tmp_path / "pictures.npy", pictures())
    code = (
        "import sys, numpy, keras, builders.graph_segment;"
        "model = keras.models.load_model(sys.argv[1] + '/model.keras');"
        "numpy.save(sys.argv[1] + '/output.npy', model(numpy.load(sys.argv[1] + '/pictures.npy')))"
    )
    done = run_python(code, tmp_path)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "output.npy"), opened(pictures()), atol=1e-6)


def test_every_form_of_batch_norm_is_found_in_order(kind, opened):
    if kind == "tf.Module":
        assert [len(layer.norms) for layer in segments(opened)] == [1, 0, 0]
        return
    assert [len(layer.norms) for layer in segments(opened)] == [1, 2, 2, 2, 0]
    missing = [(norm.gamma is None, norm.beta is None) for layer in segments(opened)[2:4] for norm in layer.norms]
    if kind == "keras 3":  # tf_keras writes constants
        assert missing == [(True, False), (False, False), (False, True), (False, False)]


@pytest.mark.slow
@pytest.mark.parametrize("train_batch_norm", [False, True])
@pytest.mark.parametrize("writer", [save_keras3, save_tf_keras])
def test_it_trains_as_the_original_does(writer, train_batch_norm, tmp_path):
    writer(tmp_path / "module")
    original, model = network(), load_saved_model(tmp_path / "module")
    original.get_layer("dropout").rate = 0.0
    for layer in segments(model):
        layer.train_batch_norm = train_batch_norm
        for weight in layer.weights:
            weight.trainable = weight.trainable and (train_batch_norm or "_bn" not in weight.path)
    for layer in original.layers:
        layer.trainable = train_batch_norm or not isinstance(layer, keras.layers.BatchNormalization)
    for either in (original, model):
        either.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
        either.fit(pictures(), labels(model), epochs=3, shuffle=False, verbose=0)
    trained = {weight.name.replace("depthwise_kernel", "kernel"): weight.numpy() for weight in model.weights}
    for weight in original.weights:
        name = weight.path.replace("/", "_")
        np.testing.assert_allclose(trained[name], weight.numpy(), atol=1e-4, err_msg=name)


@pytest.mark.slow
def test_the_momentum_of_the_module_is_kept(tmp_path):
    save_tf_keras(tmp_path / "module", momentum=0.75)
    assert {layer.momentum for layer in segments(load_saved_model(tmp_path / "module"))} == {0.75}


@pytest.mark.slow
def test_a_module_that_was_saved_frozen_can_train(tmp_path):
    model = network()
    model.trainable = False
    model.export(tmp_path / "module", verbose=False)
    assert len(load_saved_model(tmp_path / "module").trainable_weights) == len(network().trainable_weights)
