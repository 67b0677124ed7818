"""The index of labelled images: their names by class and split, in whatever form the data come."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from probes.data.labels import ONE_LABEL, Label, label_order, outputs_of
from probes.errors import ProbeError

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")
_SPLIT_NAMES = {
    **dict.fromkeys(("train", "training"), TRAIN),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev"), VALIDATION),
    **dict.fromkeys(("test", "testing"), TEST),
}
_EXAMPLES = 100
_SEVERAL_LABELS = 0.05  # share of images listed under several classes from which data are multi-label. Ours

ByClass = tuple[tuple[str, ...], ...]


class Store(Protocol):
    """Opens images by their names. Several threads may use it at once."""

    def open(self, name: str) -> BinaryIO | npt.NDArray[np.uint8]:
        """The file of an image, to be read and closed, or its pixels of shape (h, w) or (h, w, 1, 3 or 4).

        Raises:
            OSError: it can't be opened.
            UnreadableImage: it can't be read.
        """
        ...


def reading_order(store: Store, names: Sequence[str]) -> list[int]:
    """The numbers of images in the order in which to read them.

    A store with `by_name = True` reads images together whose names follow each other, so they are sorted by name; for
    other stores they stay as they are.
    """
    numbers = range(len(names))
    return sorted(numbers, key=names.__getitem__) if getattr(store, "by_name", False) else list(numbers)


class Entry(NamedTuple):
    """One labelled image of a source."""

    name: str  # by which the store opens it
    label: Label
    split: str = TRAIN  # one of `SPLITS`
    group: str | None = None  # images of one group are never divided between training and held-out images
    weight: float = 1.0  # in what is fitted


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Images or rows that are not in the index: the reason, how many there are, and up to 100 examples."""

    reason: str
    n: int
    examples: tuple[str, ...]


class EntryReader(Protocol):
    """Reads any of the entries of a long list, on any machine; labels are class numbers."""

    @property
    def n(self) -> int:
        """Rows of the list."""
        ...

    @property
    def version(self) -> str:
        """Another one where the list has changed."""
        ...

    def read(self, first: int, n: int) -> list[Entry]:
        """The entries of `n` rows from number `first` on; there may be fewer."""
        ...


