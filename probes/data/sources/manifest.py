"""A table that names the file and the label of each image: CSV, TSV or Parquet."""

import csv
import gzip
import importlib
import io
import itertools
import math
import os
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from probes.data.image_index import TRAIN, Entry, ImageIndex, LeftOutCounter, index_entries, split_name
from probes.data.labels import ONE_LABEL, Label, refuse_combined, shown
from probes.data.sources.folder import open_named, store_of
from probes.data.sources.remote import is_remote, read_remote
from probes.data.sources.source import Options
from probes.errors import ProbeError

_TEXTS, _PARQUETS = (".csv", ".tsv", ".txt"), (".parquet", ".pq")
_EXPECTED = "Expected a manifest, a CSV, TSV or Parquet file, with the columns path and label."
_LONGEST_LINE = 1 << 20  # characters
_BATCH = 1 << 15  # rows of a Parquet file in memory at once
_INTEGER = re.compile("0|-?[1-9][0-9]{0,17}")  # leading zeros are part of a name
_SHOWN_COLUMNS = 20


class _Columns(NamedTuple):
    """Where our columns are in a table, counted from 0; None for a missing one."""

    path: int
    label: int
    split: int | None
    group: int | None
    weight: int | None


Rows = Iterator[tuple[str, Sequence[Any]]]  # the place of each, as "line 3", and its cells in the order of our columns


def recognises(data: Any) -> bool:
    name = data.lower().removesuffix(".gz") if isinstance(data, str) else ""
    return name.endswith(_TEXTS + _PARQUETS) and not os.path.isdir(data)


def index(data: str, options: Options) -> ImageIndex:
    """List the images that a table names.

    It is a .csv, .tsv or .txt file in UTF-8, also with .gz, or a .parquet or .pq file, with the columns path, label and
    optionally split, group and weight; or its URL. Paths in it are URLs, absolute, or relative to its folder. Labels of
    text files are numbers where all of them are whole numbers.
    """
    left_out, typed = LeftOutCounter(), data.lower().endswith(_PARQUETS)
    rows = _parquet_rows(data, options.columns) if typed else _text_rows(data, options.columns, left_out)
    entries = list(_entries(rows, left_out, data))
    labels = _labels({entry.label for entry in entries}, typed, data)
    return index_entries(
        (entry._replace(label=labels[entry.label]) for entry in entries),
        store_of(data.rpartition("/")[0] if is_remote(data) else str(Path(data).parent)),
        source=data,
        kind="manifest",
        left_out=left_out,
    )


@contextmanager
def _opened(source: str) -> Iterator[BinaryIO]:
    """The file of a table; whatever its reader raises where it is broken becomes a `ProbeError`."""
    try:
        with read_remote(source) if is_remote(source) else open_named(source, _EXPECTED) as file:
            yield file
    except ProbeError:
        raise
    except UnicodeDecodeError:
        raise ProbeError(
            f"Expected text in UTF-8. Received: {source!r} in another encoding. Save it as UTF-8."
        ) from None
    except Exception as error:  # Arrow raises nearly any
        reason = " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())
        raise ProbeError(
            f"{_EXPECTED} Received: {source!r}, which can't be read: {reason[:100].rstrip('.')}. Check its name and "
            "whether it is whole."
        ) from error


def _csv_rows(source: str) -> Iterator[tuple[int, list[str]]]:
    """The first line and the cells of each row of a file."""
    with _opened(source) as raw:
        file: Any = gzip.GzipFile(fileobj=raw) if source.lower().endswith(".gz") else raw
        with io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
            yield from _split_rows(_lines(text, source), source)


def _split_rows(lines: Iterator[str], source: str) -> Iterator[tuple[int, list[str]]]:
    """Lines as rows of cells; the delimiter is the most frequent one of the header."""
    blank, header = next(((n, line) for n, line in enumerate(lines) if line.strip()), (0, ""))
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(itertools.chain([header], lines), delimiter=delimiter, strict=True, skipinitialspace=True)
    while True:
        line = blank + reader.line_num + 1
        try:
            row = next(reader, None)
        except csv.Error as error:
            raise ProbeError(
                f"Expected rows of comma-separated cells. Received: {source!r} with a row in line {line} that "
                f"can't be read: {error}. Check the quotes of that row."
            ) from None
        if row is None:
            return
        if row:
            yield line, row


def _lines(text: io.TextIOWrapper, source: str) -> Iterator[str]:
    """The lines of a table; none is so long that it fills the memory."""
    while line := text.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise ProbeError(
                f"Expected a table of text. Received: {source!r} with a line of over {_LONGEST_LINE:,} characters. "
                "Write a row for each image."
            )
        yield line


def _text_rows(source: str, wanted: Mapping[str, str], left_out: LeftOutCounter) -> Rows:
    rows = _csv_rows(source)
    header = next(rows, (0, []))[1]
    columns = _columns(header, wanted, source)
    pick = itemgetter(*(-1 if place is None else place for place in columns))
    least = max(place for place in columns if place is not None) + 1
    for line, row in rows:
        if len(row) < least:
            left_out.add("rows with fewer cells than the header", f"line {line}")
        elif any(row[len(header) :]):
            left_out.add("rows with more cells than the header", f"line {line}")
        else:
            row.append("")  # stands for missing columns, at place -1
            yield f"line {line}", pick(row)


