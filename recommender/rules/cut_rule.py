"""Where to cut, what to freeze, and which cut points the head reads. Pure."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probes.evaluation.intervals import effective_size
from recommender.rules import thresholds


@dataclass(frozen=True, slots=True, kw_only=True)
class CutChoice:
    """The chosen cut, and the evidence for it."""

    index: int
    prior: int  # index of the cut that the rule starts from
    gain: float | None  # smoothed cross-validated accuracy at the choice minus that at the prior; None without evidence
    gain_error: float | None  # standard error of that difference over images


def choose_cut(
    depths: Sequence[float],
    correct: npt.ArrayLike,
    *,
    prior_depth: float,
    candidates: Sequence[int] | None = None,
    groups: npt.ArrayLike = (),
) -> CutChoice:
    """Start from the rule's cut and move to another only on clear evidence.

    The gain in accuracy over the rule's cut is measured image by image and smoothed over neighbouring depths. The
    choice maximises the gain minus `caution` times its standard error; for the rule's own cut this is exactly 0.

    Args:
        depths: of the cuts, ascending, in (0, 1].
        correct: whether the classifier at each cut was right on each image, of shape (cuts, images), perhaps empty.
        prior_depth: where the rule starts from.
        candidates: indices of the cuts that may be chosen; all by default.
        groups: of the images, of shape (images,); those of one may be correlated. By default each is its own.
    """
    allowed = list(range(len(depths)) if candidates is None else candidates)
    prior = min(allowed, key=lambda index: (abs(depths[index] - prior_depth), -index))
    hits = np.asarray(correct, np.float64).reshape(len(depths), -1)
    if hits.shape[1] < 2:
        return CutChoice(index=prior, prior=prior, gain=None, gain_error=None)
    distances = np.subtract.outer(depths, depths)
    weights = np.exp(-0.5 * (distances / thresholds.CUT_SMOOTHING) ** 2)
    smooth = (weights / weights.sum(1, keepdims=True)) @ hits
    difference = smooth - smooth[prior]
    gain = np.round(difference.mean(1), 12)  # equal cuts are equal, whatever the order of the sums
    error = np.array([mean_error(each, groups) for each in difference])
    lower = gain - np.array([caution(cut, prior) for cut in range(len(depths))]) * error
    index = max(allowed, key=lambda cut: (lower[cut], cut == prior))
    return CutChoice(index=index, prior=prior, gain=float(gain[index]), gain_error=float(error[index]))


def mean_error(difference: npt.NDArray[np.float64], groups: npt.ArrayLike) -> float:
    """Standard error of a mean over images."""
    n = effective_size(difference, groups) if np.size(groups) else len(difference)
    return float(difference.std(ddof=1) / math.sqrt(n))


def caution(cut: int, prior: int) -> float:
    """Standard errors by which a cut must be better than the rule's own; more if it discards more of the network."""
    return thresholds.EARLIER_CUT_CAUTION if cut < prior else thresholds.LATER_CUT_CAUTION


def alone_is_better(joined: npt.ArrayLike, alone: npt.ArrayLike, groups: npt.ArrayLike = ()) -> bool:
    """Whether the cut by itself is clearly better than several cut points joined.

    Both say whether each image was right, of shape (images,). Another shape, of other images, is no evidence. `groups`
    as in `choose_cut`.
    """
    if np.shape(alone) != np.shape(joined) or np.size(alone) < 2:
        return False
    difference = np.asarray(alone, np.float64) - np.asarray(joined, np.float64)
    return bool(difference.mean() > thresholds.ALONE_CAUTION * mean_error(difference, groups))


def freeze_index(depths: Sequence[float], n_images: int) -> int:
    """The last cut point to freeze in a partial fine-tune: the deepest that leaves at least the share to train.

    That share of the backbone's weighted layers never falls with more images.
    """
    tenfolds = math.log10(max(n_images, thresholds.TRAINABLE_SHARE_IMAGES) / thresholds.TRAINABLE_SHARE_IMAGES)
    share = thresholds.TRAINABLE_SHARE + thresholds.TRAINABLE_SHARE_PER_TENFOLD * tenfolds
    frozen = 1.0 - min(share, thresholds.MOST_TRAINABLE_SHARE)
    return max((index for index, depth in enumerate(depths[:-1]) if depth <= frozen), default=0)


def head_levels(shapes: Sequence[tuple[int | None, ...]], cut: int) -> list[int]:
    """Cut points that a classifier on a frozen backbone reads: the last of each run of equal shape, and the cut.

    Evci et al., Head2Toe: Utilizing Intermediate Representations for Better Transfer Learning, ICML 2022,
    arXiv:2201.03529.
    """
    return [index for index in range(cut) if shapes[index] != shapes[index + 1]] + [cut]
