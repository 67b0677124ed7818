"""The rule engine: pure, and always in one of the four scenarios."""

import numpy as np
import pytest

from recommender.rules import cut_rule, thresholds
from recommender.rules import scenario_rule as rules
from recommender.rules.scenario import Amount, Scenario, Similarity

DEPTHS = (0.1, 0.3, 0.5, 0.73, 0.8, 0.9, 1.0)


def verdict(n_images=200, images_per_class=100, excess=0.02, replicates=(), forced=None):
    score = float(2 ** (-excess / thresholds.DRIFT_THRESHOLD))
    return rules.choose_scenario(
        n_images=n_images,
        images_per_class=images_per_class,
        evidence=rules.similarity_by_drift(score, replicates, excess),
        forced=forced,
    )


@pytest.mark.parametrize(
    ("n_images", "excess", "scenario"),
    [
        (200, 0.02, Scenario.LINEAR_PROBE),
        (5000, 0.02, Scenario.PARTIAL_FINE_TUNE),
        (5000, 0.30, Scenario.FULL_FINE_TUNE),
        (200, 0.30, Scenario.SHALLOW_FEATURES),
    ],
)
def test_the_table(n_images, excess, scenario):
    assert verdict(n_images, excess=excess).scenario is scenario


def test_ids_and_names_are_the_textbooks():
    assert [(scenario.id, scenario.name) for scenario in Scenario] == [
        (1, "LINEAR_PROBE"),
        (2, "PARTIAL_FINE_TUNE"),
        (3, "FULL_FINE_TUNE"),
        (4, "SHALLOW_FEATURES"),
    ]
    assert {(scenario.amount, scenario.similarity) for scenario in Scenario} == {
        (a, s) for a in Amount for s in Similarity
    }


def test_every_measurement_lands_in_one_of_the_four():
    rng = np.random.default_rng(0)
    for _ in range(300):
        n_images = int(10 ** rng.uniform(0, 7))
        found = verdict(n_images, rng.uniform(1, n_images), rng.uniform(-0.05, 3))
        assert found.scenario in Scenario
        assert found.runner_up in Scenario
        assert found.runner_up is not found.scenario


def test_plenty_needs_images_in_all_and_in_each_class():
    assert rules.amount(1000, 20) is Amount.PLENTIFUL
    assert rules.amount(999, 500) is Amount.LIMITED
    assert rules.amount(10_000, 1) is Amount.LIMITED


def test_the_amounts_margin_is_one_at_the_threshold():
    assert rules.amount_margin(1000, 400) == 1.0
    assert rules.amount_margin(10_000, 10) == 0.5


def test_confidence_is_the_share_of_resamples_that_agree():
    assert verdict(excess=0.02, replicates=[0.9, 0.9, 0.9, 0.1]).confidence == 0.75


def test_the_runner_up_lies_across_the_nearer_threshold():
    assert verdict(n_images=950, excess=0.001).runner_up is Scenario.PARTIAL_FINE_TUNE
    assert verdict(n_images=20, excess=0.099).runner_up is Scenario.SHALLOW_FEATURES


def test_the_user_overrides_the_choice_and_the_verdict_says_so():
    found = verdict(n_images=200, excess=0.02, replicates=[0.9, 0.1], forced=Scenario.FULL_FINE_TUNE)
    assert found.scenario is Scenario.FULL_FINE_TUNE
    assert found.overridden is Scenario.LINEAR_PROBE
    assert found.runner_up is Scenario.LINEAR_PROBE
    assert found.confidence == 0.0
    assert verdict(forced=Scenario.LINEAR_PROBE).overridden is None


@pytest.mark.parametrize(
    ("side", "size"), [(8, 96), (28, 96), (105, 96), (128, 128), (150, 160), (160, 160), (223, 224), (3000, 224)]
)
def test_the_input_size_follows_the_images(side, size):
    assert rules.input_size(side, 224) == size


def test_the_input_size_never_exceeds_the_native_one():
    assert rules.input_size(255, 260) == 256
    assert rules.input_size(260, 260) == 260
    assert rules.input_size(239, 240) == 224 or rules.input_size(239, 240) == 240


def hits(accuracies, n_images=200, seed=0):
    """Whether each image is right at each cut, with the same luck for an image at all cuts."""
    luck = np.random.default_rng(seed).random(n_images)
    return luck < np.asarray(accuracies)[:, None]


def choose(accuracies, prior=0.73, n_images=200, **more):
    return cut_rule.choose_cut(DEPTHS, hits(accuracies, n_images), prior_depth=prior, **more)


def test_without_evidence_the_rules_own_cut_stands():
    choice = cut_rule.choose_cut(DEPTHS, [()] * len(DEPTHS), prior_depth=0.73)
    assert (choice.index, choice.prior, choice.gain) == (3, 3, None)


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


def test_candidates_bound_the_choice():
    assert choose([0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.99], candidates=range(6)).index < 6
    assert choose([0.5] * 7, prior=1.0, candidates=range(6)).index == 5


def test_more_images_never_mean_fewer_trainable_layers():
    frozen = [cut_rule.freeze_index(DEPTHS, n) for n in (10, 999, 1000, 2000, 5000, 20_000, 10**5, 10**6, 10**9)]
    assert frozen == sorted(frozen, reverse=True)
    assert frozen[0] > frozen[-1]


def test_a_partial_fine_tune_trains_something_and_freezes_something():
    for n_images in (1, 1000, 10**9):
        assert 0 <= cut_rule.freeze_index(DEPTHS, n_images) < len(DEPTHS) - 1


def test_giving_up_more_of_the_network_needs_stronger_evidence():
    accuracies = [0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.53]
    assert choose(accuracies, prior=0.73).index == 6
    assert choose(accuracies[::-1], prior=0.73).index == 3


def test_a_head_reads_the_last_cut_point_of_each_shape_and_the_cut():
    shapes = [(48, 48, 8), (48, 48, 8), (24, 24, 16), (12, 12, 32), (12, 12, 32), (12, 12, 64), (6, 6, 64), (6, 6, 64)]
    assert cut_rule.head_levels(shapes, 6) == [1, 2, 4, 5, 6]
    assert cut_rule.head_levels(shapes, 4) == [1, 2, 4]
    assert cut_rule.head_levels(shapes, 0) == [0]


@pytest.mark.parametrize(
    ("n_images", "excess", "close"), [(1200, 0.001, True), (200, 0.095, True), (5000, 0.3, False), (200, 0.02, False)]
)
def test_a_margin_near_a_threshold_is_a_close_call(n_images, excess, close):
    assert verdict(n_images, excess=excess).close is close
