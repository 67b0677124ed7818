"""Whole comparisons: the same folds for all, an honest verdict, a budget that holds, models as good as their rows."""

import io
import itertools
import json
import sys
from dataclasses import replace

import numpy as np
import pytest
from pictures import write_images
from rich.console import Console
from strategies import right, row
from tiny import SIZE

from builders.build import HeadWeights
from builders.errors import BuildError
from builders.training.schedule import SHARE
from probes.data.splits import Rows, held_out_splits
from recommender import recommend
from recommender.comparison.candidates import tuned_candidates
from recommender.comparison.compare import compare
from recommender.comparison.ranking import judge
from recommender.comparison.shared_images import load_pictures, share_images
from recommender.comparison.tuned import Tuned
from recommender.errors import RecommendError
from recommender.explanation.text import percent
from recommender.progress import no_progress
from recommender.reports.comparison_page import print_comparison


def printed(comparison, width=100):
    out = io.StringIO()
    print_comparison(comparison, Console(file=out, width=width))
    return out.getvalue()


# --- the images


def test_fine_tuned_candidates_hold_out_a_fold_of_the_cross_validation(shared):
    images, held_out = shared.images, shared.images.split.held_out
    folds = held_out_splits(images.rows.taken(shared.order), seed=0)
    assert shared.folds == len(folds) == 5
    training, judged = folds[0]
    assert set(held_out) == set(shared.order[judged])
    assert set(shared.training) == set(shared.order[training])
    assert not set(images.rows.groups[shared.training]) & set(images.rows.groups[held_out])


def test_the_users_validation_split_judges_all(tmp_path, tiny_file):
    for split, n in (("train", 12), ("val", 6)):
        write_images(tmp_path / "data" / split, {"temple": n, "flower": n}, seed=n)
    comparison = compare(recommend(tmp_path / "data", backbone=tiny_file), budget=3.0)
    assert comparison.judged_by == "validation"
    assert {each.n_judged for each in comparison.rows} == {comparison.n_judged} == {12}
    assert "on 12 images of your validation split" in " ".join(printed(comparison).split())


def test_a_pass_over_all_images_gives_the_features_of_its_kept_pictures(measured):
    small = measured(max_images=30)
    small.seconds["network"] = 0.1  # there is time for all images on any machine
    shared = share_images(small, budget=600.0, seed=0, progress=no_progress)
    assert not shared.is_sample
    assert shared.pictures.shape == (len(shared.images.rows), SIZE, SIZE, 3)
    assert shared.folds == 5
    last = len(small.network.cuts) - 1
    expected = small.network.run(shared.pictures[:8].astype(np.float32))[last]
    np.testing.assert_allclose(shared.images.features.pooled[small.network.cuts[-1]][:8], expected, atol=1e-4)
    kept, shared.pictures = shared.pictures, None
    np.testing.assert_array_equal(load_pictures(small, shared), kept)  # read again


@pytest.mark.slow
def test_without_time_for_all_images_a_sample_is_compared(measured):
    small = measured(max_images=30)
    small.seconds["network"] = 30.0  # a second an image
    assert share_images(small, budget=600.0, seed=0, progress=no_progress).is_sample is False
    some = share_images(small, budget=200.0, seed=0, progress=no_progress)
    assert some.is_sample
    assert 30 < len(some.images.rows) <= 40
    assert share_images(small, budget=10.0, seed=0, progress=no_progress).images.features is small.features
    comparison = compare(small, budget=10.0)
    assert comparison.is_sample
    assert "a sample of 72" in " ".join(printed(comparison).split())


# --- a finished comparison


def test_frozen_rows_are_cross_validated_on_all_images(finished, partly):
    comparison, _ = finished
    frozen = [each for each in comparison.rows if each.frozen]
    assert {each.n_judged for each in frozen} == {comparison.n_judged} == {len(partly.rows)}
    evidence = {each.cut: each.accuracy for each in partly.measurements.separability.per_cut}
    alone = [each for each in frozen if len(each.strategy.head.levels) == 1]
    assert alone
    assert all(each.accuracy == pytest.approx(evidence[each.strategy.cut]) for each in alone)


def test_fine_tuned_rows_are_those_of_a_whole_schedule_judged_on_one_fold(finished):
    comparison, _ = finished
    tuned = {each.label: each for each in comparison.rows if not each.frozen}
    assert set(tuned) == {comparison.advice, "3 all trained"}
    for each in tuned.values():
        assert each.steps == each.full_steps == 30
        assert each.n_judged == comparison.n_held_out < comparison.n_training
        assert each.share == SHARE  # as of `fit`, which has more images
    assert comparison.augmentation == ("mirror",)
    assert comparison.curve is not None
    assert not comparison.skipped


