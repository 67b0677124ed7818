"""The strategies that a comparison trains: each scenario in its usual form, and variants of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from builders.strategy import Strategy
from recommender.pipeline.decision import Decision
from recommender.rules.cut_rule import head_levels
from recommender.rules.plan import plan_strategy
from recommender.rules.scenario import Scenario

TRAINABLE_SHARES = (0.5, 0.25, 0.75)  # of the depth, in scenario 2
_JOINED = 2  # cuts of scenario 4, the best separating ones, whose levels are also joined


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidate:
    """A strategy in a comparison."""

    strategy: Strategy
    scenario: Scenario
    recommended: bool = False
    usual: bool = False  # whether it is a scenario as the rules build it, or the frozen model that this starts from

    @property
    def frozen(self) -> bool:
        """Whether only the prediction layer trains."""
        return self.strategy.freeze == self.strategy.cut

    @property
    def label(self) -> str:
        """For people, as "2 trained after block5c_add"; "+ stages" where the head also reads the end of every stage."""
        strategy, number = self.strategy, self.scenario.id
        if not self.frozen:
            return f"{number} all trained" if strategy.freeze is None else f"{number} trained after {strategy.freeze}"
        place = "whole" if strategy.cut_depth == 1.0 else f"cut at {strategy.cut}"
        return f"{number} {place} + stages" if len(strategy.head.levels) > 1 else f"{number} {place}"


def frozen_candidates(found: Decision) -> list[Candidate]:
    """Candidates with a frozen backbone, in the order in which they are fitted.

    First the usual ones, the advice before the others; then every cut alone, those with the fewest features first; then
    joined cut points.
    """
    cuts, last = found.plan.cuts, len(found.plan.cuts) - 1
    planned = [_planned(found, scenario) for scenario in Scenario]
    accuracy = {each.cut: each.accuracy for each in found.measurements.separability.per_cut}
    earlier = sorted(range(last), key=lambda index: cuts[index].shape[-1] or 0)
    promising = sorted(earlier, key=lambda index: -accuracy.get(cuts[index].layer, 0.0))[:_JOINED]
    usual = [strategy.head.levels for strategy in (found.strategy, *planned)]
    alone = [(cuts[index].layer,) for index in (last, *earlier)]
    shapes = [cut.shape for cut in cuts]
    joined = [tuple(cuts[level].layer for level in head_levels(shapes, index)) for index in (last, *promising)]
    depths = {cut.layer: cut.depth for cut in cuts}
    candidates = []
    for number, levels in enumerate((*usual, *alone, *joined)):
        cut = levels[-1]
        strategy = replace(
            planned[0],
            cut=cut,
            cut_depth=depths[cut],
            freeze=cut,
            freeze_depth=depths[cut],
            head=replace(planned[0].head, levels=levels),
        )
        scenario = Scenario.LINEAR_PROBE if cut == cuts[-1].layer else Scenario.SHALLOW_FEATURES
        candidates.append(Candidate(strategy=strategy, scenario=scenario, usual=number < len(usual)))
    return _with_advice(found, candidates, frozen=True)


def tuned_candidates(found: Decision) -> list[Candidate]:
    """Candidates that are fine-tuned, in the order in which they are trained: the advice, scenario 3, scenario 2."""
    part, whole = (_planned(found, scenario) for scenario in (Scenario.PARTIAL_FINE_TUNE, Scenario.FULL_FINE_TUNE))
    made = [
        Candidate(strategy=whole, scenario=Scenario.FULL_FINE_TUNE, usual=True),
        Candidate(strategy=part, scenario=Scenario.PARTIAL_FINE_TUNE, usual=True),
    ]
    for share in TRAINABLE_SHARES:
        below = [cut for cut in found.plan.cuts[:-1] if cut.depth <= 1.0 - share]
        if below:
            strategy = replace(whole, freeze=below[-1].layer, freeze_depth=below[-1].depth)
            made.append(Candidate(strategy=strategy, scenario=Scenario.PARTIAL_FINE_TUNE))
    return _with_advice(found, made, frozen=False)


def advice_of(found: Decision) -> Candidate:
    """The recommended strategy."""
    return Candidate(strategy=found.strategy, scenario=found.scenario, recommended=True, usual=True)


def _planned(found: Decision, scenario: Scenario) -> Strategy:
    """A scenario as the rules would build it."""
    verdict = replace(found.verdict, scenario=scenario)
    return plan_strategy(found.strategy.backbone, found.plan.cuts, verdict, found.measurements).strategy


def _with_advice(found: Decision, made: Sequence[Candidate], *, frozen: bool) -> list[Candidate]:
    """Candidates of one kind, the advice first; no strategy twice."""
    unique: dict[tuple[str, str | None, tuple[str, ...]], Candidate] = {}
    for each in (advice_of(found), *made):
        unique.setdefault((each.strategy.cut, each.strategy.freeze, each.strategy.head.levels), each)
    return [each for each in unique.values() if each.frozen == frozen]
