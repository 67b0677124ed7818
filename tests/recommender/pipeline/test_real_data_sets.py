"""Genuine weights on real data sets: which of the four ways they get."""

import json
import re

import jsonschema
import keras
import numpy as np
import pytest
from paths import ROOT
from write_digits import write_digits

from builders import BuildError
from probes.images.decode import read_picture
from recommender import Scenario, ready_model, recommend
from recommender.rules.scenario import Similarity

pytestmark = pytest.mark.slow
SCHEMA = json.loads((ROOT / "docs" / "recommendation.schema.json").read_text())


@pytest.fixture(scope="module")
def digits(tmp_path_factory):
    return write_digits(tmp_path_factory.mktemp("digits"), 15)


def test_many_strange_images_get_a_full_fine_tune(tmp_path):
    found = recommend(write_digits(tmp_path), max_images=60)
    assert found.scenario is Scenario.FULL_FINE_TUNE
    assert found.strategy.freeze is None
    assert found.measurements.size.n_images == 1797
    assert found.measurements.size.n_sampled == 60


def test_the_written_model_is_as_good_as_promised(digits, tmp_path, run_cli):
    target = tmp_path / "a model.keras"
    done = run_cli(digits, "--json", "--build", target)
    assert (done.returncode, done.stderr) == (0, "")
    promised, written = json.loads(done.stdout), json.loads(target.with_suffix(".json").read_text())
    jsonschema.validate(promised, SCHEMA)
    assert written["scenario"] == promised["scenario"]
    classes = list(written["dataset"]["class_counts"])
    model = keras.models.load_model(target)
    files = sorted(digits.glob("*/*.png"))
    pictures = np.stack([read_picture(file).pixels for file in files])
    named = [classes[index] for index in model.predict(pictures, verbose=0).argmax(1)]
    right = np.mean([name == file.parent.name for name, file in zip(named, files, strict=True)])
    assert right >= promised["expected_accuracy"]  # on its own training images
    assert [entry.name for entry in target.parent.iterdir() if entry.name.startswith(".")] == []


def test_one_call_gives_a_compiled_model(digits):
    model = ready_model(digits, max_images=40)
    loss, accuracy = model.evaluate(np.zeros((2, 8, 8, 3)), np.array([0, 1]), verbose=0)
    assert np.isfinite(loss)
    assert 0 <= accuracy <= 1


def reduced(folder, target, per_class):
    """Links to the first files of each class."""
    for class_folder in sorted(folder.iterdir()):
        (target / class_folder.name).mkdir()
        for file in sorted(class_folder.iterdir())[:per_class]:
            (target / class_folder.name / file.name).symlink_to(file.resolve())
    return target


@pytest.mark.parametrize("name", ["hymenoptera", "clothing10"])
def test_photographs_are_similar_to_imagenet(shared_datasets, name):
    assert recommend(shared_datasets / name, max_images=100).verdict.similarity is Similarity.SIMILAR


def test_few_photographs_that_the_network_knows_are_frozen_whole(shared_datasets, tmp_path):
    found = recommend(reduced(shared_datasets / "cats_dogs", tmp_path, 15))
    assert found.scenario is Scenario.LINEAR_PROBE
    assert found.strategy.cut_depth == 1


@pytest.mark.parametrize("name", ["omniglot_alphabets", "fsdd_spectrograms"])
def test_many_strokes_and_spectrograms_are_unlike_it_and_get_a_full_fine_tune(shared_datasets, name):
    found = recommend(shared_datasets / name, max_images=100)
    assert found.verdict.similarity is Similarity.DISSIMILAR
    assert found.scenario is Scenario.FULL_FINE_TUNE


@pytest.mark.parametrize("name", ["brain_tumor_mri", "magnetic_tile_defects"])
def test_few_dissimilar_images_can_be_given_shallow_features(shared_datasets, tmp_path, name):
    found = recommend(reduced(shared_datasets / name, tmp_path, 15), scenario=4)
    assert found.verdict.similarity is Similarity.DISSIMILAR
    assert found.verdict.textbook.similarity is Similarity.DISSIMILAR
    assert found.strategy.cut_depth < 1


