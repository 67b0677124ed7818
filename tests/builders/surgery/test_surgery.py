"""The verbs of surgery on small networks of every make: functional, sequential, nested, subclassed."""

import warnings

import keras
import numpy as np
import pytest

import builders
from builders import BuildError, CutMoved, HeadSpec, LayerRenumbered, cut, cut_points, describe, freeze, graft, unfreeze

L = keras.layers


def block(x, filters, name):
    y = L.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_conv")(x)
    y = L.BatchNormalization(name=f"{name}_bn")(y)
    if x.shape[-1] == filters:
        y = L.Add(name=f"{name}_add")([x, y])
    return L.ReLU(name=f"{name}_relu")(y)


def body(name="body", size=16, channels=3):
    inputs = keras.Input((size, size, channels))
    x = block(inputs, 4, "one")
    x = block(x, 4, "two")
    x = L.MaxPooling2D(name="pool")(x)
    x = block(x, 8, "three")
    return keras.Model(inputs, x, name=name)


def classifier(name="classifier", **shape):
    trunk = body(name, **shape)
    x = L.GlobalAveragePooling2D(name="gap")(trunk.output)
    return scrambled(keras.Model(trunk.input, L.Dense(5, activation="softmax", name="probs")(x), name=name))


def scrambled(model):
    """Statistics and weights that are not those of a new layer."""
    rng = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(rng.uniform(0.5, 1.5, weight.shape))
    return model


POINTS = ["one_relu", "two_relu", "pool", "three_relu"]


def nested():
    return scrambled(
        keras.Sequential(
            [keras.Input((16, 16, 3)), L.Rescaling(1 / 255), body(), L.GlobalAveragePooling2D(), L.Dense(2)],
            name="outer",
        )
    )


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.scale, self.inner, self.top = L.Rescaling(1 / 255), body(), L.Dense(2)

    def call(self, x):
        return self.top(keras.ops.mean(self.inner(self.scale(x)), axis=(1, 2)))


def subclassed():
    model = Subclassed()
    model(np.zeros((1, 16, 16, 3), np.float32))
    return scrambled(model)


MAKES = {"functional": classifier, "nested in a sequential model": nested, "subclassed": subclassed}


def pictures(size=16, channels=3):
    return np.random.default_rng(1).uniform(0, 1, (4, size, size, channels)).astype(np.float32)


def snapshot(model):
    return [(weight.path, weight.numpy().copy(), weight.trainable) for weight in model.weights]


def same(before, after):
    return all(a == c and np.array_equal(b, d) and e == f for (a, b, e), (c, d, f) in zip(before, after, strict=True))


@pytest.mark.parametrize("make", MAKES)
def test_cut_points_lie_inside_models_of_every_make(make):
    assert [point.layer for point in cut_points(MAKES[make]())] == POINTS


def test_a_cut_point_tells_its_place():
    first, *_, last = cut_points(classifier())
    assert (first.shape, first.stride, first.parameters, first.batch_norm) == ((16, 16, 4), 1, 108 + 16, "one_bn")
    assert (last.shape, last.stride, last.depth) == ((8, 8, 8), 2, 1.0)
    assert [point.depth for point in cut_points(classifier())] == pytest.approx([1 / 3, 2 / 3, 2 / 3, 1])


def test_strides_of_a_network_for_any_size_are_found():
    assert [point.stride for point in cut_points(classifier(size=None))] == [1, 1, 2, 2]
    assert cut_points(classifier(size=None))[0].shape == (None, None, 4)


@pytest.mark.parametrize("channels", [1, 4, 13])
def test_surgery_does_not_ask_how_many_channels_a_picture_has(channels):
    trunk = cut(classifier(channels=channels), "two_relu")
    assert trunk.predict(pictures(channels=channels), verbose=0).shape == (4, 16, 16, 4)


@pytest.mark.parametrize("make", MAKES)
def test_a_cut_model_computes_what_the_whole_one_does_there(make):
    model = MAKES[make]()
    before = snapshot(model)
    trunk = cut(model, "two_relu")
    inner = model if make == "functional" else (model.inner if make == "subclassed" else model.get_layer("body"))
    scale = 1 if make == "functional" else 1 / 255
    expected = keras.Model(inner.input, inner.get_layer("two_relu").output).predict(pictures() * scale, verbose=0)
    assert trunk.predict(pictures(), verbose=0) == pytest.approx(expected, rel=1e-5)
    assert same(before, snapshot(model))
    trunk.set_weights([np.zeros(weight.shape) for weight in trunk.weights])
    assert same(before, snapshot(model))


