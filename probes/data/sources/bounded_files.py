"""Bytes that nobody vouches for: files read whole up to a limit, compressed ones unpacked to one temporary file."""

import io
import shutil
import tempfile
import threading
from dataclasses import dataclass, field
from typing import IO, Protocol

from probes.errors import ProbeError
from probes.images.decode import UnreadableImage

LARGEST_FILE = 1 << 29  # bytes of one picture's file
BOMB = f"unpacks to more than {LARGEST_FILE >> 20} MiB, a decompression bomb"
TOO_LARGE = f"larger than {LARGEST_FILE >> 20} MiB"
_CHUNK = 1 << 20
# JPEG and PNG hardly shrink again, plain pixels to a tenth, drawings in plain pixels to a fiftieth. What unpacks to
# more than this was made to fill a disk: gzip reaches 1,000 times its size, bzip2 a million times.
_UNPACKED_RATIO = 200
_UNPACKED_BASE = 1 << 30  # bytes that anything may unpack to
_SPARE_DISK = 1 << 30  # bytes that stay free on the disk of the temporary file
_ROOM_CHECKED = 1 << 26  # bytes between two looks at the free space


class Readable(Protocol):
    """What bytes can be read from, in pieces."""

    def read(self, size: int, /) -> bytes: ...


class Unpacking(Protocol):
    """What unpacks as it is read. `read1` returns what there is, where `read` loses it once an error comes after it."""

    def read1(self, size: int, /) -> bytes: ...


class BrokenStream(Exception):
    """Compressed bytes end early or are damaged."""


def read_whole(stream: Readable, reason: str, *, step: int = _CHUNK) -> io.BytesIO:
    """All that a stream holds.

    Args:
        stream: what to read.
        reason: of the refusal where it holds more than `LARGEST_FILE` bytes.
        step: bytes read at once.

    Raises:
        UnreadableImage: it holds more.
    """
    whole = io.BytesIO()
    while chunk := stream.read(step):
        if whole.tell() + len(chunk) > LARGEST_FILE:
            raise UnreadableImage(reason, "bomb")
        whole.write(chunk)
    whole.seek(0)
    return whole


@dataclass(frozen=True, slots=True, eq=False)
class SharedFile:
    """A file that several threads read at once, each from its own place."""

    file: IO[bytes]
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self, offset: int, size: int) -> bytes:
        """Up to `size` bytes from `offset` on; fewer where the file ends."""
        with self._lock:
            self.file.seek(offset)
            return self.file.read(size)


class Spool:
    """One temporary file for all that is unpacked; it has no name, so nothing is left behind however a process ends.

    A compressed stream can't be sought: reading its members at random would unpack all before them each time. So it is
    unpacked once, to a disk and not to memory. `TMPDIR` names the disk.

    Attributes:
        size: bytes unpacked so far.
    """

    def __init__(self) -> None:
        self.size = 0
        self._packed = 0
        self._shared: SharedFile | None = None

    @property
    def shared(self) -> SharedFile:
        """The file; it is made when it is first asked for.

        Raises:
            ProbeError: there is no place for it.
        """
        if self._shared is None:
            try:
                self._shared = SharedFile(tempfile.TemporaryFile())  # noqa: SIM115 - closed by close()
            except OSError as error:
                raise ProbeError(
                    f"Expected a place for a temporary file. Received: {error.strerror or error}. Let TMPDIR name a "
                    "folder that can be written to."
                ) from error
        return self._shared

    def close(self) -> None:
        if self._shared is not None:
            self._shared.file.close()

    def add(self, stream: Unpacking, n_packed: int, source: str) -> None:
        """Append what a stream unpacks to.

        Args:
            stream: unpacks as it is read.
            n_packed: bytes that it unpacks from, 0 where it does not unpack anything.
            source: what the user named.

        Raises:
            BrokenStream: it ends early or is damaged; what came before is there.
            ProbeError: it unpacks to too much, or the disk is full.
        """
        self._packed += n_packed
        limit = _UNPACKED_BASE + _UNPACKED_RATIO * self._packed
        look = self.size
        self.shared.file.seek(self.size)
        while chunk := _unpack(stream):
            if n_packed and self.size + len(chunk) > limit:
                raise ProbeError(
                    f"Expected {source!r} to unpack to no more than {_UNPACKED_RATIO} times its size and 1 GiB. "
                    f"Received: over {limit:,} bytes, a decompression bomb. Unpack it yourself if you trust it."
                )
            if self.size >= look:
                self._require_room(source)
                look = self.size + _ROOM_CHECKED
            self._write(chunk, source)

    def _require_room(self, source: str) -> None:
        try:
            free = shutil.disk_usage(tempfile.gettempdir()).free
        except OSError:  # where nobody can tell, writing will
            return
        if free < _SPARE_DISK + _ROOM_CHECKED:
            raise _no_room(source, "no more than 1 GiB free")

    def _write(self, chunk: bytes, source: str) -> None:
        try:
            self.shared.file.write(chunk)
            self.shared.file.flush()
        except OSError as error:
            raise _no_room(source, (error.strerror or str(error)).lower()) from error
        self.size += len(chunk)


def _no_room(source: str, received: str) -> ProbeError:
    return ProbeError(
        f"Expected room to unpack {source!r} in {tempfile.gettempdir()!r}. Received: {received}. Let TMPDIR name a "
        "folder on a larger disk, or unpack it yourself."
    )


def _unpack(stream: Unpacking) -> bytes:
    try:
        return stream.read1(_CHUNK)
    except MemoryError:
        raise
    except Exception as error:  # each unpacker raises an exception of its own, and not all may be installed
        raise BrokenStream(str(error) or type(error).__name__) from error
