"""The members of a tar archive that is not compressed, or no more."""

import io
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, BinaryIO, cast

from probes.data.sources.bounded_files import LARGEST_FILE, TOO_LARGE, SharedFile
from probes.data.sources.members import FILE, FOLDER, OTHER, Member, missing
from probes.errors import ProbeError
from probes.images.decode import UnreadableImage

_LARGEST_HEADER = 1 << 20  # bytes, of a long name or a PAX header
_ENCODING, _ERRORS = "utf-8", "surrogateescape"

Place = tuple[int, int]  # where the bytes of a member begin in the tar, and how many there are


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class TarStore:
    """Members of a tar, read from their places in it."""

    file: SharedFile
    members: Mapping[str, Place]

    def open(self, name: str) -> BinaryIO:
        if name not in self.members:
            raise missing()
        offset, size = self.members[name]
        if size > LARGEST_FILE:
            raise UnreadableImage(TOO_LARGE, "bomb")
        data = self.file.read(offset, size)
        if len(data) < size:
            raise UnreadableImage("cut off in the archive", "truncated")
        return io.BytesIO(data)


@dataclass(slots=True)
class _Headers:
    """A tar as tarfile may see it: it reads headers alone, and no header is trusted for its size."""

    file: IO[bytes]

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _LARGEST_HEADER:
            raise tarfile.ReadError("a header of an impossible size")
        return self.file.read(size)

    def seek(self, offset: int) -> int:
        return self.file.seek(offset)

    def tell(self) -> int:
        return self.file.tell()


def is_tar_header(block: bytes) -> bool:
    """Whether 512 bytes begin a tar, if only an empty one."""
    if len(block) < tarfile.BLOCKSIZE:
        return False
    try:
        tarfile.TarInfo.frombuf(block[: tarfile.BLOCKSIZE], _ENCODING, _ERRORS)
    except tarfile.HeaderError:
        return not any(block)
    return True


def _kind(info: tarfile.TarInfo) -> str:
    if info.isdir():
        return FOLDER
    return FILE if info.isreg() and not info.issparse() else OTHER


def tar_members(file: IO[bytes], source: str) -> Iterator[Member[Place]]:
    """All members of a tar, from its headers; the pictures are not read.

    Raises:
        ProbeError: it is cut off or damaged. What came before is not enough: a tar holds one class after the other.
    """
    try:
        yield from _members(file)
    except (MemoryError, ProbeError):
        raise
    except Exception as error:  # tarfile raises nearly any exception on broken headers
        raise ProbeError(
            f"Expected a whole tar archive. Received: {source!r}, which is cut off or damaged. Get it again."
        ) from error


def _members(file: IO[bytes]) -> Iterator[Member[Place]]:
    file.seek(0)
    headers = cast(IO[bytes], _Headers(file))
    with tarfile.TarFile(fileobj=headers, encoding=_ENCODING, errors=_ERRORS) as archive:
        here = 0
        while (info := archive.next()) is not None:
            if info.size < 0 or archive.offset <= here:  # would lead back, and never end
                raise tarfile.ReadError("a member of a negative size")
            here = archive.offset
            archive.members = []  # type: ignore[attr-defined]  # tarfile keeps them all
            yield Member(info.name, _kind(info), (info.offset_data, info.size))
        file.seek(archive.offset)
        if any(file.read(tarfile.BLOCKSIZE)):  # tarfile takes a broken header for the end
            raise tarfile.ReadError("a broken header")
