"""Which of several networks: a prior by their accuracy on ImageNet, and the evidence on a growing sample. Pure.

Successive halving: Jamieson and Talwalkar, Non-stochastic best arm identification and hyperparameter optimization,
AISTATS 2016, arXiv:1502.07943. The prior: arXiv:2510.06448 finds a fixed order of networks hard to beat.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from probes.evaluation.intervals import accuracy_error
from recommender.rules import thresholds
from recommender.rules.cut_rule import mean_error


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneEvidence:
    """What one network gives and costs, on a part of the images. What was not measured is None."""

    name: str
    input_size: int  # px
    imagenet_accuracy: float | None  # top-1 in %; None if unknown
    multiply_adds: float  # millions for one image, about
    megabytes: float  # of its weights
    n_images: int = 0  # that it was tried on
    accuracy: float | None = None  # cross-validated, of a linear classifier on all stages
    standard_error: float | None = None
    expected: float | None = None  # accuracy, from that and what the accuracy on ImageNet lets expect
    gain: float | None = None  # of the accuracy over that of the leader, on the same images
    gain_error: float | None = None  # standard error of the gain
    milliseconds: float | None = None  # of the network for one image, on this machine
    dropped: bool = False  # whether it was surely worse, and not tried on more images


@dataclass(frozen=True, slots=True, kw_only=True)
class BackboneChoice:
    """The chosen network, and the evidence for it."""

    name: str
    leader: str | None  # the one with the highest expected accuracy; None if nothing could be cross-validated
    tried: tuple[BackboneEvidence, ...]  # the chosen one first


def sample_sizes(n_images: int) -> tuple[int, ...]:
    """Numbers of images on which networks are compared one after the other; ascending."""
    return tuple(sorted({min(size, n_images) for size in thresholds.BACKBONE_SAMPLES}))


def with_evidence(
    tried: Sequence[BackboneEvidence], correct: npt.ArrayLike, groups: npt.ArrayLike = ()
) -> tuple[BackboneEvidence, ...]:
    """What one sample says of networks; one is dropped if it is surely less accurate than the leader.

    Args:
        tried: what is known of them.
        correct: whether the classifier on each network was right on each image, of shape (networks, images).
        groups: as in `choose_cut`.
    """
    hits = np.asarray(correct, np.float64)
    expected = _expected(tried, hits)
    leader = min(range(len(tried)), key=lambda which: (-expected[which], tried[which].multiply_adds))
    difference = hits - hits[leader]
    errors = [mean_error(each, groups) for each in difference]
    return tuple(
        replace(
            known,
            n_images=hits.shape[1],
            accuracy=float(right.mean()),
            standard_error=accuracy_error(right > 0, groups=np.asarray(groups) if np.size(groups) else None),
            expected=float(blend),
            gain=float(each.mean()),
            gain_error=error,
            dropped=bool(-each.mean() > thresholds.BACKBONE_DROPPED * error),
        )
        for known, right, blend, each, error in zip(tried, hits, expected, difference, errors, strict=True)
    )


def _expected(tried: Sequence[BackboneEvidence], hits: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Mean of the accuracy on n images and of the prior, which counts as so many more; without a prior the accuracy.

    The prior differs from the mean accuracy of the networks as their accuracy on ImageNet does from its mean, in
    proportion.
    """
    accuracy, n_images = hits.mean(1), hits.shape[1]
    on_imagenet = np.array([np.nan if each.imagenet_accuracy is None else each.imagenet_accuracy for each in tried])
    known = np.isfinite(on_imagenet)
    if not known.any():
        return np.asarray(np.round(accuracy, 12))
    ahead = thresholds.BACKBONE_PRIOR_SLOPE * (on_imagenet - on_imagenet[known].mean()) / 100
    prior = np.where(known, accuracy[known].mean() + ahead, accuracy)
    weight = thresholds.BACKBONE_PRIOR_IMAGES / (thresholds.BACKBONE_PRIOR_IMAGES + n_images)
    return np.asarray(np.round((1 - weight) * accuracy + weight * prior, 12))


def choose_backbone(tried: Sequence[BackboneEvidence]) -> BackboneChoice:
    """The cheapest of those whose expected accuracy is within the error of the highest.

    Without evidence it is the one with the highest accuracy on ImageNet; of networks without one, the first.
    """
    measured = [each for each in tried if each.expected is not None and not each.dropped]
    leader = max(measured, key=lambda each: (each.expected or 0.0, -each.multiply_adds), default=None)
    if leader is None:
        chosen = max(tried, key=lambda each: each.imagenet_accuracy or 0.0)
    else:
        tied = [each for each in measured if _is_tied(each, leader)]
        chosen = min(tied, key=lambda each: (each.multiply_adds, -(each.expected or 0.0)))
    others = sorted((each for each in tried if each is not chosen), key=_place)
    return BackboneChoice(name=chosen.name, leader=None if leader is None else leader.name, tried=(chosen, *others))


def _is_tied(evidence: BackboneEvidence, leader: BackboneEvidence) -> bool:
    """Whether the expected accuracy is within some standard errors of the leader's; the prior has no error."""
    prior = 0 if evidence.imagenet_accuracy is None else thresholds.BACKBONE_PRIOR_IMAGES
    error = (evidence.gain_error or 0.0) * evidence.n_images / (evidence.n_images + prior)
    return (leader.expected or 0.0) - (evidence.expected or 0.0) <= thresholds.BACKBONE_TIED * error


def _place(evidence: BackboneEvidence) -> tuple[float, ...]:
    """Ascending from the best: tried on most images, of the highest expected accuracy, the cheapest."""
    return evidence.dropped, -evidence.n_images, -(evidence.expected or 0.0), evidence.multiply_adds
