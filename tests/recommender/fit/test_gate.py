"""Fine-tuning is better only where held-out images show it beyond chance."""

import numpy as np
import pytest

from probes.data.splits import Rows
from recommender.fit.gate import weigh


def predictions(labels, skills, seed=0, copies=1):
    """Probabilities of three classes at start and end: the label's logit is higher by the skill of each."""
    rng = np.random.default_rng(seed)
    luck = np.repeat(rng.normal(0, 1, (len(labels) // copies, 3)), copies, axis=0)
    own = np.repeat(rng.normal(0, 0.7, (2, len(labels) // copies, 3)), copies, axis=1)
    logits = luck + own + np.asarray(skills)[:, None, None] * np.eye(3)[labels]
    shares = np.exp(logits)
    return shares / shares.sum(2, keepdims=True)


def weighed(start, end, n=60, copies=1, seed=0, **options):
    labels = np.repeat(np.arange(n // copies) % 3, copies)
    rows = Rows.of(labels, np.arange(n) // copies)
    return weigh(*predictions(labels, [start, end], seed, copies), rows, **options)


def test_a_large_gain_is_sure_and_a_large_loss_is_surely_worse():
    better, worse = weighed(1, 5), weighed(4, 1)
    assert (better.sure, better.worse) == (True, False)
    assert (worse.sure, worse.worse) == (False, True)
    assert better.gain.difference > 0 > worse.gain.difference


def test_the_fine_tuned_model_is_judged_by_its_own_predictions():
    found, labels = weighed(1, 5, n=300), np.arange(300) % 3
    end = predictions(labels, [1, 5])[1]
    np.testing.assert_allclose(found.probabilities, end)
    np.testing.assert_array_equal(found.correct, end.argmax(1) == labels)
    assert found.correct.mean() == pytest.approx(found.frozen + found.gain.difference)


@pytest.mark.parametrize("copies", [1, 5])
def test_equal_models_seldom_pass_also_where_images_come_in_groups(copies):
    """One-sided 95 % in either of two measures."""
    passed = [weighed(2, 2, n=60 * copies, copies=copies, seed=seed).sure for seed in range(40)]
    assert np.mean(passed) <= 0.2


def test_a_training_that_diverged_is_surely_worse():
    labels = np.arange(60) % 3
    start, _ = predictions(labels, [3, 3])
    found = weigh(start, np.full_like(start, np.nan), Rows.of(labels))
    assert (found.sure, found.worse) == (False, True)
    assert np.isfinite(found.probabilities).all()


def test_a_few_lucky_images_are_no_evidence():
    labels = np.arange(12) % 3
    start = np.full((12, 3), 0.3) + 0.1 * np.eye(3)[labels]
    start[0] = start[0][[1, 0, 2]]
    tuned = np.full((12, 3), 0.3) + 0.1 * np.eye(3)[labels]
    found = weigh(start, tuned, Rows.of(labels))
    assert found.gain.difference == pytest.approx(1 / 12)
    assert not found.sure


def test_where_classes_have_the_same_weight_a_rare_class_counts_as_much_as_a_frequent_one():
    labels = np.repeat([0, 1], [90, 10])
    wrong, right = np.array([[0.2, 0.8], [0.8, 0.2]]), np.array([[0.8, 0.2], [0.2, 0.8]])
    start, tuned = right[labels], right[labels]
    start = np.where((labels == 1)[:, None], wrong[labels], start)  # the rare class is wrong at the start
    tuned = np.where((np.arange(100) < 20)[:, None], wrong[labels], tuned)  # and 20 of the frequent one at the end
    plain, balanced = (weigh(start, tuned, Rows.of(labels), balanced=balanced) for balanced in (False, True))
    assert plain.gain.difference == pytest.approx(-0.1)
    assert balanced.gain.difference == pytest.approx((1 - 20 / 90) / 2)
    assert balanced.sure
    assert not plain.sure
