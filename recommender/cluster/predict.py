"""Predict the classes of many pictures on a cluster, into shards of Parquet."""

import hashlib
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from probes.data.sources.manifest import is_missing
from probes.data.sources.remote import is_remote
from probes.data.sources.shards import is_pattern
from probes.data.sources.table import extent, is_parquet, parquet_rows
from recommender.cluster.sample import LOST
from recommender.cluster.session import Cluster, Work
from recommender.cluster.shards import Shards, Totals, digest_of, spans, write_shards
from recommender.errors import RecommendError
from recommender.prediction import predict as prediction
from recommender.prediction.pictures import PictureStore, Place, ShardOfPictures, Unreadable, beside, is_shard, places
from recommender.prediction.predict import Prediction
from recommender.progress import Progress, no_progress

_COMPANIONS = (".json", ".features.npz")


class Span(NamedTuple):
    """Rows of a Parquet manifest, which are read where they are needed."""

    source: str
    columns: Mapping[str, str]
    first: int
    n: int

    def names(self) -> list[str | Unreadable]:
        rows = parquet_rows(self.source, self.columns, needed=("path",), first=self.first, n=self.n)
        return [
            Unreadable(self.source, f"{row} has no path")
            if is_missing(path)
            else _absolute(beside(self.source, str(path)))
            for row, (path, *_) in rows
        ]


Unit = Span | ShardOfPictures | Sequence[str | Unreadable]


@dataclass(frozen=True, kw_only=True)
class Predict(Work):
    """Predicts the pictures of a unit, and writes them as a shard."""

    model: str  # name of its file
    files: Mapping[str, bytes]  # that file and those that belong to it
    shards: Shards
    top: int
    embeddings: bool
    trust: bool
    columns: Mapping[str, str]

    @cached_property
    def _predictor(self) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            for name, content in self.files.items():
                Path(folder, name).write_bytes(content)
            return prediction.open_predictor(Path(folder, self.model), trust=self.trust)

    @cached_property
    def _store(self) -> PictureStore:
        return PictureStore(columns=self.columns)

    def items(self, unit: Unit) -> Sequence[str | Unreadable]:
        if isinstance(unit, ShardOfPictures):
            return self._store.names(unit.file)
        return unit.names() if isinstance(unit, Span) else unit

    def compute(self, items: Sequence[str | Unreadable]) -> list[Prediction]:
        return list(prediction.predict_listed(self._predictor, items, self._store, self.top))

    def lost(self, item: str) -> Prediction:
        return Prediction(file=item, error=LOST)

    def keep(self, number: int, items: Sequence[Any], results: list[Prediction]) -> tuple[int, int]:
        """Write the shard; the number of pictures, and of those that could not be read."""
        del items
        self.shards.write(number, _columns(results, self.top, self.embeddings))
        return len(results), sum(one.error is not None for one in results)


def _columns(results: Sequence[Prediction], top: int, embeddings: bool) -> dict[str, Any]:
    import pyarrow as pa

    def nth(values: Sequence[Any], place: int) -> Any:
        return values[place] if place < len(values) else None

    columns: dict[str, Any] = {"path": pa.array([one.file for one in results], pa.string())}
    for place in range(top):
        end = f"_{place + 1}" if place else ""
        columns[f"class{end}"] = pa.array([nth(one.classes, place) for one in results], pa.string())
        columns[f"probability{end}"] = pa.array([nth(one.probabilities, place) for one in results], pa.float64())
    columns["out_of_distribution"] = pa.array([one.out_of_distribution for one in results], pa.bool_())
    columns["distance"] = pa.array([one.distance for one in results], pa.float64())
    columns["error"] = pa.array([one.error for one in results], pa.string())
    if embeddings:
        rows = [None if one.features is None else one.features.astype("f4") for one in results]
        columns["embedding"] = pa.array(rows, pa.list_(pa.float32()))
    return columns


