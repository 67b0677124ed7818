"""The built model: what the network saw, what the linear probe knew, and frozen where it says so."""

import subprocess
import sys

import keras
import numpy as np
import pytest
from pictures import write_images

from builders.backbones.load import load_backbone
from builders.build import HeadWeights, build_model, parameter_counts
from builders.errors import BuildError
from builders.strategy import HeadSpec, Strategy
from builders.surgery.cut import cut_points
from probes.images.decode import read_picture
from recommender import recommend

SIZE = 96


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("efficientnet_lite0", SIZE)


def strategy(cut="top_activation", freeze="top_activation", levels=None, train_batch_norm=False, classes=3):
    return Strategy(
        backbone="efficientnet_lite0",
        input_size=SIZE,
        cut=cut,
        cut_depth=1.0,
        freeze=freeze,
        freeze_depth=1.0,
        train_batch_norm=train_batch_norm,
        learning_rate=1e-3,
        head=HeadSpec(levels=levels or (cut,), classes=classes),
    )


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(0).integers(0, 256, size=(4, 70, 50, 3)).astype(np.float32)


STRATEGIES = {
    "linear probe": strategy(),
    "partial fine-tune": strategy(freeze="block5c_add"),
    "full fine-tune": strategy(freeze=None),
    "full fine-tune with BatchNorm": strategy(freeze=None, train_batch_norm=True),
    "shallow features": strategy(
        "block6a_project_bn", "block6a_project_bn", ("block2b_add", "block5c_add", "block6a_project_bn")
    ),
}


@pytest.mark.parametrize("name", STRATEGIES)
def test_parameter_counts_agree_with_the_built_model(name, backbone):
    model = build_model(STRATEGIES[name], backbone=backbone)
    trainable = sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    assert parameter_counts(STRATEGIES[name], backbone) == (model.count_params() - trainable, trainable)


@pytest.mark.parametrize("name", STRATEGIES)
def test_what_is_frozen_is_bit_identical_after_a_step_and_the_rest_moves(name, backbone, pictures):
    plan = STRATEGIES[name]
    model = build_model(plan, backbone=backbone)
    before = {weight.path: weight.numpy().copy() for weight in model.weights}
    trainable = {weight.path for weight in model.trainable_weights}
    model.fit(pictures, np.array([0, 1, 2, 0]), epochs=1, verbose=0)
    moved = {weight.path for weight in model.weights if not np.array_equal(before[weight.path], weight.numpy())}
    statistics = {path for path in moved if "moving_" in path}
    assert moved - statistics == trainable
    assert bool(statistics) == plan.train_batch_norm
    names = [layer.name for layer in model.layers]
    below = set(names[: names.index(plan.freeze) + 1]) if plan.freeze else set()
    assert not {path.split("/")[0] for path in moved} & below


def test_the_given_backbone_is_unchanged(backbone, pictures):
    before = [weight.numpy().copy() for weight in backbone.network.weights]
    model = build_model(strategy(freeze=None, train_batch_norm=True), backbone=backbone)
    model.fit(pictures, np.zeros(4), verbose=0)
    assert all(layer.trainable for layer in backbone.network.layers)
    assert all(np.array_equal(old, new.numpy()) for old, new in zip(before, backbone.network.weights, strict=True))


def test_a_plain_call_is_inference_and_moves_no_statistics(backbone, pictures):
    model = build_model(strategy(freeze=None, train_batch_norm=True), backbone=backbone)
    before = [weight.numpy().copy() for weight in model.weights]
    assert model(pictures).numpy() == pytest.approx(model.predict(pictures, verbose=0), abs=1e-5)
    assert all(np.array_equal(old, new.numpy()) for old, new in zip(before, model.weights, strict=True))


def test_the_model_is_flat_and_of_standard_layers(backbone):
    model = build_model(STRATEGIES["shallow features"], backbone=backbone)
    assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)
    assert model.get_layer("block2b_add") is not backbone.network.get_layer("block2b_add")
    assert "block6b_add" not in [layer.name for layer in model.layers]
    assert model.trainable


