"""TFRecord files of tf.train.Example records, each with an encoded picture and its label."""

import glob
import io
import itertools
import math
import os
import struct
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from probes.data.bounded_files import LARGEST_FILE, TOO_LARGE
from probes.data.image_index import Entry, ImageIndex, Label, LeftOutCounter, index_entries
from probes.data.sources.folder import files_below
from probes.data.sources.remote import is_remote
from probes.data.sources.shards import find_shards, is_cut_off, local_copy, shard_names, shard_splits
from probes.data.sources.source import Options
from probes.data.sources.tree import holds_only_shards, is_shard
from probes.errors import ProbeError
from probes.images.decode import UnreadableImage

_IMAGE_KEYS = ("image/encoded", "image", "image_raw", "image/raw", "encoded")
_LABEL_KEYS = ("image/class/label", "label", "class", "image/class", "image/label", "image/class/text")
_TEXT_KEYS = ("image/class/text", "class/text", "label/text")
_SHAPE_KEYS = (
    ("image/height", "image/width", "image/channels"),
    ("height", "width", "depth"),
    ("height", "width", "channels"),
)
_KINDS = {"bytes_list": "bytes", "int64_list": "integers", "float_list": "floats", None: "nothing"}
_SHOWN = 12  # features in a message
_HEADER, _FOOTER = 12, 4  # bytes around a record: its length with a checksum, and a checksum of its data
_BATCH = 32  # records that TensorFlow returns at once

Features = Mapping[str, Any]


def recognises(data: Any) -> bool:
    if not isinstance(data, str):
        return False
    if os.path.isdir(data) or (is_remote(data) and not is_shard(data)):
        try:
            return holds_only_shards(files_below(data))
        except OSError:  # the folder source reports it
            return False
    if is_shard(data):
        return True
    return glob.has_magic(data) and not os.path.lexists(data) and bool(glob.glob(data))


def index(data: str, options: Options) -> ImageIndex:
    options.importing()
    return index_records(data)


def index_records(path: str | os.PathLike[str]) -> ImageIndex:
    """List the images of TFRecord files.

    A record is a tf.train.Example with an encoded picture as `image/encoded`, `image` or `image_raw` and a label as
    `image/class/label`, `label` or `class`. `image/class/text` names the classes where each has one name of its own.
    The last word in a file's name, or else its folders' names, that means a split is its split.

    Args:
        path: of a file, of a folder that holds such files, or a pattern; or a URL of these.

    Returns:
        The index.

    Raises:
        ProbeError: there are no such files, they can't be read, hold no such records or several labels an image.
    """
    source, left_out = os.fspath(path), LeftOutCounter()
    paths = find_shards(source, left_out)
    shards = {name: _Shard(path=local_copy(path)) for name, path in zip(shard_names(paths), paths, strict=True)}
    reader = _Reader(source=source, left_out=left_out)
    entries = (
        entry
        for (name, shard), split in zip(shards.items(), shard_splits(paths), strict=True)
        for entry in reader.entries(name, shard, split)
    )
    index = index_entries(entries, RecordStore(shards), source=source, kind="tfrecord", left_out=left_out)
    texts = {str(label): text for label, text in reader.texts.items()}
    names = tuple(texts[name] for name in index.class_names)
    return replace(index, class_names=names, numbers=()) if all(names) and len(set(names)) == len(names) else index


@dataclass(slots=True, kw_only=True)
class _Shard:
    """Where the data of each record of a shard begin, and how long they are, in bytes."""

    path: Path
    offsets: "array[int]" = field(default_factory=lambda: array("Q"))
    sizes: "array[int]" = field(default_factory=lambda: array("Q"))

    def find_records(self) -> bool:
        """Find the whole records by their lengths; False if bytes are left behind the last one."""
        size, at = self.path.stat().st_size, 0
        with self.path.open("rb") as file:
            while len(header := file.read(8)) == 8:
                (length,) = struct.unpack("<Q", header)
                if at + _HEADER + length + _FOOTER > size:
                    return False
                self.offsets.append(at + _HEADER)
                self.sizes.append(length)
                at = file.seek(at + _HEADER + length + _FOOTER)
        return at == size


@dataclass(frozen=True, slots=True, eq=False)
class RecordStore:
    """Pictures in records, by names such as "train.tfrecord#12"; the first is 0."""

    shards: Mapping[str, _Shard]

    def open(self, name: str) -> BinaryIO | npt.NDArray[np.uint8]:
        import tensorflow as tf
        from google.protobuf.message import DecodeError

        shard_name, _, number = name.rpartition("#")
        shard = self.shards[shard_name]
        with shard.path.open("rb") as file:
            file.seek(shard.offsets[int(number)])
            data = file.read(shard.sizes[int(number)])
        try:
            return _image(tf.train.Example.FromString(data).features.feature)
        except DecodeError as error:
            raise UnreadableImage("no tf.train.Example") from error


class _BadRecord(Exception):
    """A record can't be used; the message is the reason, the same for all such records."""


