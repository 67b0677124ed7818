"""Successive halving of fake trainings: which train on, at what cost, and the advice to its end."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.comparison.successive_halving import RUNGS, Pace, affordable, expected, halve


def pace(step=1.0, *, image=0.0, check=0.0, views=1000, held_out=0, checks=4):
    return Pace(step=step, batch=10, image=image, views=views, check=check, checks=checks, held_out=held_out)


class Trainings:
    """Trainings whose accuracy rises linearly to its final value."""

    def __init__(self, *final, stops=None):
        self.final, self.stops, self.calls = final, stops, []

    def advance(self, number, share):
        self.calls.append((number, share))
        return None if (number, share) == self.stops else (self.final[number] * share,)


def test_the_better_half_trains_on_at_each_rung():
    trainings = Trainings(0.1, 0.2, 0.3, 0.4)
    halving = halve(range(4), trainings.advance)
    assert halving.reached == {0: 0.25, 1: 0.25, 2: 0.5, 3: 1.0}
    assert trainings.calls == [(0, 0.25), (1, 0.25), (2, 0.25), (3, 0.25), (3, 0.5), (2, 0.5), (3, 1.0)]


def test_the_advice_runs_to_its_end_with_the_better_half():
    trainings = Trainings(0.1, 0.2, 0.3, 0.4)
    halving = halve(range(4), trainings.advance, always={0})
    assert halving.reached == {0: 1.0, 1: 0.25, 2: 0.5, 3: 1.0}


@given(scores=st.permutations((0.1, 0.2, 0.3, 0.4, 0.5)))
def test_the_best_and_the_advice_reach_the_end(scores):
    halving = halve(range(5), Trainings(*scores).advance, always={0})
    finished = {number for number, share in halving.reached.items() if share == 1.0}
    best = max(range(5), key=lambda number: scores[number])
    assert {0, best} <= finished
    assert len(finished) <= 3


def test_of_equals_the_first_trains_on():
    assert halve(range(2), Trainings(0.5, 0.5).advance).reached == {0: 1.0, 1: 0.25}


def test_one_training_runs_through_all_rungs():
    trainings = Trainings(0.5)
    assert halve([0], trainings.advance).reached == {0: 1.0}
    assert [share for _, share in trainings.calls] == list(RUNGS)


def test_nothing_to_train_is_no_error():
    assert halve([], Trainings().advance).reached == {}


def test_an_interrupted_training_ends_the_halving():
    halving = halve(range(3), Trainings(0.1, 0.2, 0.3, stops=(1, 0.25)).advance)
    assert halving.interrupted
    assert halving.reached == {0: 0.25, 1: 0.0, 2: 0.0}


def test_the_worst_are_left_out_if_trainings_turn_out_slower_and_the_advice_is_kept():
    trainings = Trainings(0.1, 0.2, 0.3, 0.4)
    left = iter([100.0, 2.0, 2.0])
    halving = halve(range(4), trainings.advance, always={0}, cost=lambda *_: 1.5, left=lambda: next(left))
    assert halving.reached == {0: 1.0, 1: 0.25, 2: 0.25, 3: 0.25}


def test_one_trains_on_even_without_time():
    halving = halve(range(2), Trainings(0.1, 0.2).advance, cost=lambda *_: 1.0, left=lambda: 0.0)
    assert sorted(halving.reached.values()) == [0.0, 1.0]


def test_seconds_count_steps_checks_and_the_frozen_part_of_new_images():
    found = pace(2.0, image=0.1, check=3.0, views=50, held_out=7)
    # 8 steps of 10 images see 50 views for the first time; 7 held-out images are checked 4 times, computed once.
    assert found.seconds(8) == pytest.approx(8 * 2.0 + 50 * 0.1 + 7 * 0.1 + 4 * 3.0)
    assert found.between(8, 0.25, 1.0) == pytest.approx(found.seconds(8) - found.seconds(8, 0.25))


@given(seconds=st.floats(0, 120))
def test_steps_within_a_time_are_the_most_that_fit(seconds):
    found = pace(0.7, image=0.02, check=0.4, views=60, held_out=9)
    oracle = max((n for n in range(0, 101, 4) if found.seconds(n) <= seconds), default=0)
    assert found.steps_within(seconds, 103) == oracle


@settings(deadline=None)
@given(seconds=st.floats(30, 1000), always=st.sets(st.integers(0, 3), max_size=1))
def test_a_plan_costs_no_more_than_the_budget(seconds, always):
    paces = [pace(0.2), pace(0.5, check=1.0), pace(1.5, check=2.0), pace(0.3, image=0.1)]
    steps = affordable(paces, seconds=seconds, most=[400] * 4, least=8, always=always)
    assert steps
    assert expected(dict(enumerate(paces)), steps, always) <= seconds


def test_all_get_the_same_seconds_unless_they_need_fewer():
    paces = [pace(0.1), pace(0.2), pace(0.001)]
    steps = affordable(paces, seconds=100.0, most=[10_000, 10_000, 100], least=8, always=())
    assert steps[2] == 100
    assert paces[0].seconds(steps[0]) == pytest.approx(paces[1].seconds(steps[1]), rel=0.02)


def test_the_most_expensive_training_is_left_out_first_and_the_advice_last():
    paces = [pace(1.0), pace(10.0), pace(0.5)]
    assert set(affordable(paces, seconds=60.0, most=[500] * 3, least=20, always={0})) == {0, 2}
    assert set(affordable(paces, seconds=21.0, most=[500] * 3, least=20, always={0})) == {0}
    assert set(affordable(paces, seconds=15.0, most=[500] * 3, least=20, always={0})) == {2}  # it can't be had at all
    assert affordable(paces, seconds=1.0, most=[500] * 3, least=20, always={0}) == {}


def test_a_short_training_is_not_left_out():
    assert affordable([pace(0.1)], seconds=10.0, most=[8], least=24, always=()) == {0: 8}


def test_no_time_at_all_plans_nothing():
    assert affordable([pace()], seconds=-3.0, most=[100], least=8, always={0}) == {}
