"""Each reason and each warning, from a measured recommendation that is changed in one respect."""

import re
from dataclasses import replace
from types import SimpleNamespace

import pytest

from probes.data.splits import Rows
from probes.similarity.pixel_scaling import ScalingChoice
from recommender.errors import RecommendError
from recommender.explanation.cautions import ENOUGH, cautions
from recommender.explanation.reasons import explain, source_of
from recommender.explanation.verdict import measured_note, sureness
from recommender.rules.scenario import Scenario, Similarity


@pytest.fixture(scope="module")
def found(tiny_found):
    """The same as that of a network on a known source, with a sample of a hundred images in two classes."""
    size = replace(tiny_found.measurements.size, class_counts=(60, 40))
    similarity = replace(
        tiny_found.measurements.similarity,
        source="ImageNet",
        basis="reference",
        score=0.8,
        sharp_score=0.8,
        standard_error=0.02,
        replicates=tuple(0.756 + 0.00044 * number for number in range(201)),
        excess=0.05,
        enlargement=1.0,
    )
    measurements = replace(tiny_found.measurements, size=size, similarity=similarity, n_held_out=0, findings=())
    verdict = replace(
        tiny_found.verdict,
        runner_up=Scenario.SHALLOW_FEATURES,
        task=replace(tiny_found.verdict.task, similarity=Similarity.SIMILAR),
        overridden=None,
        close=False,
    )
    return replace(tiny_found, measurements=measurements, verdict=verdict)


def measured(found, **parts):
    return replace(found, measurements=replace(found.measurements, **parts))


def sized(found, **changes):
    return measured(found, size=replace(found.measurements.size, **changes))


def similar(found, **changes):
    return measured(found, similarity=replace(found.measurements.similarity, **changes))


def ruled(found, **changes):
    return replace(found, verdict=replace(found.verdict, **changes))


def built(found, **changes):
    return replace(found, plan=replace(found.plan, strategy=replace(found.strategy, **changes)))


def chosen(found, **changes):
    """A cut that was chosen in that way."""
    return replace(found, plan=replace(found.plan, cut_choice=SimpleNamespace(**changes)))


def judged(found, **changes):
    return replace(found, probe=SimpleNamespace(**{**vars_of(found.probe), **changes}))


def vars_of(record):
    return {name: getattr(record, name) for name in ("judged", "accuracy", "standard_error")}


