"""The strategies that a comparison trains: each scenario in its usual form, and variants of it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from builders.strategy import Strategy
from recommender.rules.cut_rule import head_levels
from recommender.rules.plan import plan_strategy
from recommender.rules.scenario import Scenario

if TYPE_CHECKING:
    from recommender.pipeline.decision import Decision

TRAINABLE_SHARES = (0.5, 0.25, 0.75)  # of the depth, in scenario 2
_JOINED = 2  # cuts of scenario 4, the best separating ones, whose levels are also joined


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A strategy in a comparison.

    Attributes:
        strategy: what is built.
        scenario: of the strategy.
        recommended: whether it is the advice.
    """

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
        whole = strategy.cut_depth == 1.0
        place = "whole" if whole else f"cut at {strategy.cut}"
        return f"{number} {place} (joined)" if len(strategy.head.levels) > 1 else f"{number} {place}"


def frozen_candidates(found: "Decision") -> list[Candidate]:
    """Candidates with a frozen backbone, in the order in which they are fitted.

    First the advice and the last cut point, where fine-tuning starts; then every cut alone, those with the fewest
    features first; then joined cut points.
    """
    cuts = found.plan.cuts
    whole, shallow = (_form(found, scenario) for scenario in (Scenario.LINEAR_PROBE, Scenario.SHALLOW_FEATURES))
    evidence = {each.cut: each.accuracy for each in found.measurements.separability.per_cut}
    earlier = sorted(range(len(cuts) - 1), key=lambda index: cuts[index].shape[-1] or 0)
    promising = sorted(earlier, key=lambda index: -evidence.get(cuts[index].layer, 0.0))[:_JOINED]
    made = [_frozen(found, len(cuts) - 1, joined=False)]
    made += [_frozen(found, index, joined=False) for index in earlier]
    if whole.strategy.cut != cuts[-1].layer:  # the rules prefer an earlier cut
        whole = replace(whole, scenario=Scenario.SHALLOW_FEATURES)
    made += [whole, shallow]
    made.append(_frozen(found, len(cuts) - 1, joined=True))
    made += [_frozen(found, index, joined=True) for index in promising]
    return _with_advice(found, made, frozen=True)


def tuned_candidates(found: "Decision") -> list[Candidate]:
    """Candidates that are fine-tuned, the advice first, then by priority if time is short."""
    cuts = found.plan.cuts
    part, whole = (_form(found, scenario) for scenario in (Scenario.PARTIAL_FINE_TUNE, Scenario.FULL_FINE_TUNE))
    made = [part] if not part.frozen else []
    for share in TRAINABLE_SHARES:
        below = [cut for cut in cuts[:-1] if cut.depth <= 1.0 - share]
        if below:
            strategy = replace(whole.strategy, freeze=below[-1].layer, freeze_depth=below[-1].depth)
            made.append(Candidate(strategy=strategy, scenario=Scenario.PARTIAL_FINE_TUNE))
    made.insert(1, whole)
    return _with_advice(found, made, frozen=False)


def _form(found: "Decision", scenario: Scenario) -> Candidate:
    """A scenario as the rules would build it."""
    verdict = replace(found.verdict, scenario=scenario)
    plan = plan_strategy(found.strategy.backbone, found.plan.cuts, verdict, found.measurements)
    return Candidate(strategy=plan.strategy, scenario=scenario)


def _frozen(found: "Decision", index: int, *, joined: bool) -> Candidate:
    cuts = found.plan.cuts
    last = index == len(cuts) - 1
    form = _form(found, Scenario.LINEAR_PROBE)
    levels = head_levels([cut.shape for cut in cuts], index) if joined else [index]
    cut = cuts[index]
    strategy = replace(
        form.strategy,
        cut=cut.layer,
        cut_depth=cut.depth,
        freeze=cut.layer,
        freeze_depth=cut.depth,
        head=replace(form.strategy.head, levels=tuple(cuts[level].layer for level in levels)),
    )
    return Candidate(strategy=strategy, scenario=Scenario.LINEAR_PROBE if last else Scenario.SHALLOW_FEATURES)


def _with_advice(found: "Decision", made: Sequence[Candidate], *, frozen: bool) -> list[Candidate]:
    """Candidates of one kind, the advice first; no strategy twice."""
    advice = Candidate(strategy=found.strategy, scenario=found.scenario, recommended=True)
    unique: dict[tuple[str, str | None, tuple[str, ...]], Candidate] = {}
    for each in (advice, *made):
        unique.setdefault((each.strategy.cut, each.strategy.freeze, each.strategy.head.levels), each)
    return [each for each in unique.values() if each.frozen == frozen]
