"""A table that names the file and the label of each image: CSV, TSV or Parquet."""

import io
import math
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, Literal

import numpy as np
import numpy.typing as npt

from probes.data.image_index import (
    TRAIN,
    Entry,
    ImageIndex,
    Label,
    LeftOutCounter,
    Store,
    index_entries,
    nearest,
    split_name,
)
from probes.data.sources.remote import RemoteStore, fetch, is_remote
from probes.data.sources.tables import Columns, ParquetTable, Table, TextTable
from probes.errors import ProbeError
from probes.images.decode import UnreadableImage
from probes.images.suffixes import suffix

_TEXTS, _PARQUETS = (".csv", ".tsv", ".txt"), (".parquet", ".pq")
_INTEGER = re.compile("0|-?[1-9][0-9]{0,17}")  # leading zeros are part of a name
_SHOWN_COLUMNS, _SHOWN_CHARACTERS = 20, 60


@dataclass(frozen=True, slots=True)
class ManifestStore:
    """Files by their paths, relative to the manifest's folder or absolute; `remote` opens names with "://" in them."""

    root: Path
    remote: Store | None = None

    def open(self, name: str) -> BinaryIO | npt.NDArray[np.uint8]:
        if "://" in name:
            if self.remote is None:
                raise UnreadableImage("a remote address, which can't be opened here")
            return self.remote.open(name)
        path = self.root / name
        try:
            if path.exists() and not path.is_file():  # to open a named pipe would be to wait for ever
                raise UnreadableImage("not a file")
            return path.open("rb")
        except ValueError:  # NUL and lone surrogates
            raise UnreadableImage("not a possible name of a file") from None


@dataclass(frozen=True, slots=True)
class FetchedFile:
    """A file at a URL, whose content is in memory; it is used as a `Path` is."""

    url: str
    content: bytes = field(repr=False)

    def __str__(self) -> str:
        return self.url

    @property
    def name(self) -> str:
        return self.url.rpartition("/")[2]

    def open(self, _mode: Literal["rb"]) -> BinaryIO:
        return io.BytesIO(self.content)


def _shown(cell: object) -> str:
    return repr(cell if len(str(cell)) <= _SHOWN_CHARACTERS else f"{str(cell)[:_SHOWN_CHARACTERS]}…")


def _columns(found: Sequence[str], wanted: Mapping[str, str], source: str) -> Columns:
    """Find our columns among those of the table.

    Args:
        found: the table's.
        wanted: our names -> the table's, as the user told them.
        source: for messages.

    Raises:
        ProbeError: one is missing, or there are several of its name.
    """
    for ours in wanted:
        if ours not in Columns._fields:
            raise _no_column(ours, f"no column of ours is {_shown(ours)}", found, Columns._fields, source, "label")
    names = [name.strip() for name in found]
    places: dict[str, Any] = {}
    for ours in Columns._fields:
        theirs = str(wanted.get(ours, ours)).strip()
        exact = [place for place, name in enumerate(names) if name == theirs]
        hits = exact or [place for place, name in enumerate(names) if name.lower() == theirs.lower()]
        if len(hits) > 1 or (not hits and (ours in wanted or ours in ("path", "label"))):
            what = f"{len(hits) or 'no'} {'columns are' if hits else 'column is'} named {_shown(theirs)}"
            raise _no_column(theirs, what, found, names, source, ours)
        places[ours] = hits[0] if hits else None
    return Columns(**places)


def _no_column(name: str, what: str, found: Sequence[str], known: Sequence[str], source: str, ours: str) -> ProbeError:
    """The error about a column; `known` are the names that `name` may be meant for."""
    shown = ", ".join(_shown(column) for column in found[:_SHOWN_COLUMNS])
    more = f" and {len(found) - _SHOWN_COLUMNS} more" if len(found) > _SHOWN_COLUMNS else ""
    return ProbeError(
        f"Expected a manifest with the columns path and label, optionally split, group and weight. Received: "
        f"{source!r} with the columns {shown}{more}; {what}.{nearest(name, set(filter(str.isprintable, known)))} "
        f"Name it with `--column {ours}=NAME`."
    )


def _split(cell: Any) -> str | None:
    return TRAIN if _is_missing(cell) else split_name(str(cell))


def _weight(cell: Any) -> float | None:
    """A finite number >= 0, 1 for a missing cell; None for anything else."""
    if cell is None or cell == "":
        return 1.0
    try:
        weight = float(cell)
    except (TypeError, ValueError):
        return None
    return weight if 0 <= weight < math.inf else None


def _is_missing(cell: Any) -> bool:
    return not cell or cell.isspace() if isinstance(cell, str) else cell is None or cell != cell


