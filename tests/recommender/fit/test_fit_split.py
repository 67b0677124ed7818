"""Which images are learnt from and which judge: no class is lost, no group is frozen_split."""

import numpy as np
import pytest

from probes.data.splits import Rows
from recommender.fit.split import MOST_HELD_OUT, hold_out


def held_out(rows, seed=0):
    return hold_out(rows, np.arange(len(rows)), seed)


def test_every_image_is_learnt_from_or_judges():
    split = held_out(Rows.of(np.arange(100) % 4))
    assert sorted([*split.training, *split.held_out]) == list(range(100))
    assert len(split.held_out) == 20


def test_classes_of_a_single_image_are_learnt_from():
    labels = np.concatenate([np.repeat([0, 1], 40), np.arange(2, 42)])
    split = held_out(Rows.of(labels))
    assert set(labels[split.training]) == set(labels)
    assert set(labels[split.held_out]) == {0, 1}


@pytest.mark.parametrize("seed", range(30))
def test_no_class_and_no_group_is_lost_or_parted(seed):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 6, 60)
    groups = np.where(rng.random(60) < 0.5, rng.integers(0, 8, 60), 100 + np.arange(60))
    split = held_out(Rows.of(labels, groups), seed)
    assert set(labels[split.training]) == set(labels)
    assert not set(split.training) & set(split.held_out)
    if len(split.held_out):
        assert not set(groups[split.training]) & set(groups[split.held_out])


def test_of_many_images_no_more_than_needed_are_held_out_and_the_rest_is_learnt_from():
    split = held_out(Rows.of(np.arange(20_000) % 3))
    assert len(split.held_out) <= MOST_HELD_OUT
    assert len(split.held_out) > 0.9 * MOST_HELD_OUT
    assert len(split.training) + len(split.held_out) == 20_000


def test_the_users_validation_split_judges_alone():
    validation = np.arange(100) >= 80
    split = held_out(Rows.of(np.arange(100) % 4, validation=validation))
    assert split.judged_by == "validation"
    assert set(split.held_out) == set(range(80, 100))
    assert set(split.training) == set(range(80))


def test_leaked_validation_images_neither_judge_nor_are_learnt_from():
    validation = np.arange(100) >= 80
    groups = np.arange(100)
    groups[80] = 0  # a copy of a training image
    split = held_out(Rows.of(np.arange(100) % 4, groups, validation=validation))
    assert 80 not in split.held_out
    assert 80 not in split.training


def test_where_nothing_can_be_held_out_all_is_learnt_from():
    split = held_out(Rows.of([0, 1]))
    assert not len(split.held_out)
    assert list(split.training) == [0, 1]


def test_the_split_follows_the_order_and_not_the_numbering():
    labels = np.arange(60) % 3
    order = np.random.default_rng(1).permutation(60)
    split = hold_out(Rows.of(labels), order, 0)
    renumbered = hold_out(Rows.of(labels[order]), np.arange(60), 0)
    assert list(split.held_out) == list(order[renumbered.held_out])
