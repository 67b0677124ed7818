"""A table that names the file and the label of each image: CSV, TSV or Parquet."""

import itertools
import math
import os
import re
from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from probes.data.image_index import (
    TEST,
    TRAIN,
    VALIDATION,
    Entry,
    ImageIndex,
    LeftOutCounter,
    index_entries,
    split_name,
)
from probes.data.labels import ONE_LABEL, Label, label_order, refuse_combined, shown
from probes.data.name_sample import NameSample
from probes.data.sources.folder import store_of
from probes.data.sources.remote import is_remote
from probes.data.sources.source import Options
from probes.data.sources.table import PARQUETS, TEXTS, Rows, extent, is_parquet, parquet_rows, text_rows
from probes.errors import ProbeError

MOST_LISTED = 2_000_000  # rows that are held in memory; of a longer table, a sample of them
_DECIMAL = re.compile(r"[+-]?[0-9]*\.[0-9]+(?:[eE][+-]?[0-9]+)?")
_INTEGER = re.compile("0|-?[1-9][0-9]{0,17}")  # leading zeros are part of a name


def recognises(data: Any) -> bool:
    name = data.lower().removesuffix(".gz") if isinstance(data, str) else ""
    return name.endswith(TEXTS + PARQUETS) and not os.path.isdir(data)


def index(data: str, options: Options) -> ImageIndex:
    """List the images that a table names.

    It is a .csv, .tsv or .txt file in UTF-8, also with .gz, or a .parquet or .pq file, with the columns path, label and
    optionally split, group and weight; or its URL. Paths in it are URLs, absolute, or relative to its folder. Labels of
    text files are numbers where all of them are whole numbers. Of a table of more than `MOST_LISTED` rows the index
    holds a sample, and the number of images of each class.
    """
    left_out, typed = LeftOutCounter(), is_parquet(data)
    rows = parquet_rows(data, options.columns) if typed else text_rows(data, options.columns, left_out)
    stream = _entries(rows, left_out, data)
    sampled = None
    entries = [] if typed and extent(data)[0] > MOST_LISTED else list(itertools.islice(stream, MOST_LISTED + 1))
    if not 0 < len(entries) <= MOST_LISTED:
        sampled = NameSample(max_images=options.max_images, seed=options.seed)
        sampled.add(itertools.chain(entries, stream))
        entries = sampled.entries()
    labelled, labels = with_labels(entries, typed, data)
    store = store_of(data.rpartition("/")[0] if is_remote(data) else str(Path(data).parent))
    index = index_entries(labelled, store, source=data, kind="manifest", left_out=left_out)
    if sampled is None:
        return index
    index, numbers = _with_counts(index, sampled, labels)
    if not typed:
        return index
    source = data if is_remote(data) else os.path.abspath(data)
    n, version = extent(data)
    rows_of = _ManifestRows(source=source, columns=options.columns, numbers=numbers, n=n, version=version)
    return replace(index, entries=rows_of)


@dataclass(frozen=True, slots=True, kw_only=True)
class _ManifestRows:
    """The rows of a Parquet manifest."""

    source: str
    columns: Mapping[str, str]
    numbers: Mapping[Any, int]  # of the classes, by the cells of the table
    n: int
    version: str

    def read(self, first: int, n: int) -> list[Entry]:
        entries = _entries(parquet_rows(self.source, self.columns, first=first, n=n), LeftOutCounter(), self.source)
        return [entry._replace(label=self.numbers[entry.label]) for entry in entries if entry.label in self.numbers]


def _with_counts(
    index: ImageIndex, sampled: NameSample, labels: Mapping[Any, Label]
) -> tuple[ImageIndex, dict[Any, int]]:
    """The index of a sample, with what is known of all rows, and the number of each label's class."""
    counts: Counter[tuple[str, Label]] = Counter()
    for (split, cell), n in sampled.counts.items():
        counts[split, labels[cell]] += n
    order = label_order(label for split, label in counts if split == TRAIN)
    listed = {split: sum(counts[split, label] for label in order) for split in (VALIDATION, TEST)}
    numbers = {cell: order.index(label) for cell, label in labels.items() if label in order}
    return replace(index, counts=tuple(counts[TRAIN, label] for label in order), listed=listed), numbers


def _entries(rows: Rows, left_out: LeftOutCounter, source: str) -> Iterator[Entry]:
    """The rows that can be used, with their labels as they are in the table."""
    same: dict[Any, Any] = {}  # one object for all images of a label or group
    for place, (path, label, split, group, weight) in rows:
        if is_missing(path):
            left_out.add("rows without a path", place)
        elif is_missing(label):
            left_out.add("rows without a label", place)
        elif (known := TRAIN if is_missing(split) else split_name(str(split))) is None:
            left_out.add("rows whose split is not train, validation or test", f"{place}: {shown(split)}")
        elif (factor := _weight(weight)) is None:
            left_out.add("rows whose weight is not a number >= 0", f"{place}: {shown(weight)}")
        elif not isinstance(path, str) or not isinstance(label, (str, int, float)):
            what = "paths as text" if not isinstance(path, str) else "one word or number as label"
            raise ProbeError(
                f"Expected {what}. Received: {source!r} with the path {shown(path)} and the label {shown(label)} in "
                f"{place}. {ONE_LABEL if isinstance(path, str) else 'Write a path for each image.'}"
            )
        else:
            word = "" if is_missing(group) else str(group).strip()
            yield Entry(path, same.setdefault(label, label), known, same.setdefault(word, word) or None, factor)


def is_missing(cell: Any) -> bool:
    return not cell or cell.isspace() if isinstance(cell, str) else cell is None or cell != cell


def _weight(cell: Any) -> float | None:
    """A finite number >= 0, 1 for a missing cell; None for anything else."""
    try:
        weight = 1.0 if cell is None or cell == "" else float(cell)
    except (TypeError, ValueError):
        return None
    return weight if 0 <= weight < math.inf else None


def with_labels(entries: Sequence[Entry], typed: bool, source: str) -> tuple[Iterator[Entry], dict[Any, Label]]:
    """The entries with what their label cells mean, and that of each cell: whole numbers, truth values or words.

    Cells without types are numbers if all of them can be read as whole numbers.
    """
    cells: set[Any] = {entry.label for entry in entries}
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
        labels = {cell: int(label) for cell, label in labels.items()}
    else:
        refuse_combined(words, source)
        _refuse_measurements(set(labels.values()), len(entries), source)
    return (entry._replace(label=labels[entry.label]) for entry in entries), labels


def _refuse_measurements(labels: Collection[Label], n: int, source: str) -> None:
    """Refuse decimal numbers that are no classes: most of the `n` images have one of their own."""
    decimals = [label for label in labels if isinstance(label, str) and _DECIMAL.fullmatch(label)]
    numbers = len(decimals) + sum(isinstance(label, str) and bool(_INTEGER.fullmatch(label)) for label in labels)
    if numbers == len(labels) < 2 * len(decimals) and n < 2 * numbers:
        raise ProbeError(
            f"Expected labels that are classes. Received: {source!r} with numbers like {min(decimals)}, most of them "
            "once. Write a class's name for each image: classes of numbers are ranges of them."
        )
