"""Intervals against SciPy, published numbers, and simulations of their coverage."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from probes.evaluation.intervals import (
    LEVEL,
    accuracy_interval,
    effective_size,
    paired_gain,
    wilson,
    z,
)


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_the_wilson_interval_is_that_of_scipy(sample):
    expected = binomtest(*sample).proportion_ci(LEVEL, method="wilson")
    assert wilson(*sample) == pytest.approx((expected.low, expected.high), abs=1e-9)


@pytest.mark.parametrize(
    ("correct", "n", "low", "high"),
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (29, 29, 0.8830, 1.0)],
)
def test_the_wilson_interval_is_the_published_one(correct, n, low, high):
    assert wilson(correct, n, 0.95) == pytest.approx((low, high), abs=5e-5)  # Newcombe 1998, table I


def test_the_interval_of_no_images_is_everything():
    assert wilson(0, 0) == (0.0, 1.0)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.booleans(), min_size=1, max_size=80))
def test_the_accuracy_interval_without_groups_is_wilson_s(correct):
    for groups in (None, np.arange(len(correct))):
        assert accuracy_interval(correct, groups) == pytest.approx(wilson(sum(correct), len(correct)))


def test_weighted_images_count_as_fewer():
    correct, weights = np.repeat([True, False], [30, 10]), np.repeat([1.0, 3.0], [30, 10])
    low, high = accuracy_interval(correct, weights=weights)
    assert (low, high) == pytest.approx(wilson(0.5 * 30, 30))  # (sum of weights)² / sum of weights² = 60² / 120


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 30), st.integers(1, 6), st.integers(0, 2**32))
def test_images_in_groups_count_as_no_more_than_they_are(n_groups, size, seed):
    rng = np.random.default_rng(seed)
    values, groups = rng.random(n_groups * size) < 0.6, np.repeat(np.arange(n_groups), size)
    assert 0 < effective_size(values, groups) <= n_groups * size + 1e-9


def test_copies_count_as_their_originals():
    originals = np.arange(40) < 30
    assert effective_size(np.repeat(originals, 5), np.repeat(np.arange(40), 5)) == pytest.approx(40, rel=0.03)
    assert effective_size(np.ones(10), np.zeros(10)) == pytest.approx(1)
    assert effective_size(np.ones(10), np.repeat([0, 1], 5)) == pytest.approx(2)


def judged_twice(rng, n_images, lost, gained):
    """Pairs of results of which these shares are right under a alone, and under b alone."""
    place = rng.random(n_images)
    both = place > 0.5
    return both | (place < lost), both | ((place >= lost) & (place < lost + gained))


def test_the_paired_interval_is_that_of_bonett_and_price():
    first = np.repeat([True, False, True, False], [6, 3, 1, 0])
    second = np.repeat([True, True, False, False], [6, 3, 1, 0])
    found = paired_gain(first, second)
    lost, gained = 2 / 12, 4 / 12
    half = z() * np.sqrt((lost + gained - (gained - lost) ** 2) / 12)
    assert found.difference == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((gained - lost - half, gained - lost + half))


@pytest.mark.slow
@pytest.mark.parametrize(("n_images", "lost", "gained"), [(30, 0.05, 0.05), (50, 0.02, 0.1), (400, 0.1, 0.15)])
def test_the_paired_interval_has_its_nominal_coverage(n_images, lost, gained):
    rng = np.random.default_rng(0)
    found = [paired_gain(*judged_twice(rng, n_images, lost, gained)) for _ in range(1000)]
    assert np.mean([each.low <= gained - lost <= each.high for each in found]) >= 0.89


@pytest.mark.slow
@pytest.mark.parametrize(("n_groups", "correlation"), [(20, 1.0), (40, 0.5), (40, 0.0)])
def test_the_paired_interval_has_its_nominal_coverage_for_correlated_groups(n_groups, correlation):
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(n_groups), 5)
    covered = []
    for _ in range(1000):
        shared = np.repeat(rng.random(n_groups) < correlation, 5)
        place = np.where(shared, np.repeat(rng.random(n_groups), 5), rng.random(5 * n_groups))
        found = paired_gain((place > 0.5) | (place < 0.1), (place > 0.4), groups)
        covered.append(found.low <= 0 <= found.high)
    assert np.mean(covered) >= 0.89


def test_copies_do_not_narrow_the_paired_interval():
    first, second = judged_twice(np.random.default_rng(0), 60, 0.05, 0.2)
    copies = np.repeat(np.arange(60), 4)
    original = paired_gain(first, second)
    grouped, alone = (paired_gain(first[copies], second[copies], groups) for groups in (copies, None))
    assert grouped.difference == original.difference
    assert (grouped.low, grouped.high) == pytest.approx((original.low, original.high), abs=0.01)
    assert alone.low > original.low


def test_equal_results_are_a_tie():
    found = paired_gain(np.ones(40, bool), np.ones(40, bool))
    assert not found.clear
    assert found.low < 0 < found.high
    assert paired_gain(np.ones(40, bool), np.ones(40, bool), np.zeros(40, int)).high > 5 * found.high


def test_a_clear_gain_is_clear_and_its_opposite_is_not():
    worse, better = np.repeat([True, False], [50, 50]), np.repeat([True, False], [80, 20])
    gain, loss = paired_gain(worse, better), paired_gain(better, worse)
    assert (gain.clear, loss.clear) == (True, False)
    assert loss.high < 0
