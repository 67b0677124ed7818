"""Tables of images, a row each, read row by row: CSV, TSV or Parquet."""

import csv
import gzip
import importlib
import io
import itertools
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from operator import itemgetter
from typing import Any, BinaryIO

from probes.data.image_index import LeftOutCounter
from probes.data.labels import shown
from probes.data.sources.folder import open_versioned
from probes.errors import ProbeError

TEXTS, PARQUETS = (".csv", ".tsv", ".txt"), (".parquet", ".pq")
EXPECTED = "Expected a manifest, a CSV, TSV or Parquet file, with the columns path and label."
_LONGEST_LINE = 1 << 20  # characters
COLUMNS = ("path", "label", "split", "group", "weight")
NEEDED = ("path", "label")
_BATCH = 1 << 15  # rows of a Parquet file in memory at once
_SHOWN_COLUMNS = 20


Rows = Iterator[tuple[str, Sequence[Any]]]  # the place of each, as "line 3", and its cells in the order of `COLUMNS`


def is_parquet(source: str) -> bool:
    """Whether a table is a Parquet file, by its name."""
    return source.lower().endswith(PARQUETS)


def extent(source: str) -> tuple[int, str]:
    """The number of rows of a Parquet file, and what changes when the file does."""
    with opened_table(source) as (file, version), parquet_reader(source).ParquetFile(file) as table:
        return int(table.metadata.num_rows), version


def parquet_reader(source: str) -> Any:
    """The module that reads Parquet."""
    try:
        return importlib.import_module("pyarrow.parquet")
    except ImportError:
        raise ProbeError(
            f"Expected pyarrow, which reads Parquet. Received: {source!r} without it. Install it: "
            "`pip install 'netgraft[parquet]'`."
        ) from None


@contextmanager
def opened_table(source: str) -> Iterator[tuple[BinaryIO, str]]:
    """The file of a table, and its version; whatever its reader raises where it is broken becomes a `ProbeError`."""
    try:
        with open_versioned(source, EXPECTED) as (file, _, version):
            yield file, version
    except ProbeError:
        raise
    except UnicodeDecodeError:
        raise ProbeError(
            f"Expected text in UTF-8. Received: {source!r} in another encoding. Save it as UTF-8."
        ) from None
    except Exception as error:  # Arrow raises nearly any
        reason = " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())
        raise ProbeError(
            f"{EXPECTED} Received: {source!r}, which can't be read: {reason[:100].rstrip('.')}. Check its name and "
            "whether it is whole."
        ) from error


def _csv_rows(source: str) -> Iterator[tuple[int, list[str]]]:
    """The first line and the cells of each row of a file."""
    with opened_table(source) as (raw, _):
        file: Any = gzip.GzipFile(fileobj=raw) if source.lower().endswith(".gz") else raw
        with io.TextIOWrapper(file, encoding="utf-8-sig", newline="") as text:
            yield from _split_rows(_lines(text, source), source)


def _split_rows(lines: Iterator[str], source: str) -> Iterator[tuple[int, list[str]]]:
    """Lines as rows of cells; the delimiter is the most frequent one of the header."""
    blank, header = next(((n, line) for n, line in enumerate(lines) if line.strip()), (0, ""))
    delimiter = max(",;\t", key=header.count)
    reader = csv.reader(itertools.chain([header], lines), delimiter=delimiter, strict=True, skipinitialspace=True)
    line = blank + 1
    try:
        for row in reader:
            if row:
                yield line, row
            line = blank + reader.line_num + 1
    except csv.Error as error:
        raise ProbeError(
            f"Expected rows of comma-separated cells. Received: {source!r} with a row in line {line} that "
            f"can't be read: {error}. Check the quotes of that row."
        ) from None


def _lines(text: io.TextIOWrapper, source: str) -> Iterator[str]:
    """The lines of a table; none is so long that it fills the memory."""
    while line := text.readline(_LONGEST_LINE):
        if len(line) == _LONGEST_LINE:
            raise ProbeError(
                f"Expected a table of text. Received: {source!r} with a line of over {_LONGEST_LINE:,} characters. "
                "Write a row for each image."
            )
        yield line


def text_rows(
    source: str, wanted: Mapping[str, str], left_out: LeftOutCounter, *, needed: Sequence[str] = NEEDED
) -> Rows:
    """The rows of a text file that are as long as its header; the others are counted."""
    rows = _csv_rows(source)
    header = next(rows, (0, []))[1]
    columns = _columns(header, wanted, source, needed)
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


def parquet_rows(
    source: str, wanted: Mapping[str, str], *, needed: Sequence[str] = NEEDED, first: int = 0, n: int | None = None
) -> Rows:
    """The rows of a Parquet file; `n` of them from number `first` on, by the row groups that hold these."""
    with opened_table(source) as (file, _), parquet_reader(source).ParquetFile(file) as table:
        header = table.schema_arrow.names
        names = [None if place is None else header[place] for place in _columns(header, wanted, source, needed)]
        read = sorted({name for name in names if name is not None})
        last = table.metadata.num_rows if n is None else first + n
        ends = list(itertools.accumulate(table.metadata.row_group(i).num_rows for i in range(table.num_row_groups)))
        groups = [i for i, (start, end) in enumerate(itertools.pairwise([0, *ends])) if start < last and end > first]
        start = ends[groups[0] - 1] if groups and groups[0] else 0
        for batch in table.iter_batches(batch_size=_BATCH, columns=read, row_groups=groups):
            part = batch.slice(max(first - start, 0), max(last - max(start, first), 0))
            cells = [itertools.repeat(None) if name is None else part.column(name).to_pylist() for name in names]
            for number, row in enumerate(zip(*cells, strict=False), max(start, first) + 1):
                yield f"row {number}", row
            start += batch.num_rows


def _columns(
    found: Sequence[str], wanted: Mapping[str, str], source: str, needed: Sequence[str]
) -> tuple[int | None, ...]:
    """Where each of `COLUMNS` is in the table, counted from 0; None for a missing one.

    `wanted` holds our names -> the table's, as the user gave them.
    """
    if not found:
        raise ProbeError(f"{EXPECTED} Received: {source!r}, an empty file. Write their names into its first line.")
    for ours in wanted:
        if ours not in COLUMNS:
            raise _no_column(f"no column of ours is {shown(ours)}", found, source, "label")
    names = [name.strip() for name in found]
    places: list[int | None] = []
    for ours in COLUMNS:
        theirs = str(wanted.get(ours, ours)).strip()
        exact = [place for place, name in enumerate(names) if name == theirs]
        hits = exact or [place for place, name in enumerate(names) if name.lower() == theirs.lower()]
        if len(hits) > 1 or (not hits and (ours in wanted or ours in needed)):
            what = f"{len(hits) or 'no'} {'columns are' if hits else 'column is'} named {shown(theirs)}"
            raise _no_column(what, found, source, ours)
        places.append(hits[0] if hits else None)
    return tuple(places)


def _no_column(what: str, found: Sequence[str], source: str, ours: str) -> ProbeError:
    return ProbeError(
        f"Expected a manifest with the columns path and label, optionally split, group and weight. Received: "
        f"{source!r} with the columns {shown_columns(found)}; {what}. Name it with `--column {ours}=NAME`."
    )


def shown_columns(found: Sequence[str]) -> str:
    """The names of columns, as a message shows them."""
    more = f" and {len(found) - _SHOWN_COLUMNS} more" if len(found) > _SHOWN_COLUMNS else ""
    return ", ".join(shown(column) for column in found[:_SHOWN_COLUMNS]) + more
