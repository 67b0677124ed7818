"""Successive halving: all train a little, then the better half trains on. Pure functions of costs and scores.

Reference:
    Jamieson and Talwalkar, Non-stochastic best arm identification and hyperparameter optimization, AISTATS 2016,
    arXiv 1502.07943.
"""

import math
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

RUNGS = (1, 2, 4)  # validation checks after which the worse half ends; the last ends the training
CHECKS = RUNGS[-1]  # few, since each takes as long as some steps
LEAST_STEPS = 24  # fewest useful steps. Ours.


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The cost of a training."""

    step: float  # seconds of a step, outputs of the frozen part cached
    check: float  # seconds of a validation check, outputs of the frozen part cached
    image: float  # seconds of the frozen part for an image, once; 0 if nothing is frozen
    batch: int  # images of a step
    views: int  # of all training images, mirrored ones counted
    held_out: int  # images of a validation check
    most: int  # steps without a budget, a multiple of `CHECKS`

    def seconds(self, steps: int, checks: int = CHECKS) -> float:
        """Seconds up to a validation check of a training of so many steps."""
        done = steps * checks / CHECKS
        frozen = min(done * self.batch, self.views) + self.held_out
        return done * self.step + checks * self.check + frozen * self.image

    def steps_within(self, seconds: float) -> int:
        """The most steps, a multiple of `CHECKS`, that take no longer."""
        left = seconds - CHECKS * self.check - self.held_out * self.image
        steps = max(left / (self.step + self.batch * self.image), (left - self.views * self.image) / self.step)
        return CHECKS * int(min(max(steps, 0.0), self.most) // CHECKS)


def plan_steps(paces: Sequence[Pace], seconds: float) -> dict[int, int]:
    """Number of a training -> steps, under one limit of seconds for each, if the most expensive half trains on.

    Those that would get too few steps are left out, the most expensive first, and the first training last.
    """
    least = [min(LEAST_STEPS, pace.most) for pace in paces]
    numbers = [number for number, pace in enumerate(paces) if pace.steps_within(seconds) >= least[number] > 0]
    while numbers:
        kept = [paces[number] for number in numbers]
        limits = np.linspace(seconds, 0, 500)
        limit = next((limit for limit in limits if _worst_case(kept, limit) <= seconds), 0.0)
        steps = {number: paces[number].steps_within(limit) for number in numbers}
        if all(steps[number] >= least[number] for number in numbers):
            return steps
        numbers.remove(max(numbers[1:] or numbers, key=lambda number: paces[number].seconds(least[number])))
    return {}


def _worst_case(paces: Sequence[Pace], limit: float) -> float:
    """Seconds of a halving under that limit for each, if the most expensive trainings are the best."""
    plans = [(pace, pace.steps_within(limit)) for pace in paces]
    plans.sort(key=lambda plan: -plan[0].seconds(plan[1]))
    total = 0.0
    for place, (pace, steps) in enumerate(plans):
        reached = max(checks for rung, checks in enumerate(RUNGS) if place < _size(len(plans), rung))
        total += pace.seconds(steps, reached)
    return total


def _size(n: int, rung: int) -> int:
    """Number of trainings of n that run up to a rung."""
    return math.ceil(n * 0.5**rung)


def halve(trainings: Sequence[Any], advance: Callable[[Any, int], Any], *, always: Collection[Any] = ()) -> None:
    """Train all up to the first rung, the better half up to the second, the better half of those to the end.

    Args:
        trainings: of equals, the first is preferred.
        advance: trains one up to that many validation checks, and returns its score there; None ends the halving.
        always: trainings that always run to their end.
    """
    live = list(trainings)
    for rung, checks in enumerate(RUNGS):
        scores = {}
        for training in sorted(live, key=lambda each: each not in always):
            scores[training] = advance(training, checks)
            if scores[training] is None:
                return
        live.sort(key=lambda each: scores[each], reverse=True)
        better = _size(len(trainings), rung + 1)
        live = [each for place, each in enumerate(live) if place < better or each in always]