@dataclass(slots=True)
class Predicted(Totals):
    """What a run has done."""

    seconds: float = 0.0  # of this run
    problems: tuple[Unreadable, ...] = ()  # with what was to be listed

    def sentence(self, folder: str) -> str:
        """What was done, in a line, and a line for each problem."""
        new = self.n - self.resumed
        pace = f", {new / self.seconds:,.0f} a second" if new and self.seconds else ""
        before = f" ({self.resumed:,} by an earlier run)" if self.resumed else ""
        problems = "".join(f"\n{file}: {error}" for file, error in self.problems)
        return f"Predicted {self.n:,} pictures{before}{pace}, {self.failed:,} not readable: {folder}{problems}"


def predict_to_shards(
    cluster: Cluster,
    model: Path,
    images: Sequence[str],
    folder: str,
    *,
    columns: Mapping[str, str] | None = None,
    top: int = 1,
    embeddings: bool = False,
    trust: bool = False,
    progress: Progress = no_progress,
) -> Predicted:
    """Predict pictures into Parquet files of a folder; a run that was interrupted is resumed by the same call.

    `images` are one Parquet manifest of any length, or what `places` takes. Names are listed first, but for those in
    tars and Parquet files: each of these is a unit of the work. `columns` as in `places`.
    """
    totals, columns = Predicted(), columns or {}
    if len(images) == 1 and is_parquet(images[0]) and not (is_pattern(images[0]) or is_shard(images[0])):
        n, version = extent(images[0])
        run: dict[str, Any] = {"images": digest_of([str(images[0]), version]), "rows": n}
        parts: list[Unit] = [Span(images[0], columns, first, length) for _, first, length in spans(n)]
    else:
        listed = list(places(images, columns))
        totals.problems = tuple(place for place in listed if isinstance(place, Unreadable))
        found = [_everywhere(place) for place in listed if not isinstance(place, Unreadable)]
        shards_of = [place for place in found if isinstance(place, ShardOfPictures)]
        files = [place for place in found if not isinstance(place, ShardOfPictures)]
        n = 0 if shards_of else len(files)  # 0: what tars hold is known when they are read
        run = {
            "images": digest_of(place if isinstance(place, str) else place.file for place in found),
            "rows": len(found),
        }
        parts = [*(files[first : first + length] for _, first, length in spans(len(files))), *shards_of]
    if not parts:
        received = f"{totals.problems[0].file!r}: {totals.problems[0].error}" if totals.problems else "none."
        raise RecommendError(f"Expected pictures, or folders or manifests that name some. Received: {received}")
    contents, shards = _model_files(model), Shards.at(folder)
    digest = hashlib.blake2b(b"".join(contents.values()), digest_size=16).hexdigest()
    run = {"model": digest, **run, "top": top, "embeddings": embeddings}
    work = Predict(
        model=model.name, files=contents, shards=shards, top=top, embeddings=embeddings, trust=trust, columns=columns
    )
    begun = time.perf_counter()
    write_shards(cluster, work, shards, enumerate(parts), run, totals, lambda done: progress("predicting", done, n))
    totals.seconds = time.perf_counter() - begun
    return totals


def _model_files(model: Path) -> dict[str, bytes]:
    """The content of a model's file, and of those that belong to it, by name."""
    if not model.is_file():
        raise RecommendError(
            f"Expected the file of a model (.keras, .tflite or .onnx) with --ray. Received: {str(model)!r}, which is "
            "none. Name such a file."
        )
    stem = model.name.split(".")[0]
    companions = [path for path in model.parent.iterdir() if path.name.split(".")[0] == stem]
    known = [path for path in companions if path.name.endswith(_COMPANIONS)]
    return {path.name: path.read_bytes() for path in [model, *sorted(known)]}


def _absolute(path: str) -> str:
    """A path as every machine finds it."""
    return path if is_remote(path) else str(Path(path).absolute())


def _everywhere(place: Place) -> Place:
    return _absolute(place) if isinstance(place, str) else place._replace(file=_absolute(place.file))
