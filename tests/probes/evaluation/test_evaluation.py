"""How well predictions do, whether others do better, and what the best of several is worth."""

import numpy as np
import pytest
from scipy.stats import binomtest
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, log_loss, precision_recall_fscore_support

from probes.errors import ProbeError
from probes.evaluation.evaluation import cross_chosen, evaluate, paired_gain, parts_of, wilson


@pytest.fixture(scope="module")
def digits():
    """Probabilities and labels of digits that a weak classifier was not fitted on."""
    features, labels = load_digits(return_X_y=True)
    classifier = LogisticRegression(C=1e-4).fit(features[:300], labels[:300])
    return classifier.predict_proba(features[300:]), labels[300:]


def test_an_evaluation_agrees_with_scikit_learn(digits):
    probabilities, labels = digits
    predicted = probabilities.argmax(1)
    found = evaluate(probabilities, labels)
    precision, recall, _, support = precision_recall_fscore_support(labels, predicted)
    assert found.n == len(labels)
    assert found.accuracy == pytest.approx((predicted == labels).mean())
    assert found.interval[0] < found.accuracy < found.interval[1]
    assert found.balanced_accuracy == pytest.approx(balanced_accuracy_score(labels, predicted))
    assert found.confusion.tolist() == confusion_matrix(labels, predicted).tolist()
    assert found.precision == pytest.approx(precision)
    assert found.recall == pytest.approx(recall)
    assert found.support.tolist() == support.tolist()
    assert found.log_loss == pytest.approx(log_loss(labels, probabilities))


def test_a_weighted_evaluation_agrees_with_scikit_learn(digits):
    probabilities, labels = digits
    predicted, weights = probabilities.argmax(1), 1.0 + labels
    found = evaluate(probabilities, labels, weights)
    precision, recall, _, _ = precision_recall_fscore_support(labels, predicted, sample_weight=weights)
    assert found.accuracy == pytest.approx(np.average(predicted == labels, weights=weights))
    assert found.precision == pytest.approx(precision)
    assert found.recall == pytest.approx(recall)
    assert found.log_loss == pytest.approx(log_loss(labels, probabilities, sample_weight=weights))
    assert found.confusion.tolist() == confusion_matrix(labels, predicted).tolist()


def test_the_size_of_the_weights_does_not_matter_but_their_spread_widens_the_interval(digits):
    probabilities, labels = digits
    plain, tripled = evaluate(probabilities, labels), evaluate(probabilities, labels, np.full(len(labels), 3.0))
    uneven = evaluate(probabilities, labels, np.where(np.arange(len(labels)) % 10, 0.01, 1.0))
    assert tripled.interval == pytest.approx(plain.interval)
    assert np.diff(uneven.interval) > 2 * np.diff(plain.interval)


def test_a_class_without_images_or_predictions_is_undefined_and_left_out_of_the_mean():
    found = evaluate([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1]], [0, 0])
    assert found.recall == pytest.approx([0.5, np.nan, np.nan], nan_ok=True)
    assert found.precision == pytest.approx([1.0, 0.0, np.nan], nan_ok=True)
    assert found.balanced_accuracy == 0.5
    assert found.support.tolist() == [2, 0, 0]


def test_a_probability_of_zero_for_the_true_class_costs_a_finite_loss():
    assert np.isfinite(evaluate([[1.0, 0.0]], [1]).log_loss)


@pytest.mark.parametrize(
    ("probabilities", "labels", "weights"),
    [
        (np.empty((0, 3)), [], None),
        (np.ones((2, 3)), [0], None),
        (np.ones(3), [0, 1, 2], None),
        (np.ones((2, 3)), [0, 3], None),
        (np.ones((2, 3)), [0, -1], None),
        (np.full((2, 3), np.nan), [0, 1], None),
        (np.ones((2, 3)), [0, 1], [0, 0]),
        (np.ones((2, 3)), [0, 1], [1, -1]),
        (np.ones((2, 3)), [0, 1], [1]),
    ],
)
def test_what_can_not_be_evaluated_is_told_in_one_line(probabilities, labels, weights):
    with pytest.raises(ProbeError, match=r"^Expected .+\. Received: .+\. .+\.$"):
        evaluate(probabilities, labels, weights)


