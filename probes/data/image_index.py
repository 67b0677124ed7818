"""One index for whatever the user has: names of images by class and split."""

import difflib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import BinaryIO, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from probes.data.class_order import Label as Label
from probes.data.class_order import label_order, outputs_of
from probes.errors import ProbeError

TRAIN, VALIDATION, TEST = SPLITS = ("train", "validation", "test")
_SPLIT_NAMES = {
    "train": TRAIN,
    "training": TRAIN,
    "val": VALIDATION,
    "valid": VALIDATION,
    "validation": VALIDATION,
    "dev": VALIDATION,
    "test": TEST,
    "testing": TEST,
}
_EXAMPLES = 100
_SEVERAL_LABELS = 0.05  # share of images listed under several classes from which data are multi-label. Ours


class Store(Protocol):
    """Where the images lie. It may be read by several threads at once."""

    def open(self, name: str) -> BinaryIO | npt.NDArray[np.uint8]:
        """An image by its name: its file, to be read and closed, or its pixels of shape (h, w), (h, w, 1, 3 or 4).

        Raises:
            OSError: it can't be opened.
            UnreadableImage: it can't be read, for a reason told in a few words.
        """
        ...


class Entry(NamedTuple):
    """One labelled image of a source.

    Attributes:
        name: what the store knows it by.
        label: its class.
        split: "train", "validation" or "test".
        group: images of one group are never split between training and held-out images; None for a group of its own.
        weight: of the image in what is fitted.
    """

    name: str
    label: Label
    split: str = TRAIN
    group: str | None = None
    weight: float = 1.0


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """Images or rows that the index does not hold.

    Attributes:
        reason: why, for a reader: "rows without a label".
        n: how many.
        examples: some of them.
    """

    reason: str
    n: int
    examples: tuple[str, ...]


@dataclass(slots=True)
class LeftOutCounter:
    """Counts what a source leaves out, and keeps some examples of each reason."""

    _found: dict[str, tuple[int, list[str]]] = field(default_factory=dict)

    def add(self, reason: str, example: str) -> None:
        n, examples = self._found.get(reason, (0, []))
        if len(examples) < _EXAMPLES:
            examples.append(example)
        self._found[reason] = n + 1, examples

    def result(self) -> tuple[LeftOut, ...]:
        return tuple(
            LeftOut(reason=reason, n=n, examples=tuple(examples)) for reason, (n, examples) in self._found.items()
        )


