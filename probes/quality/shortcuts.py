"""Classes that can be recognised by something other than the content of their pictures.

Where a file's format, its size in px, its colour mode or its mean brightness alone gives a class away, a network may
learn that instead of the content, and its accuracy will not hold for pictures from another source.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.tree import DecisionTreeClassifier

from probes.data.splits import Labels, Mask
from probes.evaluation.intervals import accuracy_error
from probes.images.image_facts import Records

FOLDS = 5
KINDS = ("format", "size", "mode", "brightness")
LEAST_IMAGES = 10  # of a class
# Balanced accuracy that a class must exceed by `ERRORS` standard errors. Format, size and mode do not depend on the
# content; brightness may: a handwritten 1 has less ink than an 8 (benchmarks/results/shortcuts.jsonl).
THRESHOLDS = {"format": 0.7, "size": 0.7, "mode": 0.7, "brightness": 0.88}
ERRORS = 2.0
MOST_CLASSES = 20  # of a kind that are tested: as many warnings are enough
MOST_IMAGES = 10_000  # that are used
_DEPTH = 2  # of the decision tree: an interval, or a corner of two facts
_SMALLEST_LEAF = 0.05  # of the smaller side, and at least 2 images
_DISTINCT = 0.5  # difference in the share of one size from which on that size is named

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortcut:
    """A class that is given away."""

    kind: str  # one of `KINDS`
    label: int
    accuracy: float  # cross-validated, balanced; against the other classes that are not separated more clearly
    standard_error: float
    words: str  # how it differs, for a reader


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Kind:
    """One kind of facts: `values` of shape (n, numbers), or of shape (n, categories), 1 for the picture's category."""

    name: str
    values: FloatArray
    categories: tuple[str, ...] = ()


def shortcuts(
    facts: Records, labels: Labels, class_names: Sequence[str], groups: Labels | None = None
) -> tuple[Shortcut, ...]:
    """The classes that can be separated from all others without the content of the pictures, the clearest first.

    For each kind of facts and each class a shallow decision tree separates the class from the rest, cross-validated. It
    is fitted only where the best rule in hindsight exceeds the threshold. Of two classes the smaller one represents
    both. Images of one of the `groups`, numbers of shape (n,), are not split between folds.
    """
    order = _sample(facts, labels)
    facts, labels = facts[order], labels[order]
    classes = _classes(labels)
    if not len(classes):
        return ()
    folds = _folds(labels, None if groups is None else groups[order])
    found = [found for kind in _kinds(facts) for found in _found(kind, labels, classes, folds, class_names)]
    return tuple(sorted(found, key=lambda shortcut: -shortcut.accuracy))


def _found(
    kind: _Kind, labels: Labels, classes: Labels, folds: Labels, class_names: Sequence[str]
) -> Iterator[Shortcut]:
    """Shortcuts of one kind. A class that is given away is removed: otherwise it would hide differences of the rest."""
    left = np.ones(len(labels), bool)
    for label in _suspects(kind, labels, classes):
        own = (labels == label)[left]
        if (~own).sum() < LEAST_IMAGES:
            return
        accuracy, error = _balanced_accuracy(kind.values[left], own, folds[left])
        if accuracy - ERRORS * error > THRESHOLDS[kind.name]:
            words = _words(kind, labels == label, class_names[label])
            yield Shortcut(kind=kind.name, label=int(label), accuracy=accuracy, standard_error=error, words=words)
            left &= labels != label


def _sample(facts: Records, labels: Labels) -> Labels:
    """Numbers of at most `MOST_IMAGES` rows, evenly from all classes, in an order that depends on content alone."""
    order = np.lexsort(
        (facts["brightness"], facts["height"], facts["width"], facts["mode"], facts["format"], np.asarray(labels))
    )
    places = np.linspace(0, len(order), min(len(order), MOST_IMAGES), endpoint=False)
    return np.asarray(order[places.astype(np.int64)])


def _classes(labels: Labels) -> Labels:
    """Classes with enough images, among enough others; of two only the smaller one."""
    found, counts = np.unique(labels, return_counts=True)
    if len(found) == 2:
        found, counts = found[[counts.argmin()]], counts[[counts.argmin()]]
    return np.asarray(found[(counts >= LEAST_IMAGES) & (len(labels) - counts >= LEAST_IMAGES)])


def _kinds(facts: Records) -> Iterator[_Kind]:
    yield _categories("format", facts["format"].astype(str))
    width, height = facts["width"].astype(np.float64), facts["height"].astype(np.float64)
    yield _Kind(name="size", values=np.stack([width, height, width / height, width * height], axis=1))
    modes = facts["mode"].astype(str)
    yield _categories("mode", np.where(facts["grey"], "grey", np.where(modes == "RGB", "colour", modes)))
    yield _Kind(name="brightness", values=facts["brightness"].astype(np.float64)[:, None])


def _categories(name: str, words: npt.NDArray[np.str_]) -> _Kind:
    found = np.unique(words)
    return _Kind(name=name, values=(words[:, None] == found).astype(np.float64), categories=tuple(found.tolist()))