@pytest.mark.parametrize(("right", "n"), [(0, 5), (3, 5), (44, 44), (180, 200)])
def test_wilson_intervals_are_those_of_scipy(right, n):
    expected = binomtest(right, n).proportion_ci(0.95, method="wilson")
    assert wilson(right, n) == pytest.approx((expected.low, expected.high), abs=1e-9)


def test_wilson_intervals_are_the_published_ones():
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)  # Newcombe 1998, table I
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(29, 29) == pytest.approx((0.8830, 1.0), abs=5e-5)


def test_of_no_images_nothing_is_known():
    assert wilson(0, 0) == (0.0, 1.0)


def judged_twice(rng, n_images, lost, gained):
    """Pairs of which these shares are right under a alone, and under b alone."""
    place = rng.random(n_images)
    both = place > 0.5
    return both | (place < lost), both | ((place >= lost) & (place < lost + gained))


def test_the_paired_interval_is_that_of_bonett_and_price():
    first = np.repeat([True, False, True, False], [6, 3, 1, 0])
    second = np.repeat([True, True, False, False], [6, 3, 1, 0])
    found = paired_gain(first, second)
    lost, gained = 2 / 12, 4 / 12
    half = 1.959964 * np.sqrt((lost + gained - (gained - lost) ** 2) / 12)
    assert found.difference == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((gained - lost - half, gained - lost + half))


@pytest.mark.parametrize(("n_images", "lost", "gained"), [(30, 0.05, 0.05), (50, 0.02, 0.1), (400, 0.1, 0.15)])
def test_the_paired_interval_holds_the_true_gain_as_often_as_it_says(n_images, lost, gained):
    rng = np.random.default_rng(0)
    found = [paired_gain(*judged_twice(rng, n_images, lost, gained)) for _ in range(1000)]
    assert np.mean([each.low <= gained - lost <= each.high for each in found]) >= 0.94


@pytest.mark.parametrize(("n_groups", "alike"), [(20, 1.0), (40, 0.5), (40, 0.0)])
def test_the_interval_holds_for_images_that_come_in_groups(n_groups, alike):
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(n_groups), 5)
    held = []
    for _ in range(1000):
        shared = np.repeat(rng.random(n_groups) < alike, 5)
        place = np.where(shared, np.repeat(rng.random(n_groups), 5), rng.random(5 * n_groups))
        found = paired_gain((place > 0.5) | (place < 0.1), (place > 0.4), groups)
        held.append(found.tie)
    assert np.mean(held) >= 0.94


def test_copies_tell_no_more_than_their_originals():
    first, second = judged_twice(np.random.default_rng(0), 60, 0.05, 0.2)
    copies = np.repeat(np.arange(60), 4)
    original = paired_gain(first, second)
    grouped, alone = (paired_gain(first[copies], second[copies], groups) for groups in (copies, None))
    assert grouped.difference == original.difference
    assert (grouped.low, grouped.high) == pytest.approx((original.low, original.high), abs=0.01)
    assert alone.low > original.low


def test_groups_of_one_image_change_nothing():
    first, second = judged_twice(np.random.default_rng(0), 60, 0.05, 0.2)
    alone, grouped = paired_gain(first, second), paired_gain(first, second, np.arange(60))
    assert (alone.low, alone.high) == (grouped.low, grouped.high)


def test_images_that_all_agree_are_a_tie_with_room_on_both_sides():
    found = paired_gain(np.ones(40, bool), np.ones(40, bool))
    assert found.tie
    assert not found.clear
    assert found.low < 0 < found.high
    in_one_group = paired_gain(np.ones(40, bool), np.ones(40, bool), np.zeros(40, int))
    assert in_one_group.high > 5 * found.high


def test_a_clear_gain_is_clear_and_its_opposite_is_neither_clear_nor_a_tie():
    worse, better = np.repeat([True, False], [50, 50]), np.repeat([True, False], [80, 20])
    assert paired_gain(worse, better).clear
    assert not paired_gain(worse, better).tie
    assert not paired_gain(better, worse).clear
    assert not paired_gain(better, worse).tie


@pytest.mark.parametrize(("first", "second"), [([], []), ([True], [True, False])])
def test_images_that_were_not_judged_twice_are_told(first, second):
    with pytest.raises(ProbeError, match=r"^Expected .+\. Received: .+\. .+\.$"):
        paired_gain(first, second)


