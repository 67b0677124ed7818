"""TFRecord files of tf.train.Example records, each with an encoded picture and its label."""

import contextlib
import glob
import gzip
import io
import itertools
import math
import os
import re
import struct
import zlib
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from probes.data.bounded_files import LARGEST_FILE, TOO_LARGE, Allowance, cached
from probes.data.image_index import TRAIN, Entry, ImageIndex, LeftOutCounter, index_entries, split_name
from probes.data.labels import ONE_LABEL, Label
from probes.data.sources.folder import files_below, is_shard, open_versioned
from probes.data.sources.remote import file_system, is_remote, readable
from probes.data.sources.source import Options
from probes.errors import ProbeError
from probes.images.decode import UnreadableImage
from probes.images.suffixes import is_image

_EXPECTED = "Expected TFRecord files: one, a pattern such as 'data/train-*.tfrecord', or a folder that holds them."
_IMAGE_KEYS = ("image/encoded", "image", "image_raw", "image/raw", "encoded")
_LABEL_KEYS = ("image/class/label", "label", "class", "image/class", "image/label", "image/class/text")
_TEXT_KEYS = ("image/class/text", "class/text", "label/text")
_SHAPE_KEYS = (
    ("image/height", "image/width", "image/channels"),
    ("height", "width", "depth"),
    ("height", "width", "channels"),
)
_NUMBERED = re.compile(r"(.*)-(\d{5})-of-(\d{5})(.*)")
_HEADER, _FOOTER = 12, 4  # bytes around a record: its length with a checksum, and a checksum of its data
_BATCH = 32  # records that TensorFlow returns at once

Features = Mapping[str, Any]


def recognises(data: Any) -> bool:
    if not isinstance(data, str):
        return False
    if os.path.isdir(data) or (is_remote(data) and not is_shard(data)):
        try:
            return _holds_only_shards(files_below(data))
        except OSError:  # the folder source reports it
            return False
    return is_shard(data) or (glob.has_magic(data) and not os.path.lexists(data) and bool(glob.glob(data)))


def _holds_only_shards(names: Iterable[str]) -> bool:
    """Whether a tree holds TFRecord files, and no image in a sub-folder; `names` are read as far as needed."""
    found = False
    for name in names:
        if "/" in name and is_image(name):
            return False
        found = found or is_shard(name)
    return found


def index(data: str, options: Options) -> ImageIndex:
    """List the images of a TFRecord file, a folder that holds such files, or a pattern; or a URL of these.

    A record is a tf.train.Example with an encoded picture as `image/encoded`, `image` or `image_raw` and a label as
    `image/class/label`, `label` or `class`. `image/class/text` names the classes where each has one name of its own.
    The last word in a file's name, or else its folders' names, that means a split is its split.
    """
    options.importing()
    left_out = LeftOutCounter()
    paths = _find_shards(data, left_out)
    shards = {name: _shard(_local_copy(path)) for name, path in zip(_names(paths), paths, strict=True)}
    reader = _Reader(source=data, left_out=left_out)
    entries = (
        entry
        for (name, shard), split in zip(shards.items(), _splits(paths), strict=True)
        for entry in reader.entries(name, shard, split)
    )
    index = index_entries(entries, RecordStore(shards), source=data, kind="tfrecord", left_out=left_out)
    texts = {str(label): text for label, text in reader.texts.items()}
    names = tuple(texts[name] for name in index.class_names)
    return replace(index, class_names=names, numbers=()) if all(names) and len(set(names)) == len(names) else index


def _find_shards(source: str, left_out: LeftOutCounter) -> list[str]:
    """Paths or URLs of all shards; those that a folder lacks, by the numbers in the names, are counted."""
    folder = not is_shard(source) if is_remote(source) else os.path.isdir(source)
    try:
        if is_remote(source) and glob.has_magic(source):
            with readable(source):
                system, pattern = file_system(source)
                shards = [system.unstrip_protocol(path) for path in sorted(system.glob(pattern))]
        elif folder:
            shards = [f"{source.rstrip('/')}/{name}" for name in sorted(files_below(source)) if is_shard(name)]
            _count_missing(shards, left_out)
        elif is_remote(source) or os.path.lexists(source):
            shards = [source]
        else:
            shards = sorted(path for path in glob.glob(source, recursive=True) if Path(path).is_file())
    except (OSError, ValueError, re.error) as error:
        raise ProbeError(f"{_EXPECTED} Received: {source!r}: {error}. Check its name and permissions.") from error
    if not shards:
        raise ProbeError(f"{_EXPECTED} Received: {source!r}, which holds or matches no such file.")
    return shards


def _count_missing(shards: Sequence[str], left_out: LeftOutCounter) -> None:
    present: dict[tuple[str, int, str], set[int]] = {}
    for shard in shards:
        if found := _NUMBERED.fullmatch(shard):
            before, number, total, after = found.groups()
            present.setdefault((before, int(total), after), set()).add(int(number))
    for (before, total, after), numbers in present.items():
        for number in sorted(set(range(total)) - numbers):
            left_out.add("shards missing from their set", f"{Path(before).name}-{number:05}-of-{total:05}{after}")


def _relative(paths: Sequence[str]) -> list[str]:
    """Paths below the folder that holds all shards."""
    parts = [(path if is_remote(path) else Path(path).as_posix()).split("/") for path in paths]
    levels = zip(*(path[:-1] for path in parts), strict=False)
    common = sum(1 for _ in itertools.takewhile(lambda names: len(set(names)) == 1, levels))
    return ["/".join(path[common:]) for path in parts]


def _names(paths: Sequence[str]) -> list[str]:
    """Distinct names of the shards: those of their files, or else their paths below the folder of them all."""
    relative = _relative(paths)
    short = [name.rpartition("/")[2] for name in relative]
    return short if len(set(short)) == len(short) else relative


