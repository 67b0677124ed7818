"""The rule engine: pure, and always in one of the four scenarios."""

import json
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.rules import cut_rule, thresholds
from recommender.rules import scenario_rule as rules
from recommender.rules.outcomes import Task, Trial, images_needed, outcomes
from recommender.rules.plan import plan_strategy, similarity_of
from recommender.rules.scenario import Amount, Scenario, Similarity

DEPTHS = (0.1, 0.3, 0.5, 0.73, 0.8, 0.9, 1.0)
PHOTOGRAPHS = Task(
    n_images=60,
    n_classes=2,
    images_per_class=30,
    excess_drift=0.01,
    similarity=Similarity.SIMILAR,
    accuracy=0.93,
    n_judged=60,
    fitted_share=0.8,
    cut_gain=-0.02,
    cut_gain_error=0.02,
)
CLOSE = replace(PHOTOGRAPHS, accuracy=0.88, n_images=120, images_per_class=60, n_judged=120, cut_gain_error=0.05)
STROKES = replace(PHOTOGRAPHS, excess_drift=0.3, similarity=Similarity.DISSIMILAR, accuracy=0.9, cut_gain=0.04)
MANY = {"n_images": 20_000, "images_per_class": 2_000, "n_judged": 1000}
SHARES = st.floats(0, 1)
TASKS = st.builds(
    Task,
    n_images=st.integers(1, 10**8),
    n_classes=st.integers(1, 10**5),
    images_per_class=st.floats(1, 10**8),
    excess_drift=st.none() | st.floats(-0.1, 5),
    similarity=st.sampled_from(Similarity),
    accuracy=st.none() | SHARES,
    n_judged=st.floats(1, 1000),
    fitted_share=st.floats(0.5, 1),
    cut_gain=st.none() | st.floats(-1, 1),
    cut_gain_error=st.floats(0.001, 1),
)


def verdict(task, forced=None):
    return rules.decide(task, forced=forced)


@pytest.mark.parametrize(
    ("number", "scenario", "amount", "similarity"),
    [
        (1, Scenario.LINEAR_PROBE, Amount.LIMITED, Similarity.SIMILAR),
        (2, Scenario.PARTIAL_FINE_TUNE, Amount.PLENTIFUL, Similarity.SIMILAR),
        (3, Scenario.FULL_FINE_TUNE, Amount.PLENTIFUL, Similarity.DISSIMILAR),
        (4, Scenario.SHALLOW_FEATURES, Amount.LIMITED, Similarity.DISSIMILAR),
    ],
)
def test_the_four_scenarios_are_the_textbooks(number, scenario, amount, similarity):
    assert (scenario.id, scenario.amount, scenario.similarity) == (number, amount, similarity)
    assert Scenario.numbered(number) is Scenario.of(amount, similarity) is scenario
    assert scenario.fine_tunes == (amount is Amount.PLENTIFUL)


def test_few_photographs_are_frozen_whole():
    assert verdict(PHOTOGRAPHS).scenario is Scenario.LINEAR_PROBE


def test_few_images_unlike_the_source_are_cut_where_that_leaves_little_to_gain_by_training():
    few = replace(STROKES, n_images=20, images_per_class=10, accuracy=0.98, n_judged=500)
    assert verdict(few).scenario is Scenario.SHALLOW_FEATURES


@pytest.mark.parametrize("task", [PHOTOGRAPHS, STROKES])
def test_plentiful_images_are_fine_tuned_and_the_answer_is_sure_of_it(task):
    found = verdict(replace(task, **MANY))
    assert found.scenario.fine_tunes
    frozen = found.outcomes.chance(Scenario.LINEAR_PROBE, thresholds.NEARLY_BEST)
    assert found.confidence > frozen


def test_training_is_not_expected_to_make_something_of_noise():
    noise = replace(
        STROKES, n_images=6000, n_classes=3000, images_per_class=2, accuracy=0.006, n_judged=1000, cut_gain=0
    )
    assert all(outcomes(noise).expected(scenario) < 0.1 for scenario in outcomes(noise).scenarios)


