"""Parquet files that hold encoded images and their labels, as Hugging Face writes them."""

import contextlib
import io
import itertools
import json
import os
import threading
from array import array
from bisect import bisect_right
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, ClassVar, NamedTuple

from probes.data.bounded_files import LARGEST_FILE, TOO_LARGE
from probes.data.image_index import Entry, ImageIndex, LeftOutCounter, index_entries
from probes.data.labels import ONE_LABEL
from probes.data.sources.manifest import is_missing, with_labels
from probes.data.sources.remote import as_os_error
from probes.data.sources.shards import ShardFile, are_shards, shard_files
from probes.data.sources.source import Options
from probes.data.sources.table import is_parquet, opened_table, parquet_reader, shown_columns
from probes.errors import ProbeError
from probes.images.decode import UnreadableImage, unreadable

_EXPECTED = (
    "Expected Parquet files with an image and its label in each row: one, a pattern, or a folder that holds them."
)
_IMAGE_NAMES = ("image", "img", "images", "picture", "image_bytes", "image_data", "bytes", "jpg", "jpeg", "png")
_LABEL_NAMES = ("label", "labels", "class", "cls", "category", "target", "class_name", "label_name", "class_id")
_KINDS = {"image": "bytes, or a struct with bytes", "label": "whole numbers or words"}
_BATCH = 16  # rows that are decoded at once: a dictionary may make any number of large ones of a small file
_KEPT_BYTES = 1 << 27  # of row groups in memory, if these are more than two


def recognises(data: Any) -> bool:
    return are_shards(data, is_parquet) or (
        isinstance(data, str) and is_parquet(data) and not os.path.isdir(data) and holds_images(data)
    )


def holds_images(path: str) -> bool:
    """Whether a file has a column of images; one with paths is a manifest, as is one that can't be read."""
    with (
        contextlib.suppress(ProbeError),
        opened_table(path) as (file, _),
        parquet_reader(path).ParquetFile(file) as table,
    ):
        schema = table.schema_arrow
        return bool(_images(schema)) and "path" not in [name.strip().lower() for name in schema.names]
    return False


def index(data: str, options: Options) -> ImageIndex:
    """List the images of a Parquet file, a folder that holds such files, or a pattern; or a URL of these.

    A row holds an encoded image, as bytes or as a struct with `bytes`, and a label: a whole number or a word. The
    columns are those that are named so, or those of `options.columns`. Hugging Face's metadata name the classes; then
    the label -1 is a missing one. Splits are those that `shard_files` finds. Only labels are read.
    """
    reader = _Reader(source=data, wanted=options.columns, read=parquet_reader(data).ParquetFile)
    entries: list[Entry] = []
    for name, file in shard_files(data, is_parquet, _EXPECTED, reader.left_out).items():
        try:
            entries.extend(reader.entries(name, file))
        except ProbeError as error:
            reader.problem = error
            reader.left_out.add("files without a column of images and one of labels", name)
        except (OSError, MemoryError) as error:  # what comes before the damage is kept
            reader.left_out.add("files that are damaged", f"{name}: {unreadable(error)}")
    if reader.problem and not reader.tables:
        raise reader.problem
    return index_entries(
        with_labels(entries, True, data)[0],
        ParquetStore(reader.tables),
        source=data,
        kind="parquet",
        class_names=reader.class_names(),
        left_out=reader.left_out,
    )


def contents(path: str, columns: Mapping[str, str]) -> tuple[Sequence[str], bool, "ParquetStore"]:
    """All pictures of a file, labelled or not; True, since what is damaged shows later; and what opens them.

    `columns` names the column "image". A picture's name is the path, "#", and the number of its row.

    Raises:
        ProbeError: it is not there, no Parquet file, or has no column of images.
        OSError: it can't be read.
    """
    reader = _Reader(source=path, wanted=columns, read=parquet_reader(path).ParquetFile)
    (file,) = shard_files(path, is_parquet, _EXPECTED, reader.left_out).values()
    with file.open() as stream, reader.read(stream) as table:
        column, starts = reader.image_column(table.schema_arrow), _row_starts(table)
        if not all(0 <= _unpacked(table, group, column) <= LARGEST_FILE for group in range(table.num_row_groups)):
            raise ProbeError(f"{_EXPECTED} Received: {path!r} with a row group {TOO_LARGE}. Write fewer rows in each.")
    return [f"{path}#{row:07}" for row in range(starts[-1])], True, ParquetStore({path: Table(file, column, starts)})


