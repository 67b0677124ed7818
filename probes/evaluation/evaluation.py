"""Metrics of predictions on held-out images."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array

from probes.evaluation.calibration import calibration_error, checked, log_losses
from probes.evaluation.intervals import accuracy_interval

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Evaluation:
    """Metrics of probabilities on labelled images.

    Attributes:
        n: number of images.
        accuracy: share of the images whose most probable class is the true one, 0 to 1.
        interval: 95 % interval of that accuracy.
        balanced_accuracy: mean recall over the classes that have images.
        confusion: numbers of images, of shape (classes, classes); rows are true classes, columns predicted ones.
        precision: of each class, the share of images predicted as it that are right; nan where there are none.
        recall: of each class, the share of its images that are predicted as it; nan where it has none.
        support: images of each class.
        calibration_error: see `calibration_error`.
        log_loss: mean of -log of the probability of the true class, in nats.
    """

    n: int
    accuracy: float
    interval: tuple[float, float]
    balanced_accuracy: float
    confusion: npt.NDArray[np.int32]
    precision: FloatArray
    recall: FloatArray
    support: npt.NDArray[np.int64]
    calibration_error: float
    log_loss: float


def evaluate(probabilities: npt.ArrayLike, labels: npt.ArrayLike, groups: npt.ArrayLike | None = None) -> Evaluation:
    """Compare probabilities with labels.

    Args:
        probabilities: of every class, of shape (n, classes).
        labels: class numbers, of shape (n,).
        groups: images of one group may be correlated, of shape (n,), which widens the interval.

    Raises:
        ProbeError: no images, labels that are no class, or no finite numbers of these shapes.
    """
    values, numbers = checked(probabilities, labels)
    n_images, n_classes = values.shape
    predicted = values.argmax(1)
    # In 32 bits, which scikit-learn's confusion_matrix does not offer: 10,000 classes take 400 MB.
    confusion = coo_array((np.ones(n_images, np.int32), (numbers, predicted)), shape=(n_classes, n_classes)).toarray()
    support, right = confusion.sum(1), confusion.diagonal()
    recall = _ratio(right, support)
    return Evaluation(
        n=n_images,
        accuracy=float(right.sum() / n_images),
        interval=accuracy_interval(predicted == numbers, groups),
        balanced_accuracy=float(np.nanmean(recall)),
        confusion=confusion,
        precision=_ratio(right, confusion.sum(0)),
        recall=recall,
        support=support,
        calibration_error=calibration_error(values, numbers),
        log_loss=float(log_losses(values, numbers).mean()),
    )


def _ratio(part: npt.NDArray[np.int32], total: npt.NDArray[np.int64]) -> FloatArray:
    return np.asarray(np.divide(part, total, out=np.full(len(total), np.nan), where=total > 0))