def test_an_accuracy_below_chance_counts_as_chance():
    few = replace(PHOTOGRAPHS, n_images=4, images_per_class=2, n_judged=4)
    assert outcomes(replace(few, accuracy=0.0)).expected(Scenario.LINEAR_PROBE) == pytest.approx(
        outcomes(replace(few, accuracy=0.5)).expected(Scenario.LINEAR_PROBE)
    )


def test_a_frozen_model_without_an_error_leaves_nothing_to_gain():
    assert not verdict(replace(STROKES, accuracy=1.0, n_judged=1000, cut_gain=0.0)).scenario.fine_tunes


@settings(max_examples=50)
@given(TASKS, st.sampled_from([None, *Scenario]))
def test_every_measurement_has_a_scenario_another_runner_up_and_a_confidence(task, forced):
    found, ruled = verdict(task, forced), verdict(task).scenario
    assert found.scenario is (forced or ruled)
    assert found.overridden is (None if found.scenario is ruled else ruled)
    assert found.settled == (forced is not None)
    assert found.runner_up is not found.scenario
    assert 0 <= found.confidence <= 1
    assert found.close == (found.confidence < thresholds.CLOSE_CALL)
    assert found.images_needed > 0
    for scenario in found.outcomes.scenarios:
        low, high = found.outcomes.interval(scenario)
        assert 0 <= low <= high <= 1
        assert 0 <= found.outcomes.expected(scenario) <= 1
    assert verdict(task, forced) == found


@settings(max_examples=50)
@given(TASKS, st.integers(2, 100))
def test_more_images_never_make_fine_tuning_less_likely_to_pay(task, times):
    more = replace(task, n_images=task.n_images * times, images_per_class=task.images_per_class * times)
    less_gained, gained = (_gain(outcomes(each)) for each in (task, more))
    assert gained >= less_gained - 1e-3  # the uncertainty of the coefficients grows with the distance
    if 1 < images_needed(task) < 1e5 and task.n_images < 1e4:  # no limit was reached
        assert images_needed(more) == pytest.approx(images_needed(task), rel=1e-6)


def _gain(found):
    return np.median(found.draws[found.scenarios.index(Scenario.FULL_FINE_TUNE)]) - np.median(found.draws[0])


def test_the_evidence_of_many_images_moves_the_answer_and_that_of_few_does_not():
    assert verdict(replace(PHOTOGRAPHS, cut_gain=0.1, cut_gain_error=0.01)).scenario is Scenario.SHALLOW_FEATURES
    assert verdict(replace(PHOTOGRAPHS, cut_gain=0.1, cut_gain_error=0.2)).scenario is Scenario.LINEAR_PROBE


def test_an_answer_on_more_images_is_surer():
    sure, unsure = (verdict(replace(PHOTOGRAPHS, accuracy=0.99, n_judged=n)).confidence for n in (1000, 20))
    assert sure > unsure


def test_fine_tuning_that_is_too_close_to_call_is_the_rival_unless_the_user_or_a_trial_chose():
    found = verdict(CLOSE)
    assert found.close
    assert not found.scenario.fine_tunes
    assert found.rival.fine_tunes
    assert verdict(CLOSE, forced=found.scenario).rival is None
    tried = found.with_scenario(found.rival, by_trial=True)
    assert (tried.scenario, tried.rival, tried.overridden) == (found.rival, None, None)
    assert found.with_scenario(found.rival).overridden is found.scenario
    assert verdict(replace(CLOSE, accuracy=1.0, n_judged=1000)).rival is None


def test_of_too_few_images_a_trial_is_not_made():
    few, enough = (verdict(replace(CLOSE, n_judged=n)) for n in (thresholds.TRIAL_IMAGES - 1, thresholds.TRIAL_IMAGES))
    assert few.undecided
    assert enough.undecided
    assert (few.may_be_tried, few.rival) == (False, None)
    assert enough.may_be_tried