@dataclass(slots=True, kw_only=True)
class _Reader:
    """Reads labels.

    Attributes:
        source: what the user named.
        left_out: counts records and shards.
        label_key: of the feature with the label; empty before the first record.
        text_key: of the feature with the name of the class; None where there is none.
        texts: label -> the name of its class; empty where there is none, or several.
    """

    source: str
    left_out: LeftOutCounter
    label_key: str = ""
    text_key: str | None = None
    texts: dict[Label, str] = field(default_factory=dict)

    def entries(self, name: str, shard: _Shard, split: str) -> Iterator[Entry]:
        """The images of a shard. TensorFlow checks the records' checksums, and stops at the first that is wrong.

        Raises:
            ProbeError: the records lack the features, or have several labels.
        """
        import tensorflow as tf

        whole = shard.find_records() and not is_cut_off(shard.path)
        n = len(shard.sizes)  # TensorFlow trusts a length, however large: it gets no further than the last whole record
        records = tf.data.TFRecordDataset(str(shard.path)).take(n).ignore_errors().batch(_BATCH)
        n_read = 0
        for n_read, data in enumerate(itertools.chain.from_iterable(records.as_numpy_iterator()), 1):
            record = f"{name}#{n_read - 1}"
            try:
                yield Entry(record, self._label(data), split)
            except _BadRecord as error:
                self.left_out.add(str(error), record)
        if shard.path.stat().st_size and not n_read:
            self.left_out.add("shards that are no TFRecord files", name)
        elif n_read < n or not whole:
            self.left_out.add("shards with records after a broken one", f"{name} after {n_read:,} records")

    def _label(self, data: bytes) -> Label:
        import tensorflow as tf
        from google.protobuf.message import DecodeError

        if len(data) > LARGEST_FILE:
            raise _BadRecord(f"records {TOO_LARGE}")
        try:
            features = cast(Features, tf.train.Example.FromString(data).features.feature)
        except DecodeError as error:
            raise _BadRecord("records that are no tf.train.Example") from error
        if not self.label_key:
            self._find_keys(features)
        if len(_values(features, _image_key(features))) != 1:
            raise _BadRecord("records without a picture")
        labels = [value for value in _values(features, self.label_key) if value != b""]
        if not labels:
            raise _BadRecord("records without a label")
        if len(labels) > 1:
            raise ProbeError(
                f"Expected one label an image. Received: {self.source!r} with {len(labels)} values in "
                f"{self.label_key!r}. Multi-label data are not supported, nor are one-hot labels: write one number or "
                "one word for each image."
            )
        label = _plain_label(labels[0])
        texts = _values(features, self.text_key)
        text = texts[0].decode(errors="replace") if len(texts) == 1 and isinstance(texts[0], bytes) else ""
        if self.texts.setdefault(label, text) != text:
            self.texts[label] = ""
        return label

    def _find_keys(self, features: Features) -> None:
        """Find the features of the first record by the names that people give them."""
        image, label = _image_key(features), next((key for key in _LABEL_KEYS if key in features), None)
        if image is None or label is None:
            found = [f"{key!r} ({_KINDS[features[key].WhichOneof('kind')]})" for key in sorted(features)]
            more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
            what, keys = ("an encoded picture", _IMAGE_KEYS) if image is None else ("a label", _LABEL_KEYS)
            raise ProbeError(
                f"Expected {what} in each record, as one of {', '.join(map(repr, keys))}. Received: {self.source!r}, "
                f"whose first record holds {', '.join(found[:_SHOWN]) or 'no features'}{more}. Rename the feature."
            )
        self.label_key = label
        self.text_key = next((key for key in _TEXT_KEYS if key in features and key != label), None)


def _values(features: Features, key: str | None) -> list[Any]:
    """The values of a feature; none where it is missing."""
    kind = features[key].WhichOneof("kind") if key is not None and key in features else None
    return list(getattr(features[key], kind).value) if kind and key else []


def _image_key(features: Features) -> str | None:
    keys = (key for key in _IMAGE_KEYS if key in features and features[key].WhichOneof("kind") == "bytes_list")
    return next(keys, None)


def _plain_label(value: bytes | int | float) -> Label:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, float) and not value.is_integer():
        raise _BadRecord("records whose label is no whole number")
    return int(value)


def _image(features: Features) -> BinaryIO | npt.NDArray[np.uint8]:
    """The file of a record's picture, or its pixels where it holds plain ones with their shape."""
    values = _values(features, _image_key(features))
    if len(values) != 1:
        raise UnreadableImage("no picture in the record")
    for keys in _SHAPE_KEYS:
        shape = [found[0] for key in keys if len(found := _values(features, key)) == 1]
        whole = len(shape) == 3 and all(isinstance(n, int) and n > 0 for n in shape)
        if whole and shape[2] in (1, 3, 4) and math.prod(shape) == len(values[0]):
            return np.frombuffer(values[0], np.uint8).reshape(shape)
    return io.BytesIO(values[0])
