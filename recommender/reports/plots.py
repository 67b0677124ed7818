"""What `Recommendation.plot_depth` and `Recommendation.plot_map` draw."""

from typing import Any

from probes.evaluation.intervals import accuracy_interval
from recommender.errors import RecommendError
from recommender.explanation.verdict import score_interval
from recommender.pipeline.decision import Decision
from recommender.plots import depth_figure, map_figure
from recommender.reports.depth_table import drift_by_layer


def plot_depth(found: Decision) -> Any:
    """Drift and accuracy by the depth of the cut points."""
    separability, drift = found.measurements.separability, drift_by_layer(found)
    cuts = {cut.cut: cut for cut in separability.per_cut}
    points = [point for point in found.plan.cuts if point.layer in cuts or not cuts]
    known = [cuts[point.layer] for point in points if cuts]
    return depth_figure(
        [point.depth for point in points],
        [cut.accuracy for cut in known],
        [accuracy_interval(cut.correct, separability.groups) for cut in known],
        [drift.get(point.layer) for point in points],
        chosen=found.strategy.cut_depth,
        title=f"{found.scenario.id} {found.scenario.name}: cut after {found.strategy.cut}",
    )


def plot_map(found: Decision) -> Any:
    """Number of images and similarity, among the four scenarios."""
    similarity = found.measurements.similarity
    if similarity is None:
        raise RecommendError(
            "Expected a measured similarity. Received: none for this network. Make a reference: `recommend reference`."
        )
    title = f"{found.scenario.id} {found.scenario.name}"
    return map_figure(found.measurements.size.n_images, similarity.score, score_interval(similarity), title=title)
