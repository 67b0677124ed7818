"""Limits for files that nobody vouches for, and a cache of limited size for what is unpacked or downloaded."""

import contextlib
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from probes.errors import ProbeError
from probes.user_directory import cache_directory

LARGEST_FILE = 1 << 29  # bytes of one picture's file
TOO_LARGE = f"larger than {LARGEST_FILE >> 20} MiB"
CACHE_BYTES = 1 << 36  # of all that is cached
# JPEG and PNG hardly shrink again, plain pixels to a tenth, drawings to a fiftieth. What unpacks to more than this was
# made to fill a disk: gzip reaches 1,000 times its size, bzip2 a million times.
_UNPACKED_RATIO = 200
_UNPACKED_BASE = 1 << 30  # bytes that anything may unpack to
_SPARE_DISK = 1 << 30  # bytes that stay free on the disk


class Allowance:
    """How many bytes may still be written to a folder's disk while `n_packed` bytes are unpacked; None if copied."""

    def __init__(self, source: str, n_packed: int | None, folder: Path) -> None:
        self.source, self.folder, self.used = source, folder, 0
        self.limit = CACHE_BYTES if n_packed is None else min(CACHE_BYTES, _UNPACKED_BASE + _UNPACKED_RATIO * n_packed)

    def take(self, n: int) -> None:
        """Ask for `n` bytes more."""
        self.used += n
        if self.used > self.limit:
            raise ProbeError(
                f"Expected {self.source!r} to unpack to at most {self.limit:,} bytes. Received: more, perhaps a "
                "decompression bomb. Unpack it yourself if you trust it."
            )
        if shutil.disk_usage(self.folder).free < n + _SPARE_DISK:
            raise _no_room(self.source, "no more than 1 GiB free")

    def copy(self, stream: Any, path: Path) -> None:
        """Write all that a stream holds to a file."""
        read = getattr(stream, "read1", stream.read)  # which returns what there is before an error
        with path.open("wb") as file:
            while chunk := read(1 << 20):
                self.take(len(chunk))
                file.write(chunk)


def _no_room(source: str, received: str) -> ProbeError:
    return ProbeError(
        f"Expected room to unpack {source!r} in {str(cache_directory())!r}. Received: {received}. Let NETGRAFT_CACHE "
        "name a writable folder on a disk with room, or unpack it yourself."
    )


def cached(source: str, version: object, write: Callable[[Path], None]) -> Path:
    """A folder of the user's cache, which `write` fills once for each version of a source.

    It is written under a temporary name and then moved, so a run that is interrupted leaves no half of it. The folders
    that have not been used for the longest time are removed while all together exceed `CACHE_BYTES`.
    """
    key = hashlib.blake2b(f"{source}\0{version}".encode("utf-8", "surrogateescape"), digest_size=16).hexdigest()
    root = cache_directory() / "unpacked"
    folder = root / key
    try:
        if not folder.is_dir():
            root.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(prefix=".", dir=root, ignore_cleanup_errors=True) as temporary:
                filled = Path(temporary, "filled")
                filled.mkdir()
                write(filled)
                with contextlib.suppress(FileExistsError):  # another process was faster
                    filled.rename(folder)
            _evict(root, keep=folder)
        with contextlib.suppress(OSError):  # a cache that is only read
            os.utime(folder)
    except OSError as error:
        raise _no_room(source, (error.strerror or str(error)).lower()) from error
    return folder


def _evict(root: Path, keep: Path) -> None:
    folders = sorted(root.iterdir(), key=lambda folder: folder.stat().st_mtime)
    sizes = {folder: _folder_size(folder) for folder in folders}
    for folder in folders:
        if sum(sizes.values()) > CACHE_BYTES and folder != keep:
            shutil.rmtree(folder, ignore_errors=True)
            del sizes[folder]


def _folder_size(folder: Path) -> int:
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
