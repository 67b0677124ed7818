"""Which files are the shards of a set of TFRecords, their splits, and copies of those that can't be read in place."""

import contextlib
import glob
import gzip
import itertools
import os
import re
import zlib
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import BinaryIO

from probes.data.bounded_files import Allowance, cached
from probes.data.image_index import TRAIN, LeftOutCounter, split_name
from probes.data.sources.folder import files_below, open_regular
from probes.data.sources.remote import cannot_read, file_system, is_remote, open_remote
from probes.data.sources.tree import is_shard
from probes.errors import ProbeError

_NUMBERED = re.compile(r"(.*)-(\d{5})-of-(\d{5})(.*)")
_EXPECTED = "Expected TFRecord files: one, a pattern such as 'data/train-*.tfrecord', or a folder that holds them."
_DATA, _DAMAGED = "data", "damaged"  # files in the cached folder of a shard


def find_shards(source: str, left_out: LeftOutCounter) -> list[str]:
    """Paths or URLs of all shards; those that a folder lacks, by the numbers in the names, are counted."""
    try:
        if is_remote(source) and glob.has_magic(source):
            system, pattern = file_system(source)
            return [system.unstrip_protocol(path) for path in sorted(system.glob(pattern))]
        folder = not is_shard(source) if is_remote(source) else os.path.isdir(source)
        if folder:
            shards = [f"{source.rstrip('/')}/{name}" for name in sorted(files_below(source)) if is_shard(name)]
            _count_missing(shards, left_out)
        elif is_remote(source) or os.path.lexists(source):
            return [source]
        else:
            shards = sorted(path for path in glob.glob(source, recursive=True) if Path(path).is_file())
    except (OSError, ValueError, re.error) as error:
        raise ProbeError(f"{_EXPECTED} Received: {source!r}: {error}. Check its name and permissions.") from error
    if not shards:
        raise ProbeError(f"{_EXPECTED} Received: {source!r}, which {'holds none' if folder else 'matches no file'}.")
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


def shard_names(paths: Sequence[str]) -> list[str]:
    """Distinct names of the shards: those of their files, or else their paths below the folder of them all."""
    relative = _relative(paths)
    short = [name.rpartition("/")[2] for name in relative]
    return short if len(set(short)) == len(short) else relative


def shard_splits(paths: Sequence[str]) -> list[str]:
    """The split of each shard; shards of a single split are for training, since they were chosen alone."""
    splits = []
    for name in _relative(paths):
        words = (word for part in reversed(name.split("/")) for word in reversed(re.findall("[A-Za-z]+", part)))
        splits.append(next((split for word in words if (split := split_name(word))), TRAIN))
    return splits if len(set(splits)) > 1 else [TRAIN] * len(splits)


def local_copy(path: str) -> Path:
    """A file that holds the records plainly: the shard itself, or a copy in the cache of a packed or remote one."""
    with contextlib.ExitStack() as stack:
        if is_remote(path):
            file, version = stack.enter_context(open_remote(path))
        else:
            try:
                file = stack.enter_context(open_regular(path))
            except OSError as error:
                reason = (error.strerror or str(error)).lower()
                raise ProbeError(f"{_EXPECTED} Received: {path!r}, {reason}. Check its permissions.") from error
            if not _is_packed(file):
                return Path(path)
            facts = os.fstat(file.fileno())
            version = f"{facts.st_size} {facts.st_mtime_ns}"
        key = path if is_remote(path) else os.path.abspath(path)
        return cached(key, version, partial(_copy, file, path)) / _DATA


def _is_packed(file: BinaryIO) -> bool:
    file.seek(0)
    try:
        with gzip.open(file) as stream:
            return bool(stream.read(1))
    except (OSError, EOFError, zlib.error):
        return False


def _copy(file: BinaryIO, path: str, folder: Path) -> None:
    packed = _is_packed(file)
    allowance = Allowance(path, file.seek(0, os.SEEK_END) if packed else None, folder)
    file.seek(0)
    try:
        with gzip.GzipFile(fileobj=file) if packed else contextlib.nullcontext(file) as stream:
            allowance.copy(stream, folder / _DATA)
    except (gzip.BadGzipFile, EOFError, zlib.error):  # what came before is kept
        (folder / _DAMAGED).touch()
    except (OSError, ProbeError):
        raise
    except Exception as error:  # each remote file system raises exceptions of its own
        raise cannot_read(path, error) from error


def is_cut_off(copy: Path) -> bool:
    """Whether a copy of a packed shard ends before the shard should."""
    return copy.with_name(_DAMAGED).exists()
