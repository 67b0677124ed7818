"""Which files are the shards of a set of TFRecords, and which split each of them holds."""

import glob
import itertools
import os
import re
from collections.abc import Sequence
from pathlib import Path

from probes.data.image_index import TRAIN, LeftOutCounter, split_name
from probes.data.sources.folder import files_below
from probes.data.sources.layout import is_shard
from probes.data.sources.remote import cant_open, is_remote, list_remote
from probes.errors import ProbeError

_NUMBERED = re.compile(r"(.*)-(\d{5})-of-(\d{5})(.*)")
_EXPECTED = "Expected TFRecord files: one, a pattern such as 'data/train-*.tfrecord', or a folder that holds them."


def find_shards(source: str, left_out: LeftOutCounter) -> list[str]:
    """Paths or URLs of all shards that a user named.

    Args:
        source: a file, a pattern, or a folder with shards at any depth.
        left_out: counts the shards that a folder lacks by the numbers in its names.

    Raises:
        ProbeError: there are none.
    """
    shards, is_folder = _find_remote(source) if is_remote(source) else _find_local(source)
    if not shards:
        raise ProbeError(f"{_EXPECTED} Received: {source!r}, which {'holds none' if is_folder else 'matches no file'}.")
    if is_folder:
        _count_missing(shards, left_out)
    return shards


def _find_local(source: str) -> tuple[list[str], bool]:
    try:
        if Path(source).is_dir():
            return sorted(os.path.join(source, name) for name in files_below(source) if is_shard(name)), True
        if Path(source).is_file():
            return [source], False
        if glob.has_magic(source):
            found = glob.glob(source, recursive=True)  # pathlib's takes no absolute patterns
            return sorted(path for path in found if Path(path).is_file()), False
    except (OSError, ValueError, re.error) as error:
        raise ProbeError(f"{_EXPECTED} Received: {source!r}: {error}. Check its name and permissions.") from error
    what = "which is no file" if Path(source).exists() else "no such file or folder"
    raise ProbeError(f"{_EXPECTED} Received: {source!r}, {what}.")


def _find_remote(url: str) -> tuple[list[str], bool]:
    import tensorflow as tf

    try:
        if tf.io.gfile.isdir(url):
            names, _ = list_remote(url)
            return [f"{url.rstrip('/')}/{name}" for name in names if is_shard(name)], True
        return (sorted(tf.io.gfile.glob(url)) if glob.has_magic(url) else [url]), False
    except tf.errors.OpError as error:
        raise cant_open("TFRecord files", url, OSError(error.message.split("\n")[0])) from error


def _count_missing(shards: Sequence[str], left_out: LeftOutCounter) -> None:
    present: dict[tuple[str, int, str], set[int]] = {}
    for shard in shards:
        if found := _NUMBERED.fullmatch(shard):
            before, number, total, after = found.groups()
            present.setdefault((before, int(total), after), set()).add(int(number))
    for (before, total, after), numbers in present.items():
        for number in sorted(set(range(total)) - numbers):
            left_out.add("shards missing from their set", f"{Path(before).name}-{number:05}-of-{total:05}{after}")


def shard_names(shards: Sequence[str]) -> list[str]:
    """Short names for shards, all distinct: those of their files, or else their paths below the folder of them all."""
    short = [shard.rpartition("/")[2] for shard in map(_slashed, shards)]
    return short if len(set(short)) == len(short) else _relative(shards)


def shard_splits(shards: Sequence[str]) -> list[str]:
    """The split of each shard: the last word in its file's name that means one, or in its folders'; else training.

    Where all shards are of a single split, they were chosen to be looked at, so that one is for training.
    """
    splits = [_split(name) for name in _relative(shards)]
    return splits if len(set(splits)) > 1 else [TRAIN] * len(splits)


def _split(name: str) -> str:
    for part in reversed(name.split("/")):
        found = [split for word in re.findall("[A-Za-z]+", part) if (split := split_name(word))]
        if found:
            return found[-1]
    return TRAIN


def _slashed(path: str) -> str:
    return path if is_remote(path) else Path(path).as_posix()


def _relative(shards: Sequence[str]) -> list[str]:
    """Paths below the folder that holds all shards."""
    parts = [_slashed(shard).split("/") for shard in shards]
    levels = zip(*(path[:-1] for path in parts), strict=False)
    common = sum(1 for _ in itertools.takewhile(lambda names: len(set(names)) == 1, levels))
    return ["/".join(path[common:]) for path in parts]