ByClass = tuple[tuple[str, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageIndex:
    """An index of labelled images; no image has been opened yet.

    Attributes:
        source: what the user named, for messages.
        kind: "folder", "manifest", "archive", "tfrecord", "arrays", "paths", "stream" or "dataset".
        class_names: in the order of the labels.
        files: for each class the names of its training images, in an order that depends on the names alone.
        store: opens an image by its name.
        validation: the same as `files` for the user's validation split; empty tuples where there is none.
        test: the same for the user's test split.
        groups: name -> group, where the user told groups.
        weights: name -> weight, where the user told weights.
        empty: class folders without any image file: no classes.
        ignored: how many files were passed over, by suffix.
        left_out: what else is missing from the index, and why.
        counts: training images of each class, where `files` holds only a sample of them; else None.
        listed: images of each split of which only a sample is held; splits held as a whole are missing.
        silent: classes of which there is no training image, though the model has an output for them.
        numbers: the labels in the order of the outputs, where they are whole numbers without names other than 0, 1, …
    """

    source: str
    kind: str
    class_names: tuple[str, ...]
    files: ByClass
    store: Store
    validation: ByClass = ()
    test: ByClass = ()
    groups: Mapping[str, str] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    empty: tuple[str, ...] = ()
    ignored: Mapping[str, int] = field(default_factory=dict)
    left_out: tuple[LeftOut, ...] = ()
    counts: tuple[int, ...] | None = None
    listed: Mapping[str, int] = field(default_factory=dict)
    silent: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()

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
        """How many images each split has; splits without any are missing."""
        held = {name: sum(len(files) for files in self.split(name)) for name in SPLITS} | {TRAIN: self.n_images}
        return {name: size for name, size in {**held, **self.listed}.items() if size}


def split_name(text: str) -> str | None:
    """The split that a folder's or a column's word means, in any case: one of `SPLITS`, or None."""
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
    in_order: bool = False,
) -> ImageIndex:
    """Make the index from a stream of labelled images.

    Args:
        entries: the stream; it is read once, and no more than names and labels are kept.
        store: opens an image by its name.
        source: what the user named, for messages.
        kind: of source.
        class_names: of all classes, in the order of the outputs: names of the labels 0, 1, …, or the labels themselves
            where these are words; by default labels name themselves.
        left_out: what the source itself has left out by the time the stream ends.
        ignored: how many files the source has passed over, by suffix.
        in_order: keep the stream's order within a class; by default names are sorted.

    Returns:
        The index.

    Raises:
        ProbeError: the training images are of fewer than two classes, the data are multi-label, or labels and class
            names don't go together.
    """
    left_out = left_out or LeftOutCounter()
    by_label, groups, weights, n_listed = _collected(entries, source)
    _require_two_classes(label_order(by_label[TRAIN]), n_listed, by_label, source, left_out)
    outputs = outputs_of(by_label[TRAIN], class_names)
    _leave_out_unseen(by_label, left_out)
    train, validation, test = (_by_class(by_label[split], outputs.labels, in_order, left_out) for split in SPLITS)
    return ImageIndex(
        source=source,
        kind=kind,
        class_names=outputs.names,
        files=train,
        store=store,
        validation=validation,
        test=test,
        groups=groups,
        weights=weights,
        ignored=dict(sorted((ignored or {}).items())),
        left_out=left_out.result(),
        silent=outputs.silent,
        numbers=outputs.numbers,
    )


def _collected(
    entries: Iterable[Entry], source: str
) -> tuple[dict[str, dict[Label, list[str]]], dict[str, str], dict[str, float], int]:
    """Names by split and label, groups, weights other than 1, and how many names there are."""
    by_label: dict[str, dict[Label, list[str]]] = {name: {} for name in SPLITS}
    groups: dict[str, str] = {}
    weights: dict[str, float] = {}
    label_of: dict[str, Label] = {}
    several: dict[str, str] = {}
    for name, label, split, group, weight in entries:
        known = label_of.setdefault(name, label)
        if known is not label and known != label:
            several[name] = f"{name!r} under {str(known)!r} and {str(label)!r}"
        by_label[split].setdefault(label, []).append(name)
        if group is not None:
            groups[name] = group
        if weight != 1.0:
            weights[name] = weight
    _refuse_several_labels(several, len(label_of), source)
    return by_label, groups, weights, len(label_of)


def _leave_out_unseen(by_label: Mapping[str, dict[Label, list[str]]], left_out: LeftOutCounter) -> None:
    """Take out held-out images of classes that can't be learnt."""
    for split in (VALIDATION, TEST):
        for label in [label for label in by_label[split] if label not in by_label[TRAIN]]:
            for name in by_label[split].pop(label):
                left_out.add(f"{split} images of a class without training images", f"{name} ({label})")


def _by_class(
    found: Mapping[Label, list[str]], labels: Sequence[Label], in_order: bool, left_out: LeftOutCounter
) -> ByClass:
    def unique(names: list[str]) -> tuple[str, ...]:
        kept = dict.fromkeys(names) if in_order else dict.fromkeys(sorted(names))
        if len(kept) < len(names):
            seen: set[str] = set()
            for name in names:
                if name in seen:
                    left_out.add("images listed more than once", name)
                seen.add(name)
        return tuple(kept)

    return tuple(unique(found.get(label, [])) for label in labels)


def _refuse_several_labels(several: Mapping[str, str], n_images: int, source: str) -> None:
    if len(several) > _SEVERAL_LABELS * n_images:
        raise ProbeError(
            f"Expected one label an image. Received: {source!r} with {len(several):,} images under several labels, "
            f"as {next(iter(several.values()))}. Multi-label data are not supported: keep one label for each image."
        )


def _require_two_classes(
    labels: Sequence[Label],
    n_listed: int,
    by_label: Mapping[str, Mapping[Label, list[str]]],
    source: str,
    left_out: LeftOutCounter,
) -> None:
    if len(labels) >= 2:
        return
    why = "; ".join(f"{found.reason}: {found.n:,}" for found in left_out.result())
    missing = f" (left out: {why})" if why else ""
    if not n_listed:
        raise ProbeError(f"Expected labelled images. Received: {source!r}, which holds none{missing}.")
    if not labels:
        splits = " and ".join(name for name in SPLITS if by_label[name])
        raise ProbeError(
            f"Expected training images. Received: {source!r} with the split {splits} alone. Name a split 'train'."
        )
    raise ProbeError(
        f"Expected at least two classes. Received: {source!r} with the single class {str(labels[0])!r}{missing}."
    )


def nearest(name: str, names: Iterable[str]) -> str:
    """What to add to an error about an unknown name: the nearest ones, or all."""
    close = difflib.get_close_matches(name, list(names), n=3, cutoff=0.5)
    return f" Nearest: {', '.join(close)}." if close else ""
