"""From measurements to one of the four scenarios. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy.typing as npt

from recommender.rules import thresholds
from recommender.rules.cut_rule import choose_cut
from recommender.rules.outcomes import Outcomes, Task, Trial, images_needed, outcomes
from recommender.rules.scenario import Scenario, Similarity


def excess_of(score: float) -> float:
    """The excess drift at which the similarity score is that, above 0."""
    return -thresholds.DRIFT_THRESHOLD * math.log2(score)


def similarity_verdict(score: float) -> Similarity:
    """Whether images with that similarity score count as similar to the source's."""
    return Similarity.SIMILAR if score >= thresholds.SIMILAR_SCORE else Similarity.DISSIMILAR


def similarity_by_cuts(depths: Sequence[float], correct: npt.ArrayLike, groups: npt.ArrayLike = ()) -> Similarity:
    """Without drift, images count as dissimilar if an earlier cut is clearly better than the last one.

    This reverses the textbook's premise: if the last blocks do worse than earlier ones, they are too specialised.
    Arguments as of `choose_cut`.
    """
    choice = choose_cut(depths, correct, prior_depth=thresholds.TOP_CUT_DEPTH, groups=groups)
    return Similarity.SIMILAR if depths[choice.index] > thresholds.SPECIALISED_DEPTH else Similarity.DISSIMILAR


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The scenario, and how sure it is."""

    scenario: Scenario
    confidence: float  # probability that no scenario is better by over `thresholds.NEARLY_BEST`, 0 to 1
    runner_up: Scenario  # of the others the best, or the rules' own choice where it is overridden
    gap: float  # expected accuracy less that of the runner-up, -1 to 1
    close: bool  # whether the confidence is too low to rely on the choice
    overridden: Scenario | None  # what the rules would have chosen, if the user asked for another
    settled: bool  # whether the user, or the trials of `fit`, chose the scenario
    trial: Trial | None  # a trial that the choice rests on
    task: Task = field(repr=False)
    outcomes: Outcomes = field(repr=False, compare=False)

    @property
    def similarity(self) -> Similarity:
        """Whether the images are like the source's."""
        return self.task.similarity

    @property
    def images_needed(self) -> float:
        """With about how many images fine-tuning is expected to be as good as freezing."""
        return images_needed(self.task)

    @property
    def textbook(self) -> Scenario:
        """What the textbook's table says of as many images, this similar to the source's, before more is measured."""
        return Scenario.of(self.scenario.amount, self.similarity)

    @property
    def best_frozen(self) -> Scenario:
        """Of the scenarios that train no layer of the backbone the one that is expected to be better."""
        return self.outcomes.best_frozen

    @property
    def rival(self) -> Scenario | None:
        """The fine-tuning that `fit` tries against the frozen model that was chosen."""
        return self.best_tuned if self.may_be_tried and not self.scenario.fine_tunes else None

    @property
    def may_be_tried(self) -> bool:
        """Whether it is too close to call between fine-tuning and freezing, and a trial tells more of that."""
        return self.undecided and self.task.n_judged >= thresholds.TRIAL_IMAGES

    @property
    def undecided(self) -> bool:
        """Whether it is too close to call between fine-tuning and freezing, and nobody and no trial has decided."""
        differ = self.scenario.fine_tunes != self.runner_up.fine_tunes
        return self.close and differ and not self.settled and self.trial is None

    @property
    def best_tuned(self) -> Scenario:
        """Of the scenarios that train layers of the backbone the one that is chosen, or expected to be better."""
        if self.scenario.fine_tunes:
            return self.scenario
        return max(Scenario.PARTIAL_FINE_TUNE, Scenario.FULL_FINE_TUNE, key=self.outcomes.expected)

    def with_scenario(self, scenario: Scenario, *, by_trial: bool = False) -> "Verdict":
        """The verdict where the user asks for a scenario, or where a trial shows that it is the best."""
        ruled = scenario if by_trial else self.overridden or self.scenario
        return decide(self.task, forced=scenario, ruled=ruled, trial=self.trial)

    def with_trial(self, trial: Trial) -> "Verdict":
        """The verdict after a trial."""
        return decide(self.task, trial=trial)

    def __repr__(self) -> str:
        first, then = (f"{each.id} {each.name}" for each in (self.scenario, self.runner_up))
        return f"<Verdict {first}, confidence {self.confidence:.2f}, runner-up {then}>"


def _ruled(expected: Outcomes, similarity: Similarity) -> Scenario:
    """The cheapest scenario that is about as good as the best; on images unlike the source's full before partial.

    On such images partial fine-tuning was worse in most cells of the benchmark, by up to 17 points: it has to be better
    there by as much as any scenario that costs more.
    """
    least = max(map(expected.expected, expected.scenarios)) - thresholds.WORTH_ITS_COST
    cheapest = next(each for each in expected.scenarios if expected.expected(each) >= least)
    full = Scenario.FULL_FINE_TUNE
    if cheapest is not Scenario.PARTIAL_FINE_TUNE or similarity is Similarity.SIMILAR:
        return cheapest
    lead = expected.expected(cheapest) - expected.expected(full)
    return cheapest if lead > thresholds.WORTH_ITS_COST else full


def decide(
    task: Task, *, forced: Scenario | None = None, ruled: Scenario | None = None, trial: Trial | None = None
) -> Verdict:
    """The cheapest scenario that is expected to be about as good as the best one; `forced` by the user."""
    expected = outcomes(task)
    possible = expected.scenarios
    if trial is not None:  # fine-tuning comes back from `fit` after such a trial by the same rule
        accepted = expected.chance_after(trial.scenario, trial.gain, trial.standard_error) >= thresholds.ACCEPTED
        expected = expected.after(trial.scenario, trial.gain, trial.standard_error)
        ruled = ruled or (trial.scenario if accepted else expected.best_frozen)
    ruled = ruled or _ruled(expected, task.similarity)
    chosen = forced or ruled
    if chosen not in possible:  # the network can't be cut: it is used whole
        expected = expected.with_copy(chosen, of=Scenario.LINEAR_PROBE)
    overridden = ruled if chosen is not ruled else None
    others = [scenario for scenario in possible if scenario is not chosen]
    runner_up = overridden or max(others, key=expected.expected)
    confidence = expected.chance(chosen, thresholds.NEARLY_BEST)
    return Verdict(
        scenario=chosen,
        confidence=confidence,
        runner_up=runner_up,
        gap=expected.expected(chosen) - expected.expected(runner_up),
        close=confidence < thresholds.CLOSE_CALL,
        overridden=overridden,
        settled=forced is not None,
        trial=trial,
        task=task,
        outcomes=expected,
    )
