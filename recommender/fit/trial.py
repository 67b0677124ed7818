"""A trial: fine-tuning on a part of the user's images, judged on the others, before the scenario is chosen."""

import logging
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from builders.training.state import remove_state
from recommender.fit.fit import session_of
from recommender.fit.plan import FitOptions
from recommender.fit.tuned import fine_tuning
from recommender.progress import Progress
from recommender.rules.outcomes import Trial

if TYPE_CHECKING:
    from recommender.pipeline.decision import Decision

Found = TypeVar("Found", bound="Decision")
_LOG = logging.getLogger(__name__)


def with_trial(found: Found, report: Progress) -> Found:
    """Choose the scenario again, after training the best fine-tuning as in the trials of `fit`.

    Where no image can be held out, or the training diverges, the choice stays, with a warning.
    """
    if found.verdict.task.accuracy is None:
        _LOG.warning("No trial was made: no image can be held out to judge it.")
        return found
    scenario = found.verdict.best_tuned
    options = FitOptions(seed=found.seed, progress=report, only_tries=True)
    session = session_of(found.with_scenario(scenario, by_trial=True), options)
    with fine_tuning(session) as training:
        try:
            training.run_trials()
        finally:
            remove_state(training.file)
    session.clock.lap("trial")
    if training.interrupted:
        raise KeyboardInterrupt
    evidence = training.evidence
    if evidence is None or training.diverged:
        why = "no image could be held out to judge it" if evidence is None else "its training diverged"
        _LOG.warning("The trial decides nothing: %s.", why)
        return found
    gain = evidence.gain
    trial = Trial(
        scenario=scenario,
        frozen=evidence.frozen,
        tuned=evidence.frozen + gain.difference,
        gain=gain.difference,
        interval=(gain.low, gain.high),
        standard_error=gain.standard_error,
        n_images=len(training.judged),
        seconds=sum(session.clock.seconds.values()),
    )
    seconds = {**found.seconds, "trial": trial.seconds}
    return replace(found.with_verdict(found.verdict.with_trial(trial)), seconds=seconds)
