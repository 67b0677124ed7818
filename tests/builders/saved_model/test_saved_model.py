"""A SavedModel of any make becomes a Keras model that is cut, frozen, trained and saved like any other."""

import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from saved_modules import (
    BLOCKS,
    WRITERS,
    convolve,
    fitted,
    network,
    pictures,
    plain,
    save_keras3,
    save_module,
    save_tf_keras,
)

from builders.errors import BuildError
from builders.saved_model.load import load_saved_model, why_whole
from builders.surgery.cut import cut, cut_points
from builders.surgery.freeze import freeze


@pytest.fixture(params=WRITERS)
def module(request, tmp_path):
    """A module's folder, and what its author would call."""
    return tmp_path / "module", WRITERS[request.param](tmp_path / "module")


@pytest.fixture
def exported(tmp_path):
    save_keras3(tmp_path / "module")
    return tmp_path / "module"


def segments(model):
    return model.layers[1:]


def test_it_computes_what_the_module_computes_for_batches_of_any_size(module):
    folder, original = module
    model = load_saved_model(folder)
    assert model.input_shape == (None, 16, 16, 3)
    assert model.output_shape == (None, 5)
    for count in (1, 2, 7):
        expected = np.asarray(original(pictures(count)))
        np.testing.assert_allclose(model(pictures(count)), expected, atol=1e-5)
        np.testing.assert_allclose(model.predict(pictures(count), verbose=0), expected, atol=1e-5)


@pytest.mark.parametrize("writer", [save_keras3, save_tf_keras])
def test_its_cut_points_are_those_of_the_network_that_was_saved(writer, tmp_path):
    writer(tmp_path / "module")
    points, expected = cut_points(load_saved_model(tmp_path / "module")), cut_points(network())
    assert [point.layer for point in points] == [point.layer for point in expected] == BLOCKS
    assert [point.shape for point in points] == [point.shape for point in expected]
    assert [point.depth for point in points] == pytest.approx([point.depth for point in expected])
    assert [point.parameters for point in points] == [point.parameters for point in expected]


def test_a_plain_module_has_cut_points_and_the_same_names_at_every_load(tmp_path):
    save_module(plain, tmp_path / "module")
    models = [load_saved_model(tmp_path / "module") for _ in range(2)]
    assert [[layer.name for layer in segments(model)] for model in models] == [["Relu", "add", "head"]] * 2
    assert [point.shape for point in cut_points(models[0])] == [(8, 8, 4), (8, 8, 4)]
    assert why_whole(models[0]) is None


def test_what_is_left_after_a_cut_computes_the_map_at_the_cut_point(exported):
    part = cut(load_saved_model(exported), "b1_add")
    original = network()
    expected = keras.Model(original.input, original.get_layer("b1_add").output)(pictures())
    np.testing.assert_allclose(part(pictures()), expected, atol=1e-5)
    assert [layer.name for layer in segments(part)] == BLOCKS[:3]


def test_half_frozen_exactly_the_variables_of_the_trainable_half_move(module):
    model = load_saved_model(module[0])
    names = [layer.name for layer in segments(model)]
    below = names[: len(names) // 2]
    half = freeze(model, below[-1]).model
    able = {weight.path for weight in half.trainable_weights}
    assert fitted(half) == able
    assert able == {
        weight.path
        for layer in segments(half)
        if layer.name not in below
        for weight in layer.weights
        if not any(statistic in weight.path for statistic in ("mean", "variance"))
    }


def test_its_moving_statistics_are_no_trainable_variables(module):
    model = load_saved_model(module[0])
    fixed = {weight.path.rpartition("_")[2].rpartition("/")[2] for weight in model.non_trainable_weights}
    assert fixed == {"mean", "variance"}


def test_a_module_that_was_saved_frozen_can_train(tmp_path):
    model = network()
    model.trainable = False
    model.export(tmp_path / "module", verbose=False)
    assert len(load_saved_model(tmp_path / "module").trainable_weights) == len(network().trainable_weights)


def test_the_saved_model_needs_no_folder(module, tmp_path):
    folder, _ = module
    model = load_saved_model(folder)
    fitted(model)
    model.save(tmp_path / "model.keras")
    shutil.rmtree(folder)
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(loaded(pictures()), model(pictures()), atol=1e-6)
    assert [weight.path for weight in loaded.trainable_weights] == [weight.path for weight in model.trainable_weights]
    assert fitted(loaded)


def test_another_process_loads_it(exported, tmp_path, run_python):
    model = load_saved_model(exported)
    model.save(tmp_path / "model.keras")
    np.save(tmp_path / "pictures.npy", pictures())
    code = (
        "import sys, numpy, keras, builders.saved_model.segment_layer;"
        "model = keras.models.load_model(sys.argv[1] + '/model.keras');"
        "numpy.save(sys.argv[1] + '/output.npy', model(numpy.load(sys.argv[1] + '/pictures.npy')))"
    )
    done = run_python(code, tmp_path)
    assert done.returncode == 0, done.stderr
    np.testing.assert_allclose(np.load(tmp_path / "output.npy"), model(pictures()), atol=1e-6)


def test_an_exported_copy_opens_with_the_same_cut_points(exported, tmp_path):
    load_saved_model(exported).export(tmp_path / "again", verbose=False)
    again = load_saved_model(tmp_path / "again")
    assert [point.layer for point in cut_points(again)] == BLOCKS
    np.testing.assert_allclose(again(pictures()), network()(pictures()), atol=1e-5)


def test_a_feature_extractor_of_open_size_takes_the_asked_one(tmp_path):
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Conv2D(4, 3, activation="relu", name="conv")(inputs)
    keras.Model(inputs, keras.layers.GlobalMaxPooling2D()(x)).export(tmp_path / "open", verbose=False)
    model = load_saved_model(tmp_path / "open", input_size=20)
    assert (model.input_shape, model.output_shape) == ((None, 20, 20, 3), (None, 4))
    assert load_saved_model(tmp_path / "open").input_shape == (None, 224, 224, 3)
    assert segments(model)[0].any_size
    assert [point.shape for point in cut_points(model)] == [(18, 18, 4)]


def test_a_size_that_the_module_does_not_take_is_refused(exported):
    with pytest.raises(BuildError, match=r"^Expected an input size of 16 x 16 px.* Received: 20. Leave it out\.$"):
        load_saved_model(exported, input_size=20)


def test_a_size_that_is_too_small_for_the_module_is_refused_in_one_line(tmp_path):
    inputs = keras.Input((None, None, 3))
    keras.Model(inputs, keras.layers.Conv2D(4, 7)(inputs)).export(tmp_path / "open", verbose=False)
    with pytest.raises(BuildError, match=r"4, 4, 3.*Negative dimension size[^\n{]*\. Choose another input size"):
        load_saved_model(tmp_path / "open", input_size=4)


def test_a_map_is_put_out_as_it_is(tmp_path):
    save_module(lambda module, x: convolve(x, module.kernel), tmp_path / "module")
    model = load_saved_model(tmp_path / "module")
    assert model.output_shape == (None, 16, 16, 4)
    assert [point.layer for point in cut_points(model)] == ["Relu"]


def test_whole_numbers_are_made_of_the_pixels_where_the_module_wants_them(tmp_path):
    def bytes_of(module, x):
        return tf.reduce_mean(convolve(tf.cast(x, tf.float32), module.kernel), (1, 2))

    original = save_module(bytes_of, tmp_path / "module", tf.TensorSpec((None, 16, 16, 3), tf.uint8))
    pixels = np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3))
    output = load_saved_model(tmp_path / "module")(pixels.astype(np.float32) + 0.2)
    np.testing.assert_allclose(output, original(tf.constant(pixels, tf.uint8)), rtol=1e-5)


