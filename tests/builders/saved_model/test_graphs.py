"""SavedModels by what their graphs and signatures hold: control flow, shared variables, open sizes, dictionaries."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from saved_modules import convolve, fitted, pictures, plain, save_keras3, save_module, why_whole

from builders.errors import BuildError
from builders.saved_model.load import load_saved_model
from builders.surgery.cut import cut_points


def segments(model):
    return model.layers[1:]


def test_a_feature_extractor_of_open_size_takes_the_given_one(tmp_path):
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(inputs)
    keras.Model(inputs, keras.layers.GlobalMaxPooling2D()(x)).export(tmp_path / "open", verbose=False)
    model = load_saved_model(tmp_path / "open", input_size=20)
    assert (model.input_shape, model.output_shape) == ((None, 20, 20, 3), (None, 4))
    assert load_saved_model(tmp_path / "open").input_shape == (None, 224, 224, 3)
    assert segments(model)[0].any_size
    assert [point.shape for point in cut_points(model)] == [(18, 18, 4)]


@pytest.mark.slow
def test_a_size_that_the_module_does_not_take_is_refused(tmp_path):
    save_keras3(tmp_path / "module")
    with pytest.raises(BuildError, match=r"^Expected an input size of 16 x 16 px.* Received: 20. Leave it out\.$"):
        load_saved_model(tmp_path / "module", input_size=20)


@pytest.mark.slow
def test_a_size_that_is_too_small_for_the_module_is_refused_in_one_line(tmp_path):
    inputs = keras.Input((None, None, 3))
    keras.Model(inputs, keras.layers.Conv2D(4, 7)(inputs)).export(tmp_path / "open", verbose=False)
    with pytest.raises(BuildError, match=r"4, 4, 3.*Negative dimension size[^\n{]*\. Choose another input size"):
        load_saved_model(tmp_path / "open", input_size=4)


@pytest.mark.slow
def test_a_feature_map_may_be_the_output(tmp_path):
    save_module(lambda module, x: convolve(x, module.kernel), tmp_path / "module")
    model = load_saved_model(tmp_path / "module")
    assert model.output_shape == (None, 16, 16, 4)
    assert [point.layer for point in cut_points(model)] == ["Relu"]


@pytest.mark.slow
def test_pixels_are_rounded_for_a_module_that_takes_integers(tmp_path):
    def bytes_of(module, x):
        return tf.reduce_mean(convolve(tf.cast(x, tf.float32), module.kernel), (1, 2))

    original = save_module(bytes_of, tmp_path / "module", tf.TensorSpec((None, 16, 16, 3), tf.uint8))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3))
    output = load_saved_model(tmp_path / "module")(pixels.astype(np.float32) + 0.2)
    np.testing.assert_allclose(output, original(tf.constant(pixels, tf.uint8)), rtol=1e-5)


@pytest.mark.slow
def test_the_one_tensor_of_a_dictionary_is_the_output(tmp_path):
    save_module(lambda module, x: {"features": plain(module, x)}, tmp_path / "module")
    assert load_saved_model(tmp_path / "module").output_shape == (None, 5)


@pytest.mark.slow
def test_a_module_without_a_call_is_run_by_its_serving_signature(tmp_path):
    holder = tf.Module()
    holder.matrix = tf.Variable(tf.ones((3, 2)))
    serve = tf.function(lambda images: {"scores": tf.reduce_mean(images, (1, 2)) @ holder.matrix})
    signature = serve.get_concrete_function(tf.TensorSpec((None, 16, 16, 3), tf.float32, name="images"))
    tf.saved_model.save(holder, str(tmp_path / "module"), signatures=signature)
    model = load_saved_model(tmp_path / "module")
    np.testing.assert_allclose(model(pictures()), pictures().mean((1, 2)) @ np.ones((3, 2)), atol=1e-5)


@pytest.mark.slow
def test_a_module_with_a_training_argument_and_others_runs_in_inference_mode(tmp_path):
    holder = tf.Module()
    holder.kernel = tf.Variable(tf.ones((1, 1, 3, 4)))

    @tf.function
    def call(images, training=False, momentum=0.9):
        x = convolve(images, holder.kernel)
        return [momentum * tf.reduce_mean(tf.nn.dropout(x, 0.5) if training else x, (1, 2))]

    images, number = tf.TensorSpec((None, None, None, 3), tf.float32), tf.TensorSpec((), tf.float32)
    for training in (True, False):
        call.get_concrete_function(images, training=training, momentum=number)
    holder.__call__ = call
    tf.saved_model.save(holder, str(tmp_path / "module"))
    model = load_saved_model(tmp_path / "module", input_size=16)
    for training in (True, False):
        np.testing.assert_allclose(model(pictures(), training=training), call(tf.constant(pictures()))[0], rtol=1e-5)


@pytest.mark.slow
def test_an_activation_with_a_custom_gradient_puts_no_weight_into_two_segments(tmp_path):
    inputs = x = keras.Input((16, 16, 3))
    for name in ("first", "second"):
        x = keras.layers.Conv2D(4, 3, activation="swish", name=name)(x)
    original = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(x))
    original.export(tmp_path / "module", verbose=False)
    model = load_saved_model(tmp_path / "module")
    assert [point.layer for point in cut_points(model)] == ["first", "second"]
    assert model.count_params() == original.count_params()
    assert fitted(model) == {"first/first_kernel", "first/first_bias", "second/second_kernel", "second/second_bias"}


def two_branches(module, x):
    """A branch that depends on the data."""
    return tf.cond(
        tf.reduce_mean(x) > 0,
        lambda: tf.reduce_mean(convolve(x, module.kernel), (1, 2)) @ module.matrix,
        lambda: tf.reduce_mean(convolve(-x, module.kernel), (1, 2)) @ module.matrix,
    )


def test_control_flow_over_the_whole_graph_leaves_one_trainable_layer_with_the_reason(tmp_path):
    original = save_module(two_branches, tmp_path / "module")
    model = load_saved_model(tmp_path / "module")
    assert [layer.name for layer in segments(model)] == ["module"]
    assert why_whole(model) == "It can't be split: its graph holds control flow that can't be inlined (If)."
    for sign in (1, -1):
        x = sign * np.abs(pictures())
        np.testing.assert_allclose(model.predict(x, verbose=0), original(x), atol=1e-5)
    assert fitted(model) == {"module/kernel", "module/matrix"}
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(pictures()), model(pictures()), atol=1e-6)
    assert why_whole(loaded) == why_whole(model)


@pytest.mark.slow
def test_control_flow_in_one_place_leaves_the_other_cut_points(tmp_path):
    def partly(module, x):
        x = convolve(convolve(x, module.kernel), module.inner)
        return tf.reduce_mean(tf.cond(tf.reduce_mean(x) > 0, lambda: x, lambda: 2 * x), (1, 2))

    save_module(partly, tmp_path / "module")
    model = load_saved_model(tmp_path / "module")
    assert [point.layer for point in cut_points(model)] == ["Relu", "Relu_1"]
    assert why_whole(model) is None


@pytest.mark.slow
def test_a_module_without_feature_maps_is_one_layer_with_the_reason(tmp_path):
    save_module(lambda module, x: tf.reduce_mean(x, (1, 2))[:, :1] * module.beta, tmp_path / "module")
    model = load_saved_model(tmp_path / "module")
    assert (
        why_whole(model)
        == "It can't be split: its graph has no feature map of a convolution that every path passes through."
    )
    assert fitted(model) == {"module/beta"}


def test_a_variable_that_is_used_twice_stays_one(tmp_path):
    def tied(module, x):
        x = convolve(x, module.kernel)
        return tf.reduce_mean(convolve(convolve(x, module.inner), module.inner), (1, 2))

    save_module(tied, tmp_path / "module")
    model = load_saved_model(tmp_path / "module")
    assert [point.layer for point in cut_points(model)] == ["Relu", "Relu_2"]
    assert [weight.path for weight in model.weights] == ["Relu/kernel", "Relu_2/inner"]


def test_layers_whose_weights_are_constants_count(tmp_path):
    module, kernels = tf.Module(), [np.full((3, 3, 3, 3), 0.1, np.float32)] * 3

    def forward(x):
        for kernel in kernels:
            x = tf.nn.relu(tf.nn.conv2d(x, tf.constant(kernel), 1, "SAME"))
        return x

    module.__call__ = tf.function(forward, input_signature=[tf.TensorSpec((None, 16, 16, 3), tf.float32)])
    tf.saved_model.save(module, tmp_path / "module")
    assert [point.depth for point in cut_points(load_saved_model(tmp_path / "module"))] == pytest.approx(
        [1 / 3, 2 / 3, 1]
    )
