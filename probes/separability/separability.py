"""How well a linear classifier separates the classes at each cut point."""

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt
from sklearn.preprocessing import normalize

from probes.data.splits import Rows, groups_per_class, held_out_splits
from probes.evaluation.intervals import accuracy_error
from probes.separability.evidence import CutEvidence, Separability
from probes.separability.linear_probe import cross_validate, judged_rows

_CHUNK = 1000  # rows of the similarity matrix in memory at once


def neighbour_accuracy(features: npt.ArrayLike, rows: Rows) -> float:
    """Accuracy of the nearest neighbour by cosine in training images of other groups, on held-out or on all images."""
    values = normalize(np.asarray(features, np.float64))
    known = np.flatnonzero(rows.training)
    judged = np.flatnonzero(rows.held_out) if rows.held_out.any() else known
    hits = 0
    for some in np.array_split(judged, -(-len(judged) // _CHUNK)):
        similarity = values[some] @ values[known].T
        similarity[rows.groups[some][:, None] == rows.groups[known]] = -2.0
        hits += int((rows.labels[known[similarity.argmax(1)]] == rows.labels[some]).sum())
    return hits / len(judged)


def _eligible(rows: Rows) -> tuple[npt.NDArray[np.bool_], str]:
    """The images of classes that can be held out, and a note on what was left out."""
    classes = np.unique(rows.labels[rows.training])
    usable = classes[groups_per_class(rows)[classes] >= (1 if rows.held_out.any() else 2)]
    single = len(classes) - len(usable)
    note = f"left out: {single} of {len(classes)} classes, with a single image or group of images" if single else ""
    return np.isin(rows.labels, usable), note


def measure_separability(
    pooled: Mapping[str, npt.ArrayLike],
    rows: Rows,
    *,
    seed: int,
    balanced: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Separability:
    """Accuracy at every cut point, from input to output, by its pooled features of shape (n, channels).

    All cuts share the folds, so that their accuracies can be compared image by image.
    """
    chosen, note = _eligible(rows)
    some = rows.only(chosen)
    n_classes = len(np.unique(some.labels))
    splits = held_out_splits(some, seed=seed) if n_classes > 1 else []
    if not splits:
        note = "cross-validation needs two classes of at least two images"
    judged = judged_rows(splits) if splits else np.empty(0, np.int64)
    evidence = []
    for done, (cut, everything) in enumerate(pooled.items() if splits else (), start=1):
        features = np.asarray(everything)[chosen]
        probabilities = cross_validate(features, some, splits, balanced=balanced)[judged]
        correct = probabilities.argmax(1) == some.labels[judged]
        evidence.append(
            CutEvidence(
                cut=cut,
                accuracy=float(correct.mean()),
                standard_error=accuracy_error(correct, groups=some.groups[judged]),
                neighbour_accuracy=neighbour_accuracy(features, some),
                correct=tuple(correct.tolist()),
            )
        )
        if progress:
            progress(done, len(pooled))
    return Separability(
        per_cut=tuple(evidence),
        groups=tuple(some.groups[judged].tolist()),
        n_images=int(chosen.sum()),
        n_classes=n_classes,
        folds=len(splits) if len(splits) > 1 else 0,
        note=note,
    )
