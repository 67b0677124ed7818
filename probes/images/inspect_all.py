"""Inspect every image of the data, in a run that can be interrupted and resumed."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO, Self

import numpy as np
import numpy.typing as npt

from probes.data.image_index import SPLITS, ImageIndex
from probes.images.decode import UnreadableImage, quiet_decoders
from probes.images.facts_table import RECORD, Inspection, Records, record
from probes.images.image_facts import inspect
from probes.user_directory import data_directory

_REASONS = 1000  # of failures that are kept in words
_BUFFER = 64 * RECORD.itemsize  # bytes of rows after which they are written
_WEEK = 7 * 24 * 3600  # seconds after which the journal of an interrupted run is ignored


class Interrupted(KeyboardInterrupt):
    """Ctrl-C during the inspection; the message says how many images are done."""


def inspect_everything(index: ImageIndex, progress: Callable[[int, int], None] | None = None) -> Inspection:
    """Inspect every image of every split, on all cores; Ctrl-C raises `Interrupted`.

    The facts of files on disk are kept in the user's data directory until the run is complete. An interrupted run is
    resumed by the next call with the same images; files whose size or time has changed are inspected again. Nothing
    is kept of data in memory or in other places. `progress` gets the number of images inspected and of all images.
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
    with _Journal(index, names) as journal, quiet_decoders():
        rows[journal.known["place"]] = journal.known
        n_done = len(journal.known)
        try:
            for row, failure in _inspected(index, names, np.setdiff1d(np.arange(len(names)), journal.known["place"])):
                rows[row["place"]] = row
                journal.append(row)
                if failure is not None and len(reasons) < _REASONS:
                    reasons[names[row["place"][0]]] = str(failure)
                n_done += 1
                if progress is not None:
                    progress(n_done, len(names))
        except KeyboardInterrupt:
            raise Interrupted(
                f"Interrupted after {n_done:,} of {len(names):,} images. The same command resumes from there."
                if journal.file is not None
                else "Interrupted. Nothing was written."
            ) from None
        journal.remove()
    return Inspection(
        names=names,
        labels=np.array([label for _, label, _ in listed], np.int64),
        splits=np.array([split for *_, split in listed], np.int8),
        rows=rows,
        reasons=reasons,
    )


def _inspected(
    index: ImageIndex, names: tuple[str, ...], places: npt.NDArray[np.intp]
) -> Iterator[tuple[Records, UnreadableImage | None]]:
    """The row of each image, of shape (1,), and why it is unreadable if it is."""
    stamps: dict[int, tuple[int, int]] = {}

    def stamped() -> Iterator[int]:
        for place in places.tolist():
            stamps[place] = _stamp(index, names[place]) or (0, 0)  # before it is read
            yield place

    for place, facts in inspect(index.store, names, stamped()):
        row = record(place, facts)
        row["bytes"], row["changed"] = stamps.pop(place)
        yield row, facts if isinstance(facts, UnreadableImage) else None


class _Journal:
    """Rows on disk, appended during a run, and those `known` from an interrupted one.

    Where they can't be written, `file` is None and nothing is kept.
    """

    def __init__(self, index: ImageIndex, names: tuple[str, ...]) -> None:
        self.file: BinaryIO | None = None
        self.known: Records = np.zeros(0, RECORD)
        self._index, self._names = index, names
        key = blake2b(digest_size=16)
        for part in (str(RECORD), index.kind, os.path.abspath(index.source), *names):
            key.update(part.encode("utf-8", "surrogateescape") + b"\0")
        self._path = data_directory() / "checks" / f"{key.hexdigest()}.rows"

    def __enter__(self) -> Self:
        if self._names and _stamp(self._index, self._names[0]) is not None:
            with contextlib.suppress(OSError):
                self._path.parent.mkdir(parents=True, exist_ok=True)
                known = self._unchanged()
                new = self._path.with_suffix(".new")
                new.write_bytes(known.tobytes())
                new.replace(self._path)
                self.file, self.known = self._path.open("ab", _BUFFER), known
        return self

    def __exit__(self, *error: object) -> None:
        self._close()

    def _unchanged(self) -> Records:
        """The rows of an interrupted run whose files have not changed since."""
        if not self._path.exists() or time.time() - self._path.stat().st_mtime > _WEEK:
            return np.zeros(0, RECORD)
        rows = np.fromfile(self._path, RECORD)  # ignores the torn end of a last row
        rows = rows[(rows["place"] >= 0) & (rows["place"] < len(self._names)) & (rows["failure"] == -1)]
        stamps = zip(rows["bytes"].tolist(), rows["changed"].tolist(), strict=True)
        files = (_stamp(self._index, self._names[place]) for place in rows["place"])
        return np.asarray(rows[np.fromiter((old == new for old, new in zip(stamps, files, strict=True)), bool)])

    def append(self, row: Records) -> None:
        try:
            if self.file is not None:
                self.file.write(row.tobytes())
        except OSError:  # with a full disk the run can't be resumed, but goes on
            self._close()

    def remove(self) -> None:
        """Delete the file of a complete run."""
        self._close()
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)

    def _close(self) -> None:
        file, self.file = self.file, None
        if file is not None:
            with contextlib.suppress(OSError):
                file.close()


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
