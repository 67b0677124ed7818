"""Cut points and cuts of small networks of every make: functional, sequential, nested, subclassed."""

import warnings

import keras
import numpy as np
import pytest
from makes import MAKES, POINTS, L, Subclassed, body, classifier, pictures, randomised, snapshot, subclassed, trains
from network_checks import answer

import builders
from builders import BuildError, CutMoved, HeadSpec, LayerRenumbered, cut, cut_points, freeze, graft, unfreeze


def layers(model):
    return [point.layer for point in cut_points(model)]


@pytest.mark.parametrize("make", MAKES)
def test_cut_points_lie_inside_models_of_every_make(make):
    assert layers(MAKES[make]()) == POINTS


@pytest.mark.parametrize("make", MAKES)
def test_a_cut_model_computes_what_the_whole_one_does_there_and_leaves_it_unchanged(make):
    model = MAKES[make]()
    before = snapshot(model)
    trunk = cut(model, "two_relu")
    inner = model if make == "functional" else (model.inner if make == "subclassed" else model.get_layer("body"))
    scale = 1 if make == "functional" else 1 / 255
    expected = keras.Model(inner.input, inner.get_layer("two_relu").output).predict(pictures() * scale, verbose=0)
    assert answer(trunk, pictures()) == pytest.approx(expected, rel=1e-5)
    trunk.set_weights([np.zeros(weight.shape) for weight in trunk.weights])
    assert snapshot(model) == before


def test_sharing_uses_the_given_layers_themselves():
    given = classifier()
    assert cut(given, "two_relu", share=True).get_layer("one_conv") is given.get_layer("one_conv")
    assert cut(given, "two_relu").get_layer("one_conv") is not given.get_layer("one_conv")


def test_a_cut_point_has_its_depth_shape_stride_parameters_and_batch_norm():
    first, *_, last = cut_points(classifier())
    assert (first.shape, first.stride, first.parameters, first.batch_norm) == ((16, 16, 4), 1, 108 + 16, "one_bn")
    assert (last.shape, last.stride, last.depth) == ((8, 8, 8), 2, 1.0)
    assert [point.depth for point in cut_points(classifier())] == pytest.approx([1 / 3, 2 / 3, 2 / 3, 1])


def test_a_network_for_any_size_has_open_shapes_and_known_strides():
    points = cut_points(classifier(size=None))
    assert [point.stride for point in points] == [1, 1, 2, 2]
    assert points[0].shape == (None, None, 4)


@pytest.mark.parametrize("channels", [1, 13])
def test_surgery_takes_any_number_of_channels(channels):
    trunk = cut(classifier(channels=channels), "two_relu")
    assert answer(trunk, pictures(channels=channels)).shape == (4, 16, 16, 4)


MOVED = {
    "depth": ({"at": 0.5}, "one_relu", r"Cut at one_relu, 33.3% of the depth: the last cut point up to 50.0%"),
    "layers": ({"remove": 4}, "pool", r"Cut at pool, the nearest cut point below: without its last 4 layers"),
}


@pytest.mark.parametrize(("arguments", "layer", "message"), MOVED.values(), ids=MOVED)
def test_a_cut_between_two_cut_points_moves_down_with_a_warning(arguments, layer, message):
    with pytest.warns(CutMoved, match=message):
        assert cut(classifier(), **arguments).layers[-1].name == layer


@pytest.mark.parametrize("arguments", [{"at": 1.0}, {"remove": 2}, {"at": "three_relu"}])
def test_a_cut_at_a_cut_point_does_not_warn(arguments):
    assert cut(classifier(), **arguments).layers[-1].name == "three_relu"


REFUSED = [
    ({"at": "two_bn"}, r"cut point of classifier. Received: 'two_bn'. Nearest: one_relu, two_relu."),
    ({"at": "one_conv"}, r"Received: 'one_conv'. Nearest: one_relu."),
    ({"at": "probs"}, r"Received: 'probs'. Nearest: three_relu."),
    ({"at": "tow_relu"}, r"Nearest: two_relu"),
    ({"at": 0.1}, r"Expected `at` to reach the first cut point. Received: 0.1. classifier has 4 cut points"),
    ({"at": 1.5}, r"in \(0, 1\]. Received: 1.5"),
    ({"at": 0}, r"in \(0, 1\]. Received: 0"),
    ({"remove": 0}, "Expected `remove` to leave a cut point. Received: 0"),
    ({"remove": 99}, "Expected `remove` to leave a cut point. Received: 99"),
    ({}, "Expected either `at` or `remove`"),
    ({"at": 0.5, "remove": 1}, "Expected either `at` or `remove`"),
]