def test_progress_is_reported_and_rows_are_sorted(finished):
    comparison, progress = finished
    accuracies = [each.accuracy for each in comparison.rows]
    assert accuracies == sorted(accuracies, reverse=True)
    assert {phase for phase, *_ in progress} == {"images", "comparing"}


def test_a_built_frozen_model_is_the_calibrated_classifier_of_all_images(finished, shared, partly):
    comparison, _ = finished
    joined = next(each for each in comparison.rows if each.frozen and each.label == "1 whole + stages")
    np.testing.assert_allclose(joined.weights[0], partly.probe.kernel, rtol=1e-3, atol=1e-6)
    predicted = comparison.build(joined).predict(load_pictures(partly, shared).astype(np.float32), verbose=0)
    assert (predicted.argmax(1) == shared.images.rows.labels).mean() >= joined.accuracy


def test_a_built_fine_tuned_model_has_the_trained_weights(finished, shared, partly):
    comparison, _ = finished
    advice, images = comparison.recommended, shared.images
    model = comparison.build(advice)
    assert model.optimizer is not None
    start = partly.build().get_weights()
    assert any(np.abs(a - b).max() > 1e-6 for a, b in zip(start[:-2], model.get_weights()[:-2], strict=True))
    pictures = load_pictures(partly, shared)[images.split.held_out].astype(np.float32)
    right_now = model.predict(pictures, verbose=0).argmax(1) == images.held_out.labels
    agree = right_now == advice.results.correct[images.split.held_out]
    assert agree.mean() >= 0.7  # each row's images are judged by the average that others chose


def test_a_detector_comes_with_each_model(finished):
    comparison, _ = finished
    assert len(comparison.detector.mean) == comparison.build().layers[-1].kernel.shape[0]
    assert comparison.detect(comparison.recommended) is not None


def test_the_sentence_says_if_the_advice_had_fewer_steps_than_fit_gives(finished):
    comparison, _ = finished
    assert "steps that `fit` gives it" not in comparison.sentence
    short = replace(comparison.recommended, full_steps=1000)
    assert "of the 1,000 steps that `fit` gives it" in replace(comparison, recommended=short).sentence


def test_bad_advice_is_called_wrong(finished):
    rows = [row("a", right(0.6), 1.0, recommended=True), row("b", right(0.9), 100.0)]
    comparison = replace(finished[0], **vars(judge(rows, Rows.of(np.zeros(200)), seed=0)))
    assert comparison.verdict == "wrong"
    assert comparison.sentence.startswith("The advice, 3 trained after a, was wrong by 30.0 points")
    assert [each.label for each in comparison.ties] == ["3 trained after b"]


def test_the_headline_is_the_accuracy_of_the_choice_and_not_the_winners_own(finished):
    comparison = replace(finished[0], accuracy=0.7654, interval=(0.7, 0.8))
    assert (
        "gives an accuracy of 76.5 % (90 % interval 70.0 to 80.0 %) on images that did not make the choice"
        in comparison.sentence
    )
    assert percent(comparison.winner.accuracy) not in comparison.sentence


def test_the_page_is_plain_text(finished):
    comparison, _ = finished
    text = printed(comparison)
    assert "\x1b" not in text
    assert all(len(line) <= 100 and line == line.rstrip() for line in text.splitlines())
    assert " ".join(comparison.sentence.split()) in " ".join(text.split())
    assert {"advice", "preferred", "30"} <= set(text.replace(",", " ").split())


def test_it_is_plain_data(finished):
    comparison, _ = finished
    described = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
    assert described["verdict"] == comparison.verdict
    assert len(described["rows"]) == len(comparison.rows)


# --- the plot


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_same_comparison_gives_the_same_plot(finished, tmp_path, suffix):
    pytest.importorskip("matplotlib")
    for name in ("one", "two"):
        finished[0].save_plot(tmp_path / f"{name}{suffix}")
    first = (tmp_path / f"one{suffix}").read_bytes()
    assert first == (tmp_path / f"two{suffix}").read_bytes()
    assert first.startswith({".png": b"\x89PNG", ".svg": b"<?xml"}[suffix])
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"one{suffix}", f"two{suffix}"]


def test_labels_in_the_plot_do_not_overlap():
    from recommender.comparison.plot import _apart

    placed = _apart([0.9, 0.9, 0.89, 0.5, 0.02, 0.01, 0.0], 0.05)
    assert all(upper - lower >= 0.05 - 1e-9 for upper, lower in itertools.pairwise(placed))
    assert placed[-1] >= 0.0
    assert placed[0] <= 1.0


