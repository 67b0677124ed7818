"""The best of several checks: simulations of its honest accuracy, and closed-form cases."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.evaluation.intervals import wilson
from probes.evaluation.selection import cross_chosen, second_half


@pytest.mark.slow
def test_the_best_of_twenty_checks_of_pure_noise_is_not_overrated():
    rng = np.random.default_rng(0)
    naive, honest, covered = [], [], []
    for seed in range(200):
        correct = rng.random((20, 100)) < 0.7
        found = cross_chosen(correct, seed=seed)
        naive.append(correct.mean(1).max())
        honest.append(found.accuracy)
        covered.append(found.interval[0] <= 0.7 <= found.interval[1])
    assert np.mean(naive) > 0.77
    assert np.mean(honest) == pytest.approx(0.7, abs=0.01)
    assert np.mean(covered) >= 0.92


@pytest.mark.slow
def test_the_best_of_checks_that_differ_is_judged_slightly_low_and_not_high():
    rng, true = np.random.default_rng(0), np.linspace(0.6, 0.8, 20)
    error, covered = [], []
    for seed in range(200):
        shared = rng.random(200)
        place = np.where(rng.random((20, 200)) < 0.7, shared, rng.random((20, 200)))
        found = cross_chosen(place < true[:, None], seed=seed)
        best = true[(place < true[:, None]).sum(1).argmax()]
        error.append(found.accuracy - best)
        covered.append(found.interval[0] <= best <= found.interval[1])
    assert -0.015 < np.mean(error) < 0.003
    assert np.mean(covered) >= 0.82


def test_a_check_that_is_better_by_far_is_chosen_in_every_half():
    found = cross_chosen([[True, False] * 20, [True] * 40, [False] * 40])
    assert (found.accuracy, found.correct.all()) == (1.0, True)


def test_a_single_check_is_judged_by_its_own_results():
    correct = np.random.default_rng(0).random((1, 50)) < 0.6
    found = cross_chosen(correct)
    assert found.correct.tolist() == correct[0].tolist()
    assert found.interval == wilson(correct.sum(), 50)


def test_a_check_that_is_good_on_one_group_alone_is_not_judged_by_that_group():
    groups = np.repeat([0, 1], 20)
    correct = np.array([np.tile([True, False], 20), groups == 0])  # the second is right on all of group 0 alone
    assert cross_chosen(correct, groups=groups).accuracy == 0.25


def test_images_of_a_single_group_are_judged_by_the_first_check():
    found = cross_chosen([[False] * 10, [True] * 10], groups=np.zeros(10))
    assert found.accuracy == 0.0
    assert np.diff(found.interval) > 0.7


def test_the_same_seed_gives_the_same_choice():
    correct = np.random.default_rng(0).random((5, 60)) < 0.6
    first, again = cross_chosen(correct, seed=3), cross_chosen(correct, seed=3)
    assert first.correct.tolist() == again.correct.tolist()


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 9), min_size=1, max_size=60), st.integers(0, 99))
def test_halves_keep_groups_whole_and_do_not_depend_on_their_names(groups, seed):
    groups = np.array(groups)
    found = second_half(len(groups), seed=[seed], groups=groups, labels=None)
    assert len({*zip(groups.tolist(), found.tolist(), strict=True)}) == len(set(groups.tolist()))
    renamed = second_half(len(groups), seed=[seed], groups=100 - groups, labels=None)
    assert renamed.tolist() == found.tolist()


def test_halves_are_stratified_by_class():
    labels, groups = np.repeat([0, 1, 2], [40, 20, 20]), np.repeat(np.arange(40), 2)
    found = second_half(80, seed=[0], groups=groups, labels=labels)
    assert np.bincount(labels[found]).tolist() == [20, 10, 10]
