"""How evenly the images are spread over the classes, and the weights that follow. Pure."""

from collections.abc import Sequence

from recommender.rules import thresholds


def small_class(class_counts: Sequence[int]) -> int:
    """Images of the smallest class with any, when `thresholds.NEGLIGIBLE_CLASSES` of them may be smaller."""
    present = sorted(number for number in class_counts if number)
    return present[int(thresholds.NEGLIGIBLE_CLASSES * (len(present) - 1))]


def imbalance(class_counts: Sequence[int]) -> float:
    """Images of the largest class over images of the smallest."""
    return max(class_counts) / min(number for number in class_counts if number)


def class_weights(class_counts: Sequence[int]) -> tuple[float, ...] | None:
    """Weights of the classes, n_images / (n_classes * images of the class); None if they are balanced enough."""
    if imbalance(class_counts) < thresholds.WEIGHTED_IMBALANCE:
        return None
    n_present = sum(number > 0 for number in class_counts)
    return tuple(sum(class_counts) / (n_present * count) if count else 1.0 for count in class_counts)
