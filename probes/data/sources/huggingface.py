"""A data set of the library `datasets`, read row by row."""

import io
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO

from probes.data.image_index import TRAIN, ImageIndex
from probes.data.labels import ONE_LABEL, Label, plain_labels
from probes.data.sources.folder import open_regular
from probes.data.sources.source import Options, Rows, index_rows, is_a, parts_of, sort_splits
from probes.errors import ProbeError
from probes.images.decode import UnreadableImage

_EXPECTED = "Expected a datasets.Dataset with one column of images and one of labels."
_LABEL_COLUMNS = ("label", "labels", "class")
_LISTS = ("Sequence", "List", "LargeList")
_STREAMS = ("IterableDataset", "IterableDatasetDict")


def recognises(data: Any) -> bool:
    parts = parts_of(data)
    kinds = ("Dataset", "DatasetDict", *_STREAMS)
    return is_a(data, "datasets", *kinds) or (bool(parts) and all(is_a(part, "datasets", *kinds) for part in parts))


def index(data: Any, options: Options) -> ImageIndex:
    """Make the index of a `Dataset`, a `DatasetDict` or a dict of such by split; no image is read."""
    if any(is_a(part, "datasets", *_STREAMS) for part in (data, *parts_of(data))):
        raise ProbeError(
            f"Expected a datasets.Dataset. Received: {type(data).__name__}, which streams. Load it without "
            "`streaming=True`, or take a part of it: `Dataset.from_list(list(data.take(n)), features=data.features)`."
        )
    splits, left_out = sort_splits(data)
    labels = {split: _label_column(part.features, split) for split, part in splits.items()}
    names = options.class_names if options.class_names is not None else _class_names(splits, labels)
    rows = {
        split: Rows(_labels(part, labels[split], named=names is not None), _reader(part, Path.cwd()))
        for split, part in splits.items()
    }
    return index_rows(rows, source="datasets.Dataset", kind="dataset", class_names=names, left_out=left_out)


def _ambiguous(what: str, found: Sequence[str], features: Mapping[str, Any], advice: str) -> ProbeError:
    """The error about columns of which none, or several, may be meant."""
    listed = ", ".join(f"{name} ({type(feature).__name__})" for name, feature in features.items()) or "none"
    if found:
        advice = "Keep the right ones with `data.select_columns([image, label])`."
    return ProbeError(
        f"{_EXPECTED} Received: {', '.join(found) or 'none'} of {what} among the columns {listed}. {advice}"
    )


def _reader(part: Any, root: Path) -> partial[BinaryIO]:
    """What reads an image as the file it is rather than decoded."""
    images = [name for name, feature in part.features.items() if type(feature).__name__ == "Image"]
    if len(images) != 1:
        advice = "Make one with `data.cast_column(name, datasets.Image())`."
        raise _ambiguous("images", images, part.features, advice)
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
    both = [name for name in classes if name in named]
    found = both if len(both) == 1 else list(dict.fromkeys([*classes, *named]))
    found = found or [name for name, feature in features.items() if _lists_classes(feature)]
    if lists := [name for name in found if isinstance(features[name], list) or type(features[name]).__name__ in _LISTS]:
        raise ProbeError(
            f"Expected one label an image. Received: lists of labels in the column {lists[0]!r}. {ONE_LABEL}"
        )
    if len(found) == 1 and type(features[found[0]]).__name__ in ("ClassLabel", "Value"):
        return found[0]
    if not found and split != TRAIN:
        return None
    raise _ambiguous(
        "labels", found, features, "Call the one to predict 'label' with `data.rename_column(name, 'label')`."
    )


def _lists_classes(feature: Any) -> bool:
    inner = feature[0] if isinstance(feature, list) and feature else getattr(feature, "feature", None)
    return type(inner).__name__ == "ClassLabel"


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