def test_a_share_of_the_depth_settles_on_the_last_cut_point_down_to_there():
    with pytest.warns(CutMoved, match=r"Cut at one_relu, 33.3% of the depth"):
        assert cut(classifier(), 0.5).output_shape == (None, 16, 16, 4)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cut(classifier(), 1.0).output_shape == (None, 8, 8, 8)


def test_removing_layers_settles_on_the_nearest_cut_point_below_and_says_so():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cut(classifier(), remove=2).layers[-1].name == "three_relu"
    with pytest.warns(CutMoved, match=r"Cut at pool, the nearest cut point below: without its last 4 layers"):
        assert cut(classifier(), remove=4).layers[-1].name == "pool"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"at": "two_bn"}, r"cut point of classifier. Received: 'two_bn'. Nearest: one_relu, two_relu."),
        ({"at": "probs"}, r"Received: 'probs'. Nearest: three_relu."),
        ({"at": "tow_relu"}, r"Nearest: two_relu"),
        ({"at": 0.1}, r"Expected `at` to reach the first cut point. Received: 0.1. classifier has 4 cut points"),
        ({"at": 1.5}, r"in \(0, 1\]. Received: 1.5"),
        ({"at": 0}, r"in \(0, 1\]. Received: 0"),
        ({"remove": 0}, "Expected `remove` to leave a cut point. Received: 0"),
        ({"remove": 99}, "Expected `remove` to leave a cut point. Received: 99"),
        ({}, "Expected either `at` or `remove`"),
        ({"at": 0.5, "remove": 1}, "Expected either `at` or `remove`"),
    ],
)
def test_a_cut_that_can_not_be_is_refused(arguments, message):
    with pytest.raises(BuildError, match=message):
        cut(classifier(), **arguments)


def test_several_inputs_are_refused():
    one, two = keras.Input((8, 8, 3), name="left"), keras.Input((8, 8, 3), name="right")
    model = keras.Model([one, two], L.Conv2D(2, 1)(L.Add()([one, two])))
    with pytest.raises(BuildError, match=r"to have one input.*Received: 2 \(left, right\)"):
        cut_points(model)


def test_several_outputs_are_refused():
    trunk = body()
    model = keras.Model(trunk.input, [L.Conv2D(4, 1, name="boxes")(trunk.output), L.Conv2D(2, 1)(trunk.output)])
    with pytest.raises(BuildError, match=r"to have one output.*Received: 2"):
        cut_points(model)


def test_an_unbuilt_model_is_refused():
    with pytest.raises(BuildError, match="to be built"):
        cut_points(keras.Sequential([L.Conv2D(2, 3)]))
    with pytest.raises(BuildError, match="to be built"):
        cut_points(Subclassed())


def test_names_are_the_same_in_every_build():
    def unnamed():
        x = inputs = keras.Input((8, 8, 3))
        for _ in range(3):
            x = L.ReLU()(L.Conv2D(4, 3, padding="same")(x))
        return keras.Model(inputs, x)

    names = [[point.layer for point in cut_points(unnamed())] for _ in range(2)]
    assert names == [["re_lu", "re_lu_1", "re_lu_2"]] * 2
    assert cut(unnamed(), "re_lu_1").layers[-1].name == "re_lu_1"


def test_a_layer_that_is_called_again_and_again_is_told_apart_by_its_calls():
    relu, x = L.ReLU(), keras.Input((16, 16, 3))
    inputs = x
    for width in (4, 4, 8):
        x = relu(L.Conv2D(width, 3, padding="same")(x))
    model = keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling2D()(x)))
    assert [point.layer for point in cut_points(model)] == ["re_lu", "re_lu@2", "re_lu@3"]
    assert [point.layer for point in cut_points(cut(model, "re_lu@2"))] == ["re_lu", "re_lu@2"]
    grafted = graft(cut(model, "re_lu@3"), HeadSpec(classes=3, levels=("re_lu", "re_lu@3")))
    assert grafted.predict(pictures(), verbose=0).shape == (4, 3)
    assert trains(freeze(grafted, until="re_lu@2").model) == {
        *("conv2d_2/kernel", "conv2d_2/bias", "predictions/kernel", "predictions/bias")
    }


def test_a_nested_model_for_any_size_has_the_shapes_of_the_model_around_it():
    inputs = keras.Input((16, 16, 3))
    x = L.AveragePooling2D(8)(body(size=None)(inputs))
    model = keras.Model(inputs, L.Softmax()(L.Flatten()(L.Conv2D(7, 1)(x))))
    assert [point.layer for point in cut_points(model)] == POINTS
    assert [point.shape for point in cut_points(model)][-1] == (8, 8, 8)


