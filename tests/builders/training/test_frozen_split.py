"""A model is split where its frozen part ends."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny import SIZE
from training import FREEZE, classifier, frozen_outputs, pixels

from builders.errors import BuildError
from builders.surgery.frozen_split import split_frozen


def behind(first, freeze=None, inputs=None):
    """The tiny classifier behind another layer."""
    inputs = keras.Input((SIZE, SIZE, 3)) if inputs is None else inputs
    graph = split_frozen(classifier(freeze)).graph
    return keras.Model(inputs, graph.run(first(inputs), [len(graph.nodes) - 1], start=1)[0])


def test_the_frozen_part_ends_at_the_last_frozen_layer():
    split = split_frozen(classifier(FREEZE))
    assert [split.graph.nodes[place].name for place in split.reads] == [FREEZE]
    assert not split.takes_pictures
    assert not split.solvable


def test_a_model_with_nothing_frozen_reads_prepared_pictures():
    split = split_frozen(classifier())
    assert split.takes_pictures
    assert split.tail.input_shape == (None, SIZE, SIZE, 3)


def test_the_two_parts_together_are_the_model():
    model = classifier(FREEZE)
    whole = model.predict(pixels().astype(np.float32), verbose=0)
    tail = split_frozen(model).tail.predict(frozen_outputs(model, pixels()), verbose=0)
    np.testing.assert_allclose(tail, whole, atol=1e-5)


def test_a_head_that_reads_frozen_levels_reads_their_pooled_outputs():
    model = classifier("block2_relu")
    pool = keras.layers.GlobalAveragePooling2D
    levels = [pool()(model.get_layer(name).output) for name in ("block0_relu", "block2_relu", "block4_add")]
    outputs = keras.layers.Dense(2, activation="softmax")(keras.layers.Concatenate()(levels))
    joined = keras.Model(model.input, outputs)
    split = split_frozen(joined)
    assert [tensor.shape[1:] for tensor in split.tail.inputs] == [(8, 8, 12), (8,), (12,)]
    x = pixels().astype(np.float32)
    read = split.graph.run(x, split.reads)
    np.testing.assert_allclose(np.asarray(split.tail(read)), joined.predict(x, verbose=0), atol=1e-5)
    between = split.below_head()
    assert between.output_shape == (None, 8 + 12 + 16)


def test_held_batch_norm_trains_scale_and_offset_and_keeps_its_statistics():
    model = classifier()
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    before = [[weight.numpy() for weight in norm.weights] for norm in norms]
    tail = split_frozen(model, train_norms=True).tail
    tail.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
    x, labels = pixels().astype(np.float32), np.arange(40) % 2
    outputs = model.predict(x, verbose=0)
    np.testing.assert_allclose(tail.predict(x, verbose=0), outputs, atol=1e-6)
    tail.train_on_batch(x, labels)
    for norm, (gamma, beta, mean, variance) in zip(norms, before, strict=True):
        now = [weight.numpy() for weight in norm.weights]
        assert np.abs(now[0] - gamma).max() > 0
        assert np.abs(now[1] - beta).max() > 0
        np.testing.assert_array_equal(now[2], mean)
        np.testing.assert_array_equal(now[3], variance)


@pytest.mark.parametrize("freeze", [FREEZE, None])
def test_batch_norm_that_is_frozen_stays_frozen_behind_a_random_layer(freeze):
    model = behind(keras.layers.RandomFlip(), freeze)
    trained = {layer.name for layer in model.layers if layer.trainable_weights}
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    place = next((i for i, layer in enumerate(model.layers) if layer.name == freeze), -1)
    for norm in norms:
        norm.trainable = False
    assert split_frozen(model, train_norms=True).takes_pictures
    behind_freeze = {layer.name for layer in model.layers[place + 1 :]}
    assert {norm.name for norm in norms if norm.trainable} == {norm.name for norm in norms} & behind_freeze
    assert trained


@pytest.mark.parametrize(
    "convolution",
    [
        keras.layers.Conv2D(6, 3, strides=2, padding="same", use_bias=False, name="middle"),
        keras.layers.Conv2D(6, 3, dilation_rate=2, bias_initializer="normal", name="middle"),
        keras.layers.Conv2D(6, 3, groups=3, padding="same", use_bias=False, name="middle"),
        keras.layers.DepthwiseConv2D(3, strides=2, depth_multiplier=2, bias_initializer="normal", name="middle"),
        keras.layers.Conv2D(6, 3, activation="relu", name="middle"),
    ],
    ids=["strides", "bias and dilation", "groups", "depthwise", "activation"],
)
@pytest.mark.parametrize("parts", [{}, {"scale": False}, {"center": False}], ids=["both", "no scale", "no offset"])
def test_batch_norm_that_is_computed_in_a_convolution_has_the_same_outputs_and_gradients(convolution, parts):
    inputs = keras.Input((SIZE, SIZE, 3))
    random = {f"{name}_initializer": keras.initializers.RandomUniform(0.5, 2) for name in ("gamma", "moving_variance")}
    random |= {f"{name}_initializer": "normal" for name in ("beta", "moving_mean")}
    x = keras.layers.BatchNormalization(trainable=False, **parts, **random)(keras.layers.Conv2D(3, 1)(inputs))
    norm = keras.layers.BatchNormalization(trainable=False, **parts, **random)
    x = keras.layers.GlobalAveragePooling2D()(norm(convolution.from_config(convolution.get_config())(x)))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))
    tail = split_frozen(model, train_norms=True).tail
    inside = {layer.name for layer in tail.layers}.isdisjoint({"middle"})
    assert inside == (convolution.activation is keras.activations.linear)
    pictures = tf.constant(pixels() / 255, tf.float32)
    found = {}
    for part in (model, tail):
        with tf.GradientTape() as tape:
            outputs = part(pictures, training=False)
            loss = tf.reduce_mean(outputs[:, 0] ** 2)
        variables = part.trainable_variables
        gradients = tape.gradient(loss, [variable.value for variable in variables])
        found[part] = outputs, {id(variable): each for variable, each in zip(variables, gradients, strict=True)}
    np.testing.assert_allclose(found[tail][0], found[model][0], rtol=1e-5, atol=1e-6)
    assert found[tail][1].keys() == found[model][1].keys()
    for variable, gradient in found[model][1].items():
        rounding = 1e-4 * np.abs(gradient).max()  # of sums that cancel
        np.testing.assert_allclose(found[tail][1][variable], gradient, rtol=1e-3, atol=rounding)


class Twice(keras.layers.BatchNormalization):
    def call(self, x, training=None, mask=None):
        return 2 * super().call(x, training=training, mask=mask)


def read_by_another(x):
    x = keras.layers.Conv2D(4, 3, name="middle")(x)
    return keras.layers.Add()([x, still()(x)])


def called_twice(x):
    norm = still()
    for name in ("middle", "another"):
        x = norm(keras.layers.Conv2D(4, 3, name=name)(x))
    return x


def by_keyword(x):
    return still()(keras.layers.Conv2D(4, 3, name="middle")(inputs=x))


def of_another_kind(x):
    return Twice(trainable=False)(keras.layers.Conv2D(4, 3, name="middle")(x))


def in_half_precision(x):
    return still(dtype="mixed_bfloat16")(keras.layers.Conv2D(4, 3, dtype="mixed_bfloat16", name="middle")(x))


def with_a_loss(x):
    return still()(keras.layers.Conv2D(4, 3, activity_regularizer="l2", name="middle")(x))


def still(**options):
    return keras.layers.BatchNormalization(trainable=False, moving_mean_initializer="ones", **options)


@pytest.mark.parametrize(
    "part", [read_by_another, called_twice, by_keyword, of_another_kind, in_half_precision, with_a_loss]
)
def test_a_convolution_stays_a_layer_of_its_own_where_batch_norm_is_no_plain_scale_of_it(part):
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.GlobalAveragePooling2D()(part(inputs))
    model = keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))
    x = (pixels() / 255).astype(np.float32)
    outputs, losses = np.asarray(model(x)), len(model.losses)
    tail = split_frozen(model, train_norms=True).tail
    assert "middle" in {layer.name for layer in tail.layers}
    np.testing.assert_allclose(np.asarray(tail(x)), outputs, atol=1e-6)
    assert len(tail.losses) == losses


def test_dropout_after_the_frozen_part_is_in_the_tail():
    model = classifier("block4_add")
    x = keras.layers.Dropout(0.5)(model.layers[-1].input)
    x = keras.layers.Dense(8, activation="relu")(x)
    split = split_frozen(keras.Model(model.input, keras.layers.Dense(2, activation="softmax")(x)))
    assert not split.takes_pictures
    assert any(isinstance(layer, keras.layers.Dropout) for layer in split.tail.layers)


def test_a_random_layer_before_the_frozen_part_keeps_it_from_being_computed_once():
    assert split_frozen(behind(keras.layers.RandomFlip("horizontal"), FREEZE)).takes_pictures


def test_resizing_of_another_kind_than_the_built_one_is_refused():
    resizing = keras.layers.Resizing(SIZE, SIZE, interpolation="nearest")
    with pytest.raises(BuildError, match="resizing that `build` puts there"):
        split_frozen(behind(resizing, FREEZE, keras.Input((None, None, 3))))


def test_a_layer_before_the_network_is_part_of_the_tail():
    model = behind(keras.layers.Rescaling(0.25))
    x = pixels()[:4].astype(np.float32)
    np.testing.assert_allclose(split_frozen(model).tail.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6)


def test_normalization_of_pixels_is_no_frozen_part():
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Normalization(mean=[100.0] * 3, variance=[400.0] * 3)(inputs)
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(x))
    assert split_frozen(keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))).takes_pictures


def test_a_model_that_is_frozen_as_a_whole_is_refused():
    model = classifier()
    model.trainable = False
    with pytest.raises(BuildError, match="layers that train"):
        split_frozen(model)
