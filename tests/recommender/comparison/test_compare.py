"""Comparing strategies: one split for all, an honest verdict, a budget that holds, and models that do what is told."""

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

from builders.strategy import HeadSpec, Strategy
from recommender import recommend
from recommender.comparison.candidates import frozen_candidates, tuned_candidates
from recommender.comparison.compare import compare
from recommender.comparison.outcome import Row
from recommender.comparison.ranking import judge
from recommender.errors import RecommendError
from recommender.reports.comparison_page import print_comparison
from recommender.rules.scenario import Scenario

SIZE, N = 32, 200


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("data") / "three", {"temple": 24, "flower": 24, "digit": 24}, seed=3)


@pytest.fixture(scope="module")
def found(folder):
    return recommend(folder, input_size=SIZE)


@pytest.fixture(scope="module")
def seen(found):
    from recommender.comparison.shared_data import see

    return see(found, budget=600.0, seed=0, progress=None)


@pytest.fixture(scope="module")
def frozen_alone(found):
    """A comparison whose budget is far too small for fine-tuning."""
    return compare(found, budget=5.0)


# --- the candidates


def test_every_scenario_takes_part_and_no_strategy_twice(found):
    both = [*frozen_candidates(found), *tuned_candidates(found)]
    assert {candidate.scenario for candidate in both} == set(Scenario)
    labels = [candidate.label for candidate in both]
    assert len(set(labels)) == len(labels)


@pytest.mark.parametrize("scenario", [1, 2, 3, 4])
def test_the_advice_comes_first_among_its_kind(folder, scenario):
    advised = recommend(folder, input_size=SIZE, scenario=scenario)
    kinds = [frozen_candidates(advised), tuned_candidates(advised)]
    first = [candidates[0] for candidates in kinds if candidates[0].recommended]
    assert [candidate.strategy for candidate in first] == [advised.strategy]
    assert sum(candidate.recommended for candidates in kinds for candidate in candidates) == 1


def test_every_cut_is_read_alone_and_the_top_is_fitted_before_the_others(found):
    frozen = frozen_candidates(found)
    alone = [candidate.strategy.cut for candidate in frozen if len(candidate.strategy.head.levels) == 1]
    assert set(alone) == {cut.layer for cut in found.plan.cuts}
    assert found.plan.cuts[-1].layer in [candidate.strategy.cut for candidate in frozen[:2]]


def test_freeze_depths_lie_about_the_quarters(found):
    depths = sorted(candidate.strategy.freeze_depth for candidate in tuned_candidates(found))
    assert depths[0] == 0.0
    for wanted in (0.25, 0.5, 0.75):
        assert min(abs(depth - wanted) for depth in depths) < 0.15


# --- the judgement


def row(label, correct, seconds, *, recommended=False, ended_early=False, looks=None):
    hits = np.asarray(correct, bool)
    strategy = Strategy(
        backbone="b",
        input_size=SIZE,
        cut="top",
        cut_depth=1.0,
        freeze=None,
        freeze_depth=0.0,
        train_batch_norm=False,
        learning_rate=1e-4,
        head=HeadSpec(classes=2),
    )
    return Row(
        strategy=strategy,
        scenario=Scenario.FULL_FINE_TUNE,
        label=label,
        recommended=recommended,
        accuracy=float(hits.mean()),
        interval=(0.0, 1.0),
        balanced_accuracy=float(hits.mean()),
        seconds=seconds,
        steps=0,
        full_steps=0,
        ended_early=ended_early,
        correct=hits,
        looks=hits[None] if looks is None else np.asarray(looks, bool),
        weights=(),
    )


def right(share, n=N, shift=0):
    """So many of n images right, the wrong ones together, starting at `shift`."""
    hits = np.ones(n, bool)
    hits[(np.arange(round((1 - share) * n)) + shift) % n] = False
    return hits


def judged(rows):
    return judge(rows, seed=0, groups=None, labels=None)


def test_the_advice_that_has_the_highest_accuracy_has_no_regret():
    found = judged([row("a", right(0.9), 10.0, recommended=True), row("b", right(0.8), 1.0)])
    assert (found.winner, found.regret.difference) == (0, 0.0)


def test_of_equals_the_advice_wins_though_another_is_cheaper():
    assert judged([row("b", right(0.9), 1.0), row("a", right(0.9), 10.0, recommended=True)]).winner == 1


