"""The members of a zip archive."""

import bz2
import contextlib
import copy
import io
import stat
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import IO, BinaryIO

from probes.data.sources.bounded_files import BOMB, LARGEST_FILE, read_whole
from probes.data.sources.members import FILE, FOLDER, OTHER, Member, missing
from probes.errors import ProbeError
from probes.images.decode import UnreadableImage

_FAT = 0  # a system that a member may come from
_ENCRYPTED = 0x1  # flags of a member
_UTF8 = 0x800
_SMALL_STEP = 4096  # bytes


@dataclass(frozen=True, slots=True, weakref_slot=True, eq=False)
class ZipStore:
    """Members of a zip; each is unpacked to memory, up to 512 MiB."""

    archive: zipfile.ZipFile
    members: Mapping[str, zipfile.ZipInfo]

    def open(self, name: str) -> BinaryIO:
        info = self.members.get(name)
        if info is None:
            raise missing()
        if info.flag_bits & _ENCRYPTED:
            raise UnreadableImage("encrypted")
        if info.file_size > LARGEST_FILE:
            raise UnreadableImage(BOMB, "bomb")
        try:
            return _unpacked(self.archive, info)
        except (UnreadableImage, MemoryError):
            raise
        except NotImplementedError as error:
            raise UnreadableImage(f"packed by a method that can't be unpacked here ({info.compress_type})") from error
        except EOFError as error:
            raise UnreadableImage("cut off in the archive", "truncated") from error
        except Exception as error:  # zipfile and its unpackers raise nearly any exception on broken members
            raise UnreadableImage("damaged in the archive") from error


def _unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> io.BytesIO:
    if info.compress_type != zipfile.ZIP_BZIP2:
        # Of LZMA zipfile unpacks as many packed bytes at once as are asked for; 4 KB of them are up to 30 MB.
        step = {"step": _SMALL_STEP} if info.compress_type == zipfile.ZIP_LZMA else {}
        with archive.open(info) as stream:
            return read_whole(stream, BOMB, **step)
    # 4 KB of bzip2 can be gigabytes: take the packed bytes from zipfile, and unpack them with a limit.
    packed = copy.copy(info)
    packed.compress_type, packed.file_size = zipfile.ZIP_STORED, info.compress_size
    del packed.CRC  # is that of the unpacked bytes
    with archive.open(packed) as raw, bz2.BZ2File(raw) as stream:
        whole = read_whole(stream, BOMB)
    if zlib.crc32(whole.getbuffer()) != info.CRC:
        raise zipfile.BadZipFile("bad CRC-32")
    return whole


def _name(info: zipfile.ZipInfo) -> str:
    """A member's name, be it in UTF-8 without saying so, as from macOS, or with backslashes, as from old Windows."""
    name = info.filename
    if not info.flag_bits & _UTF8 and not name.isascii():
        with contextlib.suppress(UnicodeError):
            name = name.encode("cp437").decode("utf-8")
    return name.replace("\\", "/") if info.create_system == _FAT else name


def _kind(info: zipfile.ZipInfo, name: str) -> str:
    if name.endswith("/"):
        return FOLDER
    return FILE if stat.S_IFMT(info.external_attr >> 16) in (0, stat.S_IFREG) else OTHER


def open_zip(file: IO[bytes], source: str) -> zipfile.ZipFile:
    """Read a zip's directory.

    Raises:
        ProbeError: it is broken.
    """
    try:
        return zipfile.ZipFile(file)
    except MemoryError:
        raise
    except Exception as error:  # zipfile raises nearly any exception on a broken directory
        raise ProbeError(
            f"Expected a whole zip archive. Received: {source!r}, whose directory is damaged. Get it again."
        ) from error


def zip_members(archive: zipfile.ZipFile) -> Iterator[Member[zipfile.ZipInfo]]:
    """All members of a zip."""
    for info in archive.infolist():
        name = _name(info)
        yield Member(name, _kind(info, name), info)
