"""The split of the images: no class is lost, no group is on both sides."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.data.splits import Rows
from recommender.fit.images import MOST_HELD_OUT, MOST_TRIALS, hold_out


def split_of(rows, seed=0):
    return hold_out(rows, np.arange(len(rows)), seed)[0]


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000), n=st.integers(2, 80), classes=st.integers(2, 6))
def test_no_class_and_no_group_is_lost_or_on_both_sides(seed, n, classes):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, n)
    labels[:2] = 0, 1
    groups = np.where(rng.random(n) < 0.5, rng.integers(0, 8, n), 100 + np.arange(n))
    split = split_of(Rows.of(labels, groups), seed)
    assert set(labels[split.training]) == set(labels)
    assert not set(split.training) & set(split.held_out)
    if len(split.held_out):
        assert not set(groups[split.training]) & set(groups[split.held_out])
    order = rng.permutation(n)
    renumbered = hold_out(Rows.of(labels[order], groups[order]), np.argsort(order), seed)[0]
    assert set(order[renumbered.held_out]) == set(split.held_out)  # it follows the order, not the numbers


def test_a_fifth_of_each_class_is_held_out():
    labels = np.arange(100) % 4
    split = split_of(Rows.of(labels))
    assert sorted([*split.training, *split.held_out]) == list(range(100))
    assert np.bincount(labels[split.held_out]).tolist() == [5, 5, 5, 5]


@pytest.mark.parametrize(("n", "trials"), [(60, MOST_TRIALS), (1_000, 2), (4_000, 1)])
def test_few_images_are_held_out_in_several_trials_each_once_at_most(n, trials):
    splits = hold_out(Rows.of(np.arange(n) % 3), np.arange(n), 0)
    assert len(splits) == trials
    held_out = np.concatenate([split.held_out for split in splits])
    assert len(set(held_out)) == len(held_out)
    for split in splits:
        assert sorted([*split.training, *split.held_out]) == list(range(n))


def test_a_class_of_one_image_is_for_training():
    labels = np.concatenate([np.repeat([0, 1], 40), np.arange(2, 42)])
    split = split_of(Rows.of(labels))
    assert set(labels[split.training]) == set(labels)
    assert set(labels[split.held_out]) == {0, 1}


@pytest.mark.slow
@pytest.mark.parametrize("group", [1, 7])
def test_of_many_images_a_limited_number_of_whole_groups_is_held_out(group):
    groups = np.arange(20_000) // group
    labels = groups % 3
    split = split_of(Rows.of(labels, groups))
    assert 0.9 * MOST_HELD_OUT < len(split.held_out) <= MOST_HELD_OUT
    assert len(split.training) + len(split.held_out) == 20_000
    assert not set(groups[split.training]) & set(groups[split.held_out])


def test_the_users_validation_split_alone_is_held_out():
    rows = Rows.of(np.arange(100) % 4, validation=np.arange(100) >= 80)
    split = split_of(rows)
    assert len(hold_out(rows, np.arange(100), 0)) == 1
    assert split.judged_by == "validation"
    assert set(split.held_out) == set(range(80, 100))
    assert set(split.training) == set(range(80))


def test_validation_images_beyond_the_limit_are_not_for_training():
    validation = np.arange(5_000) >= 1_000
    split = split_of(Rows.of(np.arange(5_000) % 2, validation=validation))
    assert len(split.held_out) == MOST_HELD_OUT
    assert set(split.training) == set(range(1_000))


def test_a_leaked_validation_image_is_neither_held_out_nor_for_training():
    groups = np.arange(100)
    groups[80] = 0  # a copy of a training image
    split = split_of(Rows.of(np.arange(100) % 4, groups, validation=np.arange(100) >= 80))
    assert 80 not in {*split.held_out, *split.training}


def test_all_images_are_for_training_if_none_can_be_held_out():
    split = split_of(Rows.of([0, 1]))
    assert not len(split.held_out)
    assert list(split.training) == [0, 1]