class Table(NamedTuple):
    """A Parquet file with images."""

    file: ShardFile
    column: str  # of the images' bytes, as "image.bytes"
    starts: "array[int]"  # number of the first row of each row group


@dataclass(frozen=True, slots=True, eq=False)
class ParquetStore:
    """Pictures in rows of Parquet files, by names such as "train.parquet#0000012"; the first is 0.

    To read one image its row group is unpacked; the last of these stay in memory.
    """

    tables: Mapping[str, Table]
    _groups: "OrderedDict[tuple[str, int], Any]" = field(default_factory=OrderedDict, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)
    by_name: ClassVar[bool] = True  # as in `reading_order`

    def __reduce__(self) -> tuple[Any, ...]:
        return ParquetStore, (self.tables,)

    def open(self, name: str) -> BinaryIO:
        file, _, number = name.rpartition("#")
        with as_os_error():
            starts, row = self.tables[file].starts, int(number)
            group = bisect_right(starts, row) - 1
            with self._lock:  # others wait: they mostly want the same group
                rows = self._group(file, group)
            image = rows[row - starts[group]].as_py()
        if image is None:
            raise UnreadableImage("no picture in this row")
        return io.BytesIO(image)

    def _group(self, name: str, group: int) -> Any:
        """The images of a row group, as a column of bytes."""
        if (name, group) not in self._groups:
            self._groups[name, group] = _read_group(self.tables[name], group)
        self._groups.move_to_end((name, group))
        while len(self._groups) > 2 and sum(rows.nbytes for rows in self._groups.values()) > _KEPT_BYTES:
            self._groups.popitem(last=False)  # of two that are left, threads may read both
        return self._groups[name, group]


def _read_group(table: Table, group: int) -> Any:
    import pyarrow as pa

    parts, size = [], 0
    with table.file.open() as file, parquet_reader(table.file.source).ParquetFile(file) as opened:
        for batch in opened.iter_batches(batch_size=_BATCH, row_groups=[group], columns=[table.column]):
            column = batch.column(0)
            parts.append(column.flatten()[0] if pa.types.is_struct(column.type) else column)
            size += parts[-1].nbytes
            if size > LARGEST_FILE:
                raise UnreadableImage(f"a row group {TOO_LARGE}", "bomb")
    return pa.chunked_array(parts)


