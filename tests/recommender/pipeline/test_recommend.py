"""A whole recommendation, from images to a model and a document."""

import json
import re

import jsonschema
import numpy as np
import pytest
from paths import ROOT
from write_digits import write_digits

import recommender
from recommender import Scenario, ready_model, recommend
from recommender.errors import RecommendError

SCHEMA = json.loads((ROOT / "docs" / "recommendation.schema.json").read_text())


@pytest.fixture(scope="module")
def few_digits(tmp_path_factory):
    """Handwritten digits, measured with the genuine default network."""
    return recommend(write_digits(tmp_path_factory.mktemp("digits"), 15), scenario=4)


@pytest.mark.slow
def test_few_strange_images_can_be_given_shallow_features_of_a_cut_network(few_digits):
    assert few_digits.scenario is Scenario.SHALLOW_FEATURES
    assert few_digits.strategy.cut_depth < 1
    assert few_digits.strategy.freeze == few_digits.strategy.cut
    assert few_digits.expected_accuracy > 0.75


@pytest.mark.slow
def test_the_answer_has_its_reasons_with_numbers_and_thresholds(few_digits):
    text = " ".join(few_digits.reasons)
    assert "150 images in 10 classes" in text
    assert "as good as freezing with about " in text
    assert "threshold is 0.100" in text
    assert re.search(r"The runner-up is [123] \([A-Z_]+\): .* expected \(90 % interval", text)
    assert "Before any training" in text


@pytest.mark.parametrize("fixture", [pytest.param("few_digits", marks=pytest.mark.slow), "tiny_found"])
def test_the_document_is_json_and_fits_its_schema(request, fixture):
    document = request.getfixturevalue(fixture).to_dict()
    jsonschema.validate(document, SCHEMA)
    assert json.loads(json.dumps(document, allow_nan=False)) == document


def test_the_same_seed_gives_the_same_document(two_classes, tiny_file, tiny_decided):
    first, again = tiny_decided.to_dict(), recommend(two_classes, backbone=tiny_file).to_dict()
    assert {**first, "seconds": None} == {**again, "seconds": None}
    assert set(first["seconds"]) == {"index", "load", "network", "similarity", "separability", "head", "findings"}


@pytest.mark.parametrize(
    "scenario",
    [Scenario.PARTIAL_FINE_TUNE, *(pytest.param(each, marks=pytest.mark.slow) for each in Scenario if each.id != 2)],
)
def test_a_forced_scenario_is_what_is_built(two_classes, tiny_file, scenario):
    reported = []
    found = recommend(
        two_classes, backbone=tiny_file, scenario=scenario.id, progress=lambda *step: reported.append(step)
    )
    strategy = found.strategy
    assert found.scenario is scenario
    assert (strategy.cut_depth < 1) == (scenario is Scenario.SHALLOW_FEATURES)
    assert (strategy.freeze is None) == (scenario is Scenario.FULL_FINE_TUNE)
    assert (strategy.freeze == strategy.cut) == (scenario.amount == "limited")
    assert found.parameters[1] > 0
    jsonschema.validate(found.to_dict(), SCHEMA)
    assert {phase for phase, *_ in reported} - {"loading", "converting"} == {"network", "classifiers"}


def test_the_prediction_layer_gives_the_probabilities_of_the_linear_probe(tiny_found):
    found = tiny_found
    features = np.concatenate([found.features.pooled[level] for level in found.strategy.head.levels], axis=1)
    logits = features @ found.probe.kernel + found.probe.bias
    powers = np.exp(logits - logits.max(1, keepdims=True))
    from recommender.pipeline.reread_images import read_prepared

    pixels = np.stack([read_prepared(found.index, name, 32, 3)[1] for name in found.features.files])
    assert found.build().predict(pixels, verbose=0) == pytest.approx(powers / powers.sum(1, keepdims=True), abs=1e-4)


def test_one_call_gives_a_compiled_model(two_classes, tiny_file):
    model = ready_model(two_classes, backbone=tiny_file, max_images=8)
    loss, accuracy = model.evaluate(np.zeros((2, 8, 8, 3)), np.array([0, 1]), verbose=0)
    assert np.isfinite(loss)
    assert 0 <= accuracy <= 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"input_size": 8}, "`input_size` to be 32 to 4096 px, or 'auto'. Received: 8"),
        ({"input_size": 99999}, "`input_size` to be 32 to 4096 px, or 'auto'. Received: 99999"),
        ({"max_images": 1}, "`max_images` to be at least 2. Received: 1"),
        ({"scenario": 5}, "`scenario` to be 1, 2, 3 or 4. Received: 5"),
        ({"scenario": 2, "trial": True}, "`scenario` to be left to the trial. Received: 2"),
        ({"ray": "auto", "trial": True}, "`ray` to be left out with a trial"),
        ({"trial": "always"}, "`trial` to be True or False. Received: 'always'"),
        ({"check": "some"}, "`check` to be 'sample', 'full' or None. Received: 'some'"),
        ({"seed": -1}, "`seed` to be from 0 to"),
        ({"max_images": "20"}, "`max_images` to be at least 2. Received: '20'"),
    ],
)
def test_an_argument_out_of_range_is_refused_before_anything_is_read(arguments, message):
    with pytest.raises(RecommendError, match=message):
        recommend("no such folder", **arguments)


def test_an_unknown_name_of_the_package_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no attribute 'recommed'"):
        recommender.recommed  # noqa: B018