def test_one_tensor_in_a_dictionary_is_taken(tmp_path):
    save_module(lambda module, x: {"features": plain(module, x)}, tmp_path / "module")
    assert load_saved_model(tmp_path / "module").output_shape == (None, 5)


def test_a_module_without_a_call_is_run_by_its_serving_signature(tmp_path):
    holder = tf.Module()
    holder.matrix = tf.Variable(tf.ones((3, 2)))
    serve = tf.function(lambda images: {"scores": tf.reduce_mean(images, (1, 2)) @ holder.matrix})
    signature = serve.get_concrete_function(tf.TensorSpec((None, 16, 16, 3), tf.float32, name="images"))
    tf.saved_model.save(holder, str(tmp_path / "module"), signatures=signature)
    model = load_saved_model(tmp_path / "module")
    np.testing.assert_allclose(model(pictures()), pictures().mean((1, 2)) @ np.ones((3, 2)), atol=1e-5)


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


def test_an_activation_with_a_gradient_of_its_own_takes_no_weight_into_two_segments(tmp_path):
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
    """The data decides which way it goes."""
    return tf.cond(
        tf.reduce_mean(x) > 0,
        lambda: tf.reduce_mean(convolve(x, module.kernel), (1, 2)) @ module.matrix,
        lambda: tf.reduce_mean(convolve(-x, module.kernel), (1, 2)) @ module.matrix,
    )


def test_control_flow_over_all_of_it_leaves_one_trainable_layer_that_says_why(tmp_path):
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


def test_control_flow_in_one_place_leaves_the_cut_points_elsewhere(tmp_path):
    def partly(module, x):
        x = convolve(convolve(x, module.kernel), module.inner)
        return tf.reduce_mean(tf.cond(tf.reduce_mean(x) > 0, lambda: x, lambda: 2 * x), (1, 2))

    save_module(partly, tmp_path / "module")
    model = load_saved_model(tmp_path / "module")
    assert [point.layer for point in cut_points(model)] == ["Relu", "Relu_1"]
    assert why_whole(model) is None


def test_a_module_without_maps_is_one_layer_that_says_why(tmp_path):
    save_module(lambda module, x: tf.reduce_mean(x, (1, 2))[:, :1] * module.beta, tmp_path / "module")
    model = load_saved_model(tmp_path / "module")
    assert why_whole(model) == "It can't be split: no convolution in its graph puts out a feature map."
    assert fitted(model) == {"module/beta"}


def test_a_variable_that_is_used_twice_stays_one(tmp_path):
    def tied(module, x):
        x = convolve(x, module.kernel)
        return tf.reduce_mean(convolve(convolve(x, module.inner), module.inner), (1, 2))

    save_module(tied, tmp_path / "module")
    model = load_saved_model(tmp_path / "module")
    assert [point.layer for point in cut_points(model)] == ["Relu", "Relu_2"]
    assert [weight.path for weight in model.weights] == ["Relu/kernel", "Relu_2/inner"]
