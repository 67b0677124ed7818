"""A table that names the file and the label of each image: CSV, TSV or Parquet."""

import difflib
import math
import os
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from functools import partial
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from probes.data.image_index import TRAIN, Entry, ImageIndex, Label, LeftOutCounter, index_entries, split_name
from probes.data.sources.folder import open_regular, store_of
from probes.data.sources.remote import cannot_read, is_remote, read_remote
from probes.data.sources.source import Options
from probes.data.sources.tables import Columns, ParquetTable, Table, TextTable
from probes.errors import ProbeError
from probes.images.decode import UnreadableImage

_TEXTS, _PARQUETS = (".csv", ".tsv", ".txt"), (".parquet", ".pq")
_INTEGER = re.compile("0|-?[1-9][0-9]{0,17}")  # leading zeros are part of a name
_SHOWN_COLUMNS, _SHOWN_CHARACTERS = 20, 60


def recognises(data: Any) -> bool:
    name = data.lower().removesuffix(".gz") if isinstance(data, str) else ""
    return name.endswith(_TEXTS + _PARQUETS) and not os.path.isdir(data)


def index(data: str, options: Options) -> ImageIndex:
    return index_manifest(data, columns=options.columns)


def index_manifest(path: str | os.PathLike[str], *, columns: Mapping[str, str] | None = None) -> ImageIndex:
    """List the images that a table names.

    Args:
        path: a .csv, .tsv or .txt file in UTF-8, which may be compressed to .gz, or a .parquet or .pq file, with the
            columns path, label and optionally split, group and weight; or its URL. Paths in it are URLs, absolute, or
            relative to its folder.
        columns: our names of columns -> the file's, where they differ.

    Returns:
        The index. Labels of text files are numbers where all of them are whole numbers.

    Raises:
        ProbeError: the file can't be read, lacks a column, holds several labels for an image, or does not hold at least
            two classes.
    """
    source, wanted = os.fspath(path), columns or {}
    table = _table(source, wanted)
    header = table.header()
    if not header:
        raise ProbeError(
            f"Expected a manifest with the columns path and label. Received: {source!r}, an empty file. Write their "
            "names into its first line."
        )
    found = _columns(header, wanted, source)
    labels = _labels({row[1] for row in _rows(table, found, LeftOutCounter())}, table.typed, source)
    left_out = LeftOutCounter()
    entries = (
        Entry(name, labels.get(cell, str(cell)), split, group, weight)
        for name, cell, split, group, weight in _rows(table, found, left_out)
    )
    store = store_of(source.rpartition("/")[0] if is_remote(source) else str(Path(source).parent))
    return index_entries(entries, store, source=source, kind="manifest", left_out=left_out)


def _table(source: str, wanted: Mapping[str, str]) -> Table:
    name = source.lower().removesuffix(".gz")
    if not name.endswith(_TEXTS + _PARQUETS):
        raise ProbeError(
            f"Expected a manifest that ends in {', '.join(_TEXTS)}, also with .gz, or {', '.join(_PARQUETS)}. "
            f"Received: {source!r}. Save it as CSV."
        )
    opener: Callable[[], BinaryIO] = partial(_open_local, source)
    if is_remote(source):
        try:
            opener = partial(BytesIO, read_remote(source).getvalue())
        except (OSError, UnreadableImage) as error:
            raise cannot_read(source, error) from error
    if name.endswith(_PARQUETS):
        return ParquetTable(source, opener)
    return TextTable(source, opener, frozenset(str(wanted.get(ours, ours)).strip().lower() for ours in Columns._fields))


def _open_local(source: str) -> BinaryIO:
    try:
        return open_regular(source)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ProbeError(
            f"Expected a manifest, a CSV, TSV or Parquet file. Received: {source!r}: {reason}. Check its name and "
            "permissions."
        ) from error


def _shown(cell: object) -> str:
    return repr(cell if len(str(cell)) <= _SHOWN_CHARACTERS else f"{str(cell)[:_SHOWN_CHARACTERS]}…")


def _columns(found: Sequence[str], wanted: Mapping[str, str], source: str) -> Columns:
    """Find our columns among those of the table.

    Args:
        found: the table's.
        wanted: our names -> the table's, as the user gave them.
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
    close = difflib.get_close_matches(name, sorted(set(filter(str.isprintable, known))), n=3, cutoff=0.5)
    nearest = f" Nearest: {', '.join(close)}." if close else ""
    return ProbeError(
        f"Expected a manifest with the columns path and label, optionally split, group and weight. Received: "
        f"{source!r} with the columns {shown}{more}; {what}.{nearest} Name it with `--column {ours}=NAME`."
    )


def _rows(
    table: Table, columns: Columns, left_out: LeftOutCounter
) -> Iterator[tuple[str, Any, str, str | None, float]]:
    """Path, label as it is in the table, split, group and weight of all rows that can be used."""
    groups: dict[str, str] = {}  # one string for all images of a group
    for number, (path, label, split, group, weight) in table.rows(columns, left_out):
        if _is_missing(path):
            left_out.add("rows without a path", f"{table.unit} {number}")
        elif _is_missing(label):
            left_out.add("rows without a label", f"{table.unit} {number}")
        elif (known := TRAIN if _is_missing(split) else split_name(str(split))) is None:
            left_out.add("rows of an unknown split", f"{table.unit} {number}: {_shown(split)}")
        elif (factor := _weight(weight)) is None:
            left_out.add("rows whose weight is not a number >= 0", f"{table.unit} {number}: {_shown(weight)}")
        else:
            word = "" if _is_missing(group) else str(group).strip()
            yield path, label, known, groups.setdefault(word, word) or None, factor


def _is_missing(cell: Any) -> bool:
    return not cell or cell.isspace() if isinstance(cell, str) else cell is None or cell != cell


def _weight(cell: Any) -> float | None:
    """A finite number >= 0, 1 for a missing cell; None for anything else."""
    if cell is None or cell == "":
        return 1.0
    try:
        weight = float(cell)
    except (TypeError, ValueError):
        return None
    return weight if 0 <= weight < math.inf else None


def _labels(cells: Collection[Any], typed: bool, source: str) -> dict[Any, Label]:
    """What the label cells of a table mean: whole numbers, truth values or words.

    Args:
        cells: all that occur.
        typed: whether they have types; otherwise they are numbers if all of them can be read as whole numbers.
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

    Cells hold several labels if the parts of at least half of those with the character occur again: as a whole label or
    in another combination. Commas are common in names ("pepper, bell" and "pepper, sweet"), so unless a part is a whole
    label, all parts must occur again.
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