def _suspects(kind: _Kind, labels: Labels, classes: Labels) -> Labels:
    """Classes that the best rule in hindsight separates, at most `MOST_CLASSES`, the clearest first."""
    if kind.categories:
        accuracy = np.array([set_accuracy(kind.values, labels == label) for label in classes])
    else:
        orders = [ranked(values) for values in kind.values.T]
        accuracy = np.array([max(interval_accuracy(*by, labels == label) for by in orders) for label in classes])
    order = np.argsort(-accuracy, kind="stable")[:MOST_CLASSES]
    return np.asarray(classes[order[accuracy[order] > THRESHOLDS[kind.name]]])


def set_accuracy(indicators: FloatArray, own: Mask) -> float:
    """Balanced accuracy of the best set of categories, on the rows that it was chosen by."""
    return float(0.5 + 0.25 * np.abs(indicators[own].mean(0) - indicators[~own].mean(0)).sum())


def ranked(values: FloatArray) -> tuple[Labels, Mask]:
    """Row numbers by value, and which of them are the last of their value."""
    order = np.argsort(values, kind="stable")
    return order, np.append(np.diff(values[order]) > 0, True)


def interval_accuracy(order: Labels, last: Mask, own: Mask) -> float:
    """Balanced accuracy of the best interval, or its complement, on the rows that it was chosen by: Kuiper's V."""
    below = np.cumsum(own[order])[last]
    above = np.arange(1, len(own) + 1)[last] - below
    gap = below / own.sum() - above / (~own).sum()
    return float(0.5 + 0.5 * (gap.max(initial=0.0) - gap.min(initial=0.0)))


def _folds(labels: Labels, groups: Labels | None) -> Labels:
    """The fold that holds each row out: in turn within a class, whose rows are sorted by content.

    A group is in the fold of its first row.
    """
    starts = np.append(0, np.cumsum(np.bincount(labels)))  # rows are sorted by label
    folds = (np.arange(len(labels)) - starts[labels]) % FOLDS
    if groups is None:
        return np.asarray(folds)
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    return np.asarray(folds[first][inverse])


def _balanced_accuracy(values: FloatArray, own: Mask, folds: Labels) -> tuple[float, float]:
    """Cross-validated balanced accuracy of a shallow tree that separates `own` from the rest, and its error."""
    hit, judged = np.zeros(len(own), bool), np.zeros(len(own), bool)
    for fold in range(FOLDS):
        train, held_out = folds != fold, folds == fold
        sides = own[train].sum(), (~own[train]).sum()
        if not held_out.any() or not all(sides):
            continue
        tree = DecisionTreeClassifier(
            max_depth=_DEPTH,
            min_samples_leaf=max(2, int(_SMALLEST_LEAF * min(sides))),
            class_weight="balanced",
            random_state=0,
        ).fit(values[train], own[train])
        hit[held_out] = tree.predict(values[held_out]) == own[held_out]
        judged |= held_out
    inside, outside = hit[judged & own], hit[judged & ~own]
    if not len(inside) or not len(outside):
        return 0.5, 0.5
    accuracy = float(inside.mean() + outside.mean()) / 2
    return accuracy, float(np.hypot(accuracy_error(inside), accuracy_error(outside))) / 2


def _words(kind: _Kind, own: Mask, name: str) -> str:
    if kind.categories:
        inside, outside = kind.values[own].mean(0), kind.values[~own].mean(0)
        most, least = int((inside - outside).argmax()), int((inside - outside).argmin())
        return (
            f"{kind.categories[most]} in {inside[most]:.0%} of {name!r}, {kind.categories[least]} in "
            f"{outside[least]:.0%} of the others"
        )
    if kind.name == "brightness":
        return f"mean brightness {kind.values[own].mean():.0f} against {kind.values[~own].mean():.0f}"
    return _size_words(kind.values[:, :2].astype(np.int64), own, name)


def _size_words(sizes: Labels, own: Mask, name: str) -> str:
    """A size that almost identifies the class, if there is one, or the range of most of its widths or heights."""
    found, numbers = np.unique(sizes, axis=0, return_inverse=True)
    inside, outside = (np.bincount(numbers.ravel()[side], minlength=len(found)) / side.sum() for side in (own, ~own))
    most = int(np.abs(inside - outside).argmax())
    if abs(inside[most] - outside[most]) > _DISTINCT:
        width, height = found[most]
        return f"{width} x {height} px in {inside[most]:.0%} of {name!r}, in {outside[most]:.0%} of the others"
    low, high = np.percentile(sizes[own], (10, 90), axis=0)
    within = ((sizes[~own] >= low) & (sizes[~own] <= high)).mean(0)
    side = int(within.argmin())
    dimension = ("wide", "high")[side]
    return f"{low[side]:.0f} to {high[side]:.0f} px {dimension} in 80% of {name!r}, in {within[side]:.0%} of the others"
