"""The verdict in words: how sure it is, what comes next, and what the images are compared with."""

from typing import TYPE_CHECKING

import numpy as np

from probes.quality.findings import count
from probes.similarity.similarity import LEAST_NORMS
from recommender.explanation.text import percent
from recommender.rules import thresholds
from recommender.rules.scenario import Amount, Similarity

if TYPE_CHECKING:
    from probes.similarity.similarity import FeatureSimilarity
    from recommender.pipeline.decision import Decision


def source_of(found: "Decision") -> str:
    """The name of what the network was trained on, or a phrase where that is not known."""
    similarity = found.measurements.similarity
    named = similarity.source if similarity is not None else found.backbone.source
    return named or f"what {found.backbone.title} was trained on"


def sureness(found: "Decision") -> str:
    """How sure the scenario is, in words: the one place that says what `Verdict.confidence` means."""
    verdict = found.verdict
    if verdict.overridden is not None:
        ruled = verdict.overridden
        return f"you asked for this scenario; the rules would choose {ruled.id} {ruled.name}"
    close = "; a close call, since a measure is within a quarter of its threshold" if verdict.close else ""
    return (
        f"{percent(verdict.confidence, 0)}: in so many resamples of your images the rules choose the same scenario; "
        f"not the probability that it is the best{close}"
    )


def score_interval(similarity: "FeatureSimilarity") -> tuple[float, float] | None:
    """90 % interval of the similarity score, by its resamples; None for a single image."""
    if not similarity.replicates:
        return None
    low, high = np.quantile(similarity.replicates, [0.05, 0.95])
    return float(low), float(high)


def too_few_norms() -> str:
    """Why drift can't be measured."""
    return f"fewer than {LEAST_NORMS} BatchNorm layers"


def condition_of_runner_up(found: "Decision") -> str:
    """What would make the runner-up the answer."""
    verdict, size, similarity = found.verdict, found.measurements.size, found.measurements.similarity
    if verdict.overridden is not None:
        return "the rules' own choice"
    if verdict.nearer is Amount.PLENTIFUL and size.n_images < thresholds.PLENTIFUL_IMAGES:
        more = count(thresholds.PLENTIFUL_IMAGES - size.n_images, "more image")
        return f"the rules choose it with {more}"
    if verdict.nearer is Amount.PLENTIFUL:
        least = thresholds.PLENTIFUL_IMAGES_PER_CLASS
        return f"the rules choose it from {least} images in {small_class_words(size.n_classes)} on"
    if verdict.nearer is Amount.LIMITED:
        return f"the rules choose it below {thresholds.PLENTIFUL_IMAGES:,} images"
    if similarity is None:
        like = "unlike" if verdict.similarity is Similarity.SIMILAR else "like"
        return f"the rules choose it for images {like} {source_of(found)}"
    side = "above" if verdict.nearer is Similarity.DISSIMILAR else "below"
    return (
        f"the rules choose it if the drift in early and middle layers is {side} {thresholds.DRIFT_THRESHOLD:.3f}; here "
        f"it is {max(similarity.excess, 0.0):.3f}"
    )


def small_class_words(n_classes: int) -> str:
    """The class whose images are counted, in words."""
    ignored = int(thresholds.NEGLIGIBLE_CLASSES * (n_classes - 1))
    if not ignored:
        return "the smallest class"
    return f"the smallest class ({count(ignored, 'smaller one')} not counted)"
