"""What a scenario would build, and the linear classifier that its prediction layer starts from."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from probes.data.image_index import ImageIndex
from probes.measurements import Measurements
from recommender.rules.class_balance import class_weights
from recommender.rules.cut_rule import alone_is_better
from recommender.rules.plan import Plan, plan_strategy
from recommender.rules.scenario import Scenario

if TYPE_CHECKING:
    from builders.graph.cut_search import CutPoint
    from probes.data.splits import Rows
    from probes.network.features import Features
    from probes.separability.linear_probe import LinearProbe


def plan_and_probe(
    scenario: Scenario,
    *,
    backbone: str,
    cuts: "Sequence[CutPoint]",
    measured: Measurements,
    features: "Features",
    rows: "Rows",
    index: ImageIndex,
    seed: int,
) -> "tuple[Plan, LinearProbe]":
    """The plan of a scenario, whose head reads the cut alone where that is better, and its classifier."""
    from probes.separability.linear_probe import fit_linear_probe

    # Images of each class of the whole data that an expected accuracy is for.
    judging = tuple(map(len, index.validation)) if measured.n_held_out else measured.size.file_counts

    def probe_of(plan: Plan) -> "LinearProbe":
        return fit_linear_probe(
            features.blocks(plan.strategy.head.levels),
            rows,
            measured.size.n_classes,
            seed=seed,
            balanced=class_weights(measured.size.file_counts) is not None,
            class_counts=judging,
        )

    plan = plan_strategy(backbone, cuts, scenario, measured)
    probe = probe_of(plan)
    if len(plan.strategy.head.levels) > 1:
        evidence = {cut.cut: cut.correct for cut in measured.separability.per_cut}
        if alone_is_better(probe.correct, evidence.get(plan.strategy.cut, ()), measured.separability.groups):
            plan = plan.reading_the_cut_alone()
            probe = probe_of(plan)
    return plan, probe
