"""How evenly the images are spread over the classes, and what follows from it. Pure."""

from collections.abc import Sequence

from recommender.rules import thresholds


def small_class(class_counts: Sequence[int]) -> int:
    """Images of the smallest class that counts: all but `thresholds.NEGLIGIBLE_CLASSES` of the classes have as many.

    Args:
        class_counts: images of each class; one without any does not count.
    """
    present = sorted(number for number in class_counts if number)
    return present[int(thresholds.NEGLIGIBLE_CLASSES * (len(present) - 1))]


def imbalance(class_counts: Sequence[int]) -> float:
    """How many times as many images the largest class has as the smallest."""
    return max(class_counts) / min(number for number in class_counts if number)


def class_weights(class_counts: Sequence[int]) -> tuple[float, ...] | None:
    """Weights under which every class counts alike in training; None where the classes are balanced enough.

    Args:
        class_counts: images of each class.

    Returns:
        For each class n_images / (n_classes * images of the class), as scikit-learn's "balanced".
    """
    if imbalance(class_counts) < thresholds.WEIGHTED_IMBALANCE:
        return None
    n_present = sum(number > 0 for number in class_counts)
    return tuple(sum(class_counts) / (n_present * count) if count else 1.0 for count in class_counts)