REASONS = {  # what is special -> change, a part of a reason
    "few images": (lambda f: f, "There are 100 images in 2 classes, 40 in the smallest class. Fine-tuning (scenario "),
    "what fine-tuning needs": (lambda f: f, "it is expected to be as good as freezing with about "),
    "many classes": (
        lambda f: sized(f, class_names=("name",) * 101, class_counts=(3,) * 101),
        "3 in the smallest class (2 classes not counted).",
    ),
    "like the source": (
        lambda f: f,
        "the images are like ImageNet: similarity 0.80 (90 % interval 0.76 to 0.84), of 1 at most; from 0.50 on "
        "they count as like. Early and middle layers drift by 0.050 more than for images of ImageNet; the threshold is",
    ),
    "unlike the source": (lambda f: similar(f, score=0.2), "the images are unlike ImageNet: similarity 0.20"),
    "a single image": (lambda f: similar(f, replicates=()), "similarity 0.80, of 1 at most;"),
    "an unknown source": (
        lambda f: similar(f, source=None),
        "more than for images of its reference",
    ),
    "no reference": (lambda f: similar(f, basis="standard_photos"), "more than for photographs;"),
    "a source unlike photographs": (
        lambda f: similar(f, basis="out_of_distribution"),
        "more than for the images that a network was trained on;",
    ),
    "small images": (
        lambda f: similar(f, enlargement=3.0, sharp_score=0.1),
        "compared with images of as low a resolution: the median image is 64 × 48 px and is enlarged 3.0 times; "
        "compared with sharp images the similarity would be 0.10.",
    ),
    "no similarity, like": (
        lambda f: measured(f, similarity=None),
        "The classifiers alone say like, since no earlier cut is clearly better",
    ),
    "no similarity, unlike": (
        lambda f: ruled(measured(f, similarity=None), task=replace(f.verdict.task, similarity=Similarity.DISSIMILAR)),
        "The classifiers alone say unlike, since an earlier cut is clearly better.",
    ),
    "a scenario of the user's": (
        lambda f: ruled(f, scenario=Scenario.FULL_FINE_TUNE, overridden=Scenario.LINEAR_PROBE),
        "You asked for scenario 3 (FULL_FINE_TUNE); the rules would choose 1 (LINEAR_PROBE).",
    ),
    "a whole backbone": (
        lambda f: ruled(replace(f, plan=replace(f.plan, cut_choice=None)), scenario=Scenario.LINEAR_PROBE),
        "of the depth): the whole backbone.",
    ),
    "a whole backbone that is frozen": (
        lambda f: ruled(
            built(replace(f, plan=replace(f.plan, cut_choice=None)), freeze=f.strategy.cut),
            scenario=Scenario.LINEAR_PROBE,
        ),
        "the whole backbone. A classifier that reads the layers up to the best earlier cut alone changes ",
    ),
    "a graph that can't be cut": (
        lambda f: ruled(replace(f, plan=replace(f.plan, cut_choice=None)), scenario=Scenario.SHALLOW_FEATURES),
        "the whole backbone, since its graph can't be cut.",
    ),
    "a cut without evidence": (
        lambda f: chosen(f, index=1, prior=1, gain=None, gain_error=None),
        "where the rule starts; nothing could be cross-validated.",
    ),
    "a cut where the rule starts": (
        lambda f: chosen(f, index=1, prior=1, gain=0.0, gain_error=0.0),
        "not clearly better at any other cut point (clearly: by 2.5 standard errors for an earlier one, by 1 for",
    ),
    "an earlier cut": (
        lambda f: chosen(f, index=1, prior=3, gain=0.031, gain_error=0.01),
        "is 3.1 points more accurate than at",
    ),
    "a later cut": (
        lambda f: chosen(f, index=3, prior=1, gain=0.031, gain_error=0.01),
        "where the rule starts (90 % interval +1.5 to +4.7;",
    ),
    "a frozen backbone": (lambda f: built(f, freeze=f.strategy.cut), "Freeze all that is kept ("),
    "a backbone that trains": (lambda f: built(f, freeze=None), "Freeze only BatchNorm"),
    "a backbone that partly trains": (
        lambda f: built(f, cut="block4_add", cut_depth=1.0, freeze="block1_add", freeze_depth=0.4),
        "Freeze the first 40 %, up to block1_add (",
    ),
    "cross-validated accuracy": (lambda f: f, "), by cross-validation: its prediction layer starts from"),
    "a validation split": (lambda f: measured(f, n_held_out=30), "on 30 images of your validation split"),
    "no accuracy": (lambda f: judged(f, judged=None), "the accuracy can't be measured"),
    "unbalanced classes": (
        lambda f: sized(f, file_counts=(90, 10)),
        "the model's balanced accuracy, the mean over classes, is",
    ),
    "a close call": (
        lambda f: ruled(f, close=True),
        "This is too close to call. The runner-up is 4 (SHALLOW_FEATURES):",
    ),
    "the runner-up": (lambda f: f, " expected (90 % interval "),
    "the rules' own": (
        lambda f: ruled(f, overridden=Scenario.LINEAR_PROBE, runner_up=Scenario.LINEAR_PROBE),
        "The runner-up is 1 (LINEAR_PROBE): the rules' own choice; ",
    ),
    "no drift": (lambda f: measured(f, similarity=None), "could not be measured: "),
}


@pytest.mark.parametrize(
    ("runner_up", "n_judged", "said"),
    [
        (Scenario.FULL_FINE_TUNE, 100, "`fit` tries fine-tuning as well"),
        (Scenario.FULL_FINE_TUNE, 99, "Too few images judge for a trial"),
        (Scenario.SHALLOW_FEATURES, 100, "no other scenario is better by more than 1 point"),
    ],
)
def test_a_close_call_says_whether_fit_tries_the_other_way(found, runner_up, n_judged, said):
    task = replace(found.verdict.task, n_judged=n_judged)
    close = {"scenario": Scenario.LINEAR_PROBE, "close": True, "settled": False}
    words = sureness(ruled(found, **close, runner_up=runner_up, task=task))
    assert words.startswith(f"too close to call between 1 and {runner_up.id}; ")
    assert said in words.rpartition(". ")[2] or words.endswith(said)


@pytest.mark.parametrize("special", REASONS)
def test_the_reason_has_its_numbers_and_thresholds(found, special):
    change, expected = REASONS[special]
    reasons = explain(change(found))
    assert any(expected in reason for reason in reasons), reasons
    assert all(re.fullmatch(r"[A-Z].*\.", reason) for reason in reasons)