def test_a_name_that_stands_for_two_layers_is_told():
    x = inputs = keras.Input((16, 16, 3))
    for number in (1, 2, 3):  # as a session calls them that has made one before
        x = L.ReLU(name=f"re_lu_{number}")(L.Conv2D(number, 3, padding="same")(x))
    model = keras.Model(inputs, x)
    with pytest.warns(LayerRenumbered, match="For the one that .* calls 're_lu_1' say 're_lu'"):
        assert cut(model, "re_lu_1").output_shape == (None, 16, 16, 2)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cut(model, "re_lu").output_shape == (None, 16, 16, 1)
        assert cut(model, "re_lu_3").output_shape == (None, 16, 16, 3)


def test_weights_of_a_subclassed_models_own_are_refused():
    class Scaled(Subclassed):
        def __init__(self):
            super().__init__()
            self.factor = self.add_weight(shape=(1,), initializer="ones", name="factor")

    model = Scaled()
    model(np.zeros((1, 16, 16, 3), np.float32))
    with pytest.raises(BuildError, match=r"to belong to its layers.*weights of its own \(factor\)"):
        cut_points(model)


@keras.saving.register_keras_serializable(package="test_surgery")
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


def test_flags_of_layers_inside_a_layer_are_copied():
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, L.Dense(2)(L.GlobalAveragePooling2D()(Block(name="block")(inputs))))
    model.get_layer("block").bn.trainable = False
    trunk = cut(model, "block")
    assert {path.rsplit("/", 1)[-1] for path in trains(trunk)} == {"kernel", "bias"}
    assert not trunk.get_layer("block").bn.trainable


def test_a_freeze_that_leaves_nothing_is_refused():
    with pytest.raises(BuildError, match=r"to leave something to train.*train_batch_norm=True"):
        freeze(classifier(), variables="_bn", invert=True)
    assert freeze(classifier(), variables="_bn", invert=True, train_batch_norm=True).trainable_parameters == 32


def test_layers_of_nested_models_with_the_same_name_are_told_apart():
    inputs = keras.Input((16, 16, 3))
    model = keras.Model(inputs, body("second", 16, 4)(cut(body("first"), "two_relu")(inputs)))
    layers = [point.layer for point in cut_points(model)]
    assert layers == ["one_relu", "two_relu", "second_one_relu", "second_two_relu", "pool", "three_relu"]
    assert len({layer.name for layer in cut(model, 1.0).layers}) == len(cut(model, 1.0).layers)


@pytest.mark.parametrize("pooling", ["average", "max", "both", "attention"])
def test_a_head_pools_and_classifies(pooling, tmp_path):
    head = HeadSpec(classes=3, pooling=pooling, hidden=(6,), dropout=0.2)
    model = graft(cut(classifier(), "two_relu"), head)
    answer = model.predict(pictures(), verbose=0)
    assert answer.shape == (4, 3)
    assert answer.sum(1) == pytest.approx(np.ones(4), abs=1e-5)
    model.save(tmp_path / "m.keras")
    assert keras.models.load_model(tmp_path / "m.keras").predict(pictures(), verbose=0) == pytest.approx(
        answer, abs=1e-6
    )


def test_attention_weighs_positions():
    """Where one position has all the weight, the head sees that position alone."""
    model = graft(cut(classifier(), "two_relu"), HeadSpec(classes=4, pooling="attention", activation="linear"))
    maps = keras.Model(model.input, model.get_layer("two_relu").output).predict(pictures(), verbose=0)
    model.get_layer("pooling_scores").set_weights([np.full((4, 1), 100.0), np.zeros(1)])
    model.get_layer("predictions").set_weights([np.eye(4), np.zeros(4)])
    flat = maps.reshape(4, -1, 4)
    strongest = flat[np.arange(4), flat.sum(-1).argmax(1)]
    assert model.predict(pictures(), verbose=0) == pytest.approx(strongest, rel=1e-3)


def test_a_head_reads_several_levels():
    model = graft(cut(classifier(), 1.0), HeadSpec(classes=3, levels=("two_relu", "three_relu")))
    assert model.get_layer("predictions").kernel.shape == (4 + 8, 3)


def test_layers_of_ones_own_can_be_grafted():
    model = graft(cut(classifier(), "two_relu"), [L.Flatten(), L.Dense(2, name="mine")])
    assert model.output_shape == (None, 2)
    assert graft(cut(classifier(), "two_relu"), L.Conv2D(1, 1)).output_shape == (None, 16, 16, 1)


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (HeadSpec(classes=2), "to end in a feature map, for a HeadSpec to pool"),
        ([], r"to be a HeadSpec, a Keras layer or a list of layers. Received: \[\]"),
        (["dense"], "Received: 'dense'"),
        (L.Conv2D(2, 1), "Expected `head` to take what classifier puts out"),
        (L.Dense(2, name="one_conv"), "Name its layers anew"),
    ],
)
def test_a_head_that_does_not_fit_is_refused(head, message):
    with pytest.raises(BuildError, match=message):
        graft(classifier(), head)


