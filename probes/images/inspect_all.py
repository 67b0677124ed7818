"""Look at every image of the data, as a stream that can be interrupted and goes on where it stopped."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path
from typing import BinaryIO

import numpy as np

from probes.data.image_index import SPLITS, ImageIndex
from probes.images.decode import UnreadableImage, quiet_decoders
from probes.images.facts_table import RECORD, Inspection, Records, record
from probes.images.image_facts import inspect
from probes.user_directory import data_directory

_REASONS = 1000  # of failures that are kept in words
_FLUSH = 64  # images after which what was found is written down
_WEEK = 7 * 24 * 3600  # seconds after which what an interrupted run left is forgotten


class Interrupted(KeyboardInterrupt):
    """Ctrl-C while images were looked at; the message says how far it came."""


def inspect_everything(index: ImageIndex, progress: Callable[[int, int], None] | None = None) -> Inspection:
    """Look at every image of every split, on all cores.

    What was found of files on disk is kept in the user's data directory until the end is reached: the next call with
    the same images goes on from there, and looks anew at files that are of another size or time. Of data in memory or
    in other places nothing is kept.

    Args:
        index: the images.
        progress: called with the number of images looked at and of all.

    Returns:
        What is known of each.

    Raises:
        Interrupted: Ctrl-C.
    """
    listed = [
        (name, label, number)
        for number, split in enumerate(SPLITS)
        for label, names in enumerate(index.split(split))
        for name in names
    ]
    names = tuple(name for name, *_ in listed)
    reasons: dict[str, str] = {}
    with _journal(index, names) as journal:
        try:
            rows = _look(index, names, journal, reasons, progress)
        except KeyboardInterrupt:
            at = journal.n_written
            raise Interrupted(
                f"Interrupted after {at:,} of {len(names):,} images. The same command goes on from there."
                if journal.file is not None
                else "Interrupted. Nothing was written."
            ) from None
        journal.finish()
    return Inspection(
        names=names,
        labels=np.fromiter((label for _, label, _ in listed), np.int64, len(listed)),
        splits=np.fromiter((split for *_, split in listed), np.int8, len(listed)),
        rows=rows,
        reasons=reasons,
    )


def _look(
    index: ImageIndex,
    names: tuple[str, ...],
    journal: "_Journal",
    reasons: dict[str, str],
    progress: Callable[[int, int], None] | None,
) -> Records:
    rows = np.zeros(len(names), RECORD)
    done = np.zeros(len(names), bool)
    known = journal.read(index, names)
    rows[known["place"]], done[known["place"]] = known, True
    finished = int(done.sum())
    stamps: dict[int, tuple[int, int]] = {}

    def stamped() -> Iterator[int]:
        for place in np.flatnonzero(~done).tolist():
            stamps[place] = _stamp(index, names[place]) or (0, 0)  # before it is read
            yield place

    with quiet_decoders():
        for found in inspect(index.store, names, stamped()):
            facts = found.facts or found.failure or UnreadableImage("not read")
            row = record(found.place, facts)
            row["bytes"], row["changed"] = stamps.pop(found.place)
            rows[found.place] = row[0]
            journal.write(row)
            if found.failure is not None and len(reasons) < _REASONS:
                reasons[names[found.place]] = str(found.failure)
            finished += 1
            if progress is not None:
                progress(finished, len(names))
    return rows


class _Journal:
    """Rows on disk, appended as they are found; without a place to write, nothing is kept.

    Args:
        path: of the file; None to keep nothing.
    """

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.file: BinaryIO | None = None
        self.n_written = 0
        self._waiting: list[bytes] = []

    def read(self, index: ImageIndex, names: tuple[str, ...]) -> Records:
        """What an interrupted run found, but for what has changed since; then further rows may be written."""
        known = np.zeros(0, RECORD)
        if self.path is None:
            return known
        with contextlib.suppress(OSError):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if self.path.exists() and time.time() - self.path.stat().st_mtime < _WEEK:
                content = self.path.read_bytes()
                whole = len(content) // RECORD.itemsize * RECORD.itemsize  # a last row may be torn
                known = np.frombuffer(content[:whole], RECORD)
                known = known[(known["place"] >= 0) & (known["place"] < len(names)) & (known["failure"] == -1)]
                known = known[[_unchanged(index, names[row["place"]], row) for row in known]]
            fresh = self.path.with_suffix(".new")
            fresh.write_bytes(known.tobytes())
            fresh.replace(self.path)
            self.file = self.path.open("ab")
        self.n_written = len(known)
        return np.asarray(known)

    def write(self, row: Records) -> None:
        """Append a row."""
        self.n_written += 1
        self._waiting.append(row.tobytes())
        if len(self._waiting) == _FLUSH:
            self.flush()

    def flush(self) -> None:
        """Hand to the disk what waits."""
        waiting, self._waiting = b"".join(self._waiting), []
        if self.file is not None:
            try:
                self.file.write(waiting)
                self.file.flush()
            except OSError:  # a full disk costs only that the run can't be gone on with
                self.file = None

    def finish(self) -> None:
        """The end is reached: nothing needs to be kept."""
        self.close()
        if self.path is not None:
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)

    def close(self) -> None:
        if self.file is not None:
            self.flush()
        if self.file is not None:
            self.file.close()
            self.file = None


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


def _unchanged(index: ImageIndex, name: str, row: Records) -> bool:
    return _stamp(index, name) == (int(row["bytes"]), int(row["changed"]))


@contextlib.contextmanager
def _journal(index: ImageIndex, names: tuple[str, ...]) -> Iterator[_Journal]:
    key = blake2b(digest_size=16)
    for part in (str(RECORD), index.kind, os.path.abspath(index.source), *names):
        key.update(part.encode("utf-8", "surrogateescape") + b"\0")
    on_disk = bool(names) and _stamp(index, names[0]) is not None
    journal = _Journal(data_directory() / "checks" / f"{key.hexdigest()}.rows" if on_disk else None)
    try:
        yield journal
    finally:
        journal.close()