def _kept(
    table: Table, columns: Columns, left_out: LeftOutCounter
) -> Iterator[tuple[str, Any, str, str | None, float]]:
    """Path, label as it stands in the table, split, group and weight of all rows that can be used."""
    groups: dict[str, str] = {}  # one string for all images of a group
    for number, (path, label, split, group, weight) in table.rows(columns, left_out):
        if _is_missing(path):
            left_out.add("rows without a path", f"{table.unit} {number}")
        elif _is_missing(label):
            left_out.add("rows without a label", f"{table.unit} {number}")
        elif (part := _split(split)) is None:
            left_out.add("rows of an unknown split", f"{table.unit} {number}: {_shown(split)}")
        elif (factor := _weight(weight)) is None:
            left_out.add("rows whose weight is not a number >= 0", f"{table.unit} {number}: {_shown(weight)}")
        else:
            word = "" if _is_missing(group) else str(group).strip()
            yield path, label, part, groups.setdefault(word, word) or None, factor


def _labels(cells: Collection[Any], typed: bool, source: str) -> dict[Any, Label]:
    """What the label cells of a table mean: whole numbers, truths or words.

    Args:
        cells: all that occur.
        typed: whether they have types; otherwise numbers are told from words by their looks.
        source: for messages.

    Raises:
        ProbeError: labels are fractions, or cells hold several labels.
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
    _refuse_combined(words, source)
    return labels


def _refuse_combined(words: Set[str], source: str) -> None:
    """Refuse cells like "cat|dog" that hold several labels, but not names that merely contain such a character.

    Cells hold several labels where the parts of at least half of those with the character recur: as a whole label or
    in another combination. Commas are common in names ("pepper, bell" and "pepper, sweet"), so unless a part is a whole
    label, all parts must recur.
    """
    for separator in "|;,":
        parts = {word: {part.strip() for part in word.split(separator)} - {""} for word in words if separator in word}
        times = Counter(part for own in parts.values() for part in own)
        enough = all if separator == "," else any
        several = sorted(
            word
            for word, own in parts.items()
            if len(own) > 1 and (not own.isdisjoint(words) or enough(times[part] > 1 for part in own))
        )
        if several and 2 * len(several) >= len(parts):
            raise ProbeError(
                f"Expected one label an image. Received: {source!r} with labels like {_shown(several[0])}, whose parts "
                f"occur elsewhere too. Multi-label data are not supported: keep one label for each image, or write "
                f"another character for {separator!r} where it is part of a class's name."
            )


def _file(source: str) -> Path | FetchedFile:
    if is_remote(source):
        return FetchedFile(source, fetch(source).getvalue())
    file = Path(source)
    try:
        kind = "" if file.is_file() else "a folder" if file.is_dir() else "no file" if file.exists() else "no such file"
    except (OSError, ValueError) as error:
        kind = (getattr(error, "strerror", None) or str(error)).lower()
    if kind:
        raise ProbeError(f"Expected a manifest, a CSV, TSV or Parquet file. Received: {source!r}, {kind}.")
    return file


def _table(file: Path | FetchedFile, wanted: Mapping[str, str]) -> Table:
    ending = suffix(file.name.lower().removesuffix(".gz"))
    if ending in _PARQUETS:
        return ParquetTable(file)
    if ending in _TEXTS:
        return TextTable(file, frozenset(str(wanted.get(name, name)).strip().lower() for name in Columns._fields))
    raise ProbeError(
        f"Expected a manifest that ends in {', '.join(_TEXTS)}, also with .gz, or {', '.join(_PARQUETS)}. Received: "
        f"{str(file)!r}. Save it as CSV."
    )


def index_manifest(
    path: str | os.PathLike[str], *, columns: Mapping[str, str] | None = None, remote: Store | None = None
) -> ImageIndex:
    """List the images that a table names.

    Args:
        path: a .csv, .tsv or .txt file in UTF-8, which may be compressed to .gz, or a .parquet or .pq file, with the
            columns path, label and optionally split, group and weight; or its URL. Relative paths count from its
            folder.
        columns: our names of columns -> the file's, where they differ.
        remote: opens paths with "://" in them.

    Returns:
        The index. Labels of text files are numbers where all of them are whole numbers.

    Raises:
        ProbeError: the file can't be read, lacks a column, holds several labels for an image, or does not hold at least
            two classes.
    """
    file, wanted = _file(os.fspath(path)), columns or {}
    source, table = str(file), _table(file, wanted)
    header = table.header()
    if not header:
        raise ProbeError(
            f"Expected a manifest with the columns path and label. Received: {source!r}, an empty file. Write their "
            "names into its first line."
        )
    found = _columns(header, wanted, source)
    labels = _labels({row[1] for row in _kept(table, found, LeftOutCounter())}, table.typed, source)
    left_out = LeftOutCounter()
    rows = _kept(table, found, left_out)
    entries = (
        Entry(name, labels.get(cell, str(cell)), split, group, weight) for name, cell, split, group, weight in rows
    )
    store = ManifestStore(file.parent, remote) if isinstance(file, Path) else RemoteStore(source.rpartition("/")[0])
    return index_entries(entries, store, source=source, kind="manifest", left_out=left_out)