def test_clearly_bad_advice_is_told_with_the_points_that_it_costs():
    found = judged([row("a", right(0.6), 1.0, recommended=True), row("b", right(0.9), 100.0)])
    assert found.winner == 1
    assert found.regret.clear
    assert found.regret.difference == pytest.approx(0.3)


def test_a_difference_inside_the_noise_is_no_regret():
    found = judged([row("a", right(0.89), 1.0, recommended=True), row("b", right(0.9, shift=50), 100.0)])
    assert found.winner == 1
    assert not found.regret.clear


def test_without_the_advice_there_is_no_regret():
    assert judged([row("b", right(0.9), 1.0)]).regret is None


def test_in_a_tie_the_cheaper_one_is_preferred_and_the_best_of_those_of_like_cost():
    rows = [
        row("dear", right(0.92), 100.0),
        row("a", right(0.91, shift=70), 12.0),
        row("b", right(0.90, shift=140), 10.0),
    ]
    assert rows[judged(rows).preferred].label == "a"


def test_a_cheap_strategy_that_is_clearly_worse_is_not_preferred():
    rows = [row("dear", right(0.92), 100.0), row("cheap", right(0.6), 1.0)]
    assert judged(rows).preferred == 0


def test_what_ended_early_is_not_preferred():
    rows = [row("dear", right(0.92), 100.0), row("early", right(0.92, shift=3), 1.0, ended_early=True)]
    assert judged(rows).winner == 1
    assert judged([rows[0], replace(rows[1], accuracy=0.91)]).preferred == 0


def random_rows(rng, accuracies, n):
    """Rows that are right on images that are hard for all of them in part; the first is the advice."""
    from scipy.stats import norm

    common = rng.normal(size=n)
    latent = np.sqrt(0.7) * common + np.sqrt(0.3) * rng.normal(size=(len(accuracies), n))
    hits = latent < norm.ppf(accuracies)[:, None]
    return [row(f"{number}", each, 1.0, recommended=number == 0) for number, each in enumerate(hits)]


@pytest.mark.parametrize("n", [40, 300])
def test_advice_as_good_as_all_rivals_is_seldom_called_wrong_however_many_there_are(n):
    rng = np.random.default_rng(1)
    found = [judged(random_rows(rng, [0.9] * 25, n)) for _ in range(60)]
    naive = []
    assert np.mean([each.regret.clear for each in found]) <= 0.07
    assert abs(np.mean([each.regret.difference for each in found])) < 0.02
    rng = np.random.default_rng(1)
    for _ in range(60):
        rows = random_rows(rng, [0.9] * 25, n)
        naive.append(max(each.accuracy for each in rows) - rows[0].accuracy)
    assert np.mean(naive) > 0.02  # what the best of many seems to gain


def test_the_best_of_many_is_not_told_as_better_than_it_is():
    rng = np.random.default_rng(2)
    found = [judged(random_rows(rng, [0.8] * 20, 100)).chosen.accuracy for _ in range(40)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.02)


# --- what the candidates read


def test_all_candidates_share_one_split_and_no_look_alike_is_on_both_sides(seen):
    training, held_out = seen.split.training, seen.split.held_out
    assert not set(seen.rows.groups[training]) & set(seen.rows.groups[held_out])
    assert len(training) + len(held_out) == len(seen.rows)


def test_a_pass_over_everything_gives_the_features_of_its_kept_pictures(folder):
    from recommender.comparison.shared_data import see

    small = recommend(folder, input_size=SIZE, max_images=30)
    small.seconds["network"] = 0.1  # whatever the machine, there is time for all
    seen = see(small, budget=600.0, seed=0, progress=None)
    assert not seen.is_sample
    assert seen.pictures.shape == (len(seen.rows), SIZE, SIZE, 3)
    from probes.network.features import tapped
    from recommender.pipeline.probed_network import probed_network

    network = probed_network(small.backbone, norms=())
    expected = tapped(network)(seen.pictures[:8].astype(np.float32))[-2].numpy()
    np.testing.assert_allclose(seen.features.pooled[network.cuts[-1]][:8], expected, atol=1e-4)