def test_the_best_of_twenty_checks_of_pure_noise_looks_better_than_it_is_and_cross_chosen_does_not():
    rng = np.random.default_rng(0)
    naive, honest, held = [], [], []
    for seed in range(200):
        correct = rng.random((20, 100)) < 0.7
        found = cross_chosen(correct, seed=seed)
        naive.append(correct.mean(1).max())
        honest.append(found.accuracy)
        held.append(found.interval[0] <= 0.7 <= found.interval[1])
    assert np.mean(naive) > 0.77
    assert np.mean(honest) == pytest.approx(0.7, abs=0.01)
    assert np.mean(held) >= 0.92


def test_checks_that_differ_are_judged_a_little_low_and_not_high():
    rng, true = np.random.default_rng(0), np.linspace(0.6, 0.8, 20)
    error, held = [], []
    for seed in range(200):
        shared = rng.random(200)
        place = np.where(rng.random((20, 200)) < 0.7, shared, rng.random((20, 200)))
        found = cross_chosen(place < true[:, None], seed=seed)
        error.append(found.accuracy - true[found.index])
        held.append(found.interval[0] <= true[found.index] <= found.interval[1])
    assert -0.015 < np.mean(error) < 0.003
    assert np.mean(held) >= 0.9


def test_a_check_that_is_better_by_far_is_chosen_everywhere():
    correct = np.array([[True, False] * 20, [True] * 40, [False] * 40])
    found = cross_chosen(correct)
    assert found.index == 1
    assert found.accuracy == 1.0
    assert found.correct.tolist() == [True] * 40


def test_the_start_is_kept_where_nothing_is_better_and_the_last_if_that_is_asked():
    correct = np.ones((4, 30), bool)
    assert cross_chosen(correct).index == 0
    assert cross_chosen(correct, prefer_first=False).index == 3


def test_one_check_is_judged_as_it_is():
    correct = np.random.default_rng(0).random((1, 50)) < 0.6
    found = cross_chosen(correct)
    assert found.correct.tolist() == correct[0].tolist()
    assert found.interval == wilson(correct.sum(), 50)


def test_a_check_that_is_good_on_one_group_alone_is_not_trusted_by_it():
    groups = np.repeat([0, 1], 20)
    correct = np.array([np.tile([True, False], 20), groups == 0])  # the second is all right in group 0, all wrong in 1
    assert cross_chosen(correct, groups=groups).accuracy == 0.25


def test_images_of_a_single_group_are_judged_by_the_start():
    correct = np.array([[False] * 10, [True] * 10])
    found = cross_chosen(correct, groups=np.zeros(10))
    assert (found.index, found.accuracy) == (1, 0.0)
    assert np.diff(found.interval) > 0.7


def test_weights_decide_which_check_is_best():
    correct = np.array([np.arange(40) < 25, np.arange(40) >= 25])
    assert cross_chosen(correct).index == 0
    assert cross_chosen(correct, weights=np.where(np.arange(40) < 25, 1.0, 5.0)).index == 1


def test_the_same_seed_gives_the_same_choice():
    correct = np.random.default_rng(0).random((5, 60)) < 0.6
    first, again = cross_chosen(correct, seed=3), cross_chosen(correct, seed=3)
    assert first.correct.tolist() == again.correct.tolist()


@pytest.mark.parametrize("shape", [(0, 5), (5, 0), (5,)])
def test_no_checks_or_no_images_are_told(shape):
    with pytest.raises(ProbeError, match=r"^Expected .+\. Received: .+\. .+\.$"):
        cross_chosen(np.ones(shape, bool))


def test_parts_keep_groups_whole_and_spread_classes():
    labels = np.repeat([0, 1, 2], [40, 20, 20])
    groups = np.repeat(np.arange(40), 2)
    parts = parts_of(80, seed=0, folds=5, groups=groups, labels=labels)
    assert (parts[::2] == parts[1::2]).all()
    for part in range(5):
        assert np.bincount(labels[parts == part]).tolist() == [8, 4, 4]
    renamed = parts_of(80, seed=0, folds=5, groups=100 - groups, labels=labels)
    assert renamed.tolist() == parts.tolist()
