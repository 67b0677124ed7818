"""A folder on a disk, with one sub-folder a class."""

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from probes.data.image_index import ImageIndex, LeftOutCounter
from probes.data.sources.layout import index_tree
from probes.errors import ProbeError
from probes.images.suffixes import is_image


@dataclass(frozen=True, slots=True)
class FolderStore:
    """Files below a folder, by their paths relative to it; absolute paths are themselves."""

    root: Path

    def open(self, name: str) -> BinaryIO:
        return open_regular(self.root / name)


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file for reading; a pipe or a device, which might never end, is refused.

    Raises:
        OSError: it can't be opened.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = os.fdopen(os.open(path, flags), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "Not a regular file")
    return file


def _identity(folder: str | os.PathLike[str]) -> tuple[int, int]:
    facts = os.stat(folder)
    return facts.st_dev, facts.st_ino


def _kind(entry: os.DirEntry[str]) -> str:
    """What an entry or the target of a link is: "folder", "file", or "" for a link that leads nowhere and the like."""
    try:
        return "folder" if entry.is_dir() else "file" if entry.is_file() else ""
    except OSError as error:
        if error.errno == errno.ELOOP:
            return ""
        raise


def files_below(folder: str | os.PathLike[str]) -> Iterator[str]:
    """Names of all files below a folder, links followed, hidden names passed over; it lists as it is read.

    Raises:
        OSError: a folder can't be listed.
    """
    return _walk(os.fspath(folder), "", frozenset(), [], LeftOutCounter())


def _walk(
    folder: str, prefix: str, inside: frozenset[tuple[int, int]], folders: list[str], left_out: LeftOutCounter
) -> Iterator[str]:
    """All files below a folder, links followed, hidden names and links back to a folder in `inside` passed over.

    Args:
        folder: where to look.
        prefix: of the names, empty or ending in "/".
        inside: identities of the folders that this one lies in.
        folders: names of the folders of the first two levels are added to it.
        left_out: counts links that lead nowhere and are called like images.
    """
    here = _identity(folder)
    if here in inside:
        return
    with os.scandir(folder) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    if prefix.count("/") in (1, 2):
        folders.append(prefix[:-1])
    for entry in entries:
        if entry.name.startswith("."):
            continue
        kind = _kind(entry)
        if kind == "folder":
            yield from _walk(entry.path, f"{prefix}{entry.name}/", inside | {here}, folders, left_out)
        elif kind == "file":
            yield f"{prefix}{entry.name}"
        elif entry.is_symlink() and is_image(entry.name) and not Path(entry.path).exists():
            left_out.add("links that lead nowhere", f"{prefix}{entry.name}")


def index_folder(path: str | os.PathLike[str]) -> ImageIndex:
    """List the images of a folder that holds one sub-folder a class, or the splits train, val and test of such.

    Args:
        path: the folder. Below a class's sub-folder images may lie at any depth.

    Returns:
        The index, in an order that depends on names alone.

    Raises:
        ProbeError: there is no such folder, it can't be listed, or it does not hold at least two classes of images.
    """
    root = Path(path)
    folders: list[str] = []
    left_out = LeftOutCounter()
    try:
        names = list(_walk(str(root), "", frozenset(), folders, left_out))
    except FileNotFoundError:
        raise ProbeError(
            f"Expected a folder with one sub-folder a class. Received: {str(root)!r}, no such folder."
        ) from None
    except NotADirectoryError:
        raise ProbeError(
            f"Expected a folder with one sub-folder a class. Received: {str(root)!r}, a file. Name the folder that "
            "holds the class folders."
        ) from None
    except OSError as error:
        raise ProbeError(
            f"Expected to list the folder {str(error.filename or root)!r}. Received: {error.strerror}. Check its "
            "permissions."
        ) from error
    return index_tree(names, folders, FolderStore(root), source=str(root), kind="folder", left_out=left_out)


def index_pictures(path: str | os.PathLike[str]) -> ImageIndex:
    """List all pictures below a folder, as one nameless class.

    Raises:
        ProbeError: there is no such folder, it can't be listed, or it holds no picture.
    """
    root = Path(path)
    try:
        names = tuple(name for name in files_below(root) if is_image(name))
    except OSError as error:
        raise ProbeError(
            f"Expected a folder with pictures. Received: {str(root)!r}: {(error.strerror or str(error)).lower()}."
        ) from error
    if not names:
        raise ProbeError(f"Expected a folder with pictures. Received: {str(root)!r}, which holds none.")
    return ImageIndex(source=str(root), kind="folder", class_names=("",), files=(names,), store=FolderStore(root))
