"""From a verdict and the evidence to a strategy that can be built."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from builders.strategy import HeadSpec, Strategy
from probes.measurements import Measurements
from recommender.rules import thresholds
from recommender.rules.cut_rule import CutChoice, choose_cut, freeze_index, head_levels
from recommender.rules.scenario import Scenario
from recommender.rules.scenario_rule import SimilarityEvidence, Verdict, similarity_by_cuts, similarity_by_drift


@dataclass(frozen=True, slots=True, kw_only=True)
class CutFacts:
    """A cut point as the rules see it.

    Attributes:
        layer: its name.
        depth: the share of the backbone's weighted layers at or below it, in (0, 1].
        shape: (height, width, channels).
        batch_norm: the BatchNorm layer whose drift stands for it, or None.
    """

    layer: str
    depth: float
    shape: tuple[int | None, ...]
    batch_norm: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A strategy, the cut points of its backbone, and how the cut was chosen; None where there was no choice."""

    strategy: Strategy
    cuts: tuple[CutFacts, ...]
    cut_choice: CutChoice | None

    def reading_the_cut_alone(self) -> "Plan":
        """The same with a head that reads no other cut point."""
        head = replace(self.strategy.head, levels=(self.strategy.cut,))
        return replace(self, strategy=replace(self.strategy, head=head))


def similarity_evidence(measured: Measurements, cuts: Sequence[CutFacts], seed: int) -> SimilarityEvidence:
    """What is known of the similarity: from drift, or where none could be measured from how the cuts compare."""
    if measured.similarity is not None:
        found = measured.similarity
        return similarity_by_drift(found.score, found.replicates, found.excess)
    evidence = {found.cut: found.correct for found in measured.separability.per_cut}
    depths = [point.depth for point in cuts]
    return similarity_by_cuts(depths, [evidence.get(point.layer, ()) for point in cuts], seed=seed)


def plan_strategy(backbone: str, cuts: Sequence[CutFacts], verdict: Verdict, measured: Measurements) -> Plan:
    """Fill the chosen scenario in: where to cut, what to freeze, which head.

    Args:
        backbone: its name.
        cuts: its cut points, from input to output.
        verdict: the scenario.
        measured: the evidence.

    Returns:
        The plan.
    """
    scenario, last = verdict.scenario, len(cuts) - 1
    choice = _choose_cut(scenario, cuts, measured)
    cut = last if choice is None else choice.index
    freeze: int | None = cut
    if scenario is Scenario.PARTIAL_FINE_TUNE:
        freeze = freeze_index([point.depth for point in cuts], measured.size.n_images)
    elif scenario is Scenario.FULL_FINE_TUNE:
        freeze = None
    fine_tunes = freeze != cut
    levels = [cut] if fine_tunes else head_levels([point.shape for point in cuts], cut)
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


def _choose_cut(scenario: Scenario, cuts: Sequence[CutFacts], measured: Measurements) -> CutChoice | None:
    depths = [point.depth for point in cuts]
    evidence = {found.cut: found.correct for found in measured.separability.per_cut}
    correct = [evidence.get(point.layer, ()) for point in cuts]
    if scenario is Scenario.LINEAR_PROBE:
        return choose_cut(depths, correct, prior_depth=thresholds.TOP_CUT_DEPTH)
    if scenario is Scenario.SHALLOW_FEATURES:
        if len(cuts) == 1:
            return None  # a module that can't be cut
        return choose_cut(
            depths,
            correct,
            prior_depth=thresholds.MIDDLE_CUT_DEPTH,
            candidates=range(len(cuts) - 1),  # the scenario cuts something away
        )
    return None
