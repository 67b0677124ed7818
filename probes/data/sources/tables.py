"""Rows of a table, read as a stream: CSV, TSV and Parquet."""

import csv
import gzip
import importlib
import io
import itertools
import zlib
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, BinaryIO, ClassVar, NamedTuple, Protocol

from probes.data.image_index import LeftOutCounter
from probes.errors import ProbeError

_MAX_LINE = 1 << 20  # characters; no line of a table is longer
_BATCH = 1 << 15  # rows of a Parquet file in memory at once


class Columns(NamedTuple):
    """Where our columns are in a table, counted from 0; None for a missing one."""

    path: int
    label: int
    split: int | None = None
    group: int | None = None
    weight: int | None = None


class Table(Protocol):
    """A table with a header.

    Attributes:
        unit: what its rows are counted in.
        typed: whether its cells have types; otherwise all of them are text.
    """

    unit: ClassVar[str]
    typed: ClassVar[bool]

    def header(self) -> Sequence[str]:
        """The names of its columns."""
        ...

    def rows(self, columns: Columns, left_out: LeftOutCounter) -> Iterator[tuple[int, Sequence[Any]]]:
        """Each row's number and its cells in the order of `columns`; None or empty for a missing cell."""
        ...


def _cannot_read(source: str, what: str, error: Exception) -> ProbeError:
    reason = " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())
    return ProbeError(
        f"Expected {what}. Received: {source!r}, which can't be read: {reason[:100].rstrip('.')}. Check its "
        "permissions and whether it is whole."
    )


@dataclass(frozen=True, slots=True)
class TextTable:
    """CSV, TSV and the like, also compressed by gzip.

    Attributes:
        source: its path or URL.
        open: opens it.
        wanted: names of columns that are likely in its header, by which its delimiter is recognised.
    """

    source: str
    open: Callable[[], BinaryIO]
    wanted: frozenset[str] = frozenset()
    unit: ClassVar[str] = "line"
    typed: ClassVar[bool] = False

    def _lines(self) -> Generator[str, None, None]:
        packed = self.source.lower().endswith(".gz")
        try:
            with (
                self.open() as raw,
                io.TextIOWrapper(gzip.open(raw) if packed else raw, encoding="utf-8-sig", newline="") as text,
            ):
                for number, line in enumerate(iter(lambda: text.readline(_MAX_LINE), ""), 1):
                    if "\0" in line or len(line) == _MAX_LINE:
                        what = "a NUL byte" if "\0" in line else f"over {_MAX_LINE:,} characters"
                        raise ProbeError(
                            f"Expected a table of text. Received: {self.source!r} with {what} in line {number}. "
                            "Save it as UTF-8."
                        )
                    yield line
        except UnicodeDecodeError:
            raise ProbeError(
                f"Expected text in UTF-8. Received: {self.source!r} in another encoding. Save it as UTF-8."
            ) from None
        except (OSError, EOFError, zlib.error) as error:
            raise _cannot_read(self.source, "a manifest", error) from error

    def _delimiter(self) -> str:
        with closing(self._lines()) as lines:
            header = next((line for line in lines if line.strip()), "")
        tabs = self.source.lower().removesuffix(".gz").endswith((".tsv", ".txt"))

        def fit(delimiter: str) -> tuple[int, int]:
            try:
                names = next(csv.reader([header], delimiter=delimiter), [])
            except csv.Error:
                return 0, 0
            return len(self.wanted & {name.strip().lower() for name in names}), len(names)

        return max("\t,;" if tabs else ",;\t", key=fit)

    def _rows(self) -> Generator[tuple[int, list[str]], None, None]:
        reader = csv.reader(self._lines(), delimiter=self._delimiter(), strict=True, skipinitialspace=True)
        while True:
            first_line = reader.line_num + 1
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                raise ProbeError(
                    f"Expected rows of comma-separated cells. Received: {self.source!r} with a row in line "
                    f"{first_line} that can't be read: {error}. Check the quotes of that row."
                ) from None
            if row:
                yield first_line, row

    def header(self) -> Sequence[str]:
        with closing(self._rows()) as rows:
            return next(rows, (0, []))[1]

    def rows(self, columns: Columns, left_out: LeftOutCounter) -> Iterator[tuple[int, Sequence[Any]]]:
        rows = self._rows()
        width = len(next(rows, (0, []))[1])
        least = max(place for place in columns if place is not None) + 1
        pick = itemgetter(*(-1 if place is None else place for place in columns))
        for line, row in rows:
            if len(row) < least:
                left_out.add("rows with fewer cells than the header", f"line {line}")
            elif len(row) > width and any(row[width:]):
                left_out.add("rows with more cells than the header", f"line {line}")
            else:
                row.append("")  # stands for missing columns, at place -1
                yield line, pick(row)


@dataclass(frozen=True, slots=True)
class ParquetTable:
    """A single Parquet file: its path or URL, and what opens it."""

    source: str
    open: Callable[[], BinaryIO]
    unit: ClassVar[str] = "row"
    typed: ClassVar[bool] = True

    @contextmanager
    def _opened(self) -> Iterator[Any]:
        try:
            parquet = importlib.import_module("pyarrow.parquet")
        except ImportError:
            raise ProbeError(
                f"Expected pyarrow, which reads Parquet. Received: {self.source!r} without it. Install it: "
                "`pip install 'netgraft[parquet]'`."
            ) from None
        try:
            with self.open() as opened, parquet.ParquetFile(opened) as table:
                yield table
        except ProbeError:
            raise
        except Exception as error:  # on broken files Arrow raises nearly any exception
            raise _cannot_read(self.source, "a Parquet file", error) from error

    def header(self) -> Sequence[str]:
        with self._opened() as table:
            return list(table.schema_arrow.names)

    def rows(self, columns: Columns, left_out: LeftOutCounter) -> Iterator[tuple[int, Sequence[Any]]]:
        del left_out  # a row of a Parquet file has all cells
        with self._opened() as table:
            schema, first_row = table.schema_arrow, 1
            self._check_types(schema.field(columns.path), schema.field(columns.label))
            names = [None if place is None else schema.names[place] for place in columns]
            needed = sorted({name for name in names if name is not None})
            for batch in table.iter_batches(batch_size=_BATCH, columns=needed):
                cells = [itertools.repeat(None) if name is None else batch.column(name).to_pylist() for name in names]
                yield from enumerate(zip(*cells, strict=False), first_row)
                first_row += batch.num_rows

    def _check_types(self, path: Any, label: Any) -> None:
        types = importlib.import_module("pyarrow").types
        texts = (types.is_string, types.is_large_string, types.is_string_view, types.is_null)
        scalars = (*texts, types.is_integer, types.is_boolean, types.is_floating)
        for field, allowed, wanted in ((path, texts, "paths as text"), (label, scalars, "one label an image")):
            kind = field.type.value_type if types.is_dictionary(field.type) else field.type
            if not any(is_type(kind) for is_type in allowed):
                multi_label = field is label and types.is_nested(label.type)
                advice = "Multi-label data are not supported: keep one label for each image." if multi_label else ""
                raise ProbeError(
                    f"Expected {wanted} in the column {field.name!r}. Received: {self.source!r} with "
                    f"{' '.join(str(field.type).split()):.100} in it. {advice or f'Write {wanted} into it.'}"
                )
