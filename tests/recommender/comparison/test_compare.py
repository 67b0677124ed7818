"""Whole comparisons: one split for all, an honest verdict, a budget that holds, and models as good as their rows."""

import io
import itertools
import json
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from pictures import write_images
from rich.console import Console
from strategies import right, row
from tiny import SIZE

from recommender import recommend
from recommender.comparison.candidates import Candidate, tuned_candidates
from recommender.comparison.compare import compare
from recommender.comparison.ranking import judge
from recommender.comparison.shared_images import load_pictures, share_images
from recommender.comparison.successive_halving import CHECKS
from recommender.comparison.tuned import Tuned, quiet_tracing
from recommender.errors import RecommendError
from recommender.progress import no_progress
from recommender.reports.comparison_page import print_comparison
from recommender.rules.scenario import Scenario


def printed(comparison, width=100):
    out = io.StringIO()
    print_comparison(comparison, Console(file=out, width=width))
    return out.getvalue()


# --- the images


def test_all_candidates_share_one_split_without_groups_on_both_sides(shared):
    images = shared.images
    training, held_out = images.split.training, images.split.held_out
    assert not set(images.rows.groups[training]) & set(images.rows.groups[held_out])
    assert len(training) + len(held_out) == len(images.rows)


def test_a_pass_over_all_images_gives_the_features_of_its_kept_pictures(measured):
    from probes.network.features import tapped
    from recommender.pipeline.probed_network import probed_network

    small = measured(max_images=30)
    small.seconds["network"] = 0.1  # there is time for all images on any machine
    shared = share_images(small, budget=600.0, seed=0, progress=no_progress)
    assert not shared.is_sample
    assert shared.pictures.shape == (len(shared.images.rows), SIZE, SIZE, 3)
    network = probed_network(small.backbone, norms=())
    expected = tapped(network)(shared.pictures[:8].astype(np.float32))[-2].numpy()
    np.testing.assert_allclose(shared.images.features.pooled[network.cuts[-1]][:8], expected, atol=1e-4)
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


def test_the_advice_is_fine_tuned_to_its_end(finished):
    comparison, _ = finished
    tuned = {each.label: each for each in comparison.rows if not each.frozen}
    advice = comparison.recommended
    assert advice.label in tuned
    assert "3 everything" in tuned
    assert not advice.ended_early
    assert advice.checks.shape == (CHECKS + 1, comparison.n_held_out)
    assert advice.steps == advice.full_steps == 20
    assert comparison.augmentation == ("mirror",)
    assert comparison.curve is not None
    assert not comparison.skipped


def test_progress_is_reported_and_rows_are_sorted(finished):
    comparison, progress = finished
    accuracies = [each.accuracy for each in comparison.rows]
    assert accuracies == sorted(accuracies, reverse=True)
    assert {phase for phase, *_ in progress} == {"images", "comparing"}


def test_built_models_are_as_good_as_their_rows(finished, shared, partly):
    comparison, _ = finished
    pictures, split, labels = load_pictures(partly, shared), shared.images.split, shared.images.rows.labels
    whole = next(each for each in comparison.rows if each.label == "1 whole")
    for each in (comparison.recommended, whole, comparison.rows[0]):
        model = comparison.build(each)
        predicted = model.predict(pictures[split.held_out].astype(np.float32), verbose=0).argmax(1)
        best = int(np.argmax(each.checks.mean(1))) if each.gained else 0
        agree = (predicted == labels[split.held_out]) == each.checks[best]
        assert agree.mean() >= 1 - 1 / len(split.held_out)
    assert comparison.build().optimizer is not None


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
    comparison = replace(finished[0], **vars(judge(rows, seed=0, groups=None, labels=None)))
    assert comparison.verdict == "wrong"
    assert comparison.sentence.startswith("The advice, 3 from a, was wrong by 30.0 points")
    assert [each.label for each in comparison.ties] == ["3 from b"]


