"""The verdict of a comparison in words."""

from typing import TYPE_CHECKING

from recommender.explanation.text import duration

if TYPE_CHECKING:
    from recommender.comparison.outcome import Outcome

_IN_SECONDS = 120
_WITH_TENTHS = 10


def verdict_sentence(comparison: "Outcome") -> str:
    """Whether the advice was right, in words, and which strategy to prefer."""
    winner, preferred, advice = comparison.winner, comparison.preferred, comparison.recommended
    regret, n = comparison.regret, len(comparison.rows)
    if advice is None or regret is None:
        why = "the comparison was interrupted" if comparison.interrupted else _no_time(comparison)
        said = (
            f"Whether the advice, {comparison.advice}, was right is not known: {why} before it was trained. Of {n} "
            f"others {winner.label} is the best, with {winner.accuracy:.1%}."
        )
    elif comparison.verdict == "right":
        said = f"The advice was right: {advice.label} is the best of {n} strategies, with {advice.accuracy:.1%}."
    elif comparison.verdict == "tied":
        said = (
            f"The advice, {advice.label}, ties with the best, {winner.label}: {advice.accuracy:.1%} against "
            f"{winner.accuracy:.1%}. Choosing by comparison gains {_points(regret.difference)} points "
            f"({_points(regret.low)} to {_points(regret.high)}) on images that did not make the choice."
        )
    else:
        said = (
            f"The advice, {advice.label}, was wrong by {100 * regret.difference:.1f} points ({100 * regret.low:.1f} to "
            f"{100 * regret.high:.1f}): {winner.label} has {winner.accuracy:.1%} against {advice.accuracy:.1%}."
        )
    if advice is not None and advice.steps < advice.full_steps:
        cut = " and was ended early" if advice.ended_early else ""
        said += (
            f" The advice had {advice.steps:,} of the {advice.full_steps:,} steps that `fit` gives it{cut}: a larger "
            "budget may change the verdict."
        )
    if preferred is not winner:
        said += (
            f" Prefer {preferred.label}: within one standard error of the best, with {preferred.accuracy:.1%}, and "
            f"trained in {_time(preferred.seconds)} against {_time(winner.seconds)}."
        )
    return said


def _no_time(comparison: "Outcome") -> str:
    return f"the budget of {_time(comparison.budget)} was spent"


def _time(seconds: float) -> str:
    if seconds >= _IN_SECONDS:
        return duration(seconds)
    return f"{seconds:.2g} s" if seconds < _WITH_TENTHS else f"{seconds:.0f} s"


def _points(share: float) -> str:
    return f"{100 * share:+.1f}"
