"""Which pictures paths stand for: files, folders, manifests, and what WebDataset tars and Parquet files hold."""

import os
import re
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, NamedTuple

from probes.data.image_index import LeftOutCounter
from probes.data.sources import parquet_images, webdataset
from probes.data.sources.folder import FolderStore, files_below
from probes.data.sources.manifest import recognises as is_manifest
from probes.data.sources.remote import is_remote
from probes.data.sources.shards import is_pattern, matches
from probes.data.sources.table import is_parquet, parquet_rows, text_rows
from probes.errors import ProbeError
from probes.images.suffixes import is_image

_INSIDE = re.compile(r"(.+?\.(?:tar|tar\.gz|tgz))/.+|(.+\.(?:parquet|pq))#\d+", re.IGNORECASE)
_OPENED = 2  # shards whose lists stay in memory: one ends where the next begins


class ShardOfPictures(NamedTuple):
    """A tar or Parquet file that holds pictures."""

    file: str


class Unreadable(NamedTuple):
    """What a path names and can't be read, and why."""

    file: str
    error: str


Place = str | ShardOfPictures | Unreadable
_Contents = tuple[Sequence[str], bool, webdataset.TarStore | parquet_images.ParquetStore]


@dataclass(slots=True, kw_only=True)
class PictureStore:
    """Opens pictures by paths and URLs; "a.tar/b.jpg" and "a.parquet#0000012" lie in a shard."""

    columns: Mapping[str, str] = field(default_factory=dict)  # "image" -> the column of Parquet files that holds it
    _shards: "OrderedDict[str, _Contents]" = field(default_factory=OrderedDict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self, name: str) -> BinaryIO:
        inside = _INSIDE.fullmatch(name)
        shard = (inside[1] or inside[2]) if inside else None
        if shard is None or os.path.isdir(shard) or os.path.lexists(name):
            return FolderStore(Path()).open(name)
        return self._opened(shard)[2].open(name)

    def names(self, shard: str) -> list[str | Unreadable]:
        """The pictures of a shard, up to where it is damaged."""
        try:
            names, whole, _ = self._opened(shard)
        except (ProbeError, OSError) as error:
            return [Unreadable(shard, str(error))]
        return [*names, *([] if whole else [Unreadable(shard, f"damaged after {len(names):,} pictures")])]

    def _opened(self, shard: str) -> _Contents:
        with self._lock:
            if shard not in self._shards:
                tar = webdataset.is_tar(shard)
                self._shards[shard] = (
                    webdataset.contents(shard) if tar else parquet_images.contents(shard, self.columns)
                )
                while len(self._shards) > _OPENED:
                    self._shards.popitem(last=False)
            return self._shards[shard]


def places(images: Iterable[str], columns: Mapping[str, str]) -> Iterator[Place]:
    """What paths, patterns and URLs stand for. `columns` names the column "path" of manifests, or "image"."""
    for name in images:
        if os.path.isdir(name) or (
            is_remote(name) and not (is_manifest(name) or webdataset.is_tar(name) or is_image(name))
        ):
            yield from _in_folder(name, columns)
        elif is_pattern(name) and (webdataset.is_tar(name) or is_parquet(name)):
            for path in matches(name) or [name]:
                yield from _in_file(path, columns)
        else:
            yield from _in_file(name, columns)


def _in_folder(folder: str, columns: Mapping[str, str]) -> Iterator[Place]:
    """The pictures of a folder at any depth, or else its shards."""
    shards, empty = [], True
    try:
        for inner in files_below(folder):
            path = os.path.join(folder, inner)
            if is_image(inner):
                empty = False
                yield path
            elif empty and is_shard(path, columns):
                shards.append(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        yield Unreadable(os.fsdecode(error.filename or folder), f"the folder can't be listed: {reason}")
    if empty:
        yield from map(ShardOfPictures, sorted(shards))


def _in_file(path: str, columns: Mapping[str, str]) -> Iterator[Place]:
    if is_shard(path, columns):
        yield ShardOfPictures(path)
    elif is_manifest(path):
        yield from _in_manifest(path, columns)
    else:
        yield path


def _in_manifest(path: str, columns: Mapping[str, str]) -> Iterator[Place]:
    """The pictures that a table names; then what is wrong with it."""
    left_out = LeftOutCounter()
    try:
        read = parquet_rows(path, columns, needed=("path",)) if is_parquet(path) else None
        for _, (named, *_) in read or text_rows(path, columns, left_out, needed=("path",)):
            yield beside(path, str(named))
    except ProbeError as error:
        yield Unreadable(path, str(error))
    for each in left_out.result():
        yield Unreadable(path, f"{each.reason}: {each.n:,}, such as {each.examples[0]}")


def is_shard(path: str, columns: Mapping[str, str]) -> bool:
    """Whether a file holds pictures; a Parquet file with a column of paths is a manifest."""
    return webdataset.is_tar(path) or (
        is_parquet(path) and "path" not in columns and ("image" in columns or parquet_images.holds_images(path))
    )


def beside(manifest: str, path: str) -> str:
    """A path in a manifest, from where the manifest is."""
    return path if is_remote(path) else os.path.join(manifest.rpartition("/")[0], path)