def _splits(paths: Sequence[str]) -> list[str]:
    """The split of each shard; shards of a single split are for training, since they were chosen alone."""
    splits = []
    for name in _relative(paths):
        words = (word for part in reversed(name.split("/")) for word in reversed(re.findall("[A-Za-z]+", part)))
        splits.append(next((split for word in words if (split := split_name(word))), TRAIN))
    return splits if len(set(splits)) > 1 else [TRAIN] * len(splits)


def _local_copy(path: str) -> Path:
    """A file that holds the records plainly: the shard itself, or a copy in the cache of a packed or remote one."""
    with open_versioned(path, _EXPECTED) as (file, name, version):
        packed = file.read(3) == b"\x1f\x8b\x08"  # gzip
        if not packed and not is_remote(path):
            return Path(path)
        return cached(name, version, partial(_copy, file, path, packed)) / "data"


def _copy(file: BinaryIO, path: str, packed: bool, folder: Path) -> None:
    allowance = Allowance(path, file.seek(0, os.SEEK_END) if packed else None, folder)
    file.seek(0)
    with (
        readable(path) if is_remote(path) else contextlib.nullcontext(),
        contextlib.suppress(gzip.BadGzipFile, EOFError, zlib.error),  # what comes before the damage is kept
        gzip.GzipFile(fileobj=file) if packed else contextlib.nullcontext(file) as stream,
    ):
        allowance.copy(stream, folder / "data")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shard:
    """Where the data of each whole record of a shard begin, and how long they are, in bytes."""

    path: Path
    offsets: "array[int]"
    sizes: "array[int]"
    whole: bool  # no bytes are left behind the last record


def _shard(path: Path) -> _Shard:
    offsets, sizes = array("Q"), array("Q")
    end, at = path.stat().st_size, 0
    with path.open("rb") as file:
        while len(header := file.read(8)) == 8:
            (length,) = struct.unpack("<Q", header)
            if at + _HEADER + length + _FOOTER > end:
                break
            offsets.append(at + _HEADER)
            sizes.append(length)
            at = file.seek(at + _HEADER + length + _FOOTER)
    return _Shard(path=path, offsets=offsets, sizes=sizes, whole=at == end)


@dataclass(frozen=True, slots=True, eq=False)
class RecordStore:
    """Pictures in records, by names such as "train.tfrecord#12"; the first is 0."""

    shards: Mapping[str, _Shard]

    def open(self, name: str) -> BinaryIO | npt.NDArray[np.uint8]:
        shard_name, _, number = name.rpartition("#")
        shard = self.shards[shard_name]
        with shard.path.open("rb") as file:
            file.seek(shard.offsets[int(number)])
            data = file.read(shard.sizes[int(number)])
        try:
            return _image(_features(data))
        except _BadRecord as error:
            raise UnreadableImage(str(error)) from error


class _BadRecord(Exception):
    """A record can't be used; the message is the reason, the same for all such records."""


def _features(data: bytes) -> Features:
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        return cast(Features, tf.train.Example.FromString(data).features.feature)
    except DecodeError as error:
        raise _BadRecord("records that are no tf.train.Example") from error


@dataclass(slots=True, kw_only=True)
class _Reader:
    """Reads labels."""

    source: str
    left_out: LeftOutCounter  # counts records and shards
    label_key: str = ""  # of the feature with the label; empty before the first record
    text_key: str | None = None  # of the feature with the name of the class
    texts: dict[Label, str] = field(default_factory=dict)  # of each class; empty where there is none, or several

    def entries(self, name: str, shard: _Shard, split: str) -> Iterator[Entry]:
        """The images of a shard. TensorFlow checks the records' checksums, and stops at the first that is wrong."""
        import tensorflow as tf

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
        elif n_read < n or not shard.whole:
            self.left_out.add("shards with records after a broken one", f"{name} after {n_read:,} records")

    def _label(self, data: bytes) -> Label:
        if len(data) > LARGEST_FILE:
            raise _BadRecord(f"records {TOO_LARGE}")
        features = _features(data)
        if not self.label_key:
            self._find_keys(features)
        if len(_values(features, _image_key(features))) != 1:
            raise _BadRecord("records without a picture")
        labels = [value for value in _values(features, self.label_key) if value != b""]
        if not labels:
            raise _BadRecord("records without a label")
        if len(labels) > 1:
            raise ProbeError(
                f"Expected one label an image, a number or a word. Received: {self.source!r} with {len(labels)} values "
                f"in {self.label_key!r}. {ONE_LABEL}"
            )
        label = labels[0].decode(errors="replace") if isinstance(labels[0], bytes) else labels[0]
        if isinstance(label, float) and not label.is_integer():
            raise _BadRecord("records whose label is no whole number")
        label = label if isinstance(label, str) else int(label)
        texts = _values(features, self.text_key)
        text = texts[0].decode(errors="replace") if len(texts) == 1 and isinstance(texts[0], bytes) else ""
        if self.texts.setdefault(label, text) != text:
            self.texts[label] = ""
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


def _image(features: Features) -> BinaryIO | npt.NDArray[np.uint8]:
    """The file of a record's picture, or its pixels where it holds plain ones with their shape."""
    values = _values(features, _image_key(features))
    if len(values) != 1:
        raise UnreadableImage("no picture in the record")
    for keys in _SHAPE_KEYS:
        shape = [found[0] for key in keys if len(found := _values(features, key)) == 1]
        if len(shape) == 3 and shape[2] in (1, 3, 4) and min(shape) > 0 and math.prod(shape) == len(values[0]):
            return np.frombuffer(values[0], np.uint8).reshape([int(n) for n in shape])
    return io.BytesIO(values[0])
