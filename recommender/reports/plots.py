"""What `Recommendation.plot_depth` and `Recommendation.plot_map` draw."""

from typing import Any

import numpy as np

from recommender.errors import RecommendError
from recommender.explanation.verdict import score_interval
from recommender.pipeline.decision import Decision
from recommender.plots import BLUE, GREY, INK, ORANGE, styled_figure
from recommender.reports.depth_table import depths
from recommender.rules import thresholds
from recommender.rules.scenario import Scenario


def plot_depth(found: Decision) -> Any:
    """Accuracy with its 90 % interval above, drift below, against the depth of the cut points."""
    rows = depths(found)
    judged = [row for row in rows if row.accuracy is not None]
    shown = judged or rows
    places = [100 * row.depth for row in shown]
    with styled_figure(8, 5.5) as figure:
        above, below = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
        if judged:
            low, high = 100 * np.array([row.interval for row in judged]).T
            accuracy = 100 * np.array([row.accuracy for row in judged])
            above.fill_between(places, low, high, color=BLUE, alpha=0.18, lw=0, label="90 % interval")
            above.plot(places, accuracy, "o-", color=BLUE, ms=4, label="accuracy of this cut point")
        for axes in (above, below):
            axes.axvline(100 * found.strategy.cut_depth, color=INK, ls="--", lw=1, label="chosen")
        below.bar(places, [np.nan if row.drift is None else row.drift for row in shown], width=2, color=ORANGE)
        above.set_ylabel("right, %")
        below.set_ylabel("drift")
        below.set_xlabel("depth of the cut point, % of the network's layers")
        above.legend(frameon=False, loc="lower right")
        title = f"{found.scenario.id} {found.scenario.name}: cut after {found.strategy.cut}"
        above.set_title(title, loc="left", fontsize=11, color=INK)
    return figure


def plot_map(found: Decision) -> Any:
    """The four scenarios by number of images and similarity, and where the images lie."""
    similarity = found.measurements.similarity
    if similarity is None:
        raise RecommendError(
            "Expected a measured similarity. Received: none for this network. Make a reference: `recommend reference`."
        )
    n_images, needed = found.measurements.size.n_images, found.verdict.images_needed
    interval = score_interval(similarity)
    with styled_figure(7, 5, grid=False) as figure:
        axes = figure.add_subplot()
        axes.set_xscale("log")
        axes.set_xlim(min(10, n_images / 2, needed / 2), max(1e5, 2 * n_images, 2 * needed))
        axes.set_ylim(0, 1)
        axes.axvline(needed, color=GREY, lw=1)
        axes.axhline(thresholds.SIMILAR_SCORE, color=GREY, lw=1)
        for scenario in Scenario:
            x, side = (0.02, "left") if scenario.amount == "limited" else (0.98, "right")
            y, end = (0.97, "top") if scenario.similarity == "similar" else (0.03, "bottom")
            words = f"{scenario.id} {scenario.name}"
            axes.text(x, y, words, transform=axes.transAxes, ha=side, va=end, color=GREY, fontsize=9)
        if interval is not None:
            axes.vlines(n_images, *interval, color=BLUE, lw=2)  # 90 %
        axes.plot(n_images, similarity.score, "o", color=BLUE, ms=9)
        axes.annotate("your images", (n_images, similarity.score), (10, 6), textcoords="offset points", color=BLUE)
        axes.set_xlabel(
            f"images (on this task fine-tuning is expected to be as good as freezing with about {needed:,.0f})"
        )
        axes.set_ylabel("similarity to what the network was trained on")
        axes.set_title(f"{found.scenario.id} {found.scenario.name}", loc="left", fontsize=11, color=INK)
    return figure
