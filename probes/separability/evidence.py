"""Records of how well classes separate at each cut point."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class CutEvidence:
    """How well the classes separate at one cut.

    Attributes:
        cut: the layer.
        accuracy: on held-out images, of a regularised logistic regression on the pooled output.
        standard_error: of that accuracy.
        neighbour_accuracy: leave-one-out accuracy of the nearest neighbour by cosine.
        correct: for each image that was held out, whether the logistic regression was right.
        log_loss: for each of them, minus the log of the probability given to its class, in nats.
    """

    cut: str
    accuracy: float
    standard_error: float
    neighbour_accuracy: float
    correct: tuple[bool, ...]
    log_loss: tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Separability:
    """The evidence at every cut, or the reason why there is none.

    Attributes:
        per_cut: from input to output; empty where it was skipped.
        n_images: images that took part.
        n_classes: classes that took part.
        folds: of the cross-validation; 0 where it was skipped, or where the user's own split took its place.
        note: why it was skipped or what was left out; empty where all took part.
    """

    per_cut: tuple[CutEvidence, ...]
    n_images: int
    n_classes: int
    folds: int
    note: str
