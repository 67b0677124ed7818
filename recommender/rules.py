"""From measurements to one of the four scenarios, and to how deep to cut and to freeze. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recommender import thresholds
from recommender.scenario import Amount, Likeness, Scenario

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


def likeness(score: float) -> Likeness:
    """Whether pictures with that similarity score count as like the source's."""
    return Likeness.SIMILAR if score >= thresholds.SIMILAR_SCORE else Likeness.DISSIMILAR


@dataclass(frozen=True, slots=True, kw_only=True)
class LikenessEvidence:
    """What is known of the likeness.

    Attributes:
        verdict: similar or dissimilar.
        replicates: the verdict of each bootstrap resample of the images; empty where there is none.
        margin: how many times the threshold the evidence amounts to: up to 1 it counts as similar; None where no drift
            could be measured.
        trust: how far the kind of evidence can be trusted, 0 to 1.
    """

    verdict: Likeness
    replicates: tuple[Likeness, ...]
    margin: float | None
    trust: float = 1.0


def likeness_by_drift(score: float, score_replicates: Sequence[float], excess_drift: float) -> LikenessEvidence:
    """From the similarity score, those of the resamples, and the excess drift that it is made of."""
    return LikenessEvidence(
        verdict=likeness(score),
        replicates=tuple(likeness(value) for value in score_replicates),
        margin=drift_margin(excess_drift),
    )