class LeftOutCounter:
    """Counts what a source leaves out, and keeps some examples of each reason."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()
        self._examples: defaultdict[str, list[str]] = defaultdict(list)

    def add(self, reason: str, example: str) -> None:
        self._counts[reason] += 1
        if self._counts[reason] <= _EXAMPLES:
            self._examples[reason].append(example)

    def result(self) -> tuple[LeftOut, ...]:
        return tuple(
            LeftOut(reason=reason, n=n, examples=tuple(self._examples[reason])) for reason, n in self._counts.items()
        )

    def __str__(self) -> str:
        """For the end of an error message: " (left out: rows without a label: 3)", or nothing."""
        reasons = "; ".join(f"{reason}: {n:,}" for reason, n in self._counts.items())
        return f" (left out: {reasons})" if reasons else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageIndex:
    """An index of labelled images; no image has been decoded yet."""

    source: str  # what the user named, for messages
    # "folder", "manifest", "archive", "tfrecord", "webdataset", "parquet", "arrays", "paths", "stream" or "dataset"
    kind: str
    class_names: tuple[str, ...]  # in the order of the labels
    files: ByClass  # names of the training images, in an order that depends on the names alone
    store: Store
    validation: ByClass = ()
    test: ByClass = ()
    groups: Mapping[str, str] = field(default_factory=dict)  # name -> group, for images that have one
    weights: Mapping[str, float] = field(default_factory=dict)  # name -> weight, where it is not 1
    empty: tuple[str, ...] = ()  # class folders without any image file; they are not classes
    ignored: Mapping[str, int] = field(default_factory=dict)  # suffix -> number of files that are not images
    left_out: tuple[LeftOut, ...] = ()
    counts: tuple[int, ...] | None = None  # training images of each class, where `files` holds only a sample of them
    listed: Mapping[str, int] = field(default_factory=dict)  # split -> images, where only a sample is held
    entries: EntryReader | None = None  # reads what is not held, where that is possible
    silent: tuple[str, ...] = ()  # classes without a training image, though the model has an output for them
    numbers: tuple[int, ...] = ()  # as in `Outputs`

    @property
    def class_counts(self) -> tuple[int, ...]:
        return self.counts or tuple(len(files) for files in self.files)

    @property
    def n_images(self) -> int:
        """Training images."""
        return sum(self.class_counts)

    def split(self, name: str) -> ByClass:
        """For each class the names of its images in one of `SPLITS`."""
        return {TRAIN: self.files, VALIDATION: self.validation, TEST: self.test}[name]

    def split_sizes(self) -> dict[str, int]:
        """Split -> number of its images; empty splits are missing."""
        held = {name: sum(len(files) for files in self.split(name)) for name in SPLITS} | {TRAIN: self.n_images}
        return {name: size for name, size in {**held, **self.listed}.items() if size}


def split_name(text: str) -> str | None:
    """The split that a word means, in any case: one of `SPLITS`, or None."""
    return _SPLIT_NAMES.get(text.strip().lower())


def index_entries(
    entries: Iterable[Entry],
    store: Store,
    *,
    source: str,
    kind: str,
    class_names: Sequence[str] | None = None,
    left_out: LeftOutCounter | None = None,
    ignored: Mapping[str, int] | None = None,
) -> ImageIndex:
    """Make the index from a stream of labelled images, which is read once; only names and labels are kept.

    Args:
        entries: the stream.
        store, source, kind, ignored: as in `ImageIndex`.
        class_names: of all classes, as for `outputs_of`; by default labels name themselves.
        left_out: what the source itself has left out by the time the stream ends.

    Raises:
        ProbeError: the training images are of fewer than two classes, the data are multi-label, or labels and class
            names do not fit each other.
    """
    left_out = left_out or LeftOutCounter()
    names, groups, weights = _by_split_and_label(entries, source)
    if len(names[TRAIN]) < 2:
        raise _too_few_classes(names, source, left_out)
    outputs = outputs_of(names[TRAIN], class_names)
    for split in (VALIDATION, TEST):
        for label in [label for label in names[split] if label not in names[TRAIN]]:
            for name in names[split].pop(label):
                left_out.add(f"{split} images of a class without training images", f"{name} ({label})")
    by_split: dict[str, ByClass] = {
        split: tuple(_distinct(names[split].get(label, []), left_out) for label in outputs.labels) for split in SPLITS
    }
    return ImageIndex(
        source=source,
        kind=kind,
        class_names=outputs.names,
        files=by_split[TRAIN],
        store=store,
        validation=by_split[VALIDATION],
        test=by_split[TEST],
        groups=groups,
        weights=weights,
        ignored=dict(sorted((ignored or {}).items())),
        left_out=left_out.result(),
        silent=outputs.silent,
        numbers=outputs.numbers,
    )


def _by_split_and_label(
    entries: Iterable[Entry], source: str
) -> tuple[dict[str, dict[Label, list[str]]], dict[str, str], dict[str, float]]:
    """Names of images by split and label, their groups, and their weights; multi-label data are refused."""
    names: dict[str, dict[Label, list[str]]] = {split: {} for split in SPLITS}
    groups: dict[str, str] = {}
    weights: dict[str, float] = {}
    label_of: dict[str, Label] = {}
    several: dict[str, str] = {}
    for name, label, split, group, weight in entries:
        known = label_of.setdefault(name, label)
        if known is not label and known != label:
            several[name] = f"{name!r} under {str(known)!r} and {str(label)!r}"
        names[split].setdefault(label, []).append(name)
        if group is not None:
            groups[name] = group
        if weight != 1.0:
            weights[name] = weight
    if len(several) > _SEVERAL_LABELS * len(label_of):
        raise ProbeError(
            f"Expected one label an image. Received: {source!r} with {len(several):,} images under several labels, "
            f"as {next(iter(several.values()))}. {ONE_LABEL}"
        )
    return names, groups, weights


def _distinct(names: list[str], left_out: LeftOutCounter) -> tuple[str, ...]:
    """The names, sorted, each of them once."""
    counts = Counter(names)
    for name, n in counts.items():
        for _ in range(n - 1):
            left_out.add("images listed more than once", name)
    return tuple(sorted(counts))


def _too_few_classes(
    names: Mapping[str, Mapping[Label, list[str]]], source: str, left_out: LeftOutCounter
) -> ProbeError:
    splits = " and ".join(split for split in SPLITS if names[split])
    if labels := label_order(names[TRAIN]):
        received = f"with the single class {str(labels[0])!r}{left_out}. A classifier needs at least two classes"
    elif splits:
        received = f"with the split {splits} alone. Put training images into a split named 'train'"
    else:
        received = f"which holds none{left_out}. Give images of at least two classes"
    return ProbeError(f"Expected training images of at least two classes. Received: {source!r}, {received}.")
