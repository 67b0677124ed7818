"""Metrics of probabilities on held-out images, and one temperature that brings them closer to the accuracy."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.sparse import coo_array
from scipy.special import log_softmax, logsumexp
from scipy.stats import rankdata, t
from sklearn.metrics import precision_recall_fscore_support

from probes.data.splits import Labels, Rows, balanced_weights, held_out_splits
from probes.errors import ProbeError
from probes.evaluation.intervals import accuracy_interval

BINS = 15  # at most, as in Guo et al., On calibration of modern neural networks, 2017
# Images that a bin should hold at least: the share that is right is then known to about 0.1. Ours.
IMAGES_PER_BIN = 20
# Weight, in images, of a prior that the probabilities are right, which pulls the temperature towards 1; scikit-learn's
# temperature scaling has none. On simulated images of temperature 0.7 to 2.5 and 2 to 10 classes 20 was better than 0,
# 1, 5 and 10 at 10 to 400 images, and than Platt's one label: tests/probes/evaluation/test_calibration.py.
TRUSTED_IMAGES = 20
LEAST_IMAGES = 10
_LEAST_PROBABILITY = 1e-12  # a smaller probability counts as this
_COLDEST, _HOTTEST = 0.1, 10.0

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """Metrics of probabilities on labelled images."""

    n: int
    accuracy: float
    interval: tuple[float, float]  # of that accuracy, of 90 %
    balanced_accuracy: float  # mean recall over the classes that have images
    balanced_interval: tuple[float, float]  # of 90 %
    confusion: npt.NDArray[np.int32]  # of shape (classes, classes); rows are true classes, columns predicted ones
    precision: FloatArray  # of each class; nan where no image is predicted as it
    recall: FloatArray  # of each class; nan where it has no image
    support: npt.NDArray[np.int64]  # images of each class
    calibration_error: float
    log_loss: float  # in nats


def evaluate(probabilities: npt.ArrayLike, labels: npt.ArrayLike, groups: npt.ArrayLike | None = None) -> Evaluation:
    """Metrics of probabilities of shape (n, classes); images of one group may be correlated."""
    values, numbers = _finite(probabilities), np.asarray(labels, np.int64)
    n_images, n_classes = values.shape
    predicted = values.argmax(1)
    # In 32 bits, which scikit-learn's confusion_matrix does not offer: 10,000 classes take 400 MB.
    confusion = coo_array((np.ones(n_images, np.int32), (numbers, predicted)), shape=(n_classes, n_classes)).toarray()
    precision, recall, _, support = precision_recall_fscore_support(
        numbers, predicted, labels=np.arange(n_classes), zero_division=np.nan
    )
    return Evaluation(
        n=n_images,
        accuracy=float((predicted == numbers).mean()),
        interval=accuracy_interval(predicted == numbers, groups),
        balanced_accuracy=float(np.nanmean(recall)),
        balanced_interval=accuracy_interval(predicted == numbers, groups, balanced_weights(numbers, np.ones(n_images))),
        confusion=confusion,
        precision=precision,
        recall=recall,
        support=support,
        calibration_error=calibration_error(values, numbers),
        log_loss=float(log_losses(values, numbers).mean()),
    )


def _finite(probabilities: npt.ArrayLike) -> FloatArray:
    values = np.asarray(probabilities, np.float64)
    if not np.isfinite(values).all():
        raise ProbeError("Expected finite probabilities. Received: some that are not. Check the model's weights.")
    return values


def log_losses(probabilities: FloatArray, labels: Labels) -> FloatArray:
    """-log of the probability of each image's true class, in nats, of shape (n,)."""
    return np.asarray(-np.log(np.maximum(probabilities[np.arange(len(labels)), labels], _LEAST_PROBABILITY)))