WARNINGS = {
    "a finding": (
        lambda f: measured(f, findings=(SimpleNamespace(message="1 file is empty."),)),
        "1 file is empty.",
    ),
    "classes without a sample": (
        lambda f: sized(f, unsampled_classes=("a", "b")),
        "2 classes had no room in the sample, so the model starts without any knowledge of them, and its accuracy "
        "before training counts their images as wrong. What is expected after training is that of the others. "
        "Raise --max-images to 4 or more.",
    ),
    "a note on the evidence": (
        lambda f: measured(f, separability=replace(f.measurements.separability, note="one class has one image")),
        "One class has one image.",
    ),
    "an input larger than the reference's": (lambda f: built(f, input_size=320), "At 320 px the nearest of these is"),
    "a scaling that was found": (
        lambda f: replace(f, scaling=ScalingChoice(name="0..1", drift=0.2, runner_up="caffe", runner_up_drift=1.5)),
        "found from its BatchNorm statistics: 0..1, with a drift of 0.20 in early layers, then caffe with 1.50.",
    ),
    "no reference": (lambda f: similar(f, basis="standard_photos"), "two standard photographs are used instead."),
    "a source unlike photographs": (
        lambda f: similar(f, basis="out_of_distribution"),
        "Photographs are out-of-distribution for",
    ),
    "a graph that can't be cut": (
        lambda f: replace(f, plan=replace(f.plan, cuts=f.plan.cuts[:1])),
        "can't be cut inside and is used whole.",
    ),
}


@pytest.mark.parametrize("special", WARNINGS)
def test_a_warning_says_what_is_less_sure(found, special):
    change, expected = WARNINGS[special]
    before, after = cautions(found), cautions(change(found))
    (added,) = [note for note in after if note not in before]
    assert expected in added


@pytest.mark.parametrize(
    ("n_images", "similarity", "warned"),
    [
        (ENOUGH - 1, Similarity.SIMILAR, True),
        (ENOUGH, Similarity.SIMILAR, False),
        (ENOUGH - 1, Similarity.DISSIMILAR, False),
    ],
)
def test_few_images_like_the_source_make_a_weak_detector(found, n_images, similarity, warned):
    verdict = replace(found.verdict, task=replace(found.verdict.task, similarity=similarity))
    changed = replace(found, rows=Rows.of([0] * n_images), verdict=verdict)
    warnings = [text for text in cautions(changed) if "detector of out-of-distribution images" in text]
    assert [f"fitted on {n_images} images" in text for text in warnings] == [True] * warned


def test_the_source_has_a_name_or_a_phrase(found):
    assert source_of(found) == "ImageNet"
    assert source_of(measured(found, similarity=None)) == "what tiny was trained on"


@pytest.mark.parametrize("number", [2, 3])
def test_the_fine_tuning_that_is_spoken_of_is_the_one_that_was_chosen(found, number):
    chosen = replace(found, verdict=replace(found.verdict, scenario=Scenario.numbered(number)))
    assert f"Fine-tuning (scenario {number}) is expected to reach" in explain(chosen)[0]


def test_images_of_classes_without_a_sample_count_as_wrong(found):
    counts = (30, 30, 60)
    three = sized(found, class_names=("a", "b", "c"), class_counts=counts, file_counts=counts, unsampled_classes=("c",))
    assert three.expected_accuracy == pytest.approx(found.expected_accuracy / 2)
    assert three.interval == pytest.approx([side / 2 for side in found.interval])
    assert three.to_dict()["expected_accuracy"] == three.expected_accuracy
    assert three.expected_balanced_accuracy == pytest.approx(found.expected_balanced_accuracy * 2 / 3)


def test_where_classes_have_equal_weight_the_expected_accuracy_is_called_balanced(found):
    unequal = sized(found, file_counts=(90, 10))
    assert "is expected to reach a balanced accuracy of" in explain(unequal)[0]
    unequal = replace(unequal, probe=SimpleNamespace(judged=replace(found.probe.judged, balanced_accuracy=0.123)))
    assert measured_note(unequal).startswith("12.3 % was measured"), "its outcomes are balanced accuracies, too"


def test_another_scenario_is_named_by_its_number_too(tiny_found):
    assert tiny_found.with_scenario(3).scenario is Scenario.FULL_FINE_TUNE
    for given in (0, 5, None, "3"):
        with pytest.raises(RecommendError, match=f"Expected a `Scenario`, or 1, 2, 3 or 4. Received: {given!r}"):
            tiny_found.with_scenario(given)