def test_where_a_pass_would_take_too_long_a_sample_is_compared_and_said_to_be_one(folder):
    from recommender.comparison.shared_data import see

    small = recommend(folder, input_size=SIZE, max_images=30)
    small.seconds["network"] = 30.0  # a second an image
    assert see(small, budget=600.0, seed=0, progress=None).is_sample is False
    some = see(small, budget=200.0, seed=0, progress=None)
    assert some.is_sample
    assert 30 < len(some.rows) <= 40
    few = see(small, budget=10.0, seed=0, progress=None)
    assert few.features is small.features
    comparison = compare(small, budget=10.0)
    assert comparison.is_sample
    assert "a sample of 72" in printed(comparison)


def test_a_frozen_part_is_computed_once_for_each_view_and_only_when_asked_for(found, seen):
    from builders.build import build_model
    from builders.surgery.frozen_split import split_frozen
    from recommender.comparison.shared_data import Frozen, prepared

    pictures = prepared(found, seen, until=float("inf"), progress=None)
    candidate = next(each for each in tuned_candidates(found) if each.strategy.freeze is not None)
    frozen_split = split_frozen(build_model(candidate.strategy, None, found.backbone))
    frozen = Frozen(pictures, frozen_split, mirror=True)
    rows = np.array([5, 2, 5])
    plain = frozen.plain(rows)
    assert frozen.computed == 2
    np.testing.assert_array_equal(plain, frozen.plain(rows))
    np.testing.assert_array_equal(plain[0], plain[2])
    assert frozen.computed == 2
    one = Frozen(pictures[:, :, ::-1], frozen_split, mirror=False).plain(np.arange(len(pictures)))
    views = [frozen.varied(np.array([7]), np.random.default_rng(seed))[0] for seed in range(8)]
    assert frozen.computed == 4
    assert any(np.allclose(view, one[7], atol=1e-4) for view in views)
    assert any(np.allclose(view, frozen.plain(np.array([7]))[0]) for view in views)


# --- whole comparisons


def test_a_budget_far_too_small_ends_with_frozen_backbones_alone(found):
    began = time.perf_counter()
    comparison = compare(found, budget=1.0)
    assert time.perf_counter() - began < 6
    assert len(comparison.rows) >= 2
    assert all(row.frozen for row in comparison.rows)
    assert any(name.startswith("3") for name in comparison.skipped)


def test_advice_that_there_was_no_time_for_is_said_not_to_be_known(folder):
    comparison = compare(recommend(folder, input_size=SIZE, scenario=3), budget=5.0)
    assert comparison.verdict == "unknown"
    assert comparison.recommended is comparison.regret is None
    assert "is not known" in comparison.sentence
    assert "3 everything" in comparison.sentence


def test_rows_are_sorted_and_the_same_seed_gives_the_same_rows(found, frozen_alone):
    accuracies = [row.accuracy for row in frozen_alone.rows]
    assert accuracies == sorted(accuracies, reverse=True)
    again = {row.label: row.accuracy for row in compare(found, budget=5.0).rows}
    shared = [row for row in frozen_alone.rows if row.label in again]
    assert len(shared) >= 2
    assert all(row.accuracy == again[row.label] for row in shared)


def test_interrupting_ends_with_the_rows_that_there_are(found):
    seen = []

    def stop(row):
        seen.append(row)
        if len(seen) == 3:
            raise KeyboardInterrupt

    comparison = compare(found, budget=60.0, on_result=stop)
    assert comparison.interrupted
    assert len(comparison.rows) == 3
    assert "interrupted" in printed(comparison)


def test_interrupting_before_there_is_a_row_interrupts(found, monkeypatch):
    monkeypatch.setattr("recommender.comparison.run.solve", lambda *_, **__: (_ for _ in ()).throw(KeyboardInterrupt))
    with pytest.raises(KeyboardInterrupt):
        compare(found, budget=60.0)


@pytest.fixture(scope="module")
def fine_tuned(folder):
    """A comparison with two fine-tuned strategies, the advice among them, and its seconds."""
    advised = recommend(folder, input_size=SIZE, scenario=2)
    with pytest.MonkeyPatch.context() as patch:
        two = [each for each in tuned_candidates(advised) if each.recommended or each.strategy.freeze is None]
        patch.setattr("recommender.comparison.run.tuned_candidates", lambda _: two)
        patch.setattr("recommender.comparison.run.SET_UP_SHARE", 1.0)
        patch.setattr("builders.training.schedule.STEPS", 100)  # of which so few images get a fifth
        began = time.perf_counter()
        return compare(advised, budget=90.0, augmentation=["mirror"]), time.perf_counter() - began


