"""TFRecord files of tf.train.Example records, each with an encoded picture and its label."""

import io
import itertools
import math
import struct
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from probes.data.bounded_files import LARGEST_FILE, TOO_LARGE
from probes.data.image_index import Entry, ImageIndex, LeftOutCounter, index_entries
from probes.data.labels import ONE_LABEL, Label
from probes.data.sources.folder import is_shard
from probes.data.sources.shards import ClassTexts, Shard, ShardFile, are_shards, is_pattern, matches, shard_files
from probes.data.sources.source import Options
from probes.errors import ProbeError
from probes.images.decode import UnreadableImage

_EXPECTED = "Expected TFRecord files: one, a pattern such as 'data/train-*.tfrecord', or a folder that holds them."
_IMAGE_KEYS = ("image/encoded", "image", "image_raw", "image/raw", "encoded")
_LABEL_KEYS = ("image/class/label", "label", "class", "image/class", "image/label", "image/class/text")
_TEXT_KEYS = ("image/class/text", "class/text", "label/text")
_SHAPE_KEYS = (
    ("image/height", "image/width", "image/channels"),
    ("height", "width", "depth"),
    ("height", "width", "channels"),
)
_HEADER, _FOOTER = 12, 4  # bytes around a record: its length with a checksum, and a checksum of its data
_BATCH = 32  # records that TensorFlow returns at once

Features = Mapping[str, Any]


def recognises(data: Any) -> bool:
    if not isinstance(data, str):
        return False
    return are_shards(data, is_shard) or is_shard(data) or (is_pattern(data) and bool(matches(data)))


def index(data: str, options: Options) -> ImageIndex:
    """List the images of a TFRecord file, a folder that holds such files, or a pattern; or a URL of these.

    A record is a tf.train.Example with an encoded picture as `image/encoded`, `image` or `image_raw` and a label as
    `image/class/label`, `label` or `class`. `image/class/text` names the classes where each has one name of its own.
    Splits are those that `shard_files` finds.
    """
    options.importing()
    left_out = LeftOutCounter()
    files = shard_files(data, is_shard, _EXPECTED, left_out)
    found = {name: _whole_records(file) for name, file in files.items()}
    reader = _Reader(source=data, left_out=left_out)
    entries = (entry for name, (shard, whole) in found.items() for entry in reader.entries(name, shard, whole))
    store = RecordStore({name: shard for name, (shard, _) in found.items()})
    return reader.texts.name(index_entries(entries, store, source=data, kind="tfrecord", left_out=left_out))


def _whole_records(file: ShardFile) -> tuple[Shard, bool]:
    """Where the data of each whole record of a file lie, and whether no bytes are left behind the last one."""
    offsets, sizes = array("Q"), array("Q")
    end, at = file.path.stat().st_size, 0
    with file.open() as stream:
        while len(header := stream.read(8)) == 8:
            (length,) = struct.unpack("<Q", header)
            if at + _HEADER + length + _FOOTER > end:
                break
            offsets.append(at + _HEADER)
            sizes.append(length)
            at = stream.seek(at + _HEADER + length + _FOOTER)
    return Shard(file=file, offsets=offsets, sizes=sizes), at == end


@dataclass(frozen=True, slots=True, eq=False)
class RecordStore:
    """Pictures in records, by names such as "train.tfrecord#12"; the first is 0."""

    shards: Mapping[str, Shard]

    def open(self, name: str) -> BinaryIO | npt.NDArray[np.uint8]:
        """The file of a record's picture, or its pixels where it holds plain ones with their shape."""
        shard_name, _, number = name.rpartition("#")
        features = _features(self.shards[shard_name].read(int(number)))
        images = _values(features, _image_key(features))
        if len(images) != 1:
            raise UnreadableImage("no picture in the record")
        for keys in _SHAPE_KEYS:
            shape = [found[0] for key in keys if len(found := _values(features, key)) == 1]
            if len(shape) == 3 and shape[2] in (1, 3, 4) and min(shape) > 0 and math.prod(shape) == len(images[0]):
                return np.frombuffer(images[0], np.uint8).reshape([int(n) for n in shape])
        return io.BytesIO(images[0])


def _features(data: bytes) -> Features:
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        return cast(Features, tf.train.Example.FromString(data).features.feature)
    except DecodeError as error:
        raise UnreadableImage("records that are no tf.train.Example") from error


@dataclass(slots=True, kw_only=True)
class _Reader:
    """Reads labels."""

    source: str
    left_out: LeftOutCounter  # counts records and shards
    label_key: str = ""  # of the feature with the label; empty before the first record
    text_key: str | None = None  # of the feature with the name of the class
    texts: ClassTexts = field(default_factory=ClassTexts)

    def entries(self, name: str, shard: Shard, whole: bool) -> Iterator[Entry]:
        """The images of a shard. TensorFlow checks the records' checksums, and stops at the first that is wrong."""
        import tensorflow as tf

        n = len(shard.sizes)  # TensorFlow trusts a length, however large: it gets no further than the last whole record
        records = tf.data.TFRecordDataset(str(shard.file.path)).take(n).ignore_errors().batch(_BATCH)
        n_read = 0
        for n_read, data in enumerate(itertools.chain.from_iterable(records.as_numpy_iterator()), 1):
            record = f"{name}#{n_read - 1}"
            try:
                yield Entry(record, self._label(data), shard.file.split)
            except UnreadableImage as error:
                self.left_out.add(str(error), record)
        if shard.file.path.stat().st_size and not n_read:
            self.left_out.add("shards that are no TFRecord files", name)
        elif n_read < n or not whole:
            self.left_out.add("shards with records after a broken one", f"{name} after {n_read:,} records")

    def _label(self, data: bytes) -> Label:
        if len(data) > LARGEST_FILE:
            raise UnreadableImage(f"records {TOO_LARGE}")
        features = _features(data)
        if not self.label_key:
            self._find_keys(features)
        if len(_values(features, _image_key(features))) != 1:
            raise UnreadableImage("records without a picture")
        labels = [value for value in _values(features, self.label_key) if value != b""]
        if not labels:
            raise UnreadableImage("records without a label")
        if len(labels) > 1:
            raise ProbeError(
                f"Expected one label an image, a number or a word. Received: {self.source!r} with {len(labels)} values "
                f"in {self.label_key!r}. {ONE_LABEL}"
            )
        label = labels[0].decode(errors="replace") if isinstance(labels[0], bytes) else labels[0]
        if isinstance(label, float) and not label.is_integer():
            raise UnreadableImage("records whose label is no whole number")
        label = label if isinstance(label, str) else int(label)
        texts = _values(features, self.text_key)
        text = texts[0].decode(errors="replace") if len(texts) == 1 and isinstance(texts[0], bytes) else ""
        self.texts.add(label, text)
        return label

    def _find_keys(self, features: Features) -> None:
        """Find the features of the first record by the names that people give them."""
        label = next((key for key in _LABEL_KEYS if key in features), None)
        if label is None or _image_key(features) is None:
            raise ProbeError(
                f"Expected in each record an encoded picture as one of {', '.join(_IMAGE_KEYS)} and a label as one of "
                f"{', '.join(_LABEL_KEYS)}. Received: {self.source!r}, whose first record holds "
                f"{', '.join(map(repr, sorted(features)[:12])) or 'no features'}. Rename the features."
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