def tried(task, gain, error):
    found = verdict(task)
    trial = Trial(
        scenario=found.best_tuned,
        frozen=0.8,
        tuned=0.8 + gain,
        gain=gain,
        interval=(gain - 1.64 * error, gain + 1.64 * error),
        standard_error=error,
        n_images=100,
        seconds=80.0,
    )
    return found.with_trial(trial)


def test_a_trial_settles_what_is_too_close_to_call():
    assert verdict(CLOSE).may_be_tried
    better, worse = tried(CLOSE, 0.1, 0.02), tried(CLOSE, -0.1, 0.02)
    assert better.scenario.fine_tunes
    assert not worse.scenario.fine_tunes
    assert min(better.confidence, worse.confidence) > verdict(CLOSE).confidence


def test_after_a_trial_nothing_is_tried_again():
    unclear = tried(CLOSE, -0.01, 0.1)
    assert unclear.close
    assert verdict(CLOSE).rival is not None
    assert (unclear.may_be_tried, unclear.rival) == (False, None)


@settings(max_examples=25)
@given(TASKS, st.floats(-1, 1), st.floats(0, 0.5))
def test_any_trial_leaves_an_answer_with_a_confidence(task, gain, error):
    found = tried(task, gain, error)
    assert 0 <= found.confidence <= 1
    assert found.runner_up is not found.scenario
    assert found.with_scenario(Scenario.LINEAR_PROBE).trial == found.trial


def test_a_trial_of_few_images_says_less_than_one_of_many():
    before, few, many = verdict(CLOSE), tried(CLOSE, 0.1, 0.1), tried(CLOSE, 0.1, 0.02)
    gains = [each.outcomes.expected(before.best_tuned) for each in (before, few, many)]
    assert gains == sorted(gains)


def test_a_loss_that_nobody_expected_overrules_what_was_expected():
    before, after = verdict(STROKES), tried(STROKES, -0.6, 0.2)
    assert before.scenario.fine_tunes
    assert before.outcomes.surprised(before.best_tuned, -0.6, 0.2)
    assert not before.outcomes.surprised(before.best_tuned, 0.02, 0.2)
    assert before.outcomes.chance_after(before.best_tuned, -0.6, 0.2) < 0.1
    assert not after.scenario.fine_tunes


@settings(max_examples=50)
@given(TASKS, SHARES, st.floats(0, 10**6))
def test_the_more_images_show_an_accuracy_the_less_counts_what_was_expected(task, shown, n_images):
    found = outcomes(task)
    for scenario in found.scenarios:
        (few, of_none), (reported, (low, high)), (many, _) = (
            found.accuracy_after(scenario, shown, n) for n in (0, n_images, 10**12)
        )
        assert 0 <= low <= high <= 1
        assert low - 0.01 <= reported <= high + 0.01
        assert of_none[0] - 0.01 <= few <= of_none[1] + 0.01
        assert many == pytest.approx(shown, abs=1e-2)


def test_more_trials_are_worth_their_time_where_the_first_is_unclear_and_not_where_it_is_clear():
    task = replace(CLOSE, accuracy=0.7, n_images=60, n_judged=60, images_per_class=30)
    found, tuned = outcomes(task), verdict(task).best_tuned
    unclear, clear = (found.worth_of_trials(tuned, gain, 0.05, less=1 / 3) for gain in (-0.02, 0.2))
    assert unclear > thresholds.WORTH_ITS_COST > clear >= 0


def test_a_network_that_can_not_be_cut_is_used_whole_where_the_user_asks_for_a_cut():
    whole = replace(STROKES, cut_gain=None)
    assert verdict(whole).scenario is not Scenario.SHALLOW_FEATURES
    forced = verdict(whole, Scenario.SHALLOW_FEATURES)
    assert forced.outcomes.expected(Scenario.SHALLOW_FEATURES) == forced.outcomes.expected(Scenario.LINEAR_PROBE)