def _parquet_rows(source: str, wanted: Mapping[str, str]) -> Rows:
    try:
        parquet = importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise ProbeError(
            f"Expected pyarrow, which reads Parquet. Received: {source!r} without it. Install it: "
            "`pip install 'netgraft[parquet]'`."
        ) from None
    with _opened(source) as file, parquet.ParquetFile(file) as table:
        header = table.schema_arrow.names
        names = [None if place is None else header[place] for place in _columns(header, wanted, source)]
        needed = sorted({name for name in names if name is not None})
        first = 1
        for batch in table.iter_batches(batch_size=_BATCH, columns=needed):
            cells = [itertools.repeat(None) if name is None else batch.column(name).to_pylist() for name in names]
            for number, row in enumerate(zip(*cells, strict=False), first):
                yield f"row {number}", row
            first += batch.num_rows


def _columns(found: Sequence[str], wanted: Mapping[str, str], source: str) -> _Columns:
    """Find our columns among those of the table; `wanted` holds our names -> the table's, as the user gave them."""
    if not found:
        raise ProbeError(f"{_EXPECTED} Received: {source!r}, an empty file. Write their names into its first line.")
    for ours in wanted:
        if ours not in _Columns._fields:
            raise _no_column(f"no column of ours is {shown(ours)}", found, source, "label")
    names = [name.strip() for name in found]
    places: dict[str, Any] = {}
    for ours in _Columns._fields:
        theirs = str(wanted.get(ours, ours)).strip()
        exact = [place for place, name in enumerate(names) if name == theirs]
        hits = exact or [place for place, name in enumerate(names) if name.lower() == theirs.lower()]
        if len(hits) > 1 or (not hits and (ours in wanted or ours in ("path", "label"))):
            what = f"{len(hits) or 'no'} {'columns are' if hits else 'column is'} named {shown(theirs)}"
            raise _no_column(what, found, source, ours)
        places[ours] = hits[0] if hits else None
    return _Columns(**places)


def _no_column(what: str, found: Sequence[str], source: str, ours: str) -> ProbeError:
    columns = ", ".join(shown(column) for column in found[:_SHOWN_COLUMNS])
    more = f" and {len(found) - _SHOWN_COLUMNS} more" if len(found) > _SHOWN_COLUMNS else ""
    return ProbeError(
        f"Expected a manifest with the columns path and label, optionally split, group and weight. Received: "
        f"{source!r} with the columns {columns}{more}; {what}. Name it with `--column {ours}=NAME`."
    )


def _entries(rows: Rows, left_out: LeftOutCounter, source: str) -> Iterator[Entry]:
    """The rows that can be used, with their labels as they are in the table."""
    same: dict[Any, Any] = {}  # one object for all images of a label or group
    for place, (path, label, split, group, weight) in rows:
        if _is_missing(path):
            left_out.add("rows without a path", place)
        elif _is_missing(label):
            left_out.add("rows without a label", place)
        elif (known := TRAIN if _is_missing(split) else split_name(str(split))) is None:
            left_out.add("rows of an unknown split", f"{place}: {shown(split)}")
        elif (factor := _weight(weight)) is None:
            left_out.add("rows whose weight is not a number >= 0", f"{place}: {shown(weight)}")
        elif not isinstance(path, str) or not isinstance(label, (str, int, float)):
            what = "paths as text" if not isinstance(path, str) else "one word or number as label"
            raise ProbeError(
                f"Expected {what}. Received: {source!r} with the path {shown(path)} and the label {shown(label)} in "
                f"{place}. {ONE_LABEL}"
            )
        else:
            word = "" if _is_missing(group) else str(group).strip()
            yield Entry(path, same.setdefault(label, label), known, same.setdefault(word, word) or None, factor)


def _is_missing(cell: Any) -> bool:
    return not cell or cell.isspace() if isinstance(cell, str) else cell is None or cell != cell


def _weight(cell: Any) -> float | None:
    """A finite number >= 0, 1 for a missing cell; None for anything else."""
    try:
        weight = 1.0 if cell is None or cell == "" else float(cell)
    except (TypeError, ValueError):
        return None
    return weight if 0 <= weight < math.inf else None


def _labels(cells: Collection[Any], typed: bool, source: str) -> dict[Any, Label]:
    """What the label cells of a table mean: whole numbers, truth values or words.

    Cells without types are numbers if all of them can be read as whole numbers.
    """
    labels: dict[Any, Label] = {}
    for cell in cells:
        if isinstance(cell, float) and not cell.is_integer():
            raise ProbeError(
                f"Expected labels that are classes. Received: {source!r} with the label {cell}. Write a class's name "
                "or number for each image."
            )
        labels[cell] = cell.strip() if isinstance(cell, str) else int(cell) if isinstance(cell, float) else cell
    words = {label for label in labels.values() if isinstance(label, str)}
    if not typed and all(map(_INTEGER.fullmatch, words)):
        return {cell: int(label) for cell, label in labels.items()}
    refuse_combined(words, source)
    return labels
