"""The best row, the preferred one, and an honest regret."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from strategies import right, row

from recommender.comparison.ranking import LIKE_COST, judge


def judged(rows):
    return judge(rows, seed=0, groups=None, labels=None)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000), n_rows=st.integers(1, 6), advice=st.integers(0, 7))
def test_the_winner_is_the_best_and_the_preferred_row_is_cheap_enough(seed, n_rows, advice):
    rng = np.random.default_rng(seed)
    rows = [
        row(str(number), rng.random(60) < rng.uniform(0.5, 1), rng.uniform(1, 20), recommended=number == advice)
        for number in range(n_rows)
    ]
    found = judged(rows)
    assert found.winner.accuracy == found.rows[0].accuracy == max(each.accuracy for each in rows)
    assert found.preferred.seconds <= found.winner.seconds * LIKE_COST
    assert (found.regret is None) == (found.recommended is None) == (advice >= n_rows)
    if found.winner is found.recommended:
        assert found.regret.difference == 0.0
        assert found.verdict == "right"
    elif found.regret is not None:
        assert found.regret == found.gaps[found.rows.index(found.recommended)]


def test_of_equals_the_advice_wins_though_another_is_cheaper():
    assert judged([row("b", right(0.9), 1.0), row("a", right(0.9), 10.0, recommended=True)]).winner.recommended


def test_the_regret_of_bad_advice_is_clear():
    found = judged([row("a", right(0.6), 1.0, recommended=True), row("b", right(0.9), 100.0)])
    assert found.winner.label == "3 from b"
    assert found.regret.clear
    assert found.regret.difference == pytest.approx(0.3)


def test_the_regret_of_a_difference_inside_the_noise_is_not_clear():
    found = judged([row("a", right(0.89), 1.0, recommended=True), row("b", right(0.9, shift=50), 100.0)])
    assert found.winner.label == "3 from b"
    assert not found.regret.clear


def test_in_a_tie_the_best_of_the_cheap_rows_is_preferred():
    rows = [
        row("dear", right(0.92), 100.0),
        row("a", right(0.91, shift=70), 12.0),
        row("b", right(0.90, shift=140), 10.0),
    ]
    assert judged(rows).preferred is rows[1]


def test_a_cheap_row_that_is_clearly_worse_is_not_preferred():
    rows = [row("dear", right(0.92), 100.0), row("cheap", right(0.6), 1.0)]
    assert judged(rows).preferred is rows[0]


def test_a_row_that_ended_early_is_not_preferred():
    rows = [row("dear", right(0.92), 100.0), row("early", right(0.92, shift=3), 1.0, ended_early=True)]
    assert judged(rows).winner is rows[1]
    assert judged([rows[0], replace(rows[1], accuracy=0.91)]).preferred is rows[0]


def random_rows(rng, accuracies, n):
    """Rows that find some of the images hard in common; the first is the advice."""
    latent = np.sqrt(0.7) * rng.normal(size=n) + np.sqrt(0.3) * rng.normal(size=(len(accuracies), n))
    hits = latent < norm.ppf(accuracies)[:, None]
    return [row(f"{number}", each, 1.0, recommended=number == 0) for number, each in enumerate(hits)]


@pytest.mark.slow
@pytest.mark.parametrize("n", [40, 300])
def test_advice_as_good_as_its_many_rivals_is_seldom_called_wrong(n):
    rng = np.random.default_rng(1)
    drawn = [random_rows(rng, [0.9] * 25, n) for _ in range(60)]
    found = [judged(rows) for rows in drawn]
    assert np.mean([each.regret.clear for each in found]) <= 0.07
    assert abs(np.mean([each.regret.difference for each in found])) < 0.02
    naive = [max(each.accuracy for each in rows) - rows[0].accuracy for rows in drawn]
    assert np.mean(naive) > 0.02  # the apparent gain of the best of many


@pytest.mark.slow
def test_the_accuracy_of_the_best_of_many_is_not_too_high():
    rng = np.random.default_rng(2)
    found = [judged(random_rows(rng, [0.8] * 20, 100)).accuracy for _ in range(40)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.02)
