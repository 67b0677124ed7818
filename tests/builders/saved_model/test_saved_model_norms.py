"""The BatchNorms inside a SavedModel: read for drift, still in training unless told to move."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from saved_modules import WRITERS, Module, fitted, labels, network, pictures, plain, save_keras3, save_tf_keras

from builders.saved_model.load import load_saved_model

EPSILON = 1e-3


@pytest.fixture(params=WRITERS)
def model(request, tmp_path):
    WRITERS[request.param](tmp_path / "module")
    return load_saved_model(tmp_path / "module")


def standardised_inputs(model):
    """What each segment's last BatchNorm gets, standardised by its statistics, computed from the original."""
    if model.layers[1].name == "Relu":
        module = Module(plain)
        yield tf.nn.conv2d(pictures(), module.kernel, 2, "SAME"), module.mean, module.variance
        return
    original = network()
    for name in ("stem_bn", "b0_bn1", "b1_bn1", "b2_bn1"):
        norm = original.get_layer(name)
        yield keras.Model(original.input, norm.input)(pictures()), norm.moving_mean, norm.moving_variance


def test_every_batch_norm_is_found_in_order(tmp_path):
    for writer, folder in ((save_keras3, "keras"), (save_tf_keras, "tf_keras")):
        writer(tmp_path / folder)
        segments = load_saved_model(tmp_path / folder).layers[1:]
        assert [len(layer.norms) for layer in segments] == [1, 2, 2, 2, 0]
        assert all(norm.epsilon == pytest.approx(EPSILON) for layer in segments for norm in layer.norms)
        missing = [(norm.gamma is None, norm.beta is None) for norm in segments[2].norms + segments[3].norms]
        if writer is save_keras3:  # tf_keras writes constants
            assert missing == [(True, False), (False, False), (False, True), (False, False)]


def test_the_tap_gives_the_moments_of_the_standardised_input_of_the_last_batch_norm(model):
    expected = list(standardised_inputs(model))
    seen, x = [], tf.constant(pictures())
    for layer in model.layers[1:]:
        if layer.norms:
            output, y = tf.function(layer.call_with_norm)(x)
            np.testing.assert_allclose(output, layer(x), atol=1e-6)
            gamma, beta = layer.norm_affine()
            seen.append((y.numpy() - beta) / gamma)
        x = layer(x)
    for z, (before, mean, variance) in zip(seen, expected, strict=True):
        direct = (before.numpy() - mean.numpy()) / np.sqrt(variance.numpy() + EPSILON)
        for power in (1, 2):
            np.testing.assert_allclose((z**power).mean((1, 2)), (direct**power).mean((1, 2)), rtol=1e-4, atol=1e-5)


def test_a_segment_without_batch_norm_says_so(model):
    with pytest.raises(ValueError, match=r"Expected head to hold a BatchNorm. Received: a segment without"):
        model.get_layer("head").call_with_norm(tf.zeros((1, 8, 8, 4)))


def test_statistics_stay_in_training_by_default(model):
    moved = fitted(model)
    assert moved == {weight.path for weight in model.trainable_weights}
    np.testing.assert_allclose(model(pictures(), training=True), model(pictures(), training=False))


def test_with_still_batch_norm_it_trains_as_the_original_does_with_frozen_ones(tmp_path):
    save_keras3(tmp_path / "module")
    original, model = network(), load_saved_model(tmp_path / "module")
    for layer in original.layers:
        layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
    for layer in model.layers[1:]:
        for weight in layer.weights:
            weight.trainable = "_bn" not in weight.path
    original.get_layer("dropout").rate = 0.0
    for either in (original, model):
        either.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
        either.fit(pictures(), labels(model), epochs=3, shuffle=False, verbose=0)
    np.testing.assert_allclose(model(pictures()), original(pictures()), atol=1e-5)


@pytest.mark.parametrize("writer", [save_keras3, save_tf_keras])
def test_in_training_mode_it_is_the_original_in_training_mode_statistics_and_all(writer, tmp_path):
    writer(tmp_path / "module")
    original, model = network(), load_saved_model(tmp_path / "module")
    original.get_layer("dropout").rate = 0.0
    for layer in model.layers[1:]:
        layer.train_batch_norm = True
    for either in (original, model):
        either.compile(keras.optimizers.SGD(0.1), "mse", jit_compile=False)
        either.fit(pictures(), labels(model), epochs=3, shuffle=False, verbose=0)
    trained = {weight.name.replace("depthwise_kernel", "kernel"): weight.numpy() for weight in model.weights}
    for weight in original.weights:
        name = weight.path.replace("/", "_")
        np.testing.assert_allclose(trained[name], weight.numpy(), atol=1e-4, err_msg=name)


def test_a_frozen_segment_keeps_its_statistics_even_in_training_mode(model):
    first, *rest = model.layers[1:]
    for layer in model.layers[1:]:
        layer.train_batch_norm = True
    first.trainable = False
    moved = fitted(model)
    assert not {path for path in moved if path.startswith(f"{first.name}/")}
    assert any("variance" in path for path in moved) == any(layer.norms for layer in rest)


def test_the_choice_is_saved_with_the_model(model, tmp_path):
    model.layers[1].train_batch_norm = True
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert [layer.train_batch_norm for layer in loaded.layers[1:]] == [True] + [False] * (len(loaded.layers) - 2)


def test_the_module_s_own_momentum_is_kept(tmp_path):
    save_tf_keras(tmp_path / "module", momentum=0.75)
    assert {layer.momentum for layer in load_saved_model(tmp_path / "module").layers[1:]} == {0.75}