def test_the_page_is_plain_text(finished):
    comparison, _ = finished
    text = printed(comparison)
    assert "\x1b" not in text
    assert all(len(line) <= 100 and line == line.rstrip() for line in text.splitlines())
    assert " ".join(comparison.sentence.split()) in " ".join(text.split())
    assert {"advice", "preferred", "20"} <= set(text.replace(",", " ").split())


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
    began = time.perf_counter()
    comparison = compare(advised, budget=1.0)
    assert time.perf_counter() - began < 10
    assert len(comparison.rows) >= 2
    assert all(each.frozen for each in comparison.rows)
    assert "3 everything" in comparison.skipped
    assert comparison.verdict == "unknown"
    assert comparison.recommended is comparison.regret is None
    assert "is not known" in comparison.sentence


def test_frozen_rows_depend_on_the_seed_alone(finished, partly):
    again = {each.label: each.accuracy for each in compare(partly, budget=5.0).rows}
    shared_rows = [each for each in finished[0].rows if each.frozen and each.label in again]
    assert len(shared_rows) >= 2
    assert all(each.accuracy == again[each.label] for each in shared_rows)


def test_ctrl_c_ends_with_the_rows_so_far(partly):
    reported = []

    def stop(*at):
        reported.append(at[0])
        if reported.count("comparing") == 3:
            raise KeyboardInterrupt

    comparison = compare(partly, budget=60.0, progress=stop)
    assert comparison.interrupted
    assert len(comparison.rows) == 3
    assert "interrupted" in printed(comparison)


def test_ctrl_c_before_the_first_row_interrupts(partly, monkeypatch):
    monkeypatch.setattr("recommender.comparison.run.solve", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        compare(partly, budget=60.0)


@pytest.mark.slow
def test_a_training_of_any_length_runs_through_the_whole_schedule_in_parts(partly, shared):
    images, cuts = shared.images, partly.plan.cuts
    strategy = tuned_candidates(partly)[0].strategy
    start = row(cuts[-1].layer, [False], 0.0)
    width = images.features.pooled[cuts[-1].layer].shape[1]
    start = replace(
        start, strategy=replace(strategy, cut=cuts[-1].layer), weights=(np.zeros((width, 3)), np.zeros(3)), seconds=0.0
    )
    strategy = replace(strategy, freeze=cuts[-2].layer, freeze_depth=cuts[-2].depth)
    candidate = Candidate(strategy=strategy, scenario=Scenario.PARTIAL_FINE_TUNE)
    with quiet_tracing():
        tuned = Tuned(candidate, partly, images, load_pictures(partly, shared), start, (), 0)
        before = tuned.state.weights
        tuned.plan(8)
        assert tuned.advance(2, float("inf")) is not None
        planned = tuned.trainer.optimizer._learning_rate.planned
        assert tuned.state.checks[-1].learning_rate == pytest.approx(float(planned(4 * tuned.pace.most / 8)), rel=0.05)
        assert tuned.state.checks[-1].step == 4
        assert tuned.advance(CHECKS, 0.0) is None  # the budget is spent
        assert tuned.out_of_time
        assert tuned.state.checks[-1].step == 4
        assert tuned.advance(CHECKS, float("inf")) is not None
    assert (tuned.state.checks[-1].step, tuned.state.round) == (8, CHECKS)
    assert any(np.abs(a - b).max() > 0 for a, b in zip(before, tuned.state.weights, strict=True))
    assert tuned.pace.step > 0 < tuned.pace.check


# --- refusals


@pytest.mark.parametrize(
    "options",
    [{"budget": 0}, {"budget": float("nan")}, {"budget": float("inf")}, {"seed": -1}, {"augmentation": ["turn"]}],
)
def test_an_argument_out_of_range_is_refused_in_one_line(partly, options):
    with pytest.raises(RecommendError, match=r"^Expected .* Received: .*\.$") as error:
        compare(partly, **options)
    assert "\n" not in str(error.value)


def test_data_without_images_to_hold_out_are_refused(tmp_path, tiny_file):
    found = recommend(write_images(tmp_path / "few", {"temple": 1, "flower": 1}), backbone=tiny_file)
    with pytest.raises(RecommendError, match="images to hold out"):
        compare(found, budget=5.0)
