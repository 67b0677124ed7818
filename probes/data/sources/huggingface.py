"""A data set of the library `datasets`, read row by row."""

import io
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from probes.data.image_index import TRAIN, ImageIndex, Label, LeftOutCounter
from probes.data.labels import plain_labels
from probes.data.sources.folder import open_regular
from probes.data.sources.source import Options, Rows, index_rows, parts_of, sort_splits
from probes.errors import ProbeError
from probes.images.decode import UnreadableImage

_EXPECTED = "Expected a datasets.Dataset with one column of images and one of labels."
_LABEL_COLUMNS = ("label", "labels", "class")
_KINDS = ("Dataset", "DatasetDict", "IterableDataset", "IterableDatasetDict")
_LISTS = ("Sequence", "List", "LargeList")


def recognises(data: Any) -> bool:
    parts = parts_of(data)
    return bool(_library_kind(data)) or (bool(parts) and all(_library_kind(part) for part in parts))


def _library_kind(data: object) -> str:
    """Which of the library's classes it is an instance of; empty for other objects. The library is not imported."""
    kinds = (kind.__name__ for kind in type(data).__mro__ if kind.__module__.startswith("datasets."))
    return next((kind for kind in kinds if kind in _KINDS), "")


def index(data: Any, options: Options) -> ImageIndex:
    return index_huggingface(data, class_names=options.class_names)


def index_huggingface(data: Any, *, class_names: Sequence[str] | None = None) -> ImageIndex:
    """Make the index of a data set of the library `datasets`; no image is read.

    Args:
        data: a `datasets.Dataset`, a `DatasetDict`, or split -> `Dataset`.
        class_names: of all classes: names of the labels 0, 1, …, or the labels themselves where these are words; by
            default those of the column of labels.

    Raises:
        ProbeError: it is streaming, the columns of the image and its label are ambiguous, or it has fewer than two
            classes.
    """
    for kind in (_library_kind(part) for part in (data, *parts_of(data))):
        if kind.startswith("Iterable"):
            raise ProbeError(
                f"Expected a datasets.Dataset. Received: {kind}, which streams. Load it without `streaming=True`, or "
                "take a part of it: `Dataset.from_list(list(data.take(n)), features=data.features)`."
            )
    splits, others = sort_splits(data if isinstance(data, Mapping) else {TRAIN: data})
    left_out = LeftOutCounter()
    for name in others:
        left_out.add("splits that are neither train, validation nor test", name)
    labels = {split: _label_column(part.features, split) for split, part in splits.items()}
    names = class_names if class_names is not None else _class_names(splits, labels)
    rows = {
        split: Rows(_labels(part, labels[split], named=names is not None), _reader(part, Path.cwd()))
        for split, part in splits.items()
    }
    return index_rows(rows, source="datasets.Dataset", kind="dataset", class_names=names, left_out=left_out)


def _listed(features: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} ({type(feature).__name__})" for name, feature in features.items()) or "none"


def _reader(part: Any, root: Path) -> partial[BinaryIO]:
    """What reads an image as the file it is rather than decoded."""
    images = [name for name, feature in part.features.items() if type(feature).__name__ == "Image"]
    if len(images) != 1:
        advice = "Make one with `data.cast_column(name, datasets.Image())`."
        if images:
            advice = "Keep the right one with `data.select_columns([image, label])`."
        raise ProbeError(
            f"{_EXPECTED} Received: {len(images)} of images among the columns {_listed(part.features)}. {advice}"
        )
    (column,) = images
    rows = part.with_format(None).select_columns([column])
    return partial(_read, rows.cast_column(column, type(part.features[column])(decode=False)), column, root)


def _read(rows: Any, column: str, root: Path, number: int) -> BinaryIO:
    file = rows[number][column]
    if not file or (file["bytes"] is None and not file["path"]):
        raise UnreadableImage("no image in this row")
    if file["bytes"] is not None:
        return io.BytesIO(file["bytes"])
    if "://" in file["path"]:
        raise UnreadableImage("a remote file that was not downloaded")
    return open_regular(root / file["path"])


def _label_column(features: Mapping[str, Any], split: str) -> str | None:
    """The column of the labels; None if a held-out split has none."""
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
    advice = "Call the one to predict 'label' with `data.rename_column(name, 'label')`."
    if candidates:
        advice = "Keep the one to predict with `data.select_columns([image, label])`."
    raise ProbeError(
        f"{_EXPECTED} Received: {', '.join(candidates) or 'none'} of labels among the columns {_listed(features)}. "
        f"{advice}"
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


def _class_names(splits: Mapping[str, Any], labels: Mapping[str, str | None]) -> Sequence[str] | None:
    """The names of the classes, which must be the same in all splits that have them."""
    found: dict[str, Sequence[str]] = {}
    for split, part in splits.items():
        if names := getattr(part.features.get(labels[split]), "names", None):
            found[split] = names
    if len({tuple(names) for names in found.values()}) > 1:
        given = "; ".join(f"{split}: {', '.join(names):.60}" for split, names in found.items())
        raise ProbeError(f"Expected the same classes in all splits. Received: {given}. Give all the same ClassLabel.")
    return found.get(TRAIN)


def _labels(part: Any, column: str | None, *, named: bool) -> list[Label | None]:
    """The label of each row; None where it is missing, as is -1 unless it is one of the two classes -1 and 1."""
    if column is None:
        return [None] * len(part)
    values = part.with_format(None).select_columns([column])[:][column]
    missing = {None} if not named and {value for value in values if value is not None} == {-1, 1} else {None, -1}
    present = [value for value in values if value not in missing]
    plain = iter(plain_labels(present, len(present)))
    return [None if value in missing else next(plain) for value in values]
