"""Fine-tuning is better only where held-out images show it beyond chance."""

import numpy as np
import pytest

from probes.data.splits import Rows
from recommender.fit.gate import SHARES, weigh


def predictions(labels, skills, seed=0, copies=1):
    """Probabilities of three classes at each share: the label's logit is higher by the share's skill."""
    rng = np.random.default_rng(seed)
    luck = np.repeat(rng.normal(0, 1, (len(labels) // copies, 3)), copies, axis=0)
    own = np.repeat(rng.normal(0, 0.7, (len(skills), len(labels) // copies, 3)), copies, axis=1)
    logits = luck + own + np.asarray(skills)[:, None, None] * np.eye(3)[labels]
    shares = np.exp(logits)
    return shares / shares.sum(2, keepdims=True)


def weighed(skills, n=60, copies=1, seed=0, **options):
    labels = np.repeat(np.arange(n // copies) % 3, copies)
    rows = Rows.of(labels, np.arange(n) // copies)
    return weigh(predictions(labels, skills, seed, copies), rows, seed, **options)


def test_a_large_gain_is_sure_and_a_large_loss_is_surely_worse():
    better, worse = weighed([1, 2, 3, 4, 5]), weighed([4, 1, 1, 1, 0])
    assert (better.sure, better.worse) == (True, False)
    assert (worse.sure, worse.worse) == (False, True)
    assert better.gain.difference > 0 > worse.gain.difference


def test_the_best_share_has_the_lowest_log_loss_and_its_probabilities():
    found = weighed([1, 2, 5, 2, 1], n=300)
    assert (found.best, found.share) == (2, SHARES[2])
    labels = np.arange(300) % 3
    np.testing.assert_allclose(found.probabilities, predictions(labels, [1, 2, 5, 2, 1])[2])


def test_each_image_is_judged_at_the_share_that_others_choose():
    found = weighed([1, 3, 3, 3, 3], n=90)
    labels = np.arange(90) % 3
    assert (found.judged.argmax(1) == labels).mean() == pytest.approx(found.chosen.accuracy)
    assert found.chosen.accuracy <= (found.probabilities.argmax(1) == labels).mean() + 0.1


@pytest.mark.parametrize("copies", [1, 5])
def test_equal_models_seldom_pass_also_where_images_come_in_groups(copies):
    """One-sided 95 % in either of two measures."""
    passed = [weighed([2] * 5, n=60 * copies, copies=copies, seed=seed).sure for seed in range(40)]
    assert np.mean(passed) <= 0.2


def test_a_training_that_diverged_is_surely_worse():
    labels = np.arange(60) % 3
    values = predictions(labels, [3] * 5)
    values[1:] = np.nan
    found = weigh(values, Rows.of(labels), 0)
    assert (found.sure, found.worse) == (False, True)
    assert np.isfinite(found.probabilities).all()


def test_a_few_lucky_images_are_no_evidence():
    labels = np.arange(12) % 3
    start = np.full((12, 3), 0.3) + 0.1 * np.eye(3)[labels]
    start[0] = start[0][[1, 0, 2]]
    tuned = np.full((12, 3), 0.3) + 0.1 * np.eye(3)[labels]
    found = weigh(np.stack([start, *[tuned] * 4]), Rows.of(labels), 0)
    assert found.gain.difference == pytest.approx(1 / 12)
    assert not found.sure


def test_where_classes_have_the_same_weight_a_rare_class_counts_as_much_as_a_frequent_one():
    labels = np.repeat([0, 1], [90, 10])
    wrong, right = np.array([[0.2, 0.8], [0.8, 0.2]]), np.array([[0.8, 0.2], [0.2, 0.8]])
    start, tuned = right[labels], right[labels]
    start = np.where((labels == 1)[:, None], wrong[labels], start)  # the rare class is wrong at the start
    tuned = np.where((np.arange(100) < 20)[:, None], wrong[labels], tuned)  # and 20 of the frequent one at the end
    plain, balanced = (
        weigh(np.stack([start, *[tuned] * 4]), Rows.of(labels), 0, balanced=balanced) for balanced in (False, True)
    )
    assert plain.gain.difference == pytest.approx(-0.1)
    assert balanced.gain.difference == pytest.approx((1 - 20 / 90) / 2)
    assert balanced.sure
    assert not plain.sure
