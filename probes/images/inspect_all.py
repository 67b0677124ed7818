"""Inspect every image of the data, in a run that can be interrupted and resumed."""

import contextlib
import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

import numpy as np
import numpy.typing as npt

from probes.data.image_index import SPLITS, ImageIndex, Store, reading_order
from probes.images.decode import UnreadableImage, quiet_decoders
from probes.images.image_facts import RECORD, Inspection, PictureFacts, Records, inspect, record
from probes.user_directory import data_directory

_REASONS = 1000  # of failures that are kept in words
_BUFFER = 64 * RECORD.itemsize  # bytes of rows after which they are written
_WEEK = 7 * 24 * 3600  # seconds after which the journal of an interrupted run is ignored

Inspector = Callable[[Store, Sequence[str], Iterable[int]], Iterator[tuple[int, PictureFacts | UnreadableImage]]]


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during the inspection; the message says how many images are done."""


def inspect_everything(
    index: ImageIndex, progress: Callable[[int, int], None] | None = None, inspector: Inspector | None = None
) -> Inspection:
    """Inspect every image of every split, on all cores; Ctrl-C raises `Interrupted`.

    The facts of files on disk are kept in the user's data directory until the run is complete. An interrupted run is
    resumed by the next call with the same images; files whose size or time has changed are inspected again. Nothing
    is kept of data in memory or in other places. `progress` gets the number of images inspected and of all images. An
    `inspector` may decode them elsewhere, in any order.
    """
    listed = [
        (name, label, number)
        for number, split in enumerate(SPLITS)
        for label, names in enumerate(index.split(split))
        for name in names
    ]
    names = tuple(name for name, *_ in listed)
    rows = np.zeros(len(names), RECORD)
    reasons: dict[str, str] = {}
    path = _journal_path(index, names)
    known, journal = _resumed(index, names, path)
    rows[known["place"]] = known
    n_done = len(known)
    try:
        with quiet_decoders():
            order = np.array(reading_order(index.store, names), np.intp)
            todo = order[~np.isin(order, known["place"])]
            for row, failure in _inspected(index, names, todo, inspector or inspect):
                rows[row["place"]] = row
                journal = journal and _append(journal, row)
                if failure is not None and len(reasons) < _REASONS:
                    reasons[names[row["place"][0]]] = str(failure)
                n_done += 1
                if progress is not None:
                    progress(n_done, len(names))
    except KeyboardInterrupt:
        raise Interrupted(
            f"Interrupted after {n_done:,} of {len(names):,} images. The same command resumes from there."
            if journal is not None
            else "Interrupted. Nothing was written."
        ) from None
    finally:
        if journal is not None:
            _close(journal)
    with contextlib.suppress(OSError):
        path.unlink(missing_ok=True)
    return Inspection(
        names=names,
        labels=np.array([label for _, label, _ in listed], np.int64),
        splits=np.array([split for *_, split in listed], np.int8),
        rows=rows,
        reasons=reasons,
    )


def _inspected(
    index: ImageIndex, names: tuple[str, ...], places: npt.NDArray[np.intp], inspector: Inspector
) -> Iterator[tuple[Records, UnreadableImage | None]]:
    """The row of each image, of shape (1,), and why it is unreadable if it is."""
    stamps: dict[int, tuple[int, int]] = {}

    def stamped() -> Iterator[int]:
        for place in places.tolist():
            stamps[place] = _stamp(index, names[place]) or (0, 0)  # before it is read
            yield place

    for place, facts in inspector(index.store, names, stamped()):
        row = record(place, facts)
        row["bytes"], row["changed"] = stamps.pop(place)
        yield row, facts if isinstance(facts, UnreadableImage) else None


def _journal_path(index: ImageIndex, names: tuple[str, ...]) -> Path:
    """Where the rows of these images are kept while a run is incomplete."""
    key = blake2b(digest_size=16)
    for part in (str(RECORD), index.kind, os.path.abspath(index.source), *names):
        key.update(part.encode("utf-8", "surrogateescape") + b"\0")
    return data_directory() / "checks" / f"{key.hexdigest()}.rows"


def _resumed(index: ImageIndex, names: tuple[str, ...], path: Path) -> tuple[Records, BinaryIO | None]:
    """The rows of an interrupted run, and the journal that starts with them; None where it can't be written."""
    if names and _stamp(index, names[0]) is not None:
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            known = _unchanged(index, names, path)
            new = path.with_suffix(".new")
            new.write_bytes(known.tobytes())
            new.replace(path)
            return known, path.open("ab", _BUFFER)
    return np.zeros(0, RECORD), None


def _unchanged(index: ImageIndex, names: tuple[str, ...], path: Path) -> Records:
    """The rows of an interrupted run whose files have not changed since."""
    if not path.exists() or time.time() - path.stat().st_mtime > _WEEK:
        return np.zeros(0, RECORD)
    rows = np.fromfile(path, RECORD)  # ignores the torn end of a last row
    rows = rows[(rows["place"] >= 0) & (rows["place"] < len(names)) & (rows["failure"] == -1)]
    known = zip(rows["place"].tolist(), rows["bytes"].tolist(), rows["changed"].tolist(), strict=True)
    return np.asarray(rows[np.array([_stamp(index, names[place]) == tuple(old) for place, *old in known], bool)])


def _append(journal: BinaryIO, row: Records) -> BinaryIO | None:
    """The journal with one more row, or None: with a full disk the run can't be resumed, but goes on."""
    try:
        journal.write(row.tobytes())
    except OSError:
        _close(journal)
        return None
    return journal


def _close(journal: BinaryIO) -> None:
    with contextlib.suppress(OSError):
        journal.close()


def _stamp(index: ImageIndex, name: str) -> tuple[int, int] | None:
    """Size in bytes and time of change in ns of the file that holds an image; None where it is no file on disk."""
    root = getattr(index.store, "root", None)
    file = Path(index.source) if index.kind == "archive" else root / name if isinstance(root, Path) else None
    if file is None:
        return None
    try:
        facts = os.stat(file)
    except (OSError, ValueError):
        return None
    return facts.st_size, facts.st_mtime_ns