@pytest.mark.parametrize(("arguments", "message"), REFUSED)
def test_a_cut_that_is_not_possible_is_refused(arguments, message):
    with pytest.raises(BuildError, match=message):
        cut(classifier(), **arguments)


class Scaling(keras.Model):
    """A functional model that scales its input first, in a `call` of its own."""

    def call(self, inputs, training=None, mask=None):
        return super().call(inputs / 127.5 - 1, training=training, mask=mask)


class ScalingInOrder(keras.Sequential):
    def call(self, inputs, training=None, mask=None):
        return super().call(inputs / 127.5 - 1, training=training, mask=mask)


def scaling():
    trunk = body()
    return Scaling(trunk.input, L.Dense(2)(L.GlobalAveragePooling2D()(trunk.output)))


def scaling_in_order():
    model = ScalingInOrder([L.Conv2D(4, 3, activation="relu"), L.GlobalAveragePooling2D(), L.Dense(2)])
    model(np.zeros((1, 16, 16, 3), np.float32))
    return model


def scaling_inside():
    return keras.Sequential([keras.Input((16, 16, 3)), scaling(), L.Dense(2)])


@pytest.mark.parametrize("make", [scaling, scaling_in_order, scaling_inside])
def test_a_call_that_the_user_wrote_is_part_of_the_network(make):
    model, x = randomised(make()), np.random.default_rng(0).uniform(0, 255, (2, 16, 16, 3)).astype(np.float32)
    np.testing.assert_allclose(unfreeze(model).model(x), model(x), rtol=1e-4, atol=1e-4)


def two_inputs():
    one, two = keras.Input((8, 8, 3), name="left"), keras.Input((8, 8, 3), name="right")
    return keras.Model([one, two], L.Conv2D(2, 1)(L.Add()([one, two])))


def two_outputs():
    trunk = body()
    return keras.Model(trunk.input, [L.Conv2D(4, 1, name="boxes")(trunk.output), L.Conv2D(2, 1)(trunk.output)])


class WeightsOfItsOwn(Subclassed):
    def __init__(self):
        super().__init__()
        self.factor = self.add_weight(shape=(1,), initializer="ones", name="factor")


class NumbersOnly(Subclassed):
    strict = False  # Keras itself builds a model with symbolic tensors

    def call(self, x):
        if self.strict:
            raise TypeError("numbers only.")
        return super().call(x)


def numbers_only():
    model = subclassed(NumbersOnly)
    model.strict = True
    return model


UNREADABLE = {
    "several inputs": (two_inputs, r"to have one input.*Received: 2 \(left, right\)"),
    "several outputs": (two_outputs, "to have one output.*Received: 2"),
    "an unbuilt sequential model": (lambda: keras.Sequential([L.Conv2D(2, 3)]), "to be built.*without an input shape"),
    "an unbuilt subclassed model": (Subclassed, "to be built.*never called"),
    "weights outside of layers": (lambda: subclassed(WeightsOfItsOwn), r"to belong to its layers.*\(factor\)"),
    "a call on numbers alone": (numbers_only, r"to be visible.*\(numbers only\)"),
}


@pytest.mark.parametrize(("make", "message"), UNREADABLE.values(), ids=UNREADABLE)
def test_a_model_whose_layers_can_not_be_read_is_refused(make, message):
    with pytest.raises(BuildError, match=message):
        cut_points(make())


def test_names_are_the_same_in_every_build():
    def unnamed():
        x = inputs = keras.Input((8, 8, 3))
        for _ in range(3):
            x = L.ReLU()(L.Conv2D(4, 3, padding="same")(x))
        return keras.Model(inputs, x)

    assert [layers(unnamed()) for _ in range(2)] == [["re_lu", "re_lu_1", "re_lu_2"]] * 2
    assert cut(unnamed(), "re_lu_1").layers[-1].name == "re_lu_1"