@pytest.mark.parametrize(
    "changes", [{"pooling": "sum"}, {"activation": "tanh"}, {"dropout": 1.0}, {"classes": 0}, {"hidden": (0,)}]
)
def test_a_head_that_there_is_not_is_refused(changes):
    with pytest.raises(BuildError, match="Expected `"):
        graft(cut(classifier(), 1.0), HeadSpec(**{"classes": 2, **changes}))


def trains(model):
    return {weight.path for weight in model.trainable_weights}


@pytest.mark.parametrize("until", ["two_relu", 0.7])
def test_freezing_by_depth(until):
    given = classifier()
    before = snapshot(given)
    model, count = freeze(given, until=until)
    assert trains(model) == {"three_conv/kernel", "probs/kernel", "probs/bias"}
    assert count == sum(int(np.prod(weight.shape)) for weight in model.trainable_weights) == 4 * 8 * 9 + 8 * 5 + 5
    assert model.trainable
    assert same(before, snapshot(given))
    assert trains(freeze(given, until=until, train_batch_norm=True).model) == trains(model) | {
        "three_bn/gamma",
        "three_bn/beta",
    }


def test_the_ends_of_the_depth_freeze_nothing_and_the_whole_backbone():
    assert trains(freeze(classifier(), until=1.0).model) == {"probs/kernel", "probs/bias"}
    assert len(trains(freeze(classifier(), until=0, train_batch_norm=True).model)) == 3 * 3 + 2


def test_freezing_by_variable():
    model, _ = freeze(classifier(), variables=r"conv/kernel$", train_batch_norm=True)
    assert not {path for path in trains(model) if "conv" in path}
    assert len(trains(model)) == 2 * 3 + 2
    inverse, count = freeze(classifier(), variables=r"^probs/bias", invert=True)
    assert (trains(inverse), count) == ({"probs/bias"}, 5)


def test_only_what_is_not_frozen_moves_and_frozen_statistics_stay():
    model, _ = freeze(classifier(), until="two_relu", train_batch_norm=True)
    before = {path: value for path, value, _ in snapshot(model)}
    model.compile(keras.optimizers.SGD(0.1), "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(pictures(), np.array([0, 1, 2, 3]), verbose=0)
    moved = {path for path, value, _ in snapshot(model) if not np.array_equal(value, before[path])}
    assert moved == trains(model) | {"three_bn/moving_mean", "three_bn/moving_variance"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"until": "nowhere"}, "Expected `freeze` to name a layer of classifier. Received: 'nowhere'"),
        ({"until": 2.0}, "Received: 2.0"),
        ({"variables": "("}, "to be a regular expression"),
        ({"variables": "zzz"}, "which matches none of 17"),
        ({}, "Expected either `until` or `variables`"),
        ({"until": 0.5, "variables": "conv"}, "Expected either `until` or `variables`"),
    ],
)
def test_a_freeze_that_can_not_be_is_refused(arguments, message):
    with pytest.raises(BuildError, match=message):
        freeze(classifier(), **arguments)


def test_unfreezing():
    frozen = freeze(classifier(), until=1.0).model
    assert trains(unfreeze(frozen).model) == {
        *("one_conv/kernel", "two_conv/kernel", "three_conv/kernel", "probs/kernel", "probs/bias")
    }
    assert trains(unfreeze(frozen, above="two_relu").model) == {"three_conv/kernel", "probs/kernel", "probs/bias"}
    assert trains(unfreeze(frozen, variables="^one_conv").model) == {"one_conv/kernel", "probs/kernel", "probs/bias"}
    assert len(trains(unfreeze(frozen, train_batch_norm=True).model)) == 11
    assert trains(frozen) == {"probs/kernel", "probs/bias"}


def test_sharing_uses_the_given_layers_themselves():
    given = classifier()
    trunk = cut(given, "two_relu", share=True)
    assert trunk.get_layer("one_conv") is given.get_layer("one_conv")
    assert cut(given, "two_relu").get_layer("one_conv") is not given.get_layer("one_conv")


def test_a_description_adds_up():
    model = freeze(classifier(), until="two_relu", train_batch_norm=True).model
    found = describe(model)
    assert [(stage.name, stage.last, stage.cut_points, stage.state) for stage in found.stages] == [
        ("stage 1", "two_relu", 2, "frozen"),
        ("stage 2", "three_relu", 2, "trainable"),
        ("head", "probs", 0, "trainable"),
    ]
    assert found.parameters == model.count_params()
    assert found.trainable == sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert "stage 2  pool" in str(found)


def test_the_public_names_are_there():
    for name in builders.__all__:
        assert getattr(builders, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        builders.nothing  # noqa: B018
