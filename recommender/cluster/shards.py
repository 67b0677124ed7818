"""A folder of Parquet files that a run writes, one for each unit, and from which it is resumed."""

import hashlib
import io
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from probes.data.sources.remote import file_system, is_remote, readable
from recommender.cluster.session import Cluster, Work
from recommender.errors import RecommendError

_MOST_ROWS, _FEWEST_ROWS = 4096, 64  # of a shard
_UNITS = 16  # shards that few rows are divided into
_RUN = "run.json"  # what the run is: another one may not write into the folder


@dataclass(frozen=True, slots=True, kw_only=True)
class Shards:
    """Parquet files in a folder or at a URL. One that is there is whole: it was moved there."""

    folder: str

    @classmethod
    def at(cls, folder: str) -> "Shards":
        """In a folder by any name of it, which is the same for all working directories."""
        return cls(folder=folder.rstrip("/") if is_remote(folder) else os.path.abspath(folder))

    def path(self, number: int) -> str:
        return f"{self.folder}/part-{number:07}.parquet"

    def write(self, number: int, columns: Mapping[str, Any]) -> None:
        """Write the file of a unit; one that was there is replaced."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        with io.BytesIO() as buffer:
            pq.write_table(pa.table(dict(columns)), buffer)
            self._put(self.path(number), buffer.getvalue())

    def read(self, number: int, columns: Sequence[str] | None = None) -> Any:
        """The table of a unit."""
        import pyarrow.parquet as pq

        system, path = file_system(self.path(number))
        with readable(path), system.open(path, "rb") as file:
            return pq.read_table(file, columns=None if columns is None else list(columns))

    def failed(self, number: int) -> int:
        """Rows of a unit that have an error."""
        errors = self.read(number, ("error",)).column("error")
        return len(errors) - int(errors.null_count)

    def done(self) -> dict[int, int]:
        """The numbers of the units that are written, each with the rows in its file."""
        import pyarrow.parquet as pq

        system, folder = file_system(self.folder)
        found = {}
        with readable(self.folder):
            for path in system.glob(f"{folder}/part-*.parquet"):
                with system.open(path, "rb") as file:
                    found[int(path[-15:-8])] = int(pq.read_metadata(file).num_rows)
        return found

    def begin(self, run: Mapping[str, Any]) -> None:
        """Make the folder, or take that of the same run, which was interrupted."""
        system, folder = file_system(self.folder)
        with readable(self.folder):
            system.makedirs(folder, exist_ok=True)
            known = system.exists(f"{folder}/{_RUN}")
            held: dict[str, Any] = json.loads(system.cat_file(f"{folder}/{_RUN}")) if known else {}
            others = [] if known else system.ls(folder, detail=False)
        if known and held != dict(run):
            changed = ", ".join(sorted(name for name in {*held, *run} if held.get(name) != run.get(name)))
            raise RecommendError(
                f"Expected a new folder, or that of the same run, to resume it. Received: {self.folder!r} of a run "
                f"with another {changed}. Name another folder, or remove it."
            )
        if others:
            raise RecommendError(
                f"Expected a new or empty folder for the shards. Received: {self.folder!r}, which holds other files. "
                "Name another folder."
            )
        self._put(f"{self.folder}/{_RUN}", json.dumps(dict(run), indent=2).encode())

    def _put(self, path: str, content: bytes) -> None:
        """Write a file whole: object stores do, and on a disk it is moved."""
        system, place = file_system(path)
        try:
            if is_remote(path) and not path.startswith("file://"):
                system.pipe_file(place, content)
                return
            temporary = f"{place}.{os.getpid()}"
            system.pipe_file(temporary, content)
            Path(temporary).replace(place)
        except OSError as error:
            raise RecommendError(
                f"Expected to write {path!r}. Received: {error.strerror or error}. What is written by now stays: the "
                "same command resumes."
            ) from error


@dataclass(slots=True)
class Totals:
    """Rows that a run has written, with those of the interrupted run that it resumes."""

    n: int = 0
    failed: int = 0  # of these, that could not be read
    resumed: int = 0  # of these, that were there before


def write_shards(
    cluster: Cluster,
    work: Work,
    shards: Shards,
    units: Iterable[tuple[int, Any]],
    run: Mapping[str, Any],
    totals: Totals,
    report: Callable[[int], None],
) -> None:
    """Write the shards of a run that are not there yet: `work` keeps the numbers of a unit's rows and failed rows.

    The totals are filled, and the rows that are done are reported.
    """
    shards.begin(run)
    known = shards.done()
    totals.n = totals.resumed = sum(known.values())
    totals.failed = sum(shards.failed(number) for number in known)
    report(totals.n)
    for _, (n, failed) in cluster.run(work, [unit for unit in units if unit[0] not in known]):
        totals.n += n
        totals.failed += failed
        report(totals.n)


def digest_of(names: Iterable[str]) -> str:
    """A digest of a list of names, in hex."""
    digest = hashlib.blake2b(digest_size=16)
    for name in names:
        digest.update(name.encode("utf-8", "surrogateescape") + b"\0")
    return digest.hexdigest()


def spans(n: int) -> Iterator[tuple[int, int, int]]:
    """The number of each unit of n rows, its first row and its number of rows."""
    size = min(_MOST_ROWS, max(_FEWEST_ROWS, -(-n // _UNITS)))
    for number, start in enumerate(range(0, n, size)):
        yield number, start, min(size, n - start)
