"""From measurements to one of the four scenarios, and to how deep to cut and to freeze. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recommender.rules import thresholds
from recommender.rules.cut_rule import choose_cut
from recommender.rules.scenario import Amount, Scenario, Similarity

FloatArray = npt.NDArray[np.float64]


def input_size(median_short_side_px: float, native_size_px: int) -> int:
    """The multiple of 32 px nearest to the pictures' short side, from 96 px up to what the backbone was trained at."""
    if median_short_side_px >= native_size_px:
        return native_size_px
    step = thresholds.INPUT_STEP
    return min(native_size_px, max(thresholds.SMALLEST_INPUT, round(median_short_side_px / step) * step))


def amount(n_images: int, images_per_class: float) -> Amount:
    """Whether there is enough data to fine-tune.

    Args:
        n_images: in all.
        images_per_class: of the smallest class that counts.
    """
    enough = n_images >= thresholds.PLENTIFUL_IMAGES and images_per_class >= thresholds.PLENTIFUL_IMAGES_PER_CLASS
    return Amount.PLENTIFUL if enough else Amount.LIMITED


def amount_margin(n_images: int, images_per_class: float) -> float:
    """How many times the plentiful threshold the data amounts to: from 1 on it is plentiful."""
    return min(n_images / thresholds.PLENTIFUL_IMAGES, images_per_class / thresholds.PLENTIFUL_IMAGES_PER_CLASS)


def drift_margin(excess_drift: float) -> float:
    """How many times the drift threshold the excess drift amounts to: up to 1 the pictures count as similar."""
    return max(excess_drift, 0.0) / thresholds.DRIFT_THRESHOLD


def is_close(margin: float) -> bool:
    """Whether a margin, 1 at its threshold, is too near to it to be relied on."""
    return 1 / thresholds.CLOSE_CALL < margin < thresholds.CLOSE_CALL


def similarity_verdict(score: float) -> Similarity:
    """Whether pictures with that similarity score count as like the source's."""
    return Similarity.SIMILAR if score >= thresholds.SIMILAR_SCORE else Similarity.DISSIMILAR


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarityEvidence:
    """What is known of the similarity.

    Attributes:
        verdict: similar or dissimilar.
        replicates: the verdict of each bootstrap resample of the images; empty where there is none.
        margin: how many times the threshold the evidence amounts to: up to 1 it counts as similar; None where no drift
            could be measured.
        trust: how far the kind of evidence can be trusted, 0 to 1.
    """

    verdict: Similarity
    replicates: tuple[Similarity, ...]
    margin: float | None
    trust: float = 1.0


def similarity_by_drift(score: float, score_replicates: Sequence[float], excess_drift: float) -> SimilarityEvidence:
    """From the similarity score, those of the resamples, and the excess drift that it is made of."""
    return SimilarityEvidence(
        verdict=similarity_verdict(score),
        replicates=tuple(similarity_verdict(value) for value in score_replicates),
        margin=drift_margin(excess_drift),
    )


def similarity_by_cuts(depths: Sequence[float], correct: npt.ArrayLike, *, seed: int) -> SimilarityEvidence:
    """Where no drift can be measured: pictures are unlike if an earlier cut clearly beats the last.

    The textbook's premise turned round: last blocks that do worse than earlier ones are too specialised for the data.

    Args:
        depths: of the cuts, ascending.
        correct: whether the classifier at each cut was right on each image, of shape (cuts, images).
        seed: of the bootstrap.
    """
    hits = np.asarray(correct, np.float64).reshape(len(depths), -1)

    def verdict(columns: FloatArray) -> Similarity:
        choice = choose_cut(depths, columns, prior_depth=thresholds.TOP_CUT_DEPTH)
        return Similarity.SIMILAR if depths[choice.index] > thresholds.SPECIALISED_DEPTH else Similarity.DISSIMILAR

    rng = np.random.default_rng(seed)
    n_images = hits.shape[1]
    resamples = thresholds.SIMILARITY_RESAMPLES if n_images > 1 else 0
    return SimilarityEvidence(
        verdict=verdict(hits),
        replicates=tuple(verdict(hits[:, rng.integers(n_images, size=n_images)]) for _ in range(resamples)),
        margin=None,
        trust=thresholds.CUTS_AGREEMENT,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """Which scenario, how firmly, and what comes next.

    Attributes:
        scenario: the choice.
        confidence: share of bootstrap resamples of the images that give the same scenario, times the trust in the
            evidence, 0 to 1.
        runner_up: the scenario across the nearer threshold.
        alike: whether the pictures count as like the source's.
        nearer: the question that the nearer threshold answers: an `Amount` or a `Similarity`.
        close: whether a threshold is too near for the choice to be relied on.
        overridden: the scenario that the rules would have chosen, where the user asked for another; else None.
    """

    scenario: Scenario
    confidence: float
    runner_up: Scenario
    alike: Similarity
    nearer: Amount | Similarity
    close: bool
    overridden: Scenario | None


def choose_scenario(
    *,
    n_images: int,
    images_per_class: float,
    evidence: SimilarityEvidence,
    forced: Scenario | None = None,
) -> Verdict:
    """Answer both questions.

    Args:
        n_images: in all.
        images_per_class: of the smallest class that counts.
        evidence: of the similarity.
        forced: the user's own choice.

    Returns:
        The verdict.
    """
    much, alike = amount(n_images, images_per_class), evidence.verdict
    ruled = Scenario.of(much, alike)
    chosen = forced or ruled
    resampled = [Scenario.of(much, value) for value in (evidence.replicates or (alike,))]
    other_amount = next(other for other in Amount if other is not much)
    other_similarity = next(other for other in Similarity if other is not alike)
    amount_distance = abs(math.log(max(amount_margin(n_images, images_per_class), 1e-9)))
    drift_distance = 0.0 if evidence.margin is None else abs(math.log(max(evidence.margin, 1e-2)))
    by_amount = amount_distance < drift_distance
    runner_up = Scenario.of(other_amount, alike) if by_amount else Scenario.of(much, other_similarity)
    return Verdict(
        scenario=chosen,
        confidence=evidence.trust * sum(scenario is chosen for scenario in resampled) / len(resampled),
        runner_up=ruled if forced and forced is not ruled else runner_up,
        alike=alike,
        nearer=other_amount if by_amount else other_similarity,
        close=is_close(amount_margin(n_images, images_per_class))
        or evidence.margin is None
        or is_close(evidence.margin),
        overridden=ruled if forced and forced is not ruled else None,
    )
