"""A zip or tar archive of class folders. It is unpacked once into the user's cache and then read as a folder."""

import contextlib
import errno
import json
import os
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, BinaryIO, Literal, NamedTuple, Self

from probes.data.bounded_files import LARGEST_FILE, TOO_LARGE, Allowance, cached
from probes.data.image_index import ImageIndex, LeftOutCounter
from probes.data.sources.folder import index_folder, open_regular, open_versioned
from probes.data.sources.remote import is_remote
from probes.data.sources.source import Options
from probes.errors import ProbeError
from probes.images.suffixes import is_image

_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_EXPECTED = "Expected a zip, tar, tar.gz, tar.bz2 or tar.xz archive of class folders."
_FILES, _LEFT_OUT = "files", "left_out.json"  # in the cached folder
_BLOCK = 4096  # bytes of the disk that even an empty member takes
LARGEST_HEADER = 1 << 20  # bytes of a long name or a PAX header
_BAD_NAMES = (errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.EINVAL, errno.EILSEQ)


class _Member(NamedTuple):
    """A member of an archive."""

    name: str  # its path as the archive has it
    mode: int  # S_IFREG, S_IFDIR, or something else for links, devices and the like
    size: int  # unpacked, in bytes
    extract: Callable[[Path, str], str]  # unpacks it below a folder, by a relative path; returns what is wrong with it


def recognises(data: Any) -> bool:
    if not isinstance(data, str) or os.path.isdir(data):
        return False
    if is_remote(data) or data.lower().endswith(_SUFFIXES):
        return data.lower().endswith(_SUFFIXES)
    with contextlib.suppress(OSError), open_regular(data) as file:
        return open_tar(file) is not None or zipfile.is_zipfile(file)
    return False


def index(data: str, _options: Options) -> ImageIndex:
    """List the images of an archive or a URL of one; the content decides which kind it is.

    A folder, or a chain of folders, around all others is ignored.
    """
    with open_versioned(data, _EXPECTED) as (file, name, version):
        folder = cached(name, version, partial(_unpack, file, data))
    left_out = LeftOutCounter()
    for reason, name in json.loads((folder / _LEFT_OUT).read_text()):
        left_out.add(reason, name)
    root = _without_wrapper(folder / _FILES)
    if not any(root.iterdir()):
        raise ProbeError(f"{_EXPECTED} Received: {data!r}, which holds no files{left_out}. Pack it again.")
    return index_folder(root, source=data, kind="archive", left_out=left_out)


def _without_wrapper(root: Path) -> Path:
    """The folder that holds the classes or splits: below a folder that holds all others, as in `zip -r a.zip a`."""
    here = root
    while True:
        entries = list(here.iterdir())
        folders = [entry for entry in entries if entry.is_dir()]
        if len(folders) != 1 or (here != root and any(is_image(entry.name) for entry in entries)):
            return here if len(folders) > 1 else root
        here = folders[0]


def _unpack(file: BinaryIO, source: str, folder: Path) -> None:
    """Unpack the images of an archive. An empty file stands for each other file, so that these are counted."""
    files = folder / _FILES
    files.mkdir()
    allowance = Allowance(source, file.seek(0, os.SEEK_END), folder)
    left_out: list[tuple[str, str]] = []
    try:
        for member in _members(file, source):
            if reason := _unpack_member(member, files, allowance):
                left_out.append((reason, member.name))
    except (ProbeError, MemoryError):
        raise
    except Exception as error:  # the unpackers raise nearly any exception on damaged archives
        if isinstance(error, OSError) and error.errno:
            raise
        raise ProbeError(
            f"Expected a whole archive. Received: {source!r}, which is cut off or damaged. Get it again."
        ) from error
    (folder / _LEFT_OUT).write_text(json.dumps(left_out))


