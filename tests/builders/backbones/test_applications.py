"""Surgery on every image classifier of `keras.applications`: found, cut, grafted, frozen, trained, saved."""

import gc
import importlib

import keras
import numpy as np
import pytest

from builders import HeadSpec, cut, cut_points, describe, freeze, graft
from builders.backbones.pixel_scaling import SCALINGS
from builders.backbones.registry import APPLICATIONS, find_backbone

# One train step on these takes a minute and gigabytes; the others of their families stand for them.
GIANTS = {
    *("ConvNeXtBase", "ConvNeXtLarge", "ConvNeXtXLarge", "EfficientNetB5", "EfficientNetB6", "EfficientNetB7"),
    *("EfficientNetV2M", "EfficientNetV2L", "NASNetLarge"),
}
BY_CONSTRUCTOR = {spec.constructor: spec for spec in APPLICATIONS.values()}


@pytest.fixture(autouse=True)
def freed():
    """Networks of up to 350 million parameters follow each other; none may stay behind."""
    yield
    keras.utils.clear_session()
    gc.collect()


def constructors():
    return [name for name in dir(keras.applications) if name[0].isupper()]


def build(name):
    size = BY_CONSTRUCTOR[name].smallest_size
    return getattr(keras.applications, name)(weights=None, classes=10, input_shape=(size, size, 3))


def values(model):
    return {weight.path: weight.numpy().copy() for weight in model.weights}


def test_the_registry_knows_every_constructor():
    assert set(BY_CONSTRUCTOR) == set(constructors())


@pytest.mark.parametrize("name", constructors())
def test_cut_at_a_third_grafted_half_frozen_trained_and_saved(name, tmp_path):
    network = build(name)
    points = cut_points(network)
    assert [point.layer for point in points] == [point.layer for point in cut_points(build(name))]
    assert [point.depth for point in points] == sorted(point.depth for point in points)
    assert points[-1].depth == 1.0
    third = min(points, key=lambda point: abs(point.depth - 1 / 3))
    trunk = cut(network, third.layer)
    assert trunk.output_shape[1:] == third.shape
    assert trunk.count_params() == third.parameters
    assert [point.layer for point in cut_points(trunk)] == [p.layer for p in points[: points.index(third) + 1]]
    if name in GIANTS:
        return
    grafted = graft(trunk, HeadSpec(classes=3))
    below = cut_points(trunk)[(len(cut_points(trunk)) - 1) // 2]
    model, trainable = freeze(grafted, until=below.layer, train_batch_norm=True)
    assert trainable == sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert describe(model).trainable == trainable
    fit_and_check(model, below.layer)
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    pictures = np.random.default_rng(1).uniform(0, 255, (2, *network.input_shape[1:])).astype(np.float32)
    assert again.predict(pictures, verbose=0) == pytest.approx(model.predict(pictures, verbose=0), abs=1e-5)


def fit_and_check(model, until):
    """One step: what is frozen is bit-identical, statistics too, and all else has moved."""
    rng = np.random.default_rng(0)
    pictures = rng.uniform(0, 255, (8, *model.input_shape[1:])).astype(np.float32)
    before = values(model)
    trainable = {weight.path for weight in model.trainable_weights}
    below = {layer.name for layer in cut(model, until).layers}
    model.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(pictures, rng.integers(0, 3, 8), epochs=1, batch_size=8, verbose=0)
    moved = {path for path, value in values(model).items() if not np.array_equal(value, before[path])}
    assert not {path.split("/")[0] for path in moved} & below
    assert trainable <= moved
    assert {path for path in moved - trainable if "moving_" not in path} == set()


@pytest.mark.parametrize("family", sorted({spec.family for spec in APPLICATIONS.values()}))
def test_pixels_are_scaled_as_the_familys_preprocess_input_does(family):
    spec = next(spec for spec in APPLICATIONS.values() if spec.family == family)
    module = importlib.import_module(f"keras.applications.{family}")
    pixels = np.random.default_rng(0).uniform(0, 255, (2, 8, 8, 3)).astype(np.float32)
    expected = module.preprocess_input(pixels.copy())
    assert spec.scaling.apply(pixels) == pytest.approx(expected, abs=1e-4)
    from builders.backbones.preprocessing import scale_pixels

    inputs = keras.Input((8, 8, 3))
    model = keras.Model(inputs, scale_pixels(spec.scaling, inputs))
    assert model.predict(pixels, verbose=0) == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize(
    ("written", "name"),
    [
        ("ResNet50", "resnet50"),
        ("resnet50v2", "resnet50_v2"),
        ("EfficientNetB0", "efficientnet_b0"),
        ("inception-v3", "inception_v3"),
        ("mobilenet_0.75", "mobilenet_0.75"),
        ("mobilenet_v2_1.4", "mobilenet_v2_1.4"),
    ],
)
def test_names_are_found_however_they_are_written(written, name):
    assert find_backbone(written).name == name


def test_every_family_has_a_scaling_of_the_field():
    assert {spec.scaling.name for spec in APPLICATIONS.values()} <= set(SCALINGS)
