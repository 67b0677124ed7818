"""Classes that can be told from the others by something that is not what the pictures show. NumPy and scikit-learn.

A file's format, its size in px, its colour mode or its mean brightness alone: where they give a class away, a network
may learn them in place of the picture, and its accuracy will not hold for pictures from elsewhere.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from sklearn.tree import DecisionTreeClassifier

from probes.separability.linear_probe import accuracy_error

FOLDS = 5
KINDS = ("format", "size", "mode", "brightness")
LEAST_IMAGES = 10  # of a class
# Balanced accuracy that a class must exceed by `ERRORS` standard errors. Format, size and mode say nothing of what is
# shown; brightness may: a handwritten 1 has less ink than an 8 (benchmarks/results/shortcuts.jsonl).
THRESHOLDS = {"format": 0.7, "size": 0.7, "mode": 0.7, "brightness": 0.88}
ERRORS = 2.0
MOST_CLASSES = 20  # of a kind that are looked into: as many warnings are enough
MOST_IMAGES = 10_000  # that are looked at
_DEPTH = 2  # of the decision tree: an interval, or a corner of two facts
_SMALLEST_LEAF = 0.05  # of the smaller side, and at least 2 images
_TELLING = 0.5  # difference in the share of one size from which on that size is named

FloatArray = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nuisance:
    """What is known of n pictures beside their content.

    Attributes:
        formats: of the files: "JPEG", "PNG" …
        modes: of their pixels: "RGB", "L" …
        sizes: (width, height) in px, of shape (n, 2).
        brightness: mean luma, 0 to 255, of shape (n,).
        grey: whether a picture has no colour, of shape (n,); None where only the mode tells.
    """

    formats: Sequence[str]
    modes: Sequence[str]
    sizes: npt.NDArray[np.int64]
    brightness: FloatArray
    grey: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Shortcut:
    """A class that is given away.

    Attributes:
        kind: by what: one of `KINDS`.
        label: its number.
        accuracy: cross-validated balanced accuracy, 0 to 1, with which it is told by that alone from the others, less
            those that are told more clearly.
        standard_error: of that accuracy.
        words: how it differs, for a reader.
    """

    kind: str
    label: int
    accuracy: float
    standard_error: float
    words: str


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class _Kind:
    """One kind of facts: `values` of shape (n, numbers), or of shape (n, categories), 1 where a picture is of one."""

    name: str
    values: FloatArray
    categories: tuple[str, ...] = ()


def shortcuts(
    facts: Nuisance, labels: Labels, class_names: Sequence[str], groups: Labels | None = None
) -> tuple[Shortcut, ...]:
    """Find the classes that can be told from all others without a look at the picture.

    For each kind of facts and each class a shallow decision tree tells the class from the rest, cross-validated. It is
    fitted only where the facts differ enough to begin with.

    Args:
        facts: of n pictures.
        labels: their class numbers, of shape (n,).
        class_names: of all classes.
        groups: numbers of shape (n,); images of one group are not split; None for groups of one image.

    Returns:
        The classes given away, the clearest first; of two classes the smaller one stands for both. The order of the
        pictures plays no part.
    """
    order = _sample(facts, np.asarray(labels, np.int64))
    numbers = np.asarray(labels, np.int64)[order]
    classes = _classes(numbers)
    if not len(classes):
        return ()
    kinds = [(kind, _suspects(kind, numbers, classes)) for kind in _kinds(facts, order)]
    if not any(len(suspects) for _, suspects in kinds):
        return ()
    folds = _folds(numbers, None if groups is None else np.asarray(groups)[order])
    found = [told for kind, suspects in kinds for told in _told(kind, suspects, numbers, folds, class_names)]
    return tuple(sorted(found, key=lambda shortcut: -shortcut.accuracy))


def _told(
    kind: _Kind, suspects: Labels, labels: Labels, folds: Labels, class_names: Sequence[str]
) -> Iterator[Shortcut]:
    """Shortcuts of one kind. A class that is given away stands aside: beside it all others would look alike."""
    left = np.ones(len(labels), bool)
    for label in suspects:
        own = (labels == label)[left]
        if (~own).sum() < LEAST_IMAGES:
            return
        accuracy, error = _balanced_accuracy(kind.values[left], own, folds[left])
        if accuracy - ERRORS * error > THRESHOLDS[kind.name]:
            words = _words(kind, labels == label, class_names[label])
            yield Shortcut(kind=kind.name, label=int(label), accuracy=accuracy, standard_error=error, words=words)
            left &= labels != label


def _sample(facts: Nuisance, labels: Labels) -> Labels:
    """Numbers of at most `MOST_IMAGES` rows, evenly from all classes, in an order that depends on content alone."""
    formats, modes = (np.unique(list(words), return_inverse=True)[1] for words in (facts.formats, facts.modes))
    order = np.lexsort((facts.brightness, facts.sizes[:, 1], facts.sizes[:, 0], modes, formats, labels))
    places = np.linspace(0, len(order), min(len(order), MOST_IMAGES), endpoint=False)
    return np.asarray(order[places.astype(np.int64)])


def _classes(labels: Labels) -> Labels:
    """Classes with enough images, among enough others; of two only the smaller one."""
    found, counts = np.unique(labels, return_counts=True)
    if len(found) == 2:
        found, counts = found[[counts.argmin()]], counts[[counts.argmin()]]
    return np.asarray(found[(counts >= LEAST_IMAGES) & (len(labels) - counts >= LEAST_IMAGES)])


def _kinds(facts: Nuisance, order: Labels) -> Iterator[_Kind]:
    modes = np.array(facts.modes, str)[order]
    if facts.grey is not None:
        modes = np.where(facts.grey[order], "grey", np.where(modes == "RGB", "colour", modes))
    yield _categories("format", np.array(facts.formats, str)[order])
    width, height = facts.sizes[order].T.astype(np.float64)
    yield _Kind(name="size", values=np.stack([width, height, width / height, width * height], axis=1))
    yield _categories("mode", modes)
    yield _Kind(name="brightness", values=np.asarray(facts.brightness, np.float64)[order, None])


def _categories(name: str, words: npt.NDArray[np.str_]) -> _Kind:
    found = np.unique(words)
    return _Kind(name=name, values=(words[:, None] == found).astype(np.float64), categories=tuple(found.tolist()))


def _suspects(kind: _Kind, labels: Labels, classes: Labels) -> Labels:
    """Classes that the best rule in hindsight tells from the rest, at most `MOST_CLASSES`, the clearest first."""
    if kind.categories:
        hindsight = [set_accuracy(kind.values, labels == label) for label in classes]
    else:
        orders = [ranked(values) for values in kind.values.T if np.ptp(values) > 0]
        hindsight = [max((interval_accuracy(*by, labels == label) for by in orders), default=0.5) for label in classes]
    accuracy = np.array(hindsight)
    order = np.argsort(-accuracy, kind="stable")[:MOST_CLASSES]
    return np.asarray(classes[order[accuracy[order] > THRESHOLDS[kind.name]]])


def set_accuracy(indicators: FloatArray, own: Mask) -> float:
    """Balanced accuracy, on these very rows, of the best set of categories."""
    return float(0.5 + 0.25 * np.abs(indicators[own].mean(0) - indicators[~own].mean(0)).sum())


def ranked(values: FloatArray) -> tuple[Labels, Mask]:
    """Row numbers by value, and which of them are the last of their value."""
    order = np.argsort(values, kind="stable")
    return order, np.append(np.diff(values[order]) > 0, True)


def interval_accuracy(order: Labels, last: Mask, own: Mask) -> float:
    """Balanced accuracy, on these very rows, of the best interval of a number, or of what lies outside: Kuiper's V."""
    below = np.cumsum(own[order])[last]
    above = np.arange(1, len(own) + 1)[last] - below
    gap = below / own.sum() - above / (~own).sum()
    return float(0.5 + 0.5 * (gap.max(initial=0.0) - gap.min(initial=0.0)))


