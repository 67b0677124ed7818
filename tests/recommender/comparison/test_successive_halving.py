"""Successive halving of fake trainings: which train on, at what cost, and the advice to its end."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recommender.comparison.successive_halving import CHECKS, LEAST_STEPS, RUNGS, Pace, halve, plan_steps


def pace(step=1.0, *, image=0.0, check=0.0, views=1000, held_out=0, most=400):
    return Pace(step=step, check=check, image=image, batch=10, views=views, held_out=held_out, most=most)


class Trainings:
    """Trainings whose accuracy rises linearly to its final value."""

    def __init__(self, *final, stops=None):
        self.final, self.stops, self.calls = final, stops, []

    def advance(self, number, checks):
        self.calls.append((number, checks))
        return None if (number, checks) == self.stops else self.final[number] * checks

    def reached(self, **options):
        """Checks that each has completed."""
        halve(range(len(self.final)), self.advance, **options)
        return [
            max((checks for each, checks in self.calls if each == number), default=0)
            for number in range(len(self.final))
        ]


def test_the_better_half_trains_on_at_each_rung():
    trainings = Trainings(0.1, 0.2, 0.3, 0.4)
    assert trainings.reached() == [1, 1, 2, 4]
    assert trainings.calls == [(0, 1), (1, 1), (2, 1), (3, 1), (3, 2), (2, 2), (3, 4)]


def test_the_advice_runs_to_its_end_with_the_better_half():
    assert Trainings(0.1, 0.2, 0.3, 0.4).reached(always=[0]) == [4, 1, 2, 4]


@given(scores=st.permutations((0.1, 0.2, 0.3, 0.4, 0.5)))
def test_the_best_and_the_advice_reach_the_end(scores):
    reached = Trainings(*scores).reached(always=[0])
    assert reached[0] == reached[scores.index(0.5)] == CHECKS
    assert reached.count(CHECKS) <= 3


def test_of_equals_the_first_trains_on():
    assert Trainings(0.5, 0.5).reached() == [4, 1]


def test_one_training_runs_through_all_rungs_and_none_is_no_error():
    trainings = Trainings(0.5)
    assert trainings.reached() == [CHECKS]
    assert [checks for _, checks in trainings.calls] == list(RUNGS)
    assert Trainings().reached() == []


def test_an_interrupted_training_ends_the_halving():
    trainings = Trainings(0.1, 0.2, 0.3, stops=(1, 1))
    trainings.reached()
    assert trainings.calls == [(0, 1), (1, 1)]


def test_seconds_count_steps_checks_and_the_frozen_part_of_new_images():
    found = pace(2.0, image=0.1, check=3.0, views=50, held_out=7)
    # 8 steps of 10 images see 50 views for the first time; 7 held-out images are checked 4 times, computed once.
    assert found.seconds(8) == pytest.approx(8 * 2.0 + 50 * 0.1 + 7 * 0.1 + 4 * 3.0)
    assert found.seconds(8, 1) == pytest.approx(2 * 2.0 + 20 * 0.1 + 7 * 0.1 + 3.0)


@given(seconds=st.floats(0, 120))
def test_steps_within_a_time_are_the_most_that_fit(seconds):
    found = pace(0.7, image=0.02, check=0.4, views=60, held_out=9, most=100)
    steps = found.steps_within(seconds)
    assert steps in range(0, 101, CHECKS)
    assert steps == 0 or found.seconds(steps) <= seconds + 1e-9
    assert steps == 100 or found.seconds(steps + CHECKS) > seconds - 1e-9


@settings(deadline=None)
@given(seconds=st.floats(30, 1000))
def test_a_plan_costs_no_more_than_the_budget_if_the_most_expensive_train_on(seconds):
    paces = [pace(0.2), pace(0.5, check=1.0), pace(1.5, check=2.0), pace(0.3, image=0.1)]
    steps = plan_steps(paces, seconds)
    assert steps
    total = {number: paces[number].seconds(count) for number, count in steps.items()}
    trainings = Trainings(*(total.get(number, 0.0) for number in range(4)))
    halve(list(steps), trainings.advance)
    reached = dict(trainings.calls)
    assert sum(paces[number].seconds(steps[number], checks) for number, checks in reached.items()) <= seconds + 1e-9


def test_all_get_the_same_seconds_unless_they_need_fewer():
    paces = [pace(0.1, most=10_000), pace(0.2, most=10_000), pace(0.001, most=100)]
    steps = plan_steps(paces, 100.0)
    assert steps[2] == 100
    assert paces[0].seconds(steps[0]) == pytest.approx(paces[1].seconds(steps[1]), rel=0.02)


def test_the_most_expensive_training_is_left_out_first_and_the_first_one_last():
    paces = [pace(1.0), pace(10.0), pace(0.5)]
    assert set(plan_steps(paces, 60.0)) == {0, 2}
    assert set(plan_steps(paces, 25.0)) == {0}
    assert set(plan_steps(paces, 15.0)) == {2}  # the first can't be had at all
    assert plan_steps(paces, 1.0) == {}


def test_a_short_training_is_not_left_out():
    assert plan_steps([pace(0.1, most=8)], 10.0) == {0: 8}
    assert LEAST_STEPS > 8


def test_without_time_nothing_is_planned():
    assert plan_steps([pace()], -3.0) == {}
    assert plan_steps([], 100.0) == {}
