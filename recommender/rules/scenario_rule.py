"""From measurements to one of the four scenarios. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recommender.rules import thresholds
from recommender.rules.cut_rule import choose_cut
from recommender.rules.scenario import Amount, Scenario, Similarity


def amount_margin(n_images: int, images_per_class: float) -> float:
    """How many times the plentiful threshold the data amounts to, in all and in the smallest class that counts."""
    return min(n_images / thresholds.PLENTIFUL_IMAGES, images_per_class / thresholds.PLENTIFUL_IMAGES_PER_CLASS)


def amount(n_images: int, images_per_class: float) -> Amount:
    """Whether there is enough data to fine-tune; arguments as of `amount_margin`."""
    return Amount.PLENTIFUL if amount_margin(n_images, images_per_class) >= 1 else Amount.LIMITED


def drift_margin(excess_drift: float) -> float:
    """How many times the drift threshold the excess drift amounts to: up to 1 the images count as similar."""
    return max(excess_drift, 0.0) / thresholds.DRIFT_THRESHOLD


def similarity_verdict(score: float) -> Similarity:
    """Whether images with that similarity score count as similar to the source's."""
    return Similarity.SIMILAR if score >= thresholds.SIMILAR_SCORE else Similarity.DISSIMILAR


@dataclass(frozen=True, slots=True, kw_only=True)
class SimilarityEvidence:
    """What is known of the similarity."""

    verdict: Similarity
    replicates: tuple[Similarity, ...]  # the verdict of each bootstrap resample of the images; may be empty
    margin: float | None  # how many times the threshold the evidence amounts to, up to 1 if similar; None without drift
    trust: float = 1.0  # share of data sets in which this kind of evidence is right


def similarity_by_drift(score: float, score_replicates: Sequence[float], excess_drift: float) -> SimilarityEvidence:
    """From the similarity score, those of the resamples, and the excess drift."""
    return SimilarityEvidence(
        verdict=similarity_verdict(score),
        replicates=tuple(similarity_verdict(value) for value in score_replicates),
        margin=drift_margin(excess_drift),
    )


def similarity_by_cuts(
    depths: Sequence[float], correct: npt.ArrayLike, *, seed: int, groups: npt.ArrayLike = ()
) -> SimilarityEvidence:
    """Without drift, images count as dissimilar if an earlier cut is clearly better than the last one.

    This reverses the textbook's premise: if the last blocks do worse than earlier ones, they are too specialised.
    `depths`, `correct` and `groups` are those of `choose_cut`; resamples take whole groups.
    """
    hits = np.asarray(correct, np.float64).reshape(len(depths), -1)

    n_images = hits.shape[1]
    of_image = np.asarray(groups, np.int64) if np.size(groups) else np.arange(n_images)
    _, first, inverse = np.unique(of_image, return_index=True, return_inverse=True)
    members = [np.flatnonzero(inverse == number) for number in np.argsort(first)]

    def verdict(columns: npt.NDArray[np.float64], of_column: npt.ArrayLike = groups) -> Similarity:
        choice = choose_cut(depths, columns, prior_depth=thresholds.TOP_CUT_DEPTH, groups=of_column)
        return Similarity.SIMILAR if depths[choice.index] > thresholds.SPECIALISED_DEPTH else Similarity.DISSIMILAR

    def resampled() -> Similarity:
        drawn = [members[number] for number in rng.integers(len(members), size=len(members))]
        of_column = np.repeat(np.arange(len(drawn)), [len(part) for part in drawn])
        return verdict(hits[:, np.concatenate(drawn)], of_column if len(members) < n_images else ())

    rng = np.random.default_rng(seed)
    return SimilarityEvidence(
        verdict=verdict(hits),
        replicates=tuple(resampled() for _ in range(thresholds.SIMILARITY_RESAMPLES if len(members) > 1 else 0)),
        margin=None,
        trust=thresholds.CUTS_AGREEMENT,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """The scenario, and how sure it is."""

    scenario: Scenario
    confidence: float  # share of resamples that give the same scenario, times the trust in the evidence, 0 to 1
    runner_up: Scenario  # across the nearer threshold, or the rules' own choice where it is overridden
    similarity: Similarity
    nearer: Amount | Similarity  # the answer across the nearer threshold
    close: bool  # whether a threshold is too near for the choice to be relied on
    overridden: Scenario | None  # what the rules would have chosen, if the user asked for another

    def __repr__(self) -> str:
        first, then = (f"{each.id} {each.name}" for each in (self.scenario, self.runner_up))
        return f"<Verdict {first}, confidence {self.confidence:.2f}, runner-up {then}>"


def choose_scenario(
    *,
    n_images: int,
    images_per_class: float,
    evidence: SimilarityEvidence,
    forced: Scenario | None = None,
) -> Verdict:
    """Answer both questions; `images_per_class` of the smallest class that counts, `forced` by the user."""
    size, similarity = amount(n_images, images_per_class), evidence.verdict
    ruled = Scenario.of(size, similarity)
    chosen = forced or ruled
    overridden = ruled if chosen is not ruled else None
    resampled = [Scenario.of(size, value) for value in (evidence.replicates or (similarity,))]

    other_size = next(other for other in Amount if other is not size)
    other_similarity = next(other for other in Similarity if other is not similarity)
    size_margin, drift = amount_margin(n_images, images_per_class), evidence.margin
    size_distance = abs(math.log(max(size_margin, 1e-9)))
    drift_distance = 0.0 if drift is None else abs(math.log(max(drift, 1e-2)))
    by_size = size_distance < drift_distance
    across = Scenario.of(other_size, similarity) if by_size else Scenario.of(size, other_similarity)
    return Verdict(
        scenario=chosen,
        confidence=evidence.trust * sum(scenario is chosen for scenario in resampled) / len(resampled),
        runner_up=overridden or across,
        similarity=similarity,
        nearer=other_size if by_size else other_similarity,
        close=drift is None or _is_close(size_margin) or _is_close(drift),
        overridden=overridden,
    )


def _is_close(margin: float) -> bool:
    """Whether a margin is too near to 1, its threshold, to be relied on."""
    return 1 / thresholds.CLOSE_CALL < margin < thresholds.CLOSE_CALL
