"""A zip or tar archive of a folder with one sub-folder a class.

A zip and a plain tar are read where they lie. In a compressed tar no place can be sought, and at a URL only slowly:
those are copied to a nameless temporary file, unpacked, before they are listed (see `Spool`).
"""

import contextlib
import importlib
import os
import stat
import weakref
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from probes.data.image_index import ImageIndex, LeftOutCounter
from probes.data.sources.bounded_files import BrokenStream, SharedFile, Spool
from probes.data.sources.layout import index_tree
from probes.data.sources.members import sort_out
from probes.data.sources.remote import cant_open, is_remote, open_remote
from probes.data.sources.tars import TarStore, is_tar_header, tar_members
from probes.data.sources.zips import ZipStore, open_zip, zip_members
from probes.errors import ProbeError

_HEAD = 512  # bytes that tell what a file is
_SUFFIXES = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_COMPRESSED = {b"\x1f\x8b": "gzip", b"BZh": "bz2", b"\xfd7zXZ\x00": "lzma"}  # first bytes -> module that unpacks them
_FOREIGN = {b"7z\xbc\xaf\x27\x1c": "7-Zip", b"Rar!": "RAR", b"\x28\xb5\x2f\xfd": "Zstandard"}
_EXPECTED = "Expected a zip, tar, tar.gz, tar.bz2 or tar.xz archive of class folders."


def is_archive(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a zip or a tar, by its content; one at a URL by its name.

    Other formats are zips inside, as .npz and .keras are: ask for them first.
    """
    source = os.fspath(path)
    if is_remote(source):
        return source.lower().endswith(_SUFFIXES)
    try:
        if not stat.S_ISREG(Path(source).stat().st_mode):
            return False
        with Path(source).open("rb") as file:
            return _packing(file) is not None
    except (OSError, ValueError, ProbeError):
        return False


def index_archive(path: str | os.PathLike[str]) -> ImageIndex:
    """List the images of an archive that holds one sub-folder a class, or the splits train, val and test of such.

    One folder, or a chain of them, that wraps all others counts for nothing. What the archive is its content tells.

    Args:
        path: a .zip, .tar, .tar.gz, .tar.bz2 or .tar.xz file, or its URL.

    Returns:
        The index. Its store keeps the archive open as long as it lives.

    Raises:
        ProbeError: there is no such file, it is no archive, is cut off or damaged, unpacks to too much, or does not
            hold at least two classes of images.
    """
    source = os.fspath(path)
    left_out = LeftOutCounter()
    with contextlib.ExitStack() as stack:
        file = _opened(source, stack)
        packing = _packing(file)
        if packing is None:
            raise ProbeError(f"{_EXPECTED} Received: {source!r}, {_what(file)}.")
        store: ZipStore | TarStore
        if packing == "zip":
            archive = stack.enter_context(open_zip(file, source))
            members, folders = sort_out(zip_members(archive), left_out)
            store = ZipStore(archive, members)
        else:
            shared = _unpacked(file, packing, source, stack) if packing else SharedFile(file)
            places, folders = sort_out(tar_members(shared.file, source), left_out)
            store = TarStore(shared, places)
        index = _index(store, folders, left_out, source)
        weakref.finalize(store, stack.pop_all().close)
    return index


def _index(store: ZipStore | TarStore, folders: set[str], left_out: LeftOutCounter, source: str) -> ImageIndex:
    found = left_out.result()
    if not store.members and not folders:
        why = "; ".join(f"{one.reason}: {one.n:,}" for one in found)
        missing = f" (left out: {why})" if why else ""
        raise ProbeError(f"{_EXPECTED} Received: {source!r}, which holds no files{missing}.")
    index = index_tree(sorted(store.members), folders, store, source=source, kind="archive", hint=False)
    return replace(index, left_out=index.left_out + found)


def _opened(source: str, stack: contextlib.ExitStack) -> IO[bytes]:
    """The archive's file, closed with the stack."""
    if is_remote(source):
        return _fetched(source, stack)
    try:
        if not stat.S_ISREG(Path(source).stat().st_mode):  # to open a pipe would wait for ever
            raise ProbeError(f"{_EXPECTED} Received: {source!r}, which is no file.")
        return stack.enter_context(Path(source).open("rb"))
    except FileNotFoundError:
        raise ProbeError(f"{_EXPECTED} Received: {source!r}, no such file.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise ProbeError(
            f"Expected to read the archive {source!r}. Received: {reason}. Check its permissions."
        ) from error


def _fetched(url: str, stack: contextlib.ExitStack) -> IO[bytes]:
    spool = stack.enter_context(contextlib.closing(Spool()))
    try:
        with open_remote(url) as stream:
            spool.add(stream, 0, url)
    except (OSError, BrokenStream) as error:
        raise cant_open("an archive", url, error) from error
    return spool.shared.file


def _packing(file: IO[bytes]) -> str | None:
    """What an archive is: "zip", "" for a tar, the module that unpacks a compressed tar; None for anything else."""
    file.seek(0)
    head = file.read(_HEAD)
    if is_tar_header(head):  # comes first: a tar whose last member is a zip ends as a zip does
        return ""
    for magic, module in _COMPRESSED.items():
        if head.startswith(magic):
            return module if _unpacks_to_tar(file, module) else None
    return "zip" if zipfile.is_zipfile(file) else None


def _unpacker(file: IO[bytes], module: str) -> Any:
    """A stream of what a file unpacks to, by the module's own class."""
    file.seek(0)
    try:
        return importlib.import_module(module).open(file, "rb")
    except ImportError as error:
        raise ProbeError(
            f"Expected a Python that can unpack {module}. Received: one built without it. Unpack the archive yourself."
        ) from error


def _unpacks_to_tar(file: IO[bytes], module: str) -> bool:
    with _unpacker(file, module) as stream:
        try:
            return is_tar_header(stream.read(_HEAD))
        except MemoryError:
            raise
        except Exception:  # noqa: BLE001 - each unpacker raises an exception of its own
            return False


def _unpacked(file: IO[bytes], module: str, source: str, stack: contextlib.ExitStack) -> SharedFile:
    """A compressed tar, unpacked to a temporary file that is closed with the stack."""
    spool = stack.enter_context(contextlib.closing(Spool()))
    n_packed = file.seek(0, os.SEEK_END)
    with _unpacker(file, module) as stream:
        try:
            spool.add(stream, n_packed, source)
        except BrokenStream as error:
            raise ProbeError(
                f"Expected a whole archive. Received: {source!r}, which is cut off or damaged. Get it again."
            ) from error
    return spool.shared


def _what(file: IO[bytes]) -> str:
    """What a file is that is no archive, as far as its first bytes tell."""
    file.seek(0)
    head = file.read(_HEAD)
    foreign = next((name for magic, name in _FOREIGN.items() if head.startswith(magic)), None)
    if foreign:
        return f"which {foreign} has packed: unpack it, or pack it as a zip"
    if any(head.startswith(magic) for magic in _COMPRESSED):
        return "which is compressed but holds no tar, or is cut off or damaged"
    if head.startswith(b"PK\x03\x04"):
        return "which begins as a zip but is cut off: get it again"
    return "which is neither, or is cut off" if head else "an empty file"
