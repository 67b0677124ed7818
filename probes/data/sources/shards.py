"""Data sets of many files: which files there are, in which split each is, and where the images in one lie."""

import contextlib
import glob
import gzip
import itertools
import os
import re
import zlib
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from probes.data.bounded_files import Allowance, cached
from probes.data.image_index import TRAIN, ImageIndex, LeftOutCounter, split_name
from probes.data.labels import Label
from probes.data.sources.folder import files_below, open_regular, open_versioned
from probes.data.sources.remote import as_os_error, file_system, is_remote, readable
from probes.errors import ProbeError
from probes.images.suffixes import is_image

_NUMBERED = re.compile(r"(.*)-(\d{5})-of-(\d{5})(.*)")
_BRACES = re.compile(r"\{(?:(\d{1,6})\.\.(\d{1,6})|([^{}]*,[^{}]*))\}")
_FILE = re.compile(  # a URL that ends so is no folder
    r"\.(csv|tsv|txt|parquet|pq|zip|tar|tgz|tbz2|txz|gz|gzip|bz2|xz|tfrecords?|tfrec)$|-of-\d+$", re.IGNORECASE
)


class ShardFile(NamedTuple):
    """A file of a data set."""

    source: str  # its absolute path, or its URL
    split: str
    path: Path  # of its plain bytes: the file, or a copy in the cache of a packed or remote one
    packed: bool

    @contextlib.contextmanager
    def open(self) -> Iterator[BinaryIO]:
        """Its plain bytes; an `OSError` if they can't be read.

        A worker of a cluster has no copy: it reads parts of a remote file in place, and unpacks a packed one itself.
        """
        with as_os_error():
            if self.path.exists() or not (self.packed or is_remote(self.source)):
                file = open_regular(self.path)
            elif self.packed:
                file = open_regular(_local_copy(self.source, "")[0])
            else:
                system, place = file_system(self.source)
                file = system.open(place, "rb", cache_type="none")
            with file:
                yield file


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """A file in which images can be read in place: where each begins, and how long it is, in bytes."""

    file: ShardFile
    offsets: "array[int]"
    sizes: "array[int]"

    def read(self, number: int) -> bytes:
        """The bytes of an image; the first is 0."""
        with self.file.open() as file:
            file.seek(self.offsets[number])
            return file.read(self.sizes[number])


@dataclass(slots=True)
class ClassTexts:
    """Names that stand beside labels; they name the classes where each has one of its own."""

    texts: dict[Label, str] = field(default_factory=dict)  # of each label; empty where there is none, or several

    def add(self, label: Label, text: str) -> None:
        if self.texts.setdefault(label, text) != text:
            self.texts[label] = ""

    def name(self, index: ImageIndex) -> ImageIndex:
        """The index with these names of its classes, or as it is."""
        texts = {str(label): text for label, text in self.texts.items()}
        names = tuple(texts.get(name, "") for name in index.class_names)
        unique = all(names) and len(set(names)) == len(names)
        return replace(index, class_names=names, numbers=()) if unique else index


def are_shards(data: Any, is_shard: Callable[[str], bool]) -> bool:
    """Whether it is a folder (or its URL) of such files without images in sub-folders, or a pattern of such alone."""
    if not isinstance(data, str):
        return False
    if os.path.isdir(data) or (is_remote(data) and not _FILE.search(data)):
        try:
            return _holds_only(files_below(data), is_shard)
        except OSError:  # the folder source reports it
            return False
    return is_pattern(data) and (is_shard(data) or (bool(paths := matches(data)) and all(map(is_shard, paths))))


def _holds_only(names: Iterator[str], is_shard: Callable[[str], bool]) -> bool:
    """Whether a tree holds such files, and no image in a sub-folder; `names` are read as far as needed."""
    found = False
    for name in names:
        if "/" in name and is_image(name):
            return False
        found = found or is_shard(name)
    return found


def is_pattern(path: str) -> bool:
    """Whether a path stands for several, by *, ?, [] or braces; a file that is named so is a file."""
    return not os.path.lexists(path) and (glob.has_magic(path) or bool(_BRACES.search(path)))


def matches(pattern: str, left_out: LeftOutCounter | None = None) -> list[str]:
    """The paths or URLs that a pattern stands for; files that braces name and that are not there are counted."""
    found, names = [], _expanded(pattern) if is_pattern(pattern) else [pattern]
    for path in names:
        if not is_remote(path):
            globbed = sorted(glob.glob(path, recursive=True))
            here = [path] if os.path.lexists(path) else [one for one in globbed if Path(one).is_file()]
        else:
            with readable(path):
                system, place = file_system(path)
                if glob.has_magic(path):
                    here = [system.unstrip_protocol(one) for one in sorted(system.glob(place))]
                else:
                    here = [path] if len(names) == 1 or system.exists(place) else []
        if left_out and not here and len(names) > 1:
            left_out.add("shards missing from their set", path)
        found += here
    return found


