"""One way to split images into training and held-out ones, for everything that is measured."""

import warnings
from dataclasses import dataclass, fields, replace
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from sklearn.model_selection import StratifiedGroupKFold

from probes.data.groups import by_first_appearance

FOLDS = 5

Labels = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """The measured images, one row each, in an order that depends on their content alone; arrays of shape (n,)."""

    labels: Labels  # class numbers
    groups: Labels  # images of one group are never split
    validation: Mask  # of the user's own validation split
    weights: npt.NDArray[np.float64]  # in what is fitted
    barred: Mask  # validation images that are known to leak from training images that are not among the rows

    @classmethod
    def of(
        cls,
        labels: npt.ArrayLike,
        groups: npt.ArrayLike | None = None,
        validation: npt.ArrayLike | None = None,
        weights: npt.ArrayLike | None = None,
        barred: npt.ArrayLike | None = None,
    ) -> "Rows":
        """Rows of which each is a group of its own, a training image and of weight 1, by default."""
        numbers = np.asarray(labels, np.int64)
        return cls(
            labels=numbers,
            groups=np.arange(len(numbers)) if groups is None else np.asarray(groups, np.int64),
            validation=np.zeros(len(numbers), bool) if validation is None else np.asarray(validation, bool),
            weights=np.ones(len(numbers)) if weights is None else np.asarray(weights, np.float64),
            barred=np.zeros(len(numbers), bool) if barred is None else np.asarray(barred, bool),
        )

    def __len__(self) -> int:
        return len(self.labels)

    def taken(self, chosen: Labels | Mask) -> "Rows":
        """Some of the rows, by their numbers or a mask, in that order."""
        return Rows(**{field.name: getattr(self, field.name)[chosen] for field in fields(self)})

    def only(self, chosen: Mask) -> "Rows":
        """Some of the rows, their labels renumbered from 0."""
        rows = self.taken(chosen)
        return replace(rows, labels=np.unique(rows.labels, return_inverse=True)[1])

    def pooled(self) -> "Rows":
        """The same rows, none of them in a validation split."""
        return replace(self, validation=np.zeros(len(self), bool))

    @property
    def training(self) -> Mask:
        """The rows that a classifier may be fitted on."""
        return ~self.validation

    @property
    def leaked(self) -> Mask:
        """Validation rows whose group is in training, too."""
        return self.validation & (self.barred | np.isin(self.groups, self.groups[self.training]))

    @property
    def held_out(self) -> Mask:
        """The user's validation rows that are fit to judge by: no leaked ones, and only of classes seen in training.

        None where they are of fewer than two classes, or of fewer than half of those in training.
        """
        known = np.unique(self.labels[self.training])
        fit = self.validation & ~self.leaked & np.isin(self.labels, known)
        n_classes = len(np.unique(self.labels[fit]))
        return fit if n_classes > 1 and 2 * n_classes >= len(known) else np.zeros_like(fit)


def groups_per_class(rows: Rows) -> npt.NDArray[np.int64]:
    """How many groups the training rows of each class 0, 1, … are of."""
    training = rows.training
    pairs = np.unique(np.stack([rows.labels[training], rows.groups[training]]), axis=1)
    return np.bincount(pairs[0], minlength=int(rows.labels.max(initial=-1)) + 1)


def held_out_splits(rows: Rows, *, seed: int) -> list[tuple[Labels, Labels]]:
    """(training, held out) row numbers of each part; empty where fewer than two classes can be judged.

    Where the user has a validation split, that is the one held-out part. Else the training rows are split into folds,
    stratified by class, no group split; each row is held out once, but for those of classes of a single group, which
    can't be judged. There are as many folds as the class with most groups has, if that is fewer.
    """
    held_out = np.flatnonzero(rows.held_out)
    parts = [(np.flatnonzero(rows.training), held_out)] if len(held_out) else _folds(rows, seed)
    kept = [
        (train, judged)
        for train, judged in parts
        if len(judged) and len(np.unique(rows.labels[train[rows.weights[train] > 0]])) > 1
    ]
    return kept if len({label for _, judged in kept for label in rows.labels[judged].tolist()}) > 1 else []


def _folds(rows: Rows, seed: int) -> list[tuple[Labels, Labels]]:
    training, n_groups = np.flatnonzero(rows.training), groups_per_class(rows)
    folds = int(min(FOLDS, n_groups.max(initial=0)))
    if folds < 2:
        return []
    labels, groups = rows.labels[training], by_first_appearance(rows.groups[training])
    parts = _stratified(labels.tobytes(), groups.tobytes(), folds, seed)
    return [(training[train], training[held_out[n_groups[labels[held_out]] > 1]]) for train, held_out in parts]


@lru_cache(maxsize=8)  # every probe wants the same folds, and a thousand images take a quarter of a second
def _stratified(labels: bytes, groups: bytes, folds: int, seed: int) -> tuple[tuple[Labels, Labels], ...]:
    of_class, of_group = np.frombuffer(labels, np.int64), np.frombuffer(groups, np.int64)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)
        return tuple(splitter.split(np.zeros(len(of_class)), of_class, of_group))


def balanced_weights(labels: Labels, weights: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Weights of shape (n,) under which every class counts as much as any other, with mean 1."""
    totals = np.bincount(labels, weights)
    present = totals > 0
    share = np.divide(len(labels) / max(present.sum(), 1), totals, out=np.zeros_like(totals), where=present)
    return np.asarray(weights * share[labels])
