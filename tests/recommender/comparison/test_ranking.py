"""The best row, the preferred one, an honest regret, and one scale for rows that were judged on different images."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm
from strategies import right, row

from probes.data.splits import Rows
from probes.evaluation.intervals import accuracy_interval, paired_gain
from recommender.comparison.ranking import DECIDED, Results, judge


def judged(rows, groups=None):
    n = len(rows[0].results.judged)
    return judge(rows, Rows.of(np.zeros(n, int), groups), seed=0)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000), n_rows=st.integers(1, 6), advice=st.integers(0, 7))
def test_the_winner_is_the_best_and_the_preferred_row_is_no_dearer(seed, n_rows, advice):
    rng = np.random.default_rng(seed)
    rows = [
        row(str(number), rng.random(60) < rng.uniform(0.5, 1), rng.uniform(1, 20), recommended=number == advice)
        for number in range(n_rows)
    ]
    found = judged(rows)
    assert found.winner.accuracy == found.rows[0].accuracy == max(each.accuracy for each in rows)
    assert found.preferred.seconds <= found.winner.seconds
    assert (found.regret is None) == (found.recommended is None) == (advice >= n_rows)
    if found.winner is found.recommended:
        assert found.regret.difference == 0.0
    elif found.regret is not None:
        assert found.regret == found.gaps[found.rows.index(found.recommended)]


def test_of_equals_the_advice_wins_though_another_is_cheaper():
    assert judged([row("b", right(0.9), 1.0), row("a", right(0.9), 10.0, recommended=True)]).winner.recommended


# --- the verdict


def test_advice_that_is_the_best_of_enough_images_is_right():
    assert judged([row("b", right(0.6), 1.0), row("a", right(0.9), 10.0, recommended=True)]).verdict == "right"


def test_the_regret_of_bad_advice_is_clear():
    found = judged([row("a", right(0.6), 1.0, recommended=True), row("b", right(0.9), 100.0)])
    assert found.winner.label == "3 trained after b"
    assert found.verdict == "wrong"
    assert found.regret.difference == pytest.approx(0.3)


def test_a_small_difference_inside_the_noise_is_a_tie():
    found = judged([row("a", right(0.995), 1.0, recommended=True), row("b", right(1.0), 100.0)])
    assert found.regret.high - found.regret.low < DECIDED
    assert found.verdict == "tied"


@pytest.mark.parametrize("best", ["advice", "rival"])
def test_forty_images_are_too_few_to_tell(best):
    share = {"advice": 0.975, "rival": 0.95}
    found = judged(
        [
            row("a", right(share[best], n=40), 1.0, recommended=True),
            row("b", right(1.925 - share[best], n=40, shift=20), 9.0),
        ]
    )
    assert found.verdict == "undecided"


def test_advice_that_was_not_trained_is_unknown():
    assert judged([row("a", right(0.9), 1.0)]).verdict == "unknown"


def test_images_of_one_group_count_as_one():
    rows = [row("a", right(0.99), 1.0, recommended=True), row("b", right(1.0), 100.0)]
    assert judged(rows, groups=np.arange(200)).verdict == "tied"
    assert judged(rows, groups=np.arange(200) // 10).verdict == "undecided"


# --- the preferred row


def test_the_best_of_the_cheapest_rows_within_one_standard_error_is_preferred():
    rows = [
        row("dear", right(0.92), 100.0),
        row("a", right(0.91, shift=70), 12.0),
        row("b", right(0.90, shift=140), 10.0),
    ]
    assert judged(rows).preferred is rows[1]


def test_a_cheap_row_that_is_clearly_worse_is_not_preferred():
    rows = [row("dear", right(0.92), 100.0), row("cheap", right(0.6), 1.0)]
    assert judged(rows).preferred is rows[0]


PART = np.arange(200) < 50  # that judge fine-tuned rows


def test_a_frozen_row_that_is_worse_on_all_images_is_not_preferred_for_its_luck_on_the_held_out_ones():
    unlucky = row("a", right(0.95), 1.0, frozen=True)  # all of its errors are held out
    lucky = row("b", right(0.85, shift=60), 1.0, frozen=True)  # none of them is
    tuned = row("c", right(1.0), 100.0, judged=PART, accuracy=1.0)
    assert judged([lucky, unlucky, tuned]).preferred is tuned


# --- one scale


def results(correct, judged=None):
    known = np.ones(len(correct), bool) if judged is None else judged
    return Results(judged=known, correct=correct & known)


def test_results_on_all_images_need_no_reference():
    whole, groups = results(right(0.9)), np.arange(200)
    accuracy, interval = whole.estimate(results(right(0.5), PART), groups)
    assert accuracy == pytest.approx(0.9)
    assert interval == accuracy_interval(right(0.9), groups)


def test_results_on_a_part_are_the_reference_over_all_and_the_paired_difference_on_the_part():
    reference, groups = results(right(0.8, shift=100)), np.arange(200)  # right on the whole part
    part = results(right(0.98, shift=10), PART)  # wrong on 4 of 50
    accuracy, (low, high) = part.estimate(reference, groups)
    assert accuracy == pytest.approx(0.8 - 4 / 50)
    base, gain = accuracy_interval(reference.correct, groups), part.lead_over(reference, groups)
    assert gain == paired_gain(np.ones(50, bool), part.correct[PART], np.arange(50))
    assert accuracy - low == pytest.approx(np.hypot(0.8 - base[0], gain.difference - gain.low))
    assert high - accuracy == pytest.approx(np.hypot(base[1] - 0.8, gain.high - gain.difference))


@pytest.mark.slow
def test_the_interval_of_such_an_estimate_holds_the_truth_in_9_of_10_cases():
    rng, hits, groups = np.random.default_rng(0), 0, np.arange(300)
    for _ in range(400):
        latent = np.sqrt(0.7) * rng.normal(size=300) + np.sqrt(0.3) * rng.normal(size=(2, 300))
        correct = latent < norm.ppf([0.8, 0.85])[:, None]
        _, (low, high) = results(correct[1], groups < 60).estimate(results(correct[0]), groups)
        hits += low <= 0.85 <= high
    assert 0.87 <= hits / 400 <= 0.98


def test_fine_tuned_rows_are_compared_on_the_images_that_judge_them_and_frozen_ones_on_all():
    frozen = [
        row("a", right(0.8, shift=100), 1.0, frozen=True, recommended=True),
        row("b", right(0.7), 2.0, frozen=True),
    ]
    tuned = row("c", right(0.98, shift=10), 9.0, judged=PART, accuracy=0.72)
    found = judged([*frozen, tuned])
    assert found.winner is frozen[0]
    assert found.accuracy == pytest.approx(0.8)
    better = row("d", right(1.0), 9.0, judged=PART, accuracy=0.9)
    advised = judged([frozen[1], better, row("a", right(0.8, shift=100), 1.0, frozen=True, recommended=True)])
    assert advised.winner is better
    assert advised.regret == better.results.lead_over(frozen[0].results, np.arange(200))


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
    assert np.mean([each.verdict == "wrong" for each in found]) <= 0.07
    assert abs(np.mean([each.regret.difference for each in found])) < 0.02
    naive = [max(each.accuracy for each in rows) - rows[0].accuracy for rows in drawn]
    assert np.mean(naive) > 0.02  # the apparent gain of the best of many


@pytest.mark.slow
def test_the_accuracy_of_the_best_of_many_is_not_too_high():
    rng = np.random.default_rng(2)
    found = [judged(random_rows(rng, [0.8] * 20, 100)).accuracy for _ in range(40)]
    assert np.mean(found) == pytest.approx(0.8, abs=0.02)