def _expanded(pattern: str) -> list[str]:
    """What braces stand for, as in a shell: {000..012}, {train,val}."""
    if (braces := _BRACES.search(pattern)) is None:
        return [pattern]
    first, last, words = braces.groups()
    inside = words.split(",") if words else [f"{n:0{len(first)}}" for n in range(int(first), int(last) + 1)]
    before, after = pattern[: braces.start()], pattern[braces.end() :]
    return [path for word in inside for path in _expanded(f"{before}{word}{after}")]


def shard_files(
    source: str, is_shard: Callable[[str], bool], expected: str, left_out: LeftOutCounter
) -> dict[str, ShardFile]:
    """The files of a path, a pattern or a URL by their names, or by their paths below the folder of all where two are
    named alike; files that a set lacks are counted.

    The last word in a file's name, or else its folders' names, that means a split is its split. `expected` begins
    error messages.
    """
    paths = _find(source, is_shard, expected, left_out)
    relative = _relative(paths)
    short = [name.rpartition("/")[2] for name in relative]
    names = short if len(set(short)) == len(short) else relative
    return {
        name: ShardFile(path if is_remote(path) else os.path.abspath(path), split, *_local_copy(path, expected))
        for name, path, split in zip(names, paths, _splits(relative), strict=True)
    }


def _find(source: str, is_shard: Callable[[str], bool], expected: str, left_out: LeftOutCounter) -> list[str]:
    """Paths or URLs of all shards; those that a folder lacks, by the numbers in the names, are counted."""
    folder = not _FILE.search(source) if is_remote(source) else os.path.isdir(source)
    try:
        if folder and not is_pattern(source):
            shards = [f"{source.rstrip('/')}/{name}" for name in sorted(files_below(source)) if is_shard(name)]
            _count_missing(shards, left_out)
        else:
            shards = matches(source, left_out)
    except (OSError, ValueError, re.error) as error:
        raise ProbeError(f"{expected} Received: {source!r}: {error}. Check its name and permissions.") from error
    if not shards:
        raise ProbeError(f"{expected} Received: {source!r}, which holds or matches no such file{left_out}.")
    return shards


def _count_missing(shards: Sequence[str], left_out: LeftOutCounter) -> None:
    present: dict[tuple[str, int, str], set[int]] = {}
    for shard in shards:
        if found := _NUMBERED.fullmatch(shard):
            before, number, total, after = found.groups()
            present.setdefault((before, int(total), after), set()).add(int(number))
    for (before, total, after), numbers in present.items():
        for number in sorted(set(range(total)) - numbers):
            left_out.add("shards missing from their set", f"{Path(before).name}-{number:05}-of-{total:05}{after}")


def _relative(paths: Sequence[str]) -> list[str]:
    """Paths below the folder that holds all shards."""
    parts = [(path if is_remote(path) else Path(path).as_posix()).split("/") for path in paths]
    levels = zip(*(path[:-1] for path in parts), strict=False)
    common = sum(1 for _ in itertools.takewhile(lambda names: len(set(names)) == 1, levels))
    return ["/".join(path[common:]) for path in parts]


def _splits(names: Sequence[str]) -> list[str]:
    """The split of each shard; shards of a single split are for training, since they were chosen alone."""
    splits = []
    for name in names:
        words = (word for part in reversed(name.split("/")) for word in reversed(re.findall("[A-Za-z]+", part)))
        splits.append(next((split for word in words if (split := split_name(word))), TRAIN))
    return splits if len(set(splits)) > 1 else [TRAIN] * len(splits)


def _local_copy(path: str, expected: str) -> tuple[Path, bool]:
    """The shard, or a copy in the cache of a packed or remote one, with its plain bytes; and whether it is packed."""
    with open_versioned(path, expected) as (file, name, version):
        packed = file.read(3) == b"\x1f\x8b\x08"  # gzip
        if not packed and not is_remote(path):
            return Path(path).absolute(), packed
        return cached(name, version, partial(_copy, file, path, packed)) / "data", packed


def _copy(file: BinaryIO, path: str, packed: bool, folder: Path) -> None:
    allowance = Allowance(path, file.seek(0, os.SEEK_END) if packed else None, folder)
    file.seek(0)
    with (
        readable(path) if is_remote(path) else contextlib.nullcontext(),
        contextlib.suppress(gzip.BadGzipFile, EOFError, zlib.error),  # what comes before the damage is kept
        gzip.GzipFile(fileobj=file) if packed else contextlib.nullcontext(file) as stream,
    ):
        allowance.copy(stream, folder / "data")
