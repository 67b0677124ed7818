"""TFRecord files of tf.train.Example records, each with an encoded picture and its label.

One pass over the shards keeps names, labels and where each record lies; a picture's bytes are read again when it is
opened. Shards that gzip has packed can't be sought: they are unpacked to one nameless temporary file (see `Spool`).
"""

import contextlib
import gzip
import os
import weakref
import zlib
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from probes.data.image_index import Entry, ImageIndex, Label, LeftOutCounter, index_entries
from probes.data.sources.bounded_files import TOO_LARGE, BrokenStream, Spool
from probes.data.sources.examples import (
    BrokenExample,
    Keys,
    find_keys,
    has_image,
    image_of,
    labels_of,
    parse,
    several_labels,
    text_of,
)
from probes.data.sources.remote import is_remote, open_remote
from probes.data.sources.shards import find_shards, shard_names, shard_splits
from probes.data.sources.tfrecord import (
    FOOTER,
    HEADER,
    BrokenRecord,
    Record,
    checked_record,
    is_tfrecord,
    is_whole,
    read_records,
)
from probes.errors import ProbeError
from probes.images.decode import UnreadableImage

_GZIP = b"\x1f\x8b"
_BUFFER = 1 << 20  # bytes read at once where all are


@dataclass(slots=True, kw_only=True)
class _Shard:
    """Where a shard's records lie.

    Attributes:
        path: of the file, or its URL; None where it lies unpacked in the spool.
        offsets: of the data of each record, in bytes.
        sizes: of the data of each record, in bytes.
    """

    path: str | None
    offsets: "array[int]" = field(default_factory=lambda: array("Q"))
    sizes: "array[int]" = field(default_factory=lambda: array("Q"))


def _open(path: str, buffering: int = -1) -> BinaryIO:
    return open_remote(path) if is_remote(path) else Path(path).open("rb", buffering=buffering)


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class RecordStore:
    """Pictures in records, by names such as "train.tfrecord#12", the first being 0."""

    shards: Mapping[str, _Shard]
    spool: Spool

    def open(self, name: str) -> BinaryIO | npt.NDArray[np.uint8]:
        shard_name, _, number = name.rpartition("#")
        shard = self.shards.get(shard_name)
        if shard is None or not number.isdecimal() or int(number) >= len(shard.offsets):
            raise UnreadableImage("no such record", "missing")
        data = checked_record(self._read(shard, shard.offsets[int(number)], shard.sizes[int(number)] + FOOTER))
        try:
            features = parse(data)
        except BrokenExample as error:
            raise UnreadableImage("no tf.train.Example") from error
        if not has_image(features):
            raise UnreadableImage("no picture in the record")
        return image_of(features)

    def _read(self, shard: _Shard, offset: int, size: int) -> bytes:
        if shard.path is None:
            return self.spool.shared.read(offset, size)
        with _open(shard.path) as file:
            file.seek(offset)
            return file.read(size)