def test_what_is_fine_tuned_is_compared_and_the_advice_runs_to_its_end(fine_tuned):
    comparison, _ = fine_tuned
    tuned = {row.label: row for row in comparison.rows if not row.frozen}
    assert comparison.recommended is not None
    assert comparison.recommended.label in tuned
    assert "3 everything" in tuned or comparison.skipped["3 everything"] == "no time"  # on a busy machine
    assert not comparison.recommended.ended_early
    assert comparison.recommended.looks.shape == (5, comparison.n_held_out)
    assert comparison.augmentation == ("mirror",)
    assert comparison.recommended.steps == comparison.recommended.full_steps


def test_advice_that_had_fewer_steps_than_it_should_is_said_to_have_had(fine_tuned):
    comparison, _ = fine_tuned
    assert "steps that `fit` gives it" not in comparison.sentence
    short = replace(comparison.recommended, full_steps=1000)
    assert "of the 1,000 steps that `fit` gives it" in replace(comparison, recommended=short).sentence


def test_the_budget_holds(fine_tuned):
    comparison, seconds = fine_tuned
    assert seconds < 95
    assert comparison.seconds <= seconds


def test_models_that_are_built_do_what_their_rows_tell(fine_tuned):
    comparison, _ = fine_tuned
    seen = comparison.detect.__closure__
    assert seen is not None
    from recommender.comparison.shared_data import Seen

    cells = [cell.cell_contents for cell in seen]
    images = next(content for content in cells if isinstance(content, Seen))
    held_out, labels = images.split.held_out, images.rows.labels
    whole = next(row for row in comparison.rows if row.label == "1 whole")
    for row in (comparison.recommended, whole):
        model = comparison.build(row)
        predicted = model.predict(images.pictures[held_out].astype(np.float32), verbose=0).argmax(1)
        best = int(np.argmax(row.looks.mean(1))) if row.gained else 0
        agree = (predicted == labels[held_out]) == row.looks[best]
        assert agree.mean() >= 1 - 1 / len(held_out)
    assert comparison.build().optimizer is not None


def test_a_detector_comes_with_the_preferred_model(fine_tuned):
    comparison, _ = fine_tuned
    detector = comparison.detector
    assert detector is not None
    assert len(detector.mean) == comparison.build().layers[-1].kernel.shape[0]
    assert comparison.detect(comparison.recommended) is not None


def test_rates_run_through_a_schedule_of_any_length(found, seen):
    from builders.training.optimizers import WarmUpCosine
    from recommender.comparison.candidates import Candidate
    from recommender.comparison.fine_tuned_candidate import LOOKS, Start, Tuned, quiet_tracing

    cut = found.plan.cuts[-2]
    strategy = replace(tuned_candidates(found)[0].strategy, freeze=cut.layer, freeze_depth=cut.depth)
    top = found.features.pooled[found.plan.cuts[-1].layer].shape[1]
    correct = np.zeros(len(seen.split.held_out), bool)
    start = Start(kernel=np.zeros((top, 3)), bias=np.zeros(3), correct=correct, loss=np.log(3), seconds=0.0)
    from recommender.comparison.shared_data import prepared

    pictures = prepared(found, seen, until=float("inf"), progress=None)
    candidate = Candidate(strategy=strategy, scenario=Scenario.PARTIAL_FINE_TUNE)
    with quiet_tracing():
        tuned = Tuned(candidate, found, seen, pictures, start, (), 0)
        planned, before = tuned.trainer.schedule, tuned.trainer.weights()
        tuned.plan(8)
        assert tuned.advance(0.5, float("inf")) is not None
        expected = WarmUpCosine(planned.learning_rate, planned.warm_up, planned.steps)(4 * planned.steps / 8)
        assert tuned.state.checks[-1].learning_rate == pytest.approx(float(expected), rel=1e-4)
        assert tuned.steps == 4
        assert tuned.advance(1.0, 0.0) is None  # its time is over
        assert tuned.out_of_time
        assert tuned.steps == 4
        assert tuned.advance(1.0, float("inf")) is not None
    assert (tuned.steps, tuned.state.round) == (8, LOOKS)
    assert any(np.abs(a - b).max() > 0 for a, b in zip(before, tuned.state.weights, strict=True))
    assert tuned.pace.step > 0 < tuned.pace.look