def hits(accuracies, n_images=200, seed=0):
    """Whether each image is right at each cut, with the same luck for an image at all cuts."""
    luck = np.random.default_rng(seed).random(n_images)
    return luck < np.asarray(accuracies)[:, None]


def choose(accuracies, prior=0.73, n_images=200, **more):
    return cut_rule.choose_cut(DEPTHS, hits(accuracies, n_images), prior_depth=prior, **more)


def test_without_evidence_the_rules_own_cut_stays():
    choice = cut_rule.choose_cut(DEPTHS, [()] * len(DEPTHS), prior_depth=0.73)
    assert (choice.index, choice.prior, choice.gain) == (3, 3, None)


@settings(max_examples=50)
@given(st.lists(st.floats(0, 1), min_size=7, max_size=7), st.sampled_from(DEPTHS), st.integers(1, 7))
def test_the_choice_is_allowed_and_beats_the_rules_own_by_its_caution(accuracies, prior, allowed):
    choice = choose(accuracies, prior=prior, candidates=range(allowed))
    assert choice.index < allowed
    assert choice.gain >= cut_rule.caution(choice.index, choice.prior) * choice.gain_error
    if choice.index == choice.prior:
        assert choice.gain == choice.gain_error == 0


def test_equal_cuts_leave_the_rules_own():
    assert choose([0.8] * 7).index == 3


def test_a_much_better_cut_is_taken():
    choice = choose([0.5, 0.9, 0.6, 0.6, 0.6, 0.6, 0.6])
    assert DEPTHS[choice.index] == 0.3
    assert choice.gain > choice.gain_error > 0


def test_the_same_gain_on_fewer_images_is_not_enough():
    accuracies = [0.5, 0.66, 0.5, 0.6, 0.5, 0.5, 0.5]
    assert choose(accuracies, n_images=2000).index == 1
    assert choose(accuracies, n_images=12).index == 3


def test_an_earlier_cut_needs_stronger_evidence_than_a_later_one():
    accuracies = [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.53]
    assert choose(accuracies, prior=0.73).index == 6
    assert choose(accuracies[::-1], prior=0.73).index == 3


def test_the_cut_alone_is_read_only_if_it_is_clearly_better_on_the_same_images():
    better, worse = np.arange(100) < 90, np.arange(100) < 70
    assert cut_rule.alone_is_better(worse, better)
    assert not cut_rule.alone_is_better(better, worse)
    assert not cut_rule.alone_is_better(better, better)
    assert not cut_rule.alone_is_better(worse, better[:50])
    assert not cut_rule.alone_is_better((), ())


def test_images_of_a_group_count_as_little_as_they_tell():
    """Two hundred images in ten groups, alike within a group, show no more than ten images."""
    few = np.array([[1, 1, 0, 1, 1, 1, 1, 1, 1, 0], [0, 0, 1, 1, 1, 1, 1, 1, 1, 0]])
    many, groups = np.repeat(few, 20, axis=1), np.repeat(np.arange(10), 20)
    for hits_by_cut, of_image, shows in ((few, (), False), (many, groups, False), (many, (), True)):
        choice = cut_rule.choose_cut((0.5, 1.0), hits_by_cut, prior_depth=1.0, groups=of_image)
        assert (choice.index == 0) == shows
        assert cut_rule.alone_is_better(hits_by_cut[1], hits_by_cut[0], of_image) == shows


@given(st.integers(1, 10**8), st.integers(1, 10**8))
def test_more_images_never_mean_fewer_trainable_layers(one, other):
    few, many = sorted((one, other))
    assert cut_rule.freeze_index(DEPTHS, few) >= cut_rule.freeze_index(DEPTHS, many) >= 0
    assert cut_rule.freeze_index(DEPTHS, few) < len(DEPTHS) - 1  # something trains