def likeness_by_cuts(depths: Sequence[float], correct: npt.ArrayLike, *, seed: int) -> LikenessEvidence:
    """Where no drift can be measured: pictures are unlike if an earlier cut clearly beats the last.

    The textbook's premise turned round: last blocks that do worse than earlier ones are too specialised for the data.

    Args:
        depths: of the cuts, ascending.
        correct: whether the classifier at each cut was right on each image, of shape (cuts, images).
        seed: of the bootstrap.
    """
    hits = np.asarray(correct, np.float64).reshape(len(depths), -1)

    def verdict(columns: FloatArray) -> Likeness:
        choice = choose_cut(depths, columns, prior_depth=thresholds.TOP_CUT_DEPTH)
        return Likeness.SIMILAR if depths[choice.index] > thresholds.SPECIALISED_DEPTH else Likeness.DISSIMILAR

    rng = np.random.default_rng(seed)
    n_images = hits.shape[1]
    resamples = thresholds.LIKENESS_RESAMPLES if n_images > 1 else 0
    return LikenessEvidence(
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
        nearer: the question that the nearer threshold answers: an `Amount` or a `Likeness`.
        close: whether a threshold is too near for the choice to be relied on.
        overridden: the scenario that the rules would have chosen, where the user asked for another; else None.
    """

    scenario: Scenario
    confidence: float
    runner_up: Scenario
    alike: Likeness
    nearer: Amount | Likeness
    close: bool
    overridden: Scenario | None


def choose_scenario(
    *,
    n_images: int,
    images_per_class: float,
    evidence: LikenessEvidence,
    forced: Scenario | None = None,
) -> Verdict:
    """Answer both questions.

    Args:
        n_images: in all.
        images_per_class: of the smallest class that counts.
        evidence: of the likeness.
        forced: the user's own choice.

    Returns:
        The verdict.
    """
    much, alike = amount(n_images, images_per_class), evidence.verdict
    ruled = Scenario.of(much, alike)
    chosen = forced or ruled
    resampled = [Scenario.of(much, value) for value in (evidence.replicates or (alike,))]
    other_amount = next(other for other in Amount if other is not much)
    other_likeness = next(other for other in Likeness if other is not alike)
    amount_distance = abs(math.log(max(amount_margin(n_images, images_per_class), 1e-9)))
    drift_distance = 0.0 if evidence.margin is None else abs(math.log(max(evidence.margin, 1e-2)))
    by_amount = amount_distance < drift_distance
    runner_up = Scenario.of(other_amount, alike) if by_amount else Scenario.of(much, other_likeness)
    return Verdict(
        scenario=chosen,
        confidence=evidence.trust * sum(scenario is chosen for scenario in resampled) / len(resampled),
        runner_up=ruled if forced and forced is not ruled else runner_up,
        alike=alike,
        nearer=other_amount if by_amount else other_likeness,
        close=is_close(amount_margin(n_images, images_per_class))
        or evidence.margin is None
        or is_close(evidence.margin),
        overridden=ruled if forced and forced is not ruled else None,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class CutChoice:
    """Which cut, and what moved it.

    Attributes:
        index: of the chosen cut.
        prior: index of the cut that the rule starts from.
        gain: smoothed cross-validated accuracy at the choice minus that at the prior, 0 to 1; None without evidence.
        gain_error: standard error of that difference over images; None without evidence.
    """

    index: int
    prior: int
    gain: float | None
    gain_error: float | None


def choose_cut(
    depths: Sequence[float],
    correct: npt.ArrayLike,
    *,
    prior_depth: float,
    candidates: Sequence[int] | None = None,
) -> CutChoice:
    """Start from the rule's cut and leave it for the one that beats it most surely.

    For each cut the accuracy gained over the rule's own is measured image by image, smoothed over neighbouring depths.
    The choice has the largest gain less some standard errors of the gain, more of them for a cut that gives up more of
    the network; the rule's own cut has exactly 0.

    Args:
        depths: of the cuts, ascending, in (0, 1].
        correct: whether the classifier at each cut was right on each image, of shape (cuts, images); no column where
            nothing could be measured.
        prior_depth: where the rule starts from.
        candidates: indices of the cuts that may be chosen; all by default.

    Returns:
        The choice.
    """
    allowed = list(range(len(depths)) if candidates is None else candidates)
    prior = min(allowed, key=lambda index: (abs(depths[index] - prior_depth), -index))
    hits = np.asarray(correct, np.float64).reshape(len(depths), -1)
    if hits.shape[1] < 2:
        return CutChoice(index=prior, prior=prior, gain=None, gain_error=None)
    smooth = _kernel(np.asarray(depths)) @ hits
    difference = smooth - smooth[prior]
    gain = np.round(difference.mean(1), 12)  # equal cuts are equal, whatever the order of the sums
    error = difference.std(1, ddof=1) / math.sqrt(hits.shape[1])
    sure = gain - np.array([caution(place, prior) for place in range(len(depths))]) * error
    index = max(allowed, key=lambda place: (sure[place], place == prior))
    return CutChoice(index=index, prior=prior, gain=float(gain[index]), gain_error=float(error[index]))


def caution(cut: int, prior: int) -> float:
    """Standard errors by which a cut must be better than the rule's own."""
    return thresholds.EARLIER_CUT_CAUTION if cut < prior else thresholds.LATER_CUT_CAUTION


def alone_is_better(joined: npt.ArrayLike, alone: npt.ArrayLike) -> bool:
    """Whether the cut by itself clearly beats several cut points joined.

    Args:
        joined: whether the joined classifier was right on each image, of shape (images,).
        alone: the same of the cut's own; of another shape where they were measured on other images, which says nothing.
    """
    difference = np.asarray(alone, np.float64)
    if difference.shape != np.shape(joined) or len(difference) < 2:
        return False
    difference = difference - np.asarray(joined, np.float64)
    error = difference.std(ddof=1) / math.sqrt(len(difference))
    return bool(difference.mean() > thresholds.ALONE_CAUTION * error)


def _kernel(depths: FloatArray) -> FloatArray:
    """Rows of weights that average over neighbouring depths."""
    weights = np.exp(-0.5 * ((depths[:, None] - depths) / thresholds.CUT_SMOOTHING) ** 2)
    return np.asarray(weights / weights.sum(1, keepdims=True))


def trainable_share(n_images: int) -> float:
    """Share of the backbone's weighted layers that trains in a partial fine-tune; it never falls with more images."""
    tenfolds = math.log10(max(n_images, thresholds.PLENTIFUL_IMAGES) / thresholds.PLENTIFUL_IMAGES)
    share = thresholds.TRAINABLE_SHARE + thresholds.TRAINABLE_SHARE_PER_TENFOLD * tenfolds
    return min(share, thresholds.MOST_TRAINABLE_SHARE)


def freeze_index(depths: Sequence[float], n_images: int) -> int:
    """The last cut point to freeze in a partial fine-tune: the deepest that leaves at least the share to train."""
    frozen = 1.0 - trainable_share(n_images)
    below = [index for index, depth in enumerate(depths[:-1]) if depth <= frozen]
    return below[-1] if below else 0


def head_levels(shapes: Sequence[tuple[int | None, ...]], cut: int) -> list[int]:
    """Cut points that a classifier on a frozen backbone reads: the last of each run of equal shape, and the cut.

    Args:
        shapes: (height, width, channels) of the cut points, in order.
        cut: index of the last one that is kept.

    Reference:
        Evci et al., Head2Toe: Utilizing Intermediate Representations for Better Transfer Learning, ICML 2022,
        arXiv:2201.03529.
    """
    ends = [index for index in range(cut) if shapes[index] != shapes[index + 1]]
    return [*ends, cut]