def test_the_calls_of_a_layer_that_is_called_several_times_are_numbered():
    relu, x = L.ReLU(), keras.Input((16, 16, 3))
    inputs = x
    for width in (4, 4, 8):
        x = relu(L.Conv2D(width, 3, padding="same")(x))
    model = keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling2D()(x)))
    assert layers(model) == ["re_lu", "re_lu@2", "re_lu@3"]
    assert layers(cut(model, "re_lu@2")) == ["re_lu", "re_lu@2"]
    grafted = graft(cut(model, "re_lu@3"), HeadSpec(classes=3, levels=("re_lu", "re_lu@3")))
    assert answer(grafted, pictures()).shape == (4, 3)
    expected = {"conv2d_2/kernel", "conv2d_2/bias", "predictions/kernel", "predictions/bias"}
    assert trains(freeze(grafted, until="re_lu@2").model) == expected


def test_a_nested_model_for_any_size_has_the_shapes_of_the_model_around_it():
    inputs = keras.Input((16, 16, 3))
    x = L.AveragePooling2D(8)(body(size=None)(inputs))
    model = keras.Model(inputs, L.Softmax()(L.Flatten()(L.Conv2D(7, 1)(x))))
    assert layers(model) == POINTS
    assert cut_points(model)[-1].shape == (8, 8, 8)


def test_layers_of_nested_models_with_the_same_name_get_the_models_name():
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, body("second", 16, 4)(cut(body("first"), "two_relu")(inputs)))
    assert layers(model) == ["one_relu", "two_relu", "second_one_relu", "second_two_relu", "pool", "three_relu"]
    assert len({layer.name for layer in cut(model, 1.0).layers}) == len(cut(model, 1.0).layers)


def test_a_name_that_stands_for_two_layers_is_reported():
    x = inputs = keras.Input((16, 16, 3))
    for number in (1, 2, 3):  # as Keras names them in a session with one more before
        x = L.ReLU(name=f"re_lu_{number}")(L.Conv2D(number, 3, padding="same")(x))
    model = keras.Model(inputs, x)
    with pytest.warns(LayerRenumbered, match="For the one that .* calls 're_lu_1' say 're_lu'"):
        assert cut(model, "re_lu_1").output_shape == (None, 16, 16, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cut(model, "re_lu").output_shape == (None, 16, 16, 1)
        assert cut(model, "re_lu_3").output_shape == (None, 16, 16, 3)


@keras.saving.register_keras_serializable(package="test_cut")
class Block(L.Layer):
    """A layer with layers inside."""

    def __init__(self, **options):
        super().__init__(**options)
        self.conv, self.bn = L.Conv2D(4, 3, padding="same"), L.BatchNormalization()

    def build(self, shape):
        self.conv.build(shape)
        self.bn.build((*shape[:-1], 4))
        super().build(shape)

    def call(self, x, training=None):
        return self.bn(self.conv(x), training=training)


class Sealed(Block):
    def get_config(self):
        raise NotImplementedError("no config.")


def around(layer):
    inputs = keras.Input((16, 16, 3))
    return keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling2D()(layer(inputs))))


def test_flags_of_layers_inside_a_layer_are_copied():
    model = around(Block(name="block"))
    model.get_layer("block").bn.trainable = False
    trunk = cut(model, "block")
    assert {path.rsplit("/", 1)[-1] for path in trains(trunk)} == {"kernel", "bias"}
    assert not trunk.get_layer("block").bn.trainable


def test_a_layer_without_a_configuration_can_be_shared_and_not_copied():
    model = around(Sealed(name="sealed"))
    with pytest.raises(BuildError, match=r"'sealed' \(Sealed\) to be copied.*no config. Give the class a get_config"):
        cut(model, "sealed")
    assert cut(model, "sealed", share=True).output_shape == (None, 16, 16, 4)


def test_the_statistics_of_a_normalization_layer_are_copied():
    layer = L.Normalization(name="scaling")
    layer.adapt(pictures())
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, L.Conv2D(2, 3, name="conv")(layer(inputs)))
    assert cut(model, "conv").predict(pictures(), verbose=0) == pytest.approx(answer(model, pictures()))


def test_the_public_names_are_there():
    for name in builders.__all__:
        assert getattr(builders, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        builders.nothing  # noqa: B018