def calibration_error(probabilities: FloatArray, labels: Labels) -> float:
    """Mean difference between the probability of the most probable class and the share that is right, over bins.

    The images are sorted by that probability and split into `BINS` bins of equal numbers of images, or into fewer bins
    where there are fewer than `IMAGES_PER_BIN` images for each. Equal probabilities share a bin. Nixon et al.,
    Measuring calibration in deep learning, 2019.
    """
    confidence = probabilities.max(1)
    correct = probabilities.argmax(1) == labels
    n_bins = int(np.clip(len(labels) // IMAGES_PER_BIN, 1, BINS))
    bins = ((rankdata(confidence) - 0.5) / len(labels) * n_bins).astype(int)
    return float(np.abs(np.bincount(bins, confidence - correct)).sum() / len(labels))


def _logits(probabilities: npt.ArrayLike) -> FloatArray:
    return np.asarray(np.log(np.maximum(np.asarray(probabilities, np.float64), _LEAST_PROBABILITY)))


def apply_temperature(probabilities: npt.ArrayLike, temperature: float) -> FloatArray:
    """Soften probabilities of shape (n, classes) by a temperature above 1, or sharpen them."""
    return np.asarray(np.exp(log_softmax(_logits(probabilities) / temperature, axis=1)))


def fit_temperature(probabilities: npt.ArrayLike, labels: npt.ArrayLike) -> float:
    """The temperature of lowest log loss on held-out images, with a prior of `TRUSTED_IMAGES` images.

    The prior keeps the temperature near 1 where there are few images, and above 0 where all of them are right. It is
    exactly 1 for fewer than `LEAST_IMAGES` images or a single class. Guo et al., On calibration of modern neural
    networks, 2017.
    """
    values, numbers = _finite(probabilities), np.asarray(labels, np.int64)
    logits, n_images = _logits(values), len(numbers)
    if n_images < LEAST_IMAGES or values.shape[1] < 2:
        return 1.0
    # Mean logit of the true class, where `prior` of the labels are drawn from the probabilities themselves.
    prior = TRUSTED_IMAGES / (n_images + TRUSTED_IMAGES)
    expected = (np.exp(log_softmax(logits, axis=1)) * logits).sum(1)
    target = ((1 - prior) * logits[np.arange(n_images), numbers] + prior * expected).mean()

    def loss(log_temperature: float) -> float:
        temperature = np.exp(log_temperature)
        return float(logsumexp(logits / temperature, axis=1).mean() - target / temperature)

    return float(np.exp(minimize_scalar(loss, bounds=np.log([_COLDEST, _HOTTEST]), method="bounded").x))


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """The effect of a temperature on probabilities."""

    temperature: float  # fitted on all images; to be applied only where it `helps`
    error_before: float  # calibration error of the given probabilities
    error_after: float  # the same where each image is scaled by a temperature fitted on others
    helps: bool  # whether the log loss is then lower by its 95 % interval


def calibrate(
    probabilities: npt.ArrayLike, labels: npt.ArrayLike, seed: int, groups: npt.ArrayLike | None = None
) -> Calibration:
    """Fit a temperature on probabilities of held-out images, and find by cross-fitting whether it helps."""
    values, numbers = _finite(probabilities), np.asarray(labels, np.int64)
    before = apply_temperature(values, 1.0)
    after = before.copy()
    rows = Rows.of(numbers, groups)
    for train, held_out in held_out_splits(rows, seed=seed):
        after[held_out] = apply_temperature(values[held_out], fit_temperature(values[train], numbers[train]))
    # The images of a group count as one sum.
    gains = np.bincount(
        np.unique(rows.groups, return_inverse=True)[1], log_losses(before, numbers) - log_losses(after, numbers)
    )
    error = gains.std(ddof=1) * np.sqrt(len(gains)) if len(gains) > 1 else np.inf
    return Calibration(
        temperature=fit_temperature(values, numbers),
        error_before=calibration_error(before, numbers),
        error_after=calibration_error(after, numbers),
        helps=bool(gains.sum() > t.ppf(0.975, max(len(gains) - 1, 1)) * error),
    )
