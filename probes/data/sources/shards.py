"""TFRecord files: which there are, in which split each is, and where the records in one begin."""

import contextlib
import glob
import gzip
import itertools
import os
import re
import struct
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import BinaryIO

from probes.data.bounded_files import Allowance, cached
from probes.data.image_index import TRAIN, LeftOutCounter, split_name
from probes.data.sources.folder import files_below, is_shard, open_versioned
from probes.data.sources.remote import file_system, is_remote, readable
from probes.errors import ProbeError

_EXPECTED = "Expected TFRecord files: one, a pattern such as 'data/train-*.tfrecord', or a folder that holds them."
_NUMBERED = re.compile(r"(.*)-(\d{5})-of-(\d{5})(.*)")
_HEADER, _FOOTER = 12, 4  # bytes around a record: its length with a checksum, and a checksum of its data


@dataclass(frozen=True, slots=True, kw_only=True)
class Shard:
    """A TFRecord file: where the data of each whole record begin, and how long they are, in bytes."""

    path: Path
    split: str
    offsets: "array[int]"
    sizes: "array[int]"
    whole: bool  # no bytes are left behind the last record

    @classmethod
    def of(cls, path: Path, split: str) -> "Shard":
        offsets, sizes = array("Q"), array("Q")
        end, at = path.stat().st_size, 0
        with path.open("rb") as file:
            while len(header := file.read(8)) == 8:
                (length,) = struct.unpack("<Q", header)
                if at + _HEADER + length + _FOOTER > end:
                    break
                offsets.append(at + _HEADER)
                sizes.append(length)
                at = file.seek(at + _HEADER + length + _FOOTER)
        return cls(path=path, split=split, offsets=offsets, sizes=sizes, whole=at == end)

    def read(self, number: int) -> bytes:
        """The data of a record; the first is 0."""
        with self.path.open("rb") as file:
            file.seek(self.offsets[number])
            return file.read(self.sizes[number])


def open_shards(source: str, left_out: LeftOutCounter) -> dict[str, Shard]:
    """The TFRecord files of a path, a pattern or a URL by their names; files that a set lacks are counted."""
    paths = _find(source, left_out)
    parts = zip(_names(paths), paths, _splits(paths), strict=True)
    return {name: Shard.of(_local_copy(path), split) for name, path, split in parts}


def _find(source: str, left_out: LeftOutCounter) -> list[str]:
    """Paths or URLs of all shards; those that a folder lacks, by the numbers in the names, are counted."""
    folder = not is_shard(source) if is_remote(source) else os.path.isdir(source)
    try:
        if is_remote(source) and glob.has_magic(source):
            with readable(source):
                system, pattern = file_system(source)
                shards = [system.unstrip_protocol(path) for path in sorted(system.glob(pattern))]
        elif folder:
            shards = [f"{source.rstrip('/')}/{name}" for name in sorted(files_below(source)) if is_shard(name)]
            _count_missing(shards, left_out)
        elif is_remote(source) or os.path.lexists(source):
            shards = [source]
        else:
            shards = sorted(path for path in glob.glob(source, recursive=True) if Path(path).is_file())
    except (OSError, ValueError, re.error) as error:
        raise ProbeError(f"{_EXPECTED} Received: {source!r}: {error}. Check its name and permissions.") from error
    if not shards:
        raise ProbeError(f"{_EXPECTED} Received: {source!r}, which holds or matches no such file.")
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


def _names(paths: Sequence[str]) -> list[str]:
    """Distinct names of the shards: those of their files, or else their paths below the folder of them all."""
    relative = _relative(paths)
    short = [name.rpartition("/")[2] for name in relative]
    return short if len(set(short)) == len(short) else relative


def _splits(paths: Sequence[str]) -> list[str]:
    """The split of each shard; shards of a single split are for training, since they were chosen alone."""
    splits = []
    for name in _relative(paths):
        words = (word for part in reversed(name.split("/")) for word in reversed(re.findall("[A-Za-z]+", part)))
        splits.append(next((split for word in words if (split := split_name(word))), TRAIN))
    return splits if len(set(splits)) > 1 else [TRAIN] * len(splits)


def _local_copy(path: str) -> Path:
    """A file that holds the records plainly: the shard itself, or a copy in the cache of a packed or remote one."""
    with open_versioned(path, _EXPECTED) as (file, name, version):
        packed = file.read(3) == b"\x1f\x8b\x08"  # gzip
        if not packed and not is_remote(path):
            return Path(path)
        return cached(name, version, partial(_copy, file, path, packed)) / "data"


def _copy(file: BinaryIO, path: str, packed: bool, folder: Path) -> None:
    allowance = Allowance(path, file.seek(0, os.SEEK_END) if packed else None, folder)
    file.seek(0)
    with (
        readable(path) if is_remote(path) else contextlib.nullcontext(),
        contextlib.suppress(gzip.BadGzipFile, EOFError, zlib.error),  # what comes before the damage is kept
        gzip.GzipFile(fileobj=file) if packed else contextlib.nullcontext(file) as stream,
    ):
        allowance.copy(stream, folder / "data")