@given(st.lists(st.integers(1, 3), min_size=1, max_size=9), st.data())
def test_a_head_reads_the_last_cut_point_of_each_run_of_one_shape_and_the_cut(shapes, data):
    shapes = [(size, size, 8) for size in shapes]
    cut = data.draw(st.integers(0, len(shapes) - 1))
    levels = cut_rule.head_levels(shapes, cut)
    assert levels == sorted(set(levels))
    assert levels[-1] == cut
    for index in range(cut):
        assert (index in levels) == (shapes[index] != shapes[index + 1])


CUTS = tuple(
    SimpleNamespace(layer=f"block{index}", depth=depth, shape=(8 >> index // 3, 8 >> index // 3, 16))
    for index, depth in enumerate(DEPTHS)
)


def measured(accuracies=(0.5,) * 7, n_images=200, similarity=None):
    per_cut = [SimpleNamespace(cut=cut.layer, correct=row) for cut, row in zip(CUTS, hits(accuracies), strict=True)]
    return SimpleNamespace(
        size=SimpleNamespace(n_images=n_images, n_classes=3),
        similarity=similarity,
        separability=SimpleNamespace(per_cut=per_cut, groups=()),
        input_size=96,
    )


@pytest.mark.parametrize(
    ("scenario", "cut", "freeze", "levels"),
    [
        (Scenario.LINEAR_PROBE, "block6", "block6", ("block2", "block5", "block6")),
        (Scenario.PARTIAL_FINE_TUNE, "block6", "block3", ("block2", "block5", "block6")),
        (Scenario.FULL_FINE_TUNE, "block6", None, ("block2", "block5", "block6")),
        (Scenario.SHALLOW_FEATURES, "block3", "block3", ("block2", "block3")),
    ],
)
def test_the_plan_of_a_scenario_without_clear_evidence_is_its_prior(scenario, cut, freeze, levels):
    plan = plan_strategy("net", CUTS, scenario, measured())
    assert (plan.strategy.cut, plan.strategy.freeze, plan.strategy.head.levels) == (cut, freeze, levels)
    assert plan.reading_the_cut_alone().strategy.head.levels == (cut,)


def test_shallow_features_always_cut_a_block_away_unless_the_network_can_not_be_cut():
    last_is_best = measured([0.1] * 6 + [1.0])
    plan = plan_strategy("net", CUTS, Scenario.SHALLOW_FEATURES, last_is_best)
    assert plan.strategy.cut_depth < 1
    whole = plan_strategy("net", CUTS[-1:], Scenario.SHALLOW_FEATURES, last_is_best)
    assert (whole.strategy.cut, whole.cut_choice) == ("block6", None)


@pytest.mark.parametrize(
    ("accuracies", "similarity"),
    [([0.9] * 7, Similarity.SIMILAR), ([0.5, 0.5, 0.95, 0.5, 0.5, 0.5, 0.5], Similarity.DISSIMILAR)],
)
def test_without_drift_images_are_dissimilar_if_an_earlier_cut_is_clearly_better(accuracies, similarity):
    assert similarity_of(measured(accuracies), CUTS) is similarity


@pytest.mark.parametrize(
    ("name", "per_class", "numbers"),
    [
        ("cats_dogs", 10, {1}),
        ("blood_cells_bccd", 160, {1}),
        ("fsdd_spectrograms", 40, {3}),
        ("magnetic_tile_defects", 160, {3}),
        ("mnist", 40, {3}),
        ("mnist", 160, {2, 3}),
        ("omniglot_alphabets", 40, {3}),
    ],
)
def test_clear_cases_of_the_benchmark_are_decided_as_they_came_out(name, per_class, numbers):
    lines = (Path(__file__).parents[3] / "benchmarks/results/regret.jsonl").read_text(encoding="utf-8").splitlines()
    place = {"set": name, "per_class": per_class, "seed": 0, "arm": "frozen"}
    row = next(row for row in map(json.loads, lines) if place.items() <= row.items())
    given = {"n_classes": row["n_classes"], **row["task"], "similarity": Similarity(row["task"]["similarity"])}
    found = verdict(Task(**given))
    assert found.scenario.id in numbers
    assert not found.close
