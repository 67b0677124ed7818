"""A data set of the library `datasets`, read row by row."""

import io
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from probes.data.image_index import TRAIN, Entry, ImageIndex, Label, LeftOutCounter, index_entries
from probes.data.sources.arrays import image_name, sort_splits
from probes.data.sources.labels import plain_labels
from probes.errors import ProbeError
from probes.images.decode import UnreadableImage

_EXPECTED = "Expected a datasets.Dataset with one column of images and one of labels."
_LABEL_COLUMNS = ("label", "labels", "class")
_KINDS = ("Dataset", "DatasetDict", "IterableDataset", "IterableDatasetDict")
_LISTS = ("Sequence", "List", "LargeList")
_UNLABELLED = "images without a label"


class _Columns(NamedTuple):
    image: str
    label: str | None  # None: there is none


def _library_kind(data: object) -> str:
    """Which of the library's classes it is an instance of; empty if of none."""
    kinds = (kind.__name__ for kind in type(data).__mro__ if kind.__module__.startswith("datasets."))
    return next((kind for kind in kinds if kind in _KINDS), "")


def is_huggingface(data: object) -> bool:
    """Whether it is a data set of the library `datasets`, which is not imported."""
    return bool(_library_kind(data))


@dataclass(frozen=True, slots=True, eq=False)
class RowStore:
    """Rows of data sets, each of which has the bytes of an image file, or its path.

    Attributes:
        rows: split -> the data set, its images not decoded.
        column: split -> which column has the images.
        root: where paths start that are not absolute.
    """

    rows: Mapping[str, Any] = field(repr=False)
    column: Mapping[str, str]
    root: Path
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self, name: str) -> BinaryIO:
        words = name.split(" ")
        split = words[0] if len(words) == 3 else TRAIN
        with self._lock:  # nothing is promised about several threads
            file = self.rows[split][int(words[-1])][self.column[split]]
        if not file or (file["bytes"] is None and not file["path"]):
            raise UnreadableImage("no image in this row")
        if file["bytes"] is not None:
            return io.BytesIO(file["bytes"])
        path: str = file["path"]
        if "://" in path:
            raise UnreadableImage("a remote file that was not downloaded")
        return (self.root / path).open("rb")


def index_huggingface(data: Any, *, class_names: Sequence[str] | None = None) -> ImageIndex:
    """Make the index of a data set of the library `datasets`; no image is read.

    Args:
        data: a `datasets.Dataset`, a `DatasetDict`, or split -> `Dataset`.
        class_names: of all classes: names of the labels 0, 1, …, or the labels themselves where these are words; by
            default those of the column of labels.

    Raises:
        ProbeError: it is streaming, does not tell which columns are the image and its label, or has fewer than two
            classes.
    """
    given = dict(data) if isinstance(data, Mapping) else {TRAIN: data}
    for part in given.values():
        _require_rows(part)
    splits, others = sort_splits(given)
    left_out = LeftOutCounter()
    for name in others:
        left_out.add("splits that are neither train, validation nor test", name)
    columns = {split: _columns(part, split) for split, part in splits.items()}
    names = class_names if class_names is not None else _class_names(splits, columns)
    entries: list[Entry] = []
    for split, part in splits.items():
        width = max(7, len(str(len(part) - 1)))
        for number, label in enumerate(_labels(part, columns[split].label, named=names is not None)):
            name = image_name(split, f"{number:0{width}}")
            if label is None:
                left_out.add(_UNLABELLED, name)
            else:
                entries.append(Entry(name, label, split))
    store = RowStore(
        {split: _undecoded(part, columns[split].image) for split, part in splits.items()},
        {split: found.image for split, found in columns.items()},
        Path.cwd(),
    )
    return index_entries(
        entries, store, source="datasets.Dataset", kind="dataset", class_names=names, left_out=left_out
    )