@dataclass(slots=True, kw_only=True)
class _Pass:
    """The one pass over the shards.

    Attributes:
        source: what the user named.
        spool: takes what gzip has packed.
        left_out: counts records and shards.
        keys: of the features, by the first whole record.
        texts: label -> the name of its class; empty where there is none, or several.
    """

    source: str
    spool: Spool
    left_out: LeftOutCounter
    keys: Keys | None = None
    texts: dict[Label, str] = field(default_factory=dict)

    def entries(self, shards: Mapping[str, _Shard], splits: Sequence[str]) -> Iterator[Entry]:
        """All images of the shards.

        Raises:
            ProbeError: a shard can't be read, or the records lack the features.
        """
        for (name, shard), split in zip(shards.items(), splits, strict=True):
            try:
                for number, record in enumerate(self._records(name, shard)):
                    shard.offsets.append(record.offset)
                    shard.sizes.append(record.size)
                    try:
                        yield Entry(f"{name}#{number}", self._label(record), split)
                    except BrokenExample as error:
                        self.left_out.add(str(error), f"{name}#{number}")
            except BrokenRecord:
                n = len(shard.offsets)
                self.left_out.add("shards with records after a broken one", f"{name} after {n:,} records")
            except OSError as error:
                raise ProbeError(
                    f"Expected to read the TFRecord file {shard.path or name!r}. Received: "
                    f"{(error.strerror or str(error)).lower()}. Check its permissions."
                ) from error

    def _records(self, name: str, shard: _Shard) -> Iterator[Record]:
        with _open(str(shard.path), _BUFFER) as file:
            head = file.read(HEADER)
            if is_tfrecord(head):
                yield from read_records(file, 0, file.seek(0, os.SEEK_END))
            elif head.startswith(_GZIP) and _unpacks_to_records(file):
                shard.path = None
                start, whole = self.spool.size, self._unpack(file)
                yield from read_records(self.spool.shared.file, start, self.spool.size)
                if not whole:
                    raise BrokenRecord("cut off")
            else:
                self.left_out.add("shards that are no TFRecord files", name)

    def _unpack(self, file: BinaryIO) -> bool:
        """Unpack a shard to the spool; False where it is cut off or damaged."""
        n_packed = file.seek(0, os.SEEK_END)
        file.seek(0)
        with gzip.open(file) as stream:
            try:
                self.spool.add(stream, n_packed, self.source)
            except BrokenStream:
                return False
        return True

    def _label(self, record: Record) -> Label:
        """The label of a record.

        To check all that is read would double the time, so only what tells something new is checked: the first record
        of all and of each class. The others are when they are opened.

        Raises:
            BrokenExample: it is damaged, or has no picture or no label.
            ProbeError: the features are missing, or there are several labels.
        """
        if record.data is None:
            raise BrokenExample(f"records {TOO_LARGE}")
        features = parse(record.data)
        if self.keys is None:
            _require_whole(record)
            self.keys = find_keys(features, self.source)
        if not has_image(features):
            raise BrokenExample("records without a picture")
        labels = labels_of(features, self.keys)
        if len(labels) > 1 or labels[0] not in self.texts:
            _require_whole(record)
        if len(labels) > 1:
            raise several_labels(self.keys, len(labels), self.source)
        text = text_of(features, self.keys)
        if self.texts.setdefault(labels[0], text) != text:
            self.texts[labels[0]] = ""
        return labels[0]


def _require_whole(record: Record) -> None:
    if record.data is not None and not is_whole(record.data, record.checksum):
        raise BrokenExample("records whose checksum does not match")


def _unpacks_to_records(file: BinaryIO) -> bool:
    file.seek(0)
    with gzip.open(file) as stream:
        try:
            return is_tfrecord(stream.read(HEADER))
        except (OSError, EOFError, zlib.error):
            return False


def index_records(paths: str | os.PathLike[str] | Sequence[str | os.PathLike[str]]) -> ImageIndex:
    """List the images of TFRecord files.

    A record is a tf.train.Example with an encoded picture as `image/encoded`, `image` or `image_raw` and a label as
    `image/class/label`, `label` or `class`. `image/class/text` names the classes where each has one name of its own.
    The split of a file is the last word in its name, or its folder's, that means one.

    Args:
        paths: of a file, of a folder that holds such files, or a pattern; URLs likewise; or several of these.

    Returns:
        The index.

    Raises:
        ProbeError: there are no such files, they can't be read, hold no such records or several labels an image.
    """
    sources = [os.fspath(path) for path in ([paths] if isinstance(paths, (str, os.PathLike)) else paths)]
    source = ", ".join(sources)
    left_out = LeftOutCounter()
    found = list(dict.fromkeys(path for one in sources for path in find_shards(one, left_out)))
    shards = {name: _Shard(path=path) for name, path in zip(shard_names(found), found, strict=True)}
    with contextlib.ExitStack() as stack:
        spool = stack.enter_context(contextlib.closing(Spool()))
        reading = _Pass(source=source, spool=spool, left_out=left_out)
        store = RecordStore(shards, spool)
        entries = reading.entries(shards, shard_splits(found))
        index = index_entries(entries, store, source=source, kind="tfrecord", left_out=left_out)
        weakref.finalize(store, stack.pop_all().close)
    texts = {str(label): text for label, text in reading.texts.items()}
    names = tuple(texts[name] for name in index.class_names)
    return replace(index, class_names=names, numbers=()) if all(names) and len(set(names)) == len(names) else index
