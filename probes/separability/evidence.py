"""Records of how well the classes separate at each cut point."""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class CutEvidence:
    """How well the classes separate at one cut point."""

    cut: str
    accuracy: float  # of the linear classifier on the pooled output, on held-out images
    standard_error: float
    neighbour_accuracy: float  # leave-one-out, of the nearest neighbour by cosine
    correct: tuple[bool, ...] = field(repr=False)  # whether that was right on each held-out image


@dataclass(frozen=True, slots=True, kw_only=True)
class Separability:
    """The evidence at every cut point, or the reason why there is none."""

    per_cut: tuple[CutEvidence, ...]  # from input to output; empty if nothing could be held out
    n_images: int  # that took part, as did the classes
    n_classes: int
    folds: int  # 0 without cross-validation, as where the user has a validation split
    note: str  # what was left out and why
    groups: tuple[int, ...] = field(default=(), repr=False)  # of each held-out image, as in `CutEvidence.correct`