def _require_rows(part: Any) -> None:
    kind = _library_kind(part) or type(part).__name__
    if kind.startswith("Iterable"):
        raise ProbeError(
            f"Expected a datasets.Dataset. Received: {kind}, which streams. Load it without `streaming=True`, or take "
            "a part of it: `Dataset.from_list(list(data.take(n)), features=data.features)`."
        )
    if not all(hasattr(part, name) for name in ("features", "column_names", "__getitem__")):
        raise ProbeError(f"Expected a datasets.Dataset. Received: {kind}. Load it with `datasets.load_dataset`.")


def _listed(features: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} ({type(feature).__name__})" for name, feature in features.items()) or "none"


def _columns(part: Any, split: str) -> _Columns:
    """Which columns of a split have the images and their labels."""
    features: Mapping[str, Any] = part.features
    images = [name for name, feature in features.items() if type(feature).__name__ == "Image"]
    if len(images) != 1:
        what = (
            "Keep the one to look at with `data.select_columns([image, label])`."
            if images
            else "Make one with `data.cast_column(name, datasets.Image())`."
        )
        raise ProbeError(f"{_EXPECTED} Received: {len(images)} of images among the columns {_listed(features)}. {what}")
    return _Columns(images[0], _label_column(features, split))


def _label_column(features: Mapping[str, Any], split: str) -> str | None:
    classes = [name for name, feature in features.items() if type(feature).__name__ == "ClassLabel"]
    named = [name for name in _LABEL_COLUMNS if name in features]
    candidates = list(dict.fromkeys([*classes, *named]))
    if len(candidates) > 1:  # one that is both is meant
        candidates = [name for name in classes if name in named] or candidates
    lists = [name for name in candidates or features if _is_list(features[name], of_classes=not candidates)]
    if lists:
        raise ProbeError(
            f"Expected one label an image. Received: lists of labels in the column {lists[0]!r}. Multi-label data are "
            "not supported: keep one label for each image."
        )
    if len(candidates) == 1 and type(features[candidates[0]]).__name__ in ("ClassLabel", "Value"):
        return candidates[0]
    if not candidates and split != TRAIN:
        return None
    what = "Keep the one to predict with" if candidates else "Call the one to predict 'label' with"
    how = "`data.select_columns([image, label])`" if candidates else "`data.rename_column(name, 'label')`"
    raise ProbeError(
        f"{_EXPECTED} Received: {', '.join(candidates) or 'none'} of labels among the columns {_listed(features)}. "
        f"{what} {how}."
    )


def _is_list(feature: Any, *, of_classes: bool) -> bool:
    """Whether a feature is a list of values, or of classes only."""
    if isinstance(feature, list):
        inner = feature[0] if feature else None
    elif type(feature).__name__ in _LISTS:
        inner = feature.feature
    else:
        return False
    return not of_classes or type(inner).__name__ == "ClassLabel"


def _class_names(splits: Mapping[str, Any], columns: Mapping[str, _Columns]) -> Sequence[str] | None:
    """The names that the column of labels tells, the same in all splits."""
    found: dict[str, Sequence[str]] = {}
    for split, part in splits.items():
        label = columns[split].label
        names = getattr(part.features[label], "names", None) if label else None
        if names:
            found[split] = names
    if len({tuple(names) for names in found.values()}) > 1:
        told = "; ".join(f"{split}: {', '.join(names):.60}" for split, names in found.items())
        raise ProbeError(f"Expected the same classes in all splits. Received: {told}. Cast their labels alike.")
    return found.get(TRAIN)


def _labels(part: Any, column: str | None, *, named: bool) -> list[Label | None]:
    """The label of each row; None where there is none, for which -1 stands too unless it is one of two classes."""
    if column is None:
        return [None] * len(part)
    values = part.with_format(None).select_columns([column])[:][column]
    missing = {None} if not named and {value for value in values if value is not None} == {-1, 1} else {None, -1}
    present = [value for value in values if value not in missing]
    plain = iter(plain_labels(present, len(present)))
    return [None if value in missing else next(plain) for value in values]


def _undecoded(part: Any, column: str) -> Any:
    """The column of images alone, which gives files rather than decoded pictures."""
    rows = part.with_format(None).select_columns([column])
    return rows.cast_column(column, type(part.features[column])(decode=False))
