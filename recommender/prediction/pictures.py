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
from probes.data.sources.manifest import is_missing
from probes.data.sources.manifest import recognises as is_manifest
from probes.data.sources.remote import is_remote
from probes.data.sources.shards import is_pattern, matches
from probes.data.sources.table import is_parquet, parquet_rows, text_rows
from probes.errors import ProbeError
from probes.images.decode import UnreadableImage
from probes.images.suffixes import is_image

_INSIDE = re.compile(r"(.+?\.(?:tar|tar\.gz|tgz))/.+|(.+\.(?:parquet|pq))#\d+", re.IGNORECASE | re.DOTALL)
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
        try:
            return self._opened(shard)[2].open(name)
        except ProbeError as error:
            raise UnreadableImage(str(error)) from error

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
                    webdataset.contents(shard) if tar else parquet_images.contents(shard, _of_images(self.columns))
                )
                while len(self._shards) > _OPENED:
                    self._shards.popitem(last=False)
            return self._shards[shard]


def _of_images(columns: Mapping[str, str]) -> dict[str, str]:
    return {ours: theirs for ours, theirs in columns.items() if ours == "image"}


def places(images: Iterable[str], columns: Mapping[str, str]) -> Iterator[Place]:
    """What paths, patterns and URLs stand for. `columns` names the column "path" of manifests, or "image"."""
    for name in images:
        if os.path.isdir(name) or (
            is_remote(name) and not (is_manifest(name) or webdataset.is_tar(name) or is_image(name))
        ):
            yield from _in_folder(name)
        elif is_pattern(name) and (webdataset.is_tar(name) or is_parquet(name)):
            yield from _matching(name, columns)
        else:
            yield from _in_file(name, columns)


def _matching(pattern: str, columns: Mapping[str, str]) -> Iterator[Place]:
    left_out = LeftOutCounter()
    try:
        found = matches(pattern, left_out) or [pattern]
    except (ProbeError, OSError) as error:
        yield Unreadable(pattern, str(error))
        return
    for path in found:
        yield from _in_file(path, columns)
    yield from _problems(pattern, left_out)


def _problems(source: str, left_out: LeftOutCounter) -> Iterator[Unreadable]:
    for each in left_out.result():
        yield Unreadable(source, f"{each.reason}: {each.n:,}, such as {each.examples[0]}")


def _in_folder(folder: str) -> Iterator[Place]:
    """The pictures of a folder at any depth, and its shards if no sub-folder has pictures, as in training."""
    shards, nested, empty = [], False, True
    try:
        for inner in files_below(folder):
            path = f"{folder.rstrip('/')}/{inner}" if is_remote(folder) else os.path.join(folder, inner)
            if is_image(inner):
                empty, nested = False, nested or "/" in inner
                yield path
            elif not nested and is_shard(path):
                shards.append(path)
    except (OSError, ProbeError) as error:
        if not is_remote(folder):
            reason = (getattr(error, "strerror", None) or str(error)).lower()
            place = os.fsdecode(getattr(error, "filename", None) or folder)
            yield Unreadable(place, f"the folder can't be listed: {reason}")
    if not nested:
        yield from map(ShardOfPictures, sorted(shards))
    if empty and not shards and is_remote(folder):  # the address of a picture without a suffix, or of nothing
        yield folder


def _in_file(path: str, columns: Mapping[str, str]) -> Iterator[Place]:
    if is_shard(path):
        yield ShardOfPictures(path)
    elif is_manifest(path):
        yield from _in_manifest(path, columns)
    else:
        yield path


def _in_manifest(path: str, columns: Mapping[str, str]) -> Iterator[Place]:
    """The pictures that a table names; then what is wrong with it."""
    left_out = LeftOutCounter()
    try:
        named = {ours: theirs for ours, theirs in columns.items() if ours != "image"}
        read = parquet_rows(path, named, needed=("path",)) if is_parquet(path) else None
        for row, (cell, *_) in read or text_rows(path, named, left_out, needed=("path",)):
            if is_missing(cell):
                left_out.add("rows without a path", row)
            else:
                yield beside(path, str(cell))
    except ProbeError as error:
        yield Unreadable(path, str(error))
    yield from _problems(path, left_out)


def is_shard(path: str) -> bool:
    """Whether a file holds pictures; a Parquet file with a column of paths is a manifest."""
    return webdataset.is_tar(path) or (is_parquet(path) and parquet_images.holds_images(path))


def beside(manifest: str, path: str) -> str:
    """A path in a manifest, from where the manifest is."""
    if is_remote(path):
        return path
    if is_remote(manifest):
        return f"{manifest.rpartition('/')[0]}/{path}"
    return os.path.join(Path(manifest).parent, path)