@dataclass(slots=True, kw_only=True)
class _Reader:
    """Reads labels, and finds where images are."""

    source: str
    wanted: Mapping[str, str]  # "image" and "label" -> columns that the user named
    read: Callable[[BinaryIO], Any]
    left_out: LeftOutCounter = field(default_factory=LeftOutCounter)
    tables: dict[str, Table] = field(default_factory=dict)
    names: dict[str, Sequence[str]] = field(default_factory=dict)  # of classes, by file
    same: dict[Any, Any] = field(default_factory=dict)  # one object for all images of a label
    problem: ProbeError | None = None  # of a file without our columns

    def entries(self, name: str, file: ShardFile) -> Iterator[Entry]:
        """The images of a file; an `OSError` where it is damaged."""
        with file.open() as stream, self.read(stream) as table:
            classes = _class_labels(table.schema_arrow)
            image, labels = self.image_column(table.schema_arrow), _labels(table.schema_arrow)
            label = self._column("label", _LABEL_NAMES, labels, [*classes], table.schema_arrow)
            self.names |= {name: classes[label]} if label in classes else {}
            missing = -1 if label in classes else None
            starts = _row_starts(table)
            self.tables[name] = Table(file, image, starts)
            for number in range(table.num_row_groups):
                if not 0 <= _unpacked(table, number, image) <= LARGEST_FILE:
                    self.left_out.add(f"row groups {TOO_LARGE}: write fewer rows in each", f"{name} group {number}")
                    continue
                batches = table.iter_batches(row_groups=[number], columns=[label])
                cells = itertools.chain.from_iterable(batch.column(0).to_pylist() for batch in batches)
                for row, cell in enumerate(cells, starts[number]):
                    if is_missing(cell) or cell == missing:
                        self.left_out.add("rows without a label", f"{name}#{row:07}")
                    else:
                        yield Entry(f"{name}#{row:07}", self.same.setdefault(cell, cell), file.split)

    def class_names(self) -> Sequence[str] | None:
        """Those of all files, None without any."""
        if len({tuple(names) for names in self.names.values()}) > 1:
            given = "; ".join(f"{file}: {', '.join(names):.60}" for file, names in self.names.items())
            raise ProbeError(
                f"Expected the same classes in all files. Received: {given:.300}. Write all with the same ClassLabel."
            )
        return next(iter(self.names.values()), None)

    def image_column(self, schema: Any) -> str:
        """Where the bytes of the images are."""
        images = _images(schema)
        return images[self._column("image", _IMAGE_NAMES, list(images), list(images), schema)]

    def _column(self, ours: str, usual: Sequence[str], fitting: Sequence[str], only: Sequence[str], schema: Any) -> str:
        """The column that the user named, the first of the usual names, or the only one that can be meant."""
        words = [self.wanted[ours]] if ours in self.wanted else usual
        found = [name for word in words for name in fitting if name.lower() == word.lower()]
        found = found or ([] if ours in self.wanted or len(only) != 1 else [*only])
        if unknown := ", ".join(sorted(map(str, self.wanted.keys() - _KINDS.keys()))):
            raise ProbeError(
                "Expected --column with image or label, which is all that is read of Parquet files with images. "
                f"Received: {unknown}. Leave it out."
            )
        if not found:
            lists = [name for name in schema.names if name.lower() in words and name not in fitting]
            raise ProbeError(
                f"{_EXPECTED} Received: {self.source!r} with the columns {shown_columns(schema.names)}, of which none "
                f"is known as the {ours}. Name it with `--column {ours}=NAME`: {_KINDS[ours]}."
                + (f" {ONE_LABEL}" if lists and ours == "label" else "")
            )
        return found[0]


def _unpacked(table: Any, number: int, column: str) -> int:
    """Bytes of a column of a row group; a damaged file may say any number."""
    group = table.metadata.row_group(number)
    columns = map(group.column, range(group.num_columns))
    return sum(int(each.total_uncompressed_size) for each in columns if each.path_in_schema == column)


def _row_starts(table: Any) -> "array[int]":
    """The number of the first row of each row group, and the number of rows."""
    sizes = (table.metadata.row_group(group).num_rows for group in range(table.num_row_groups))
    return array("Q", itertools.accumulate(sizes, initial=0))


def _images(schema: Any) -> dict[str, str]:
    """Columns that may hold images -> where in them the bytes are."""
    import pyarrow as pa

    def is_bytes(kind: Any) -> bool:
        return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))

    found = {field.name: field.name for field in schema if is_bytes(field.type)}
    structs = [field for field in schema if pa.types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0]
    return found | {f.name: f"{f.name}.bytes" for f in structs if is_bytes(f.type.field("bytes").type)}


def _labels(schema: Any) -> list[str]:
    """Columns of numbers or words."""
    from pyarrow import types

    def is_label(kind: Any) -> bool:
        if types.is_dictionary(kind):
            return is_label(kind.value_type)
        checks = (types.is_integer, types.is_boolean, types.is_floating, types.is_string, types.is_large_string)
        return any(check(kind) for check in checks)

    return [field.name for field in schema if is_label(field.type)]


def _class_labels(schema: Any) -> dict[str, Sequence[str]]:
    """The names of classes that Hugging Face notes in the metadata, by column."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        labels = {name: feature["names"] for name, feature in features.items() if feature.get("names")}
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError):
        return {}
    return {name: [str(word) for word in names] for name, names in labels.items() if isinstance(names, list)}
