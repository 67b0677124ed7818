"""SavedModels as backbones, from the recommendation to a trained file that needs no module."""

import shutil

import keras
import numpy as np
import pytest
import tensorflow as tf
from pictures import write_images
from saved_modules import plain, save_module
from tiny import tiny_network

from builders import BuildError, HeadSpec, cut, cut_points, freeze, graft
from builders.backbones import efficientnet_lite as lite
from builders.backbones.load import load_backbone, open_backbone
from builders.backbones.registry import BACKBONES
from builders.saved_model.load import load_saved_model
from recommender import recommend
from recommender.rules.scenario import Similarity

SIZE = 96


def network():
    return BACKBONES["efficientnet_lite0"].pretrained(SIZE, None)


def exported(folder):
    network().export(folder, verbose=False)


def by_tf_keras(folder):
    tf_keras = pytest.importorskip("tf_keras", reason="needs tf_keras, which comes with tensorflow-hub")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lite, "keras", tf_keras)
        network().save(folder, save_format="tf")


def by_module(folder):
    model, module = network(), tf.Module()
    module.variables_of_it = [weight.value for weight in model.weights]
    call = tf.function(
        lambda pixels: model(pixels, training=False), input_signature=[tf.TensorSpec((None, SIZE, SIZE, 3), tf.float32)]
    )
    module.__call__ = call
    tf.saved_model.save(module, str(folder), signatures={"serving_default": call})


WRITERS = {"Keras 3 export": exported, "tf_keras": by_tf_keras, "tf.Module": by_module}


@pytest.fixture(scope="module", params=WRITERS)
def module(request, tmp_path_factory):
    """The folder of a SavedModel that takes scaled pixels, as all three do."""
    folder = tmp_path_factory.mktemp("hub modules") / "lite0"
    WRITERS[request.param](folder)
    return folder


def test_a_small_module_is_recommended_cut_inside_and_saved(two_classes, tmp_path):
    tiny_network().export(tmp_path / "module", verbose=False)
    found = recommend(two_classes, backbone=tmp_path / "module", scenario=4)
    assert len(found.plan.cuts) > 1
    assert found.strategy.cut_depth < 1
    model = found.build()
    pictures = np.random.default_rng(0).integers(0, 256, (3, 40, 30, 3)).astype(np.float32)
    expected = model.predict(pictures, verbose=0)
    assert expected.shape == (3, 2)
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    assert again.predict(pictures, verbose=0) == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("module", ["tf.Module"], indirect=True)
def test_photographs_get_a_recommendation_and_a_file_that_needs_no_module(module, two_classes, tmp_path):
    copy = tmp_path / "module"
    shutil.copytree(module, copy)
    found = recommend(two_classes, backbone=copy)
    assert found.verdict.similarity is Similarity.SIMILAR
    assert found.measurements.similarity.source == "ImageNet"
    model = found.build()
    pictures = np.random.default_rng(0).integers(0, 256, (3, 70, 50, 3)).astype(np.float32)
    expected = model.predict(pictures, verbose=0)
    model.save(tmp_path / "m.keras")
    shutil.rmtree(copy)
    again = keras.models.load_model(tmp_path / "m.keras")
    assert again.predict(pictures, verbose=0) == pytest.approx(expected, abs=1e-6)


@pytest.mark.slow
def test_the_measurements_are_those_of_the_network_itself(module, two_classes):
    own = recommend(two_classes, backbone=module)
    shipped = recommend(two_classes, input_size=SIZE)
    # (x - 127) / 128 and the measured scaling x / 127.5 - 1 are not quite the same.
    assert own.measurements.similarity.excess == pytest.approx(shipped.measurements.similarity.excess, abs=5e-3)
    assert own.backbone.fingerprint == shipped.backbone.fingerprint
    assert [point.depth for point in own.backbone.points] == [point.depth for point in shipped.backbone.points]


@pytest.mark.slow
@pytest.mark.parametrize("module", ["tf_keras"], indirect=True)
def test_few_drawn_lines_get_a_cut_inside_the_module(module, tmp_path):
    found = recommend(
        write_images(tmp_path, {"-": 0, "--": 0, "some": 15, "|": 0, "||": 0, "more": 15}), backbone=module, scenario=4
    )
    assert found.verdict.similarity is Similarity.DISSIMILAR
    assert found.strategy.cut_depth < 1
    model = found.build()
    assert len(model.weights) < len(load_backbone("efficientnet_lite0", SIZE).network.weights)
    assert model.predict(np.zeros((1, 30, 30, 3)), verbose=0).shape == (1, 2)


@pytest.mark.slow
def test_cut_at_mid_depth_and_half_frozen_exactly_what_lies_between_moves(module):
    network = load_saved_model(module)
    points = cut_points(network)
    middle, quarter = points[len(points) // 2], points[len(points) // 4]
    trunk = cut(network, middle.layer)
    model, trainable = freeze(graft(trunk, HeadSpec(classes=2)), until=quarter.layer)
    assert trainable == sum(int(np.prod(weight.shape)) for weight in model.trainable_weights)
    before = {weight.path: weight.numpy().copy() for weight in model.weights}
    model.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
    model.fit(np.random.default_rng(0).uniform(-1, 1, (4, SIZE, SIZE, 3)), np.array([0, 1, 0, 1]), verbose=0)
    moved = {weight.path for weight in model.weights if not np.array_equal(before[weight.path], weight.numpy())}
    assert moved == {weight.path for weight in model.trainable_weights}
    below = {layer.name for layer in cut(network, quarter.layer).layers}
    assert not {path.split("/")[0] for path in moved} & below
    assert any(path.startswith(f"{middle.layer}/") for path in moved)


@pytest.mark.slow
def test_a_module_that_can_not_be_cut_is_used_whole_with_the_reason(tmp_path, two_classes):
    def branching(module, x):
        return tf.cond(tf.reduce_mean(x) > 0, lambda: plain(module, x), lambda: plain(module, -x))

    save_module(branching, tmp_path / "m", tf.TensorSpec((None, 32, 32, 3), tf.float32))
    found = recommend(two_classes, backbone=tmp_path / "m", pixels="0..1", scenario=4)
    assert len(found.plan.cuts) == 1
    assert any("since its graph can't be cut" in reason for reason in found.reasons)
    assert any("control flow" in note for note in found.to_dict()["warnings"])
    assert found.build().predict(np.zeros((1, 30, 30, 3)), verbose=0).shape == (1, 2)


@pytest.mark.slow
def test_a_module_that_writes_files_is_refused_as_a_backbone(tmp_path, two_classes):
    def writes(module, x):
        with tf.control_dependencies([tf.io.write_file(str(tmp_path / "written"), "written")]):
            return tf.identity(plain(module, x))

    save_module(writes, tmp_path / "m", tf.TensorSpec((None, 32, 32, 3), tf.float32))
    (tmp_path / "written").unlink(missing_ok=True)
    with pytest.raises(BuildError, match=r"computing ops only. Received: WriteFile.*--trust"):
        recommend(two_classes, backbone=tmp_path / "m")
    assert not (tmp_path / "written").exists()


def test_a_handle_that_can_not_be_resolved_is_refused(monkeypatch):
    monkeypatch.setenv("TFHUB_CACHE_DIR", "/nowhere")
    with pytest.raises(BuildError, match="Expected"):
        open_backbone("https://tfhub.invalid/no/module/1")