def _folds(labels: Labels, groups: Labels | None) -> Labels:
    """The fold in which each row is held out: in turn within a class, so that each fold has its share of the content.

    A group goes with its first row.
    """
    starts = np.append(0, np.cumsum(np.bincount(labels)))  # rows are sorted by label
    folds = (np.arange(len(labels)) - starts[labels]) % FOLDS
    if groups is None:
        return np.asarray(folds)
    _, first, inverse = np.unique(groups, return_index=True, return_inverse=True)
    return np.asarray(folds[first][inverse])


def _balanced_accuracy(values: FloatArray, own: Mask, folds: Labels) -> tuple[float, float]:
    """Cross-validated balanced accuracy of a shallow tree that tells `own` from the rest, and its standard error."""
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
    here, there = hit[judged & own], hit[judged & ~own]
    if not len(here) or not len(there):
        return 0.5, 0.5
    accuracy = float(here.mean() + there.mean()) / 2
    return accuracy, float(np.hypot(accuracy_error(here), accuracy_error(there))) / 2


def _words(kind: _Kind, own: Mask, name: str) -> str:
    if kind.categories:
        surplus = kind.values[own].mean(0) - kind.values[~own].mean(0)
        most, least = int(surplus.argmax()), int(surplus.argmin())
        here, there = kind.values[own, most].mean(), kind.values[~own, least].mean()
        return (
            f"{kind.categories[most]} in {here:.0%} of {name!r}, {kind.categories[least]} in {there:.0%} of the others"
        )
    if kind.name == "brightness":
        return f"mean brightness {kind.values[own].mean():.0f} against {kind.values[~own].mean():.0f}"
    return _size_words(kind.values[:, :2].astype(np.int64), own, name)


def _size_words(sizes: Labels, own: Mask, name: str) -> str:
    """A size that nearly tells the class, if there is one; else the medians, or a range where they are alike."""
    found, numbers = np.unique(sizes, axis=0, return_inverse=True)
    shares = [np.bincount(numbers.ravel()[side], minlength=len(found)) / side.sum() for side in (own, ~own)]
    most = int(np.abs(shares[0] - shares[1]).argmax())
    if abs(shares[0][most] - shares[1][most]) > _TELLING:
        width, height = found[most]
        return f"{width} x {height} px in {shares[0][most]:.0%} of {name!r}, in {shares[1][most]:.0%} of the others"
    here, there = (np.median(sizes[side], axis=0) for side in (own, ~own))
    low, high = np.percentile(sizes[~own], (25, 75), axis=0)
    if ((here < low) | (here > high)).any():
        return f"median {here[0]:.0f} x {here[1]:.0f} px against {there[0]:.0f} x {there[1]:.0f} px"
    low, high = np.percentile(sizes[own], (10, 90), axis=0)
    inside = ((sizes[~own] >= low) & (sizes[~own] <= high)).mean(0)
    side = int(inside.argmin())
    across = ("wide", "high")[side]
    return f"{low[side]:.0f} to {high[side]:.0f} px {across} in 80% of {name!r}, in {inside[side]:.0%} of the others"
