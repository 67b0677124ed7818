"""Predict the classes of many pictures on a cluster, into shards of Parquet."""

import hashlib
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from probes.data.image_index import LeftOutCounter
from probes.data.sources.folder import files_below
from probes.data.sources.manifest import recognises as is_manifest
from probes.data.sources.remote import is_remote
from probes.data.sources.table import extent, is_parquet, parquet_rows, text_rows
from probes.images.suffixes import is_image
from recommender.cluster.sample import LOST
from recommender.cluster.session import Cluster, Work
from recommender.cluster.shards import Shards, Totals, digest_of, spans, write_shards
from recommender.errors import RecommendError
from recommender.prediction import predict as prediction
from recommender.prediction.predict import Prediction
from recommender.progress import Progress, no_progress

_COMPANIONS = (".json", ".features.npz")


class Span(NamedTuple):
    """Rows of a Parquet manifest, which are read where they are needed."""

    source: str
    columns: Mapping[str, str]
    first: int
    n: int

    def names(self) -> list[str]:
        rows = parquet_rows(self.source, self.columns, needed=("path",), first=self.first, n=self.n)
        return [_absolute(self.source, path) for _, (path, *_) in rows]


@dataclass(frozen=True, kw_only=True)
class Predict(Work):
    """Predicts the pictures of a unit, and writes them as a shard."""

    model: str  # name of its file
    files: Mapping[str, bytes]  # that file and those that belong to it
    shards: Shards
    top: int
    embeddings: bool
    trust: bool

    @cached_property
    def _predictor(self) -> Any:
        with tempfile.TemporaryDirectory() as folder:
            for name, content in self.files.items():
                Path(folder, name).write_bytes(content)
            return prediction.open_predictor(Path(folder, self.model), trust=self.trust)

    def items(self, unit: "Span | Sequence[str]") -> Sequence[str]:
        return unit.names() if isinstance(unit, Span) else unit

    def compute(self, items: Sequence[str]) -> list[Prediction]:
        found = prediction.predict(self._predictor, items, top=self.top)
        return list(found)

    def lost(self, item: str) -> Prediction:
        return Prediction(file=item, error=LOST)

    def keep(self, number: int, items: Sequence[str], results: list[Prediction]) -> tuple[int, int]:
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
    left_out: LeftOutCounter = field(default_factory=LeftOutCounter)

    def sentence(self, folder: str) -> str:
        """What was done, in a line."""
        new = self.n - self.resumed
        pace = f", {new / self.seconds:,.0f} a second" if new and self.seconds else ""
        before = f" ({self.resumed:,} by an earlier run)" if self.resumed else ""
        return f"Predicted {self.n:,} pictures{before}{pace}, {self.failed:,} not readable{self.left_out}: {folder}"


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

    `images` are one Parquet manifest of any length, or manifests, folders and files, whose names are listed first.
    `columns` names the manifest's column of paths, if that is not "path".
    """
    totals = Predicted()
    source = images[0] if len(images) == 1 and is_parquet(images[0]) else None
    listed = [] if source else list(_listed(images, columns or {}, totals.left_out))
    n, version = extent(source) if source else (len(listed), "")
    if not n:
        raise RecommendError("Expected pictures, or folders or manifests that name some. Received: none.")
    files, shards = _model_files(model), Shards.at(folder)
    digest = hashlib.blake2b(b"".join(files.values()), digest_size=16).hexdigest()
    names = digest_of(listed or [str(source), version])
    run = {"model": digest, "images": names, "rows": n, "top": top, "embeddings": embeddings}
    units = (
        (number, Span(source, columns or {}, first, length) if source else listed[first : first + length])
        for number, first, length in spans(n)
    )
    work = Predict(model=model.name, files=files, shards=shards, top=top, embeddings=embeddings, trust=trust)
    begun = time.perf_counter()
    write_shards(cluster, work, shards, units, run, totals, lambda done: progress("predicting", done, n))
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


def _listed(images: Sequence[str], columns: Mapping[str, str], left_out: LeftOutCounter) -> Iterator[str]:
    for source in images:
        if is_manifest(source):
            rows = (
                parquet_rows(source, columns, needed=("path",))
                if is_parquet(source)
                else text_rows(source, columns, left_out, needed=("path",))
            )
            yield from (_absolute(source, path) for _, (path, *_) in rows)
        elif os.path.isdir(source) or (is_remote(source) and not is_image(source)):
            yield from (_absolute(f"{source}/.", name) for name in files_below(source) if is_image(name))
        else:
            yield _absolute("./.", source)


def _absolute(source: str, path: Any) -> str:
    """A path in a manifest as every machine finds it."""
    if not isinstance(path, str) or is_remote(path):
        return str(path)
    folder = source.rpartition("/")[0] if is_remote(source) else str(Path(source).parent.absolute())
    return f"{folder}/{path}" if is_remote(folder) else os.path.join(folder, path)