# --- what is told


def printed(comparison, width=100):
    out = io.StringIO()
    print_comparison(comparison, Console(file=out, width=width))
    return " ".join(out.getvalue().split())


def test_the_page_is_plain_text_elsewhere_than_on_a_terminal(frozen_alone):
    out = io.StringIO()
    print_comparison(frozen_alone, Console(file=out, width=100))
    text = out.getvalue()
    assert "\x1b" not in text
    assert all(len(line) <= 100 and line == line.rstrip() for line in text.splitlines())
    assert " ".join(frozen_alone.sentence.split()) in " ".join(text.split())
    assert frozen_alone.winner.label in text


def test_the_page_of_fine_tuning_names_steps_and_the_advice(fine_tuned):
    comparison, _ = fine_tuned
    text = printed(comparison)
    assert f"{comparison.recommended.steps:,}" in text
    assert "◆" in text
    assert "★" in text


def test_bad_advice_is_called_wrong_in_words(frozen_alone):
    rows = [row("a", right(0.6), 1.0, recommended=True), row("b", right(0.9), 100.0)]
    found = judged(rows)
    comparison = replace(
        frozen_alone,
        rows=(rows[1], rows[0]),
        winner=rows[1],
        preferred=rows[found.preferred],
        recommended=rows[0],
        regret=found.regret,
        gaps=(found.gaps[1], found.gaps[0]),
    )
    assert comparison.verdict == "wrong"
    assert comparison.sentence.startswith("The advice, a, was wrong by 30.0 points")
    assert [each.label for each in comparison.ties] == ["b"]
    assert comparison.sentence in printed(comparison)


def test_it_is_plain_data(fine_tuned, frozen_alone):
    for comparison in (fine_tuned[0], frozen_alone):
        told = json.loads(json.dumps(comparison.to_dict(), allow_nan=False))
        assert told["verdict"] == comparison.verdict
        assert len(told["rows"]) == len(comparison.rows)
        assert told["rows"][0]["accuracy"] == comparison.rows[0].accuracy


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_it_can_be_drawn_and_the_same_comparison_gives_the_same_file(fine_tuned, tmp_path, suffix):
    pytest.importorskip("matplotlib")
    comparison, _ = fine_tuned
    for name in ("one", "two"):
        comparison.save_plot(tmp_path / f"{name}{suffix}")
    first = (tmp_path / f"one{suffix}").read_bytes()
    assert first == (tmp_path / f"two{suffix}").read_bytes()
    assert first.startswith({".png": b"\x89PNG", ".svg": b"<?xml"}[suffix])
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"one{suffix}", f"two{suffix}"]


def test_names_in_the_picture_never_overlap():
    from recommender.comparison.plot import _apart

    placed = _apart([0.9, 0.9, 0.89, 0.5, 0.02, 0.01, 0.0], 0.05)
    assert all(upper - lower >= 0.05 - 1e-9 for upper, lower in itertools.pairwise(placed))
    assert placed[-1] >= 0.0
    assert placed[0] <= 1.0


def test_without_matplotlib_it_is_told_what_to_install(frozen_alone, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(RecommendError, match=r"pip install 'netgraft\[plot\]'"):
        frozen_alone.save_plot(tmp_path / "plot.png")


def test_a_picture_of_unknown_kind_is_refused(frozen_alone, tmp_path):
    with pytest.raises(RecommendError, match=r"\.png, \.svg, \.pdf"):
        frozen_alone.save_plot(tmp_path / "plot.gif")


# --- what is refused


@pytest.mark.parametrize(
    "said",
    [{"budget": 0}, {"budget": float("nan")}, {"budget": float("inf")}, {"seed": -1}, {"augmentation": ["turn"]}],
)
def test_what_is_out_of_range_is_refused_in_one_line(found, said):
    with pytest.raises(RecommendError, match=r"^Expected .* Received: .*\.$") as error:
        compare(found, **said)
    assert "\n" not in str(error.value)


def test_data_of_which_nothing_can_be_held_out_is_refused(tmp_path):
    found = recommend(write_images(tmp_path / "few", {"temple": 1, "flower": 1}), input_size=SIZE)
    with pytest.raises(RecommendError, match="images to judge by"):
        compare(found, budget=5.0)
