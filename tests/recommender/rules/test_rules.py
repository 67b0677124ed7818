"""The rule engine: pure, and always in one of the four scenarios."""

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.rules import cut_rule, thresholds
from recommender.rules import scenario_rule as rules
from recommender.rules.plan import plan_strategy, similarity_evidence
from recommender.rules.scenario import Amount, Scenario, Similarity

DEPTHS = (0.1, 0.3, 0.5, 0.73, 0.8, 0.9, 1.0)
IMAGES = st.integers(1, 10**8)
EXCESS = st.floats(-0.1, 5)


def verdict(n_images=200, images_per_class=100, excess=0.02, replicates=(), forced=None):
    score = float(2 ** (-excess / thresholds.DRIFT_THRESHOLD))
    return rules.choose_scenario(
        n_images=n_images,
        images_per_class=images_per_class,
        evidence=rules.similarity_by_drift(score, replicates, excess),
        forced=forced,
    )


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
    n_images = 200 if amount is Amount.LIMITED else 5000
    assert verdict(n_images, excess=0.02 if similarity is Similarity.SIMILAR else 0.3).scenario is scenario


@given(IMAGES, st.floats(1, 10**8), EXCESS, st.sampled_from([None, *Scenario]), st.lists(st.floats(0, 1), max_size=9))
def test_every_measurement_has_a_scenario_another_runner_up_and_a_confidence(
    n_images, images_per_class, excess, forced, replicates
):
    found = verdict(n_images, images_per_class, excess, replicates, forced)
    ruled = Scenario.of(rules.amount(n_images, images_per_class), found.similarity)
    assert found.scenario is (forced or ruled)
    assert found.overridden is (None if found.scenario is ruled else ruled)
    assert found.runner_up is not found.scenario
    assert 0 <= found.confidence <= 1


@given(IMAGES, st.floats(1, 10**8))
def test_plenty_needs_images_in_all_and_in_each_class(n_images, images_per_class):
    plenty = n_images >= 1000 and images_per_class >= 20
    assert (rules.amount(n_images, images_per_class) is Amount.PLENTIFUL) == plenty
    assert (rules.amount_margin(n_images, images_per_class) >= 1) == plenty


def test_margins_are_one_at_their_thresholds():
    assert rules.amount_margin(1000, 400) == rules.amount_margin(10_000, 20) == 1.0
    assert rules.amount_margin(10_000, 10) == 0.5
    assert rules.drift_margin(thresholds.DRIFT_THRESHOLD) == 1.0
    assert rules.drift_margin(-0.1) == 0.0


def test_confidence_is_the_share_of_resamples_that_agree():
    assert verdict(excess=0.02, replicates=[0.9, 0.9, 0.9, 0.1]).confidence == 0.75


def test_the_runner_up_lies_across_the_nearer_threshold():
    assert verdict(n_images=950, excess=0.001).runner_up is Scenario.PARTIAL_FINE_TUNE
    assert verdict(n_images=20, excess=0.099).runner_up is Scenario.SHALLOW_FEATURES


@pytest.mark.parametrize(
    ("n_images", "excess", "close"), [(1200, 0.001, True), (200, 0.095, True), (5000, 0.3, False), (200, 0.02, False)]
)
def test_a_margin_near_a_threshold_is_a_close_call(n_images, excess, close):
    assert verdict(n_images, excess=excess).close is close


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


@given(IMAGES, IMAGES)
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
    plan = plan_strategy("net", CUTS, verdict(forced=scenario), measured())
    assert (plan.strategy.cut, plan.strategy.freeze, plan.strategy.head.levels) == (cut, freeze, levels)
    assert plan.reading_the_cut_alone().strategy.head.levels == (cut,)


def test_shallow_features_always_cut_a_block_away_unless_the_network_can_not_be_cut():
    last_is_best = measured([0.1] * 6 + [1.0])
    plan = plan_strategy("net", CUTS, verdict(forced=Scenario.SHALLOW_FEATURES), last_is_best)
    assert plan.strategy.cut_depth < 1
    whole = plan_strategy("net", CUTS[-1:], verdict(forced=Scenario.SHALLOW_FEATURES), last_is_best)
    assert (whole.strategy.cut, whole.cut_choice) == ("block6", None)


@pytest.mark.parametrize(
    ("accuracies", "similarity"),
    [([0.9] * 7, Similarity.SIMILAR), ([0.5, 0.5, 0.95, 0.5, 0.5, 0.5, 0.5], Similarity.DISSIMILAR)],
)
def test_without_drift_images_are_dissimilar_if_an_earlier_cut_is_clearly_better(accuracies, similarity):
    evidence = similarity_evidence(measured(accuracies), CUTS, seed=0)
    assert (evidence.verdict, evidence.margin, evidence.trust) == (similarity, None, thresholds.CUTS_AGREEMENT)
    assert len(evidence.replicates) == thresholds.SIMILARITY_RESAMPLES
    found = rules.choose_scenario(n_images=200, images_per_class=50, evidence=evidence)
    assert found.close
    assert found.confidence <= thresholds.CUTS_AGREEMENT
