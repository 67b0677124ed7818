"""How well a linear classifier tells the classes apart at each cut. scikit-learn only."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import numpy.typing as npt
from sklearn.preprocessing import normalize

from probes.data.splits import Rows, groups_per_class, held_out_splits
from probes.separability.classifier import cross_validate, judged_rows
from probes.separability.evidence import CutEvidence, Separability
from probes.separability.linear_probe import accuracy_error

_CHUNK = 1000  # images whose similarities to all others are held at once
_MAX_CLASSES = 50  # cuts are compared on no more classes than this: a classifier's cost grows with their number

FloatArray = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Split = tuple[Labels, Labels]


def neighbour_accuracy(features: npt.ArrayLike, rows: Rows) -> float:
    """Accuracy of the nearest neighbour by cosine similarity, among images of other groups.

    Args:
        features: of shape (n, d).
        rows: the images. The user's held-out ones are judged by training images; without them each training image is
            judged by the others.
    """
    values = normalize(np.asarray(features, np.float64))
    known = np.flatnonzero(rows.training)
    judged = np.flatnonzero(rows.held_out) if rows.held_out.any() else known
    hits = 0
    for some in np.array_split(judged, -(-len(judged) // _CHUNK)):
        similarity = values[some] @ values[known].T
        similarity[rows.groups[some][:, None] == rows.groups[known]] = -2.0
        hits += int((rows.labels[known[similarity.argmax(1)]] == rows.labels[some]).sum())
    return hits / len(judged)


def _eligible(rows: Rows, seed: int) -> tuple[npt.NDArray[np.bool_], str]:
    """Which images take part: those of classes with two groups or more, and of no more classes than can be afforded."""
    classes, counts = np.unique(rows.labels[rows.training], return_counts=True)
    enough = 1 if rows.held_out.any() else 2
    usable = classes[groups_per_class(rows)[classes] >= enough]
    notes = []
    if len(usable) < len(classes):
        single = len(classes) - len(usable)
        what = "a single image" if (counts[~np.isin(classes, usable)] == 1).all() else "a single group of images"
        were = f"classes with {what} were" if single > 1 else f"class with {what} was"
        notes.append(f"{single} {were} left out")
    if len(usable) > _MAX_CLASSES:
        notes.append(f"cuts were compared on {_MAX_CLASSES} of {len(usable)} classes")
        usable = np.random.default_rng(seed).choice(usable, _MAX_CLASSES, replace=False)
    return np.isin(rows.labels, usable), "; ".join(notes)


def measure_separability(
    pooled: Mapping[str, npt.ArrayLike],
    rows: Rows,
    *,
    seed: int,
    balanced: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Separability:
    """Held-out and nearest-neighbour accuracy at every cut.

    Args:
        pooled: for each cut, from input to output, pooled features of shape (n, channels).
        rows: the images, n of them.
        seed: of the folds; all cuts share them, so that their accuracies can be compared image by image.
        balanced: whether every class counts alike in what is fitted.
        progress: called with the number of cuts done and wanted.

    Returns:
        The evidence. It is skipped, with the reason, where fewer than two classes have two images that may be split.
    """
    chosen, note = _eligible(rows, seed)
    some = rows.only(chosen)
    n_classes = len(np.unique(some.labels))
    splits = held_out_splits(some, seed=seed) if n_classes > 1 else []
    if not splits:
        reason = "cross-validation needs two classes of at least two images"
        return Separability(per_cut=(), n_images=int(chosen.sum()), n_classes=n_classes, folds=0, note=reason)
    evidence = []
    for done, (cut, features) in enumerate(pooled.items(), start=1):
        evidence.append(_evidence(cut, np.asarray(features)[chosen], some, splits, balanced))
        if progress:
            progress(done, len(pooled))
    return Separability(
        per_cut=tuple(evidence),
        n_images=int(chosen.sum()),
        n_classes=n_classes,
        folds=len(splits) if len(splits) > 1 else 0,
        note=note,
    )


def _evidence(cut: str, features: FloatArray, rows: Rows, splits: Sequence[Split], balanced: bool) -> CutEvidence:
    judged = judged_rows(splits)
    labels = rows.labels[judged]
    probabilities = cross_validate(features, rows, splits, balanced=balanced)[judged]
    correct = probabilities.argmax(1) == labels
    given = probabilities[np.arange(len(labels)), labels]
    return CutEvidence(
        cut=cut,
        accuracy=float(correct.mean()),
        standard_error=accuracy_error(correct),
        neighbour_accuracy=neighbour_accuracy(features, rows),
        correct=tuple(bool(hit) for hit in correct),
        log_loss=tuple(float(loss) for loss in -np.log(np.maximum(given, 1e-12))),
    )
