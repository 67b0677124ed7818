"""From a verdict and the evidence to a strategy that can be built."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from builders.graph.cut_search import CutPoint
from builders.strategy import HeadSpec, Strategy
from probes.measurements import Measurements
from recommender.rules import thresholds
from recommender.rules.cut_rule import CutChoice, choose_cut, freeze_index, head_levels
from recommender.rules.scenario import Scenario, Similarity
from recommender.rules.scenario_rule import similarity_by_cuts, similarity_verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A strategy, the cut points of its backbone, and how the cut was chosen; None if there was no choice."""

    strategy: Strategy
    cuts: tuple[CutPoint, ...]
    cut_choice: CutChoice | None

    def __repr__(self) -> str:
        strategy = self.strategy
        frozen = "nothing" if strategy.freeze is None else f"up to {strategy.freeze}"
        return (
            f"<Plan {strategy.backbone} at {strategy.input_size} px, cut after {strategy.cut} "
            f"({strategy.cut_depth:.0%} of the depth), frozen {frozen}>"
        )

    def reading_the_cut_alone(self) -> "Plan":
        """The same with a head that reads no other cut point."""
        head = replace(self.strategy.head, levels=(self.strategy.cut,))
        return replace(self, strategy=replace(self.strategy, head=head))


def similarity_of(measured: Measurements, cuts: Sequence[CutPoint]) -> Similarity:
    """Whether the images are like the source's: by drift, or if none could be measured by how the cuts compare."""
    if measured.similarity is not None:
        return similarity_verdict(measured.similarity.score)
    depths, groups = [point.depth for point in cuts], measured.separability.groups
    return similarity_by_cuts(depths, _correct(measured, cuts), groups)


def plan_strategy(backbone: str, cuts: Sequence[CutPoint], scenario: Scenario, measured: Measurements) -> Plan:
    """Where to cut, what to freeze, and which head, for a scenario."""
    depths, correct = [point.depth for point in cuts], _correct(measured, cuts)
    choice, groups = None, measured.separability.groups
    if scenario is Scenario.SHALLOW_FEATURES and len(cuts) > 1:  # some block is cut away, if the network can be cut
        earlier = range(len(cuts) - 1)
        middle = thresholds.MIDDLE_CUT_DEPTH
        choice = choose_cut(depths, correct, prior_depth=middle, candidates=earlier, groups=groups)
    cut = len(cuts) - 1 if choice is None else choice.index
    freeze: int | None = cut
    if scenario is Scenario.PARTIAL_FINE_TUNE:
        freeze = freeze_index(depths, measured.size.n_images)
    elif scenario is Scenario.FULL_FINE_TUNE:
        freeze = None
    fine_tunes = freeze != cut
    levels = head_levels([point.shape for point in cuts], cut)
    strategy = Strategy(
        backbone=backbone,
        input_size=measured.input_size,
        cut=cuts[cut].layer,
        cut_depth=cuts[cut].depth,
        freeze=None if freeze is None else cuts[freeze].layer,
        freeze_depth=0.0 if freeze is None else cuts[freeze].depth,
        train_batch_norm=thresholds.TRAIN_BATCH_NORM,
        learning_rate=thresholds.FINE_TUNE_LEARNING_RATE if fine_tunes else thresholds.HEAD_LEARNING_RATE,
        head=HeadSpec(levels=tuple(cuts[level].layer for level in levels), classes=measured.size.n_classes),
    )
    return Plan(strategy=strategy, cuts=tuple(cuts), cut_choice=choice)


def _correct(measured: Measurements, cuts: Sequence[CutPoint]) -> list[tuple[bool, ...]]:
    """For each cut whether its classifier was right on each held-out image."""
    evidence = {found.cut: found.correct for found in measured.separability.per_cut}
    return [evidence.get(point.layer, ()) for point in cuts]