def test_without_matplotlib_the_error_says_what_to_install(finished, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(RecommendError, match=r"pip install 'netgraft\[plot\]'"):
        finished[0].save_plot(tmp_path / "plot.png")


def test_a_plot_of_another_format_is_refused(finished, tmp_path):
    with pytest.raises(RecommendError, match=r"\.png, \.svg, \.pdf"):
        finished[0].save_plot(tmp_path / "plot.gif")


# --- budgets and interrupts


def test_a_tiny_budget_ends_with_frozen_backbones_alone(measured):
    advised = measured(scenario=3)
    comparison = compare(advised, budget=1.0)
    assert len(comparison.rows) >= 2
    assert all(each.frozen for each in comparison.rows)
    assert "3 all trained" in comparison.skipped
    assert comparison.verdict == "unknown"
    assert comparison.recommended is comparison.regret is None
    assert "is not known" in comparison.sentence


def test_frozen_rows_depend_on_the_seed_alone(finished, partly):
    again = {each.label: each.accuracy for each in compare(partly, budget=5.0).rows}
    shared_rows = [each for each in finished[0].rows if each.frozen and each.label in again]
    assert len(shared_rows) >= 2
    assert all(each.accuracy == again[each.label] for each in shared_rows)


def test_without_time_for_a_useful_training_none_is_started(partly, monkeypatch):
    monkeypatch.setattr("recommender.comparison.run.Tuned", lambda *_: pytest.fail("a training was set up"))
    comparison = compare(partly, budget=12.0)
    assert comparison.skipped[comparison.advice] == "for want of time"


@pytest.mark.parametrize(("seconds", "least"), [(3.0, 2), pytest.param(3.0, 10**5, marks=pytest.mark.slow), (0.0, 2)])
def test_a_training_runs_through_its_schedule_in_the_time_that_it_has(partly, shared, monkeypatch, seconds, least):
    for name in ("LEAST_STEPS", "LEAST_STEPS_DISSIMILAR"):
        monkeypatch.setattr(f"builders.training.schedule.{name}", 10**6)
    monkeypatch.setattr("recommender.comparison.tuned.LEAST_STEPS", least)
    load_pictures(partly, shared)
    width = partly.probe.kernel.shape
    start = HeadWeights(kernel=np.zeros(width), bias=np.zeros(width[1]))
    tuned = Tuned(tuned_candidates(partly)[0], partly, shared, start, (), 0)
    tuned.trainer.seconds_of_step(tuned.training)  # compiled, however long that takes
    tuned.least_seconds()
    monkeypatch.setattr(tuned, "_ending", 0.0)  # all of the time is for steps, however slow predictions are
    trained = tuned.train(seconds, lambda *_: None)
    assert (trained is None) == (seconds == 0 or least > 2)
    assert float(tuned.trainer.optimizer.learning_rate) == pytest.approx(0.0, abs=1e-9)
    if trained is not None:
        assert 2 <= trained.steps < trained.full_steps


@pytest.mark.parametrize("phase", ["comparing", "images"])
def test_ctrl_c_ends_with_the_rows_so_far(partly, phase):
    reported = []

    def stop(*at):
        reported.append(at[0])
        if reported.count(phase) == 3 - 2 * (phase == "images"):
            raise KeyboardInterrupt

    comparison = compare(partly, budget=60.0, progress=stop)
    assert comparison.interrupted
    assert len(comparison.rows) >= 3
    assert comparison.skipped[comparison.advice] == "because the comparison was interrupted"
    assert "interrupted" in printed(comparison)


def test_ctrl_c_while_a_candidate_trains_ends_with_the_rows_so_far(partly, monkeypatch):
    monkeypatch.setattr(
        "recommender.comparison.tuned.Trainer.run", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt)
    )
    comparison = compare(partly, budget=1e6, augmentation=())
    assert comparison.interrupted
    assert all(each.frozen for each in comparison.rows)
    assert comparison.skipped[comparison.advice] == "because the comparison was interrupted"


def test_ctrl_c_before_the_first_row_interrupts(partly, monkeypatch):
    place = "recommender.comparison.run.fit_linear_probe"
    monkeypatch.setattr(place, lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        compare(partly, budget=60.0)


# --- refusals


@pytest.mark.parametrize(
    "options",
    [
        {"budget": 0},
        {"budget": float("nan")},
        {"budget": float("inf")},
        {"budget": "10m"},
        {"seed": -1},
        {"seed": "one"},
        {"augmentation": ["turn"]},
        {"augmentation": 3},
    ],
)
def test_an_argument_out_of_range_is_refused_in_one_line(partly, options):
    with pytest.raises((RecommendError, BuildError), match=r"^Expected .* Received: .*\.$") as error:
        compare(partly, **options)
    assert "\n" not in str(error.value)


def test_data_in_place_of_a_recommendation_are_refused():
    with pytest.raises(RecommendError, match=r"Expected what `recommend` returns. Received: str."):
        compare("photos/")


def test_data_without_images_to_hold_out_are_refused(tmp_path, tiny_file):
    found = recommend(write_images(tmp_path / "few", {"temple": 1, "flower": 1}), backbone=tiny_file)
    with pytest.raises(RecommendError, match="images to hold out"):
        compare(found, budget=5.0)