def _unpack_member(member: _Member, files: Path, allowance: Allowance) -> str:
    """Unpack a member below `files`; returns the reason if it has to be left out."""
    allowance.take(_BLOCK)  # also for what is left out, so that there is an end to the members
    parts = [part for part in member.name.split("/") if part not in ("", ".")]
    path = "/".join(parts)
    if "\\" in member.name:
        return "members with a backslash in their name"
    if member.name.startswith("/") or ".." in parts or re.match("[A-Za-z]:", member.name):
        return "members whose path leaves the archive"
    if not parts or "__MACOSX" in parts or any(part.startswith(".") for part in parts):
        return ""
    target = files / path
    try:
        if member.mode == stat.S_IFDIR:
            target.mkdir(parents=True, exist_ok=True)
        elif not is_image(path):
            target.parent.mkdir(parents=True, exist_ok=True)
            target.touch()
        elif member.mode != stat.S_IFREG:
            return "links and special files in the archive"
        elif member.size > LARGEST_FILE:
            return f"members {TOO_LARGE}"
        else:
            allowance.take(member.size)
            replaced = target.exists()
            if problem := member.extract(files, path):
                target.unlink(missing_ok=True)
                return problem
            return "members replaced by a later one of the same name" if replaced else ""
    except OSError as error:
        if error.errno not in _BAD_NAMES:
            raise
        return "members with impossible names"
    return ""


def _members(file: BinaryIO, source: str) -> Iterator[_Member]:
    if tar := open_tar(file):  # comes first: a tar whose last member is a zip ends as a zip does
        for info in tar_headers(tar):
            mode = stat.S_IFDIR if info.isdir() else stat.S_IFREG if info.isreg() else 0
            yield _Member(info.name, mode, info.size, partial(_extract_tar, tar, info))
    elif zipfile.is_zipfile(file):
        yield from _zip_members(zipfile.ZipFile(file))
    else:
        raise ProbeError(
            f"{_EXPECTED} Received: {source!r}, which is none of these, or is cut off. Get it again, or unpack it "
            "yourself."
        )


def _zip_members(archive: zipfile.ZipFile) -> Iterator[_Member]:
    for info in archive.infolist():
        name = info.filename
        if not info.flag_bits & 0x800 and not name.isascii():
            with contextlib.suppress(UnicodeError):  # UTF-8 that is not declared, as from macOS
                name = name.encode("cp437").decode("utf-8")
        mode = stat.S_IFDIR if name.endswith("/") else stat.S_IFMT(info.external_attr >> 16) or stat.S_IFREG
        yield _Member(name, mode, info.file_size, partial(_extract_zip, archive, info))


def _extract_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo, folder: Path, path: str) -> str:
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # zipfile does not limit the others
        return "members of a zip that are packed by another method than deflate"
    info.filename = path
    try:
        archive.extract(info, folder)
    except (zipfile.BadZipFile, zlib.error, EOFError, RuntimeError):
        return "members that are damaged or encrypted in the archive"
    return ""


def open_tar(file: IO[bytes], mode: Literal["r", "r:"] = "r") -> tarfile.TarFile | None:
    """A tar, also a compressed one unless `mode` is "r:"; None for other files."""
    file.seek(0)
    with contextlib.suppress(tarfile.TarError, EOFError, zlib.error):
        return tarfile.open(fileobj=file, mode=mode, encoding="utf-8", tarinfo=TarHeader)
    return None


class TarHeader(tarfile.TarInfo):
    """A header whose names and PAX records, which tarfile reads at once, can't fill the memory."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        info = super().frombuf(buf, encoding, errors)
        if info.type not in tarfile.REGULAR_TYPES and info.size > LARGEST_HEADER:
            raise tarfile.ReadError("a header of an impossible size")
        return info


def tar_headers(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    """The members of a tar, which has an end; nearly any exception where it is damaged."""
    here = 0
    while (info := archive.next()) is not None:
        if archive.offset <= here:  # would lead back, and never end
            raise tarfile.ReadError("a member of a negative size")
        here = archive.offset
        archive.members = []  # type: ignore[attr-defined]  # tarfile keeps them all
        archive.pax_headers = {}  # likewise
        yield info
    stream: Any = archive.fileobj
    stream.seek(archive.offset)
    if any(stream.read(tarfile.BLOCKSIZE)):  # tarfile takes a broken header for the end
        raise tarfile.ReadError("a broken header")


def _extract_tar(archive: tarfile.TarFile, info: tarfile.TarInfo, folder: Path, path: str) -> str:
    info.name = path
    archive.extract(info, folder, set_attrs=False, filter="data")
    return ""
