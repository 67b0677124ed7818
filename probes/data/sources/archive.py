"""A zip or tar archive of class folders. It is unpacked once into the user's cache and then read as a folder."""

import contextlib
import errno
import importlib
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
from typing import IO, Any, BinaryIO, NamedTuple, cast

from probes.data.bounded_files import LARGEST_FILE, TOO_LARGE, Allowance, cached
from probes.data.image_index import ImageIndex, LeftOutCounter
from probes.data.sources.folder import index_folder, open_regular
from probes.data.sources.remote import is_remote, open_remote
from probes.data.sources.source import Options
from probes.errors import ProbeError
from probes.images.suffixes import is_image

_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_UNPACKERS = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\x00": "lzma"}  # first bytes -> module
_OTHER_FORMATS = {b"7z\xbc\xaf\x27\x1c": "7-Zip", b"Rar!": "RAR", b"\x28\xb5\x2f\xfd": "Zstandard"}
_EXPECTED = "Expected a zip, tar, tar.gz, tar.bz2 or tar.xz archive of class folders."
_FILES, _LEFT_OUT = "files", "left_out.json"  # in the cached folder
_MOST_MEMBERS = 5_000_000
_LARGEST_HEADER = 1 << 20  # bytes, of a long name or a PAX header
_ENCRYPTED, _UTF8 = 0x1, 0x800  # flags of a member of a zip
_FAT = 0  # the system that a member of a zip comes from
_BAD_NAMES = (errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR, errno.EEXIST, errno.EINVAL, errno.EILSEQ)


class _Member(NamedTuple):
    """A member of an archive.

    Attributes:
        name: its path as the archive has it.
        mode: S_IFREG, S_IFDIR, or something else for links, devices and the like.
        size: unpacked, in bytes.
        extract: unpacks it below a folder, by a relative path; returns what is wrong with it.
    """

    name: str
    mode: int
    size: int
    extract: Callable[[Path, str], str]


def recognises(data: Any) -> bool:
    if not isinstance(data, str) or os.path.isdir(data):
        return False
    if is_remote(data) or data.lower().endswith(_SUFFIXES):
        return data.lower().endswith(_SUFFIXES)
    with contextlib.suppress(OSError), open_regular(data) as file:
        return _is_tar(file) or zipfile.is_zipfile(file)
    return False


def index(data: str, _options: Options) -> ImageIndex:
    return index_archive(data)


def index_archive(path: str | os.PathLike[str]) -> ImageIndex:
    """List the images of an archive that holds one sub-folder a class, or the splits train, val and test of such.

    A folder, or a chain of folders, around all others is ignored. The content decides which kind of archive it is.

    Args:
        path: a .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz file, or its URL.

    Returns:
        The index. Its images lie in the user's cache.

    Raises:
        ProbeError: there is no such file, it is no archive, is damaged, unpacks to too much, or does not hold at least
            two classes of images.
    """
    source = os.fspath(path)
    with contextlib.ExitStack() as stack:
        if is_remote(source):
            file, version = stack.enter_context(open_remote(source))
        else:
            file = stack.enter_context(_open_local(source))
            facts = os.fstat(file.fileno())
            version = f"{facts.st_size} {facts.st_mtime_ns}"
        key = source if is_remote(source) else os.path.abspath(source)
        folder = cached(key, version, partial(_unpack, file, source))
    left_out = LeftOutCounter()
    for reason, name in json.loads((folder / _LEFT_OUT).read_text()):
        left_out.add(reason, name)
    root = _without_wrapper(folder / _FILES)
    if not any(root.iterdir()):
        raise ProbeError(f"{_EXPECTED} Received: {source!r}, which holds no files{left_out}.")
    return index_folder(root, source=source, kind="archive", left_out=left_out)


def _open_local(source: str) -> BinaryIO:
    try:
        return open_regular(source)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ProbeError(f"{_EXPECTED} Received: {source!r}, {reason}. Check its name and permissions.") from error


def _without_wrapper(root: Path) -> Path:
    """The folder that holds the classes or splits: below a folder that holds all others, as in `zip -r a.zip a`."""
    here = root
    while True:
        entries = list(here.iterdir())
        folders = [entry for entry in entries if entry.is_dir()]
        if len(folders) != 1 or (here != root and any(is_image(entry.name) for entry in entries)):
            return here if len(folders) > 1 else root
        here = folders[0]


def _unpack(file: IO[bytes], source: str, folder: Path) -> None:
    """Unpack the images of an archive. An empty file stands for each other file, so that these are counted.

    Raises:
        ProbeError: it is no archive, is damaged as a whole, or unpacks to too much.
        OSError: it can't be written.
    """
    files = folder / _FILES
    files.mkdir()
    allowance = Allowance(source, file.seek(0, os.SEEK_END), folder)
    left_out: list[tuple[str, str]] = []
    try:
        for number, member in enumerate(_members(file, source)):
            if number == _MOST_MEMBERS:
                raise ProbeError(f"{_EXPECTED} Received: {source!r} with over {number:,} members. Unpack it yourself.")
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
    parts = [part for part in member.name.split("/") if part not in ("", ".")]
    path = "/".join(parts)
    if member.name.startswith("/") or ".." in parts or re.search(r"\\|^[A-Za-z]:", member.name):
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