def test_small_photographs_are_compared_with_photographs_as_small(shared_datasets, tmp_path):
    found = recommend(reduced(shared_datasets / "cifar10", tmp_path, 15), input_size=160)
    assert found.measurements.similarity.sharp_score < 0.5 < found.measurements.similarity.score
    assert any("They are compared with images of as low a resolution" in reason for reason in found.reasons)


def test_bees_look_like_bees(shared_datasets):
    found = recommend(shared_datasets / "hymenoptera", max_images=100).to_dict()
    assert found["similarity"]["looks_like"]["bees"][0]["label"] == "bee"
    assert found["similarity"]["looks_like"]["bees"][0]["share"] > 0.4


def test_the_command_lists_the_cut_points_of_a_network_without_its_weights(run_cli):
    done = run_cli("cuts", "mobilenet_v2")
    assert done.returncode == 0
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["layer", "depth", "shape", "stride", "parameters"]
    assert lines[-1].split()[:3] == ["out_relu", "100.0%", "7×7×1280"]
    assert any(line.startswith("block_8_add ") for line in lines)


@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"])
def test_the_built_model_sees_what_the_program_saw(shared_datasets, name):
    folder = shared_datasets / "flowers5"
    found = recommend(folder, backbone=name, max_images=40, engine="litert")
    features = np.concatenate([found.features.pooled[level] for level in found.strategy.head.levels], axis=1)
    logits = features @ found.probe.kernel + found.probe.bias
    expected = np.exp(logits - logits.max(1, keepdims=True))
    expected /= expected.sum(1, keepdims=True)
    model = found.build()
    for file, probabilities in zip(found.features.files, expected, strict=True):
        given = model.predict(read_picture(folder / file).pixels[None], verbose=0)[0]
        assert given == pytest.approx(probabilities, abs=1e-3)


@pytest.fixture(scope="session")
def mobilenet(shared_datasets):
    """Options that name the second backbone and its genuine weights."""
    weights = shared_datasets.parent / "weights" / "keras3_MobileNet_alpha0.75.weights.h5"
    return {"backbone": "mobilenet_0.75", "weights": weights}


def test_another_network_keeps_photographs_whole(shared_datasets, mobilenet, run_cli):
    options = ["--backbone", mobilenet["backbone"], "--weights", mobilenet["weights"], "--quiet"]
    done = run_cli(shared_datasets / "hymenoptera", *options)
    assert (done.returncode, done.stderr) == (0, "")
    assert re.match(r"[123] [A-Z_]+: mobilenet_0.75 at 224 px, cut conv_pw_13_relu,", done.stdout)


def test_another_network_puts_data_on_the_same_side(shared_datasets, mobilenet):
    found = recommend(shared_datasets / "brain_tumor_mri", max_images=200, **mobilenet)
    assert found.verdict.similarity is Similarity.DISSIMILAR


def test_few_digits_cut_another_network_too(shared_datasets, mobilenet, tmp_path):
    found = recommend(reduced(shared_datasets / "mnist", tmp_path, 15), scenario=4, **mobilenet)
    assert found.verdict.similarity is Similarity.DISSIMILAR
    assert found.strategy.cut_depth < 1


def test_weights_of_another_network_are_refused(shared_datasets, mobilenet):
    with pytest.raises(BuildError, match=r"to hold variables of mobilenet_0.50"):
        recommend(shared_datasets / "hymenoptera", backbone="mobilenet_0.5", weights=mobilenet["weights"])


def test_verbose_describes_the_backbone(two_classes, invoke):
    done = invoke(two_classes, "--verbose", "--input-size", "96")
    stage = next(line for line in done.stdout.splitlines() if line.startswith("stage 5"))
    assert stage.split()[2:6] == ["block6a_project_bn", "top_activation", "6", "3×3×1280"]
