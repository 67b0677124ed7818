"""Successive halving: all train a little, then the better half trains on. Pure functions of costs and accuracies.

Reference:
    Jamieson and Talwalkar, Non-stochastic best arm identification and hyperparameter optimization, AISTATS 2016,
    arXiv 1502.07943.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

RUNGS = (0.25, 0.5, 1.0)  # shares of a training after which the worse half ends
_BISECTIONS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The cost of a training.

    Attributes:
        step: seconds of a step, outputs of the frozen part cached.
        batch: images of a step.
        image: seconds of the frozen part for an image, once; 0 if nothing is frozen.
        views: number of inputs of the frozen part, each view of each training image counted.
        check: seconds of a validation check, outputs of the frozen part cached.
        checks: number of validation checks.
        held_out: images of a validation check.
    """

    step: float
    batch: int
    image: float
    views: int
    check: float
    checks: int
    held_out: int

    def seconds(self, steps: int, share: float = 1.0) -> float:
        """Seconds of the first `share` of a training of so many steps."""
        done = share * steps
        frozen = min(done * self.batch, self.views) + self.held_out
        return done * self.step + frozen * self.image + share * self.checks * self.check

    def between(self, steps: int, before: float, share: float) -> float:
        """Seconds from one share of a training of so many steps to another."""
        return self.seconds(steps, share) - (self.seconds(steps, before) if before else 0.0)

    def steps_within(self, seconds: float, most: int) -> int:
        """The largest number of steps, at most `most` and a multiple of `checks`, that takes no longer."""
        lengths = range(self.checks, self.checks * max(most // self.checks, 1) + 1, self.checks)
        return self.checks * bisect_right(lengths, seconds, key=self.seconds)


def expected(paces: Mapping[int, Pace], steps: Mapping[int, int], always: Collection[int]) -> float:
    """Upper bound of the seconds of a halving: the most expensive trainings, and `always`, are the better half."""
    live, spent, before = list(steps), 0.0, 0.0
    for share in RUNGS:
        spent += sum(paces[number].between(steps[number], before, share) for number in live)
        live.sort(key=lambda number: (number not in always, -paces[number].seconds(steps[number])))
        live = live[: max(math.ceil(len(live) / 2), sum(number in always for number in live))]
        before = share
    return spent


def affordable(
    paces: Sequence[Pace], *, seconds: float, most: Sequence[int], least: int, always: Collection[int]
) -> dict[int, int]:
    """Steps for as many trainings as there is time for, under an equal limit of seconds for each.

    Args:
        paces: of the trainings.
        seconds: for all of them.
        most: steps of each without a limit.
        least: smallest useful number of steps; a training with fewer without a limit needs no more than these.
        always: numbers of the trainings that are the last to be left out, and always run to their end.

    Returns:
        Number of the training -> steps.
    """
    needed = [min(least, each) for each in most]
    chosen = {
        number: pace
        for number, pace in enumerate(paces)
        if 0 < needed[number] <= pace.steps_within(seconds, most[number])
    }
    while chosen:
        steps = _equal_seconds(chosen, seconds, most, always)
        short = [number for number in chosen if steps[number] < needed[number]]
        if not short:
            return steps
        # Others make room for `always`, even if they are not short themselves.
        removable = [number for number in short if number not in always]
        removable = removable or [number for number in chosen if number not in always] or short
        del chosen[max(removable, key=lambda number: paces[number].seconds(needed[number]))]
    return {}


def _equal_seconds(
    paces: Mapping[int, Pace], seconds: float, most: Sequence[int], always: Collection[int]
) -> dict[int, int]:
    """Steps under one limit of seconds for each training, the highest that keeps all of them within `seconds`."""

    def under(limit: float) -> dict[int, int]:
        return {number: pace.steps_within(limit, most[number]) for number, pace in paces.items()}

    low, high = 0.0, max(seconds, 0.0)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if expected(paces, under(middle), always) <= seconds else (low, middle)
    return under(low)


@dataclass(slots=True, kw_only=True)
class Halving:
    """The course of a halving.

    Attributes:
        reached: share of its training that each has completed, by number.
        interrupted: whether a training was interrupted.
    """

    reached: dict[int, float] = field(default_factory=dict)
    interrupted: bool = False


def halve(
    numbers: Sequence[int],
    advance: Callable[[int, float], tuple[float, ...] | None],
    *,
    always: Collection[int] = (),
    cost: Callable[[int, float, float], float] = lambda *_: 0.0,
    left: Callable[[], float] = lambda: math.inf,
) -> Halving:
    """Train all for a quarter, the better half of them for a half, the better half of those to the end.

    Args:
        numbers: of the trainings; of equals, the first is preferred.
        advance: takes a number and the share up to which to train, and returns the score there; None if it was
            interrupted, which ends the halving.
        always: numbers of the trainings that always run to their end.
        cost: takes a number and two shares, and returns the seconds from one to the other.
        left: seconds that are left; the worst are left out if these do not suffice, but never the last one.
    """
    halving = Halving(reached=dict.fromkeys(numbers, 0.0))
    live, size, before = list(numbers), len(numbers), 0.0
    score: dict[int, tuple[float, ...]] = {}
    for rung, share in enumerate(RUNGS):
        if rung:
            live.sort(key=lambda number: score[number], reverse=True)
            size = math.ceil(size / 2)
            live = [number for place, number in enumerate(live) if place < size or number in always]
        live = _within({number: cost(number, before, share) for number in live}, left(), always)
        for number in sorted(live, key=lambda number: number not in always):
            reached = advance(number, share)
            if reached is None:
                halving.interrupted = True
                return halving
            score[number], halving.reached[number] = reached, share
        before = share
    return halving


def _within(costs: dict[int, float], left: float, always: Collection[int]) -> list[int]:
    """Leave out trainings until the time suffices: the last ones first, those of `always` after all others."""
    kept = dict(costs)
    worst_first = list(reversed(costs))
    worst_first.sort(key=lambda number: number in always)
    for number in worst_first:
        if len(kept) == 1 or sum(kept.values()) <= left:
            break
        del kept[number]
    return list(kept)