def _members(file: IO[bytes], source: str) -> Iterator[_Member]:
    if _is_tar(file):  # comes first: a tar whose last member is a zip ends as a zip does
        return _tar_members(_tar_stream(file))
    if zipfile.is_zipfile(file):
        return _zip_members(zipfile.ZipFile(file))
    raise ProbeError(f"{_EXPECTED} Received: {source!r}, {_description(file)}.")


def _zip_members(archive: zipfile.ZipFile) -> Iterator[_Member]:
    for info in archive.infolist():
        name = info.filename
        if not info.flag_bits & _UTF8 and not name.isascii():
            with contextlib.suppress(UnicodeError):  # UTF-8 that is not declared, as from macOS
                name = name.encode("cp437").decode("utf-8")
        name = name.replace("\\", "/") if info.create_system == _FAT else name
        mode = stat.S_IFDIR if name.endswith("/") else stat.S_IFMT(info.external_attr >> 16) or stat.S_IFREG
        yield _Member(name, mode, info.file_size, partial(_extract_zip, archive, info))


def _extract_zip(archive: zipfile.ZipFile, info: zipfile.ZipInfo, folder: Path, path: str) -> str:
    if info.flag_bits & _ENCRYPTED:
        return "encrypted members"
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):  # zipfile does not limit the others
        return "members of a zip that are packed by another method than deflate"
    info.filename = path
    try:
        archive.extract(info, folder)
    except (zipfile.BadZipFile, zlib.error, EOFError):
        return "members that are damaged in the archive"
    return ""


class _Headers:
    """A tar as tarfile reads it; a header of an impossible size, which would fill the memory, is an error."""

    def __init__(self, stream: IO[bytes]) -> None:
        self.seek, self.tell, self._stream = stream.seek, stream.tell, stream

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _LARGEST_HEADER:
            raise tarfile.ReadError("a header of an impossible size")
        return self._stream.read(size)


def _tar_members(stream: IO[bytes]) -> Iterator[_Member]:
    with tarfile.TarFile(fileobj=cast(IO[bytes], _Headers(stream)), encoding="utf-8") as archive:
        here = 0
        while (info := archive.next()) is not None:
            if info.size < 0 or archive.offset <= here:  # would lead back, and never end
                raise tarfile.ReadError("a member of a negative size")
            here = archive.offset
            archive.members = []  # type: ignore[attr-defined]  # tarfile keeps them all
            mode = stat.S_IFDIR if info.isdir() else stat.S_IFREG if info.isreg() and not info.issparse() else 0
            yield _Member(info.name, mode, info.size, partial(_extract_tar, archive, info))
        stream.seek(archive.offset)
        if any(stream.read(tarfile.BLOCKSIZE)):  # tarfile takes a broken header for the end
            raise tarfile.ReadError("a broken header")


def _extract_tar(archive: tarfile.TarFile, info: tarfile.TarInfo, folder: Path, path: str) -> str:
    info.name = path
    archive.extract(info, folder, set_attrs=False, filter="data")
    return ""


def _tar_stream(file: IO[bytes]) -> IO[bytes]:
    """What a tar unpacks to, if it is compressed."""
    file.seek(0)
    head = file.read(tarfile.BLOCKSIZE)
    file.seek(0)
    module = next((module for magic, module in _UNPACKERS.items() if head.startswith(magic)), None)
    return cast(IO[bytes], importlib.import_module(module).open(file)) if module else file


def _is_tar(file: IO[bytes]) -> bool:
    try:
        block = _tar_stream(file).read(tarfile.BLOCKSIZE)
        tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.EOFHeaderError:  # type: ignore[attr-defined]
        return True  # a tar without members
    except Exception:  # noqa: BLE001 - each unpacker raises an exception of its own
        return False
    return True


def _description(file: IO[bytes]) -> str:
    """What a file is that is no archive, as far as its first bytes show."""
    file.seek(0)
    head = file.read(tarfile.BLOCKSIZE)
    for magic, name in _OTHER_FORMATS.items():
        if head.startswith(magic):
            return f"which {name} has packed: unpack it, or pack it as a zip"
    if head.startswith(tuple(_UNPACKERS)):
        return "which is compressed but holds no tar, or is cut off or damaged"
    if head.startswith(b"PK\x03\x04"):
        return "which begins as a zip but is cut off: get it again"
    return "which is neither, or is cut off" if head else "an empty file"
