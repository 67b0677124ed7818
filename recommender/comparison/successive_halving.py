"""Successive halving: everyone trains a little, the better half goes on. Pure: it is told of time and accuracy.

Reference:
    Jamieson and Talwalkar, Non-stochastic best arm identification and hyperparameter optimization, AISTATS 2016,
    arXiv 1502.07943.
"""

import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field

RUNGS = (0.25, 0.5, 1.0)  # shares of a training after which the worse half ends
_BISECTIONS = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """What a training costs.

    Attributes:
        step: seconds of a step whose frozen part is at hand.
        batch: images of a step.
        image: seconds that the frozen part takes for an image, once; 0 where nothing is frozen.
        views: how many images there are for the frozen part, each view of each training image counted.
        look: seconds of a look at the held-out images whose frozen part is at hand.
        looks: how many there are.
        held_out: images that a look sees.
    """

    step: float
    batch: int
    image: float
    views: int
    look: float
    looks: int
    held_out: int

    def between(self, steps: int, before: float, share: float) -> float:
        """Seconds from one share of a training of so many steps to another."""
        return self.seconds(steps, share) - (self.seconds(steps, before) if before else 0.0)

    def seconds(self, steps: int, share: float = 1.0) -> float:
        """Of the first `share` of a training of so many steps."""
        done = share * steps
        frozen = min(done * self.batch, self.views) + self.held_out
        return done * self.step + frozen * self.image + share * self.looks * self.look

    def steps_within(self, seconds: float, most: int) -> int:
        """The most steps, at most `most` and a multiple of `looks`, that take no longer than that."""
        low, high = 0, max(most // self.looks, 1)
        while low < high:
            middle = (low + high + 1) // 2
            if self.seconds(middle * self.looks) <= seconds:
                low = middle
            else:
                high = middle - 1
        return low * self.looks


def expected(paces: Mapping[int, Pace], steps: Mapping[int, int], always: Collection[int]) -> float:
    """Seconds that a halving takes if those that always go on are in the better half, and else the dearest are."""
    live, spent, before = list(steps), 0.0, 0.0
    for share in RUNGS:
        costs = {number: paces[number].between(steps[number], before, share) for number in live}
        spent += sum(costs.values())
        half = math.ceil(len(live) / 2)
        dearest = sorted(live, key=lambda number: (number not in always, -paces[number].seconds(steps[number])))
        live, before = dearest[: max(half, sum(number in always for number in live))], share
    return spent


def affordable(
    paces: Sequence[Pace], *, seconds: float, most: Sequence[int], least: int, always: Collection[int]
) -> dict[int, int]:
    """Steps for as many trainings as the time is enough for; none gets more seconds than another could have.

    Args:
        paces: of the trainings.
        seconds: for all of them.
        most: steps that each would run without a limit.
        least: steps below which a training is not worth its while; one that has fewer without a limit needs no more.
        always: numbers of those that run to their end; they are the last to be left out.

    Returns:
        Number of the training -> steps.
    """
    needed = [min(least, each) for each in most]
    alone = [pace.steps_within(seconds, each) for pace, each in zip(paces, most, strict=True)]
    chosen = {number: pace for number, pace in enumerate(paces) if 0 < needed[number] <= alone[number]}
    while chosen:
        steps = _equal_seconds(chosen, seconds, most, always)
        short = [number for number in chosen if steps[number] < needed[number]]
        if not short:
            return steps
        # For the sake of the advice others make room, even if they are not short themselves.
        others = [number for number in short if number not in always] or [
            number for number in chosen if number not in always
        ]
        del chosen[max(others or short, key=lambda number: paces[number].seconds(needed[number]))]
    return {}


def _equal_seconds(
    paces: Mapping[int, Pace], seconds: float, most: Sequence[int], always: Collection[int]
) -> dict[int, int]:
    """Steps under the same limit of seconds for each, the highest with which all is done in time."""

    def under(limit: float) -> dict[int, int]:
        return {number: pace.steps_within(limit, most[number]) for number, pace in paces.items()}

    low, high = 0.0, max(seconds, 0.0)
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if expected(paces, under(middle), always) <= seconds else (low, middle)
    return under(low)


@dataclass(slots=True, kw_only=True)
class Halving:
    """How a halving went.

    Attributes:
        reached: share of its training that each has behind it, by number.
        interrupted: whether it was ended from outside.
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
        numbers: of the trainings; those that come first are preferred among equals.
        advance: takes a number and the share until which to train, and returns how good it is then; None if it got no
            farther, which ends the halving.
        always: numbers of those that run to their end, however they do.
        cost: takes a number and two shares, and returns the seconds from one to the other.
        left: seconds that are left; the worst are left out where these are not enough. One goes on in any case.

    Returns:
        How far each got.
    """
    found = Halving(reached=dict.fromkeys(numbers, 0.0))
    live, size, before = list(numbers), len(numbers), 0.0
    score: dict[int, tuple[float, ...]] = {}
    for rung, share in enumerate(RUNGS):
        if rung:
            ranked = sorted(live, key=lambda number: score[number], reverse=True)
            size = math.ceil(size / 2)
            better = ranked[:size]
            live = [number for number in ranked if number in better or number in always]
        live = _within(live, [cost(number, before, share) for number in live], left(), always)
        for number in sorted(live, key=lambda number: number not in always):
            reached = advance(number, share)
            if reached is None:
                found.interrupted = True
                return found
            score[number], found.reached[number] = reached, share
        before = share
    return found


def _within(live: Sequence[int], costs: Sequence[float], left: float, always: Collection[int]) -> list[int]:
    """Leave out the last of them, the ones that always run after all others, until the time is enough; one stays."""
    kept, of = list(live), dict(zip(live, costs, strict=True))
    worst_first = sorted(range(len(live)), key=lambda place: (live[place] in always, -place))
    for number in (live[place] for place in worst_first):
        if len(kept) == 1 or sum(of[other] for other in kept) <= left:
            break
        kept.remove(number)
    return kept