def test_pictures_of_any_size_go_in(backbone):
    model = build_model(strategy(), backbone=backbone)
    for shape in ((1, 20, 300, 3), (2, 96, 96, 3), (1, 500, 400, 3)):
        assert model.predict(np.zeros(shape, np.uint8), verbose=0).sum(1) == pytest.approx(np.ones(shape[0]), abs=1e-5)


@pytest.mark.parametrize("cut", ["block2b_expand_conv", "block3a_activation", "no_such_layer", "predictions"])
def test_a_cut_off_the_cut_points_is_refused_with_its_neighbours(cut, backbone):
    with pytest.raises(BuildError, match=r"Expected `cut` to name a cut point .* Received: .* Nearest: "):
        build_model(strategy(cut, cut), backbone=backbone)


def test_a_freeze_off_the_model_is_refused(backbone):
    with pytest.raises(BuildError, match="Expected `freeze` to name a layer"):
        build_model(strategy("block3b_add", "block5c_add"), backbone=backbone)


def test_a_head_of_another_shape_is_refused(backbone):
    with pytest.raises(BuildError, match=r"Expected a kernel of shape \(1280, 3\)"):
        build_model(strategy(), HeadWeights(kernel=np.zeros((5, 3)), bias=np.zeros(3)), backbone)


def test_every_cut_point_can_be_cut(backbone, pictures):
    for point in cut_points(backbone.network)[::4]:
        model = build_model(strategy(point.layer, point.layer), backbone=backbone)
        feature_map = keras.Model(model.input, model.get_layer(point.layer).output)
        resized = model.get_layer("resizing")(pictures)
        expected = keras.Model(backbone.network.input, backbone.network.get_layer(point.layer).output)
        assert feature_map.predict(pictures, verbose=0) == pytest.approx(expected.predict(resized, verbose=0), abs=1e-4)


@pytest.fixture(scope="module")
def mixed_sizes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    write_images(folder, {"one": 9}, size=(180, 130), seed=1)
    write_images(folder, {"two": 9}, size=(60, 90), seed=2)
    write_images(folder, {"three": 8}, size=(400, 250), seed=3)
    return folder


@pytest.mark.parametrize("scenario", [1, 2, 3, 4])
def test_the_untrained_model_gives_scikit_learns_probabilities(mixed_sizes, scenario):
    """Files through the probe's pass, scaling and logistic regression, against `model.predict` on the same pictures."""
    from probes.data.sampling import draw_splits
    from probes.data.sources.folder import index_folder
    from probes.network.features import extract
    from probes.separability.classifier import fit_quietly, linear_classifier
    from recommender.pipeline.probed_network import probed_network

    found = recommend(mixed_sizes, scenario=scenario)
    index = index_folder(mixed_sizes)
    features = extract(index, draw_splits(index, 1000, 0), probed_network(found.backbone))
    blocks = [features.pooled[level] for level in found.strategy.head.levels]
    classifier = linear_classifier(len(features.labels), [block.shape[1] for block in blocks])
    joined = np.concatenate(blocks, axis=1)
    expected = fit_quietly(classifier, joined, features.labels).predict_proba(joined)
    model = found.build()
    for file, row in zip(features.files, expected, strict=True):
        pixels = read_picture(mixed_sizes / file).pixels[None]
        assert model.predict(pixels, verbose=0)[0] == pytest.approx(row, abs=1e-4)


def test_the_saved_model_needs_nothing_but_keras(tmp_path, backbone, pictures):
    model = build_model(STRATEGIES["shallow features"], backbone=backbone)
    model.save(tmp_path / "m.keras")
    np.save(tmp_path / "x.npy", pictures)
    code = (
        "import sys\n"
        "for name in ('recommender', 'builders', 'probes', 'sklearn', 'PIL'): sys.modules[name] = None\n"
        "import keras, numpy\n"
        "model = keras.models.load_model('m.keras')\n"
        "numpy.save('y.npy', model.predict(numpy.load('x.npy'), verbose=0))\n"
        "model.fit(numpy.load('x.npy'), numpy.zeros(4), verbose=0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, capture_output=True)
    assert np.load(tmp_path / "y.npy") == pytest.approx(model.predict(pictures, verbose=0), abs=1e-6)
