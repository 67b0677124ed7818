"""The built model: its input, its head and what is frozen follow the strategy."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from network_checks import answer, size_of
from pictures import write_images
from tiny import tiny_network

from builders.backbones.load import open_backbone
from builders.build import HeadWeights, build_model
from builders.errors import BuildError
from builders.strategy import HeadSpec, Strategy

SIZE = 32
LAST = "block4_add"


@pytest.fixture(scope="module")
def backbone():
    return open_backbone(tiny_network()).at(SIZE)


@pytest.fixture(scope="module")
def pictures():
    return np.random.default_rng(0).integers(0, 256, size=(4, 70, 50, 3)).astype(np.float32)


def strategy(cut=LAST, freeze=LAST, levels=None, train_batch_norm=False):
    return Strategy(
        backbone="tiny",
        input_size=SIZE,
        cut=cut,
        cut_depth=1.0,
        freeze=freeze,
        freeze_depth=1.0,
        train_batch_norm=train_batch_norm,
        learning_rate=1e-3,
        head=HeadSpec(levels=levels or (cut,), classes=3),
    )


STRATEGIES = {
    "linear probe": strategy(),
    "partial fine-tune": strategy(freeze="block1_add"),
    "full fine-tune": strategy(freeze=None),
    "full fine-tune with BatchNorm": strategy(freeze=None, train_batch_norm=True),
    "shallow features": strategy("block2_relu", "block2_relu", ("block0_relu", "block1_add", "block2_relu")),
}


@pytest.fixture(scope="module", params=STRATEGIES)
def plan(request):
    return STRATEGIES[request.param]


def values(model):
    return {weight.path: weight.numpy().copy() for weight in model.weights}


def test_parameter_counts_agree_with_the_built_model(plan, backbone):
    model = build_model(plan, backbone=backbone)
    trainable = size_of(model.trainable_weights)
    assert backbone.parameter_counts(plan) == (model.count_params() - trainable, trainable)


def test_what_is_frozen_is_bit_identical_after_a_step_and_the_rest_moves(plan, backbone, pictures):
    given = values(backbone.network)
    model = build_model(plan, backbone=backbone)
    before, trainable = values(model), {weight.path for weight in model.trainable_weights}
    model.run_eagerly = True  # a trace costs more than the one step
    model.train_on_batch(pictures, np.array([0, 1, 2, 0]))
    moved = {path for path, value in values(model).items() if not np.array_equal(before[path], value)}
    statistics = {path for path in moved if "moving_" in path}
    assert moved - statistics == trainable
    assert bool(statistics) == plan.train_batch_norm
    names = [layer.name for layer in model.layers]
    below = set(names[: names.index(plan.freeze) + 1]) if plan.freeze else set()
    assert not {path.split("/")[0] for path in moved} & below
    assert all(np.array_equal(value, given[path]) for path, value in values(backbone.network).items())


def test_a_plain_call_is_inference_and_moves_no_statistics(backbone, pictures):
    model = build_model(STRATEGIES["full fine-tune with BatchNorm"], backbone=backbone)
    before = values(model)
    assert model(pictures).numpy() == pytest.approx(model.predict(pictures, verbose=0), abs=1e-5)
    assert all(np.array_equal(before[path], value) for path, value in values(model).items())


def test_the_model_is_flat_and_of_standard_layers(plan, backbone):
    model = build_model(plan, backbone=backbone)
    assert all(type(layer).__module__.startswith("keras.") for layer in model.layers)
    assert not any(isinstance(layer, keras.Model) for layer in model.layers)
    assert model.get_layer("block0_conv") is not backbone.network.get_layer("block0_conv")
    assert ("block3_relu" in [layer.name for layer in model.layers]) == (plan.cut == LAST)
    assert model.trainable


def test_pictures_of_any_size_go_in_and_are_resized(backbone, pictures):
    model = build_model(strategy(), backbone=backbone)
    for shape in ((1, 20, 300, 3), (2, SIZE, SIZE, 3)):
        assert model.predict(np.zeros(shape, np.uint8), verbose=0).sum(1) == pytest.approx(np.ones(shape[0]), abs=1e-5)
    features = keras.Model(model.input, model.get_layer(LAST).output)
    expected = keras.Model(backbone.network.input, backbone.network.get_layer(LAST).output)
    resized = model.get_layer("resizing")(pictures)
    assert answer(features, pictures) == pytest.approx(answer(expected, resized), abs=1e-4)


REFUSED = {
    "a cut inside a unit": (strategy("block1_conv"), "Expected `cut` to name a cut point .* Nearest: block0_relu"),
    "a cut in the head": (strategy("predictions"), "Expected `cut` to name a cut point .* Nearest: block4_add"),
    "no such cut": (strategy("no_such_layer"), "Expected `cut` to name a cut point .* Nearest: "),
    "a freeze behind the cut": (strategy("block1_add", "block3_relu"), "Expected `freeze` to name a layer"),
}


@pytest.mark.parametrize(("plan", "message"), REFUSED.values(), ids=REFUSED)
def test_a_strategy_that_does_not_fit_the_backbone_is_refused(plan, message, backbone):
    with pytest.raises(BuildError, match=message):
        build_model(plan, backbone=backbone)


def test_the_head_starts_from_given_weights_of_its_shape(backbone):
    weights = HeadWeights(kernel=np.full((16, 3), 2.0), bias=np.arange(3.0))
    kernel, bias = build_model(strategy(), weights, backbone).layers[-1].get_weights()
    assert (kernel == 2).all()
    assert bias.tolist() == [0, 1, 2]
    with pytest.raises(BuildError, match=r"Expected a kernel of shape \(16, 3\)"):
        build_model(strategy(), HeadWeights(kernel=np.zeros((5, 3)), bias=np.zeros(3)), backbone)


def test_a_backbone_whose_scaling_is_unknown_is_refused(backbone):
    with pytest.raises(BuildError, match="Expected the pixel scaling of tiny to be known"):
        build_model(strategy(), backbone=replace(backbone, scaling=None))


@pytest.mark.slow
def test_the_backbone_is_loaded_by_its_name():
    plan = replace(strategy("top_activation", "top_activation"), backbone="efficientnet_lite0")
    assert build_model(plan).name == "efficientnet_lite0_grafted"


@pytest.fixture(scope="module")
def mixed_sizes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("mixed")
    write_images(folder, {"one": 9}, size=(180, 130), seed=1)
    write_images(folder, {"two": 9}, size=(60, 90), seed=2)
    write_images(folder, {"three": 8}, size=(400, 250), seed=3)
    return folder


@pytest.mark.slow
@pytest.mark.parametrize("scenario", [1, 2, 3, 4])
def test_the_untrained_model_gives_the_probabilities_of_the_linear_classifier(mixed_sizes, tiny_file, scenario):
    """Files through the probe's pass, scaling and classifier, against `model.predict` on the same pictures."""
    from probes.data.sampling import draw_splits
    from probes.data.sources.folder import index_folder
    from probes.data.splits import Rows
    from probes.images.decode import read_picture
    from probes.network.features import extract
    from probes.separability.discriminant import fit
    from recommender import recommend

    found = recommend(mixed_sizes, scenario=scenario, backbone=tiny_file)
    index = index_folder(mixed_sizes)
    features = extract(index, draw_splits(index, 1000, 0), found.network)
    blocks = [features.pooled[level] for level in found.strategy.head.levels]
    joined, rows = np.concatenate(blocks, axis=1), Rows.of(features.labels)
    classifier = fit(joined, rows, int(features.labels.max()) + 1, widths=[block.shape[1] for block in blocks])
    expected = classifier.probabilities(joined)
    model = found.build()
    for file, row in zip(features.files, expected, strict=True):
        pixels = read_picture(mixed_sizes / file).pixels[None]
        assert model.predict(pixels, verbose=0)[0] == pytest.approx(row, abs=1e-4)


@pytest.mark.slow
def test_the_saved_model_needs_nothing_but_keras(tmp_path, backbone, pictures, run_python):
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
    assert run_python(code, cwd=tmp_path).returncode == 0
    assert np.load(tmp_path / "y.npy") == pytest.approx(model.predict(pictures, verbose=0), abs=1e-6)
