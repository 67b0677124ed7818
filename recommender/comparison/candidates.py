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

    @property
    def frozen(self) -> bool:
        """Whether only the prediction layer trains."""
        return self.strategy.freeze == self.strategy.cut

    @property
    def label(self) -> str:
        """For people, as "2 from block5c_add"; "(joined)" where the head reads the end of every stage."""
        strategy, number = self.strategy, self.scenario.id
        if not self.frozen:
            return f"{number} everything" if strategy.freeze is None else f"{number} from {strategy.freeze}"
        place = "whole" if strategy.cut_depth == 1.0 else f"cut at {strategy.cut}"
        return f"{number} {place} (joined)" if len(strategy.head.levels) > 1 else f"{number} {place}"


def frozen_candidates(found: Decision) -> list[Candidate]:
    """Candidates with a frozen backbone, in the order in which they are fitted.

    First the advice and the last cut point, where fine-tuning starts; then every cut alone, those with the fewest
    features first; then joined cut points.
    """
    cuts, last = found.plan.cuts, len(found.plan.cuts) - 1
    usual = [_planned(found, scenario) for scenario in (Scenario.LINEAR_PROBE, Scenario.SHALLOW_FEATURES)]
    accuracy = {each.cut: each.accuracy for each in found.measurements.separability.per_cut}
    earlier = sorted(range(last), key=lambda index: cuts[index].shape[-1] or 0)
    promising = sorted(earlier, key=lambda index: -accuracy.get(cuts[index].layer, 0.0))[:_JOINED]
    chosen = [index for strategy in usual for index, cut in enumerate(cuts) if cut.layer == strategy.cut]
    made = [(index, [index]) for index in (last, *earlier)]
    made += [(index, head_levels([cut.shape for cut in cuts], index)) for index in (*chosen, last, *promising)]
    candidates = []
    for index, levels in made:
        strategy = replace(
            usual[0],
            cut=cuts[index].layer,
            cut_depth=cuts[index].depth,
            freeze=cuts[index].layer,
            freeze_depth=cuts[index].depth,
            head=replace(usual[0].head, levels=tuple(cuts[level].layer for level in levels)),
        )
        scenario = Scenario.LINEAR_PROBE if index == last else Scenario.SHALLOW_FEATURES
        candidates.append(Candidate(strategy=strategy, scenario=scenario))
    return _with_advice(found, candidates, frozen=True)


def tuned_candidates(found: Decision) -> list[Candidate]:
    """Candidates that are fine-tuned, the advice first, then by priority if time is short."""
    part, whole = (_planned(found, scenario) for scenario in (Scenario.PARTIAL_FINE_TUNE, Scenario.FULL_FINE_TUNE))
    made = [
        Candidate(strategy=part, scenario=Scenario.PARTIAL_FINE_TUNE),
        Candidate(strategy=whole, scenario=Scenario.FULL_FINE_TUNE),
    ]
    for share in TRAINABLE_SHARES:
        below = [cut for cut in found.plan.cuts[:-1] if cut.depth <= 1.0 - share]
        if below:
            strategy = replace(whole, freeze=below[-1].layer, freeze_depth=below[-1].depth)
            made.append(Candidate(strategy=strategy, scenario=Scenario.PARTIAL_FINE_TUNE))
    return _with_advice(found, made, frozen=False)


def advice_of(found: Decision) -> Candidate:
    """The recommended strategy."""
    return Candidate(strategy=found.strategy, scenario=found.scenario, recommended=True)


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
