"""Records of how well the classes separate at each cut point."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CutEvidence:
    """How well the classes separate at one cut point.

    Attributes:
        cut: the layer.
        accuracy: of a regularised logistic regression on the pooled output, on held-out images.
        standard_error: of that accuracy.
        neighbour_accuracy: leave-one-out accuracy of the nearest neighbour by cosine.
        correct: whether the logistic regression was right on each held-out image.
    """

    cut: str
    accuracy: float
    standard_error: float
    neighbour_accuracy: float
    correct: tuple[bool, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Separability:
    """The evidence at every cut point, or the reason why there is none.

    Attributes:
        per_cut: from input to output; empty if nothing could be held out.
        n_images: images that took part.
        n_classes: classes that took part.
        folds: of the cross-validation; 0 without it, as where the user has a validation split.
        note: what was left out and why; empty if all images took part.
    """

    per_cut: tuple[CutEvidence, ...]
    n_images: int
    n_classes: int
    folds: int
    note: str
