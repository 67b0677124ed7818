"""The network's input size: a rule by the size of the images, and the evidence that may overrule it. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recommender.rules import thresholds
from recommender.rules.cut_rule import mean_error


@dataclass(frozen=True, slots=True, kw_only=True)
class SizeEvidence:
    """What one input size gives and costs, on a part of the images."""

    size: int  # px
    accuracy: float  # cross-validated, of a linear classifier on all stages
    gain: float  # of that over the rule's size, on the same images
    gain_error: float  # standard error of the gain
    seconds: float  # of the network for 1,000 images, on this machine


@dataclass(frozen=True, slots=True, kw_only=True)
class InputSizeChoice:
    """The chosen input size, and the evidence for it."""

    size: int  # px
    prior: int  # px: the rule's size
    n_images: int  # that were tried
    tried: tuple[SizeEvidence, ...]  # ascending


def input_size(median_short_side_px: float, native_size_px: int) -> int:
    """A multiple of 32 px near some times the images' short side, from 96 px up to the backbone's native size."""
    wanted = thresholds.INPUT_ENLARGEMENT * median_short_side_px
    return native_size_px if wanted >= native_size_px else _rounded(wanted, native_size_px)


def sizes_to_try(prior: int, native_size_px: int) -> tuple[int, ...]:
    """Three sizes at most: the rule's, and others that take about half or twice the time; ascending."""
    others = (prior * factor for factor in thresholds.INPUT_SIZES_TRIED)
    return tuple(sorted({prior, *(_rounded(each, native_size_px) for each in others)}))


def choose_input_size(
    prior: int, sizes: Sequence[int], correct: npt.ArrayLike, seconds: Sequence[float], groups: npt.ArrayLike = ()
) -> InputSizeChoice:
    """Leave the rule's size only for one that is clearly better; a smaller one, which is faster, less clearly.

    Args:
        prior: the rule's size in px; one of `sizes`.
        sizes: in px, ascending.
        correct: whether the classifier at each size was right on each image, of shape (sizes, images).
        seconds: of the network for 1,000 images at each size.
        groups: as in `choose_cut`.
    """
    hits = np.asarray(correct, np.float64)
    difference = hits - hits[list(sizes).index(prior)]
    tried = tuple(
        SizeEvidence(
            size=size,
            accuracy=float(right.mean()),
            gain=float(each.mean()),
            gain_error=mean_error(each, groups),
            seconds=float(time),
        )
        for size, right, each, time in zip(sizes, hits, difference, seconds, strict=True)
    )
    chosen = max(tried, key=lambda each: (each.gain if _is_better(each, prior) else 0.0, each.size == prior))
    return InputSizeChoice(size=chosen.size, prior=prior, n_images=hits.shape[1], tried=tried)


def _is_better(evidence: SizeEvidence, prior: int) -> bool:
    smaller = evidence.size < prior
    caution = thresholds.SMALLER_INPUT_CAUTION if smaller else thresholds.LARGER_INPUT_CAUTION
    return evidence.gain > caution * evidence.gain_error


def _rounded(wanted: float, native_size_px: int) -> int:
    step = thresholds.INPUT_STEP
    return min(native_size_px, max(thresholds.SMALLEST_INPUT, round(wanted / step) * step))
