"""A folder on a disk or at a URL, with one sub-folder a class."""

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from probes.data.image_index import ImageIndex, LeftOutCounter
from probes.data.sources.remote import is_remote, read_remote, walk_remote
from probes.data.sources.source import Options
from probes.data.sources.tree import index_tree
from probes.errors import ProbeError
from probes.images.suffixes import is_image


def recognises(data: Any) -> bool:
    return isinstance(data, str) and (is_remote(data) or os.path.isdir(data))


def index(data: str, _options: Options) -> ImageIndex:
    return index_folder(data)


@dataclass(frozen=True, slots=True)
class FolderStore:
    """Opens files by their paths or URLs; relative ones are below `root`, a folder or the URL of one."""

    root: Path | str

    def open(self, name: str) -> BinaryIO:
        if is_remote(name):
            return read_remote(name)
        return open_regular(self.root / name) if isinstance(self.root, Path) else read_remote(f"{self.root}/{name}")


def store_of(folder: str) -> FolderStore:
    """The store of a folder or a URL of one."""
    return FolderStore(folder.rstrip("/") if is_remote(folder) else Path(folder))


def open_regular(path: str | os.PathLike[str]) -> BinaryIO:
    """Open a file for reading; a pipe or a device, which might never end, is refused.

    Raises:
        OSError: it can't be opened.
    """
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        file = os.fdopen(os.open(path, flags), "rb")
    except ValueError as error:  # NUL and lone surrogates
        raise OSError(errno.EINVAL, "Not a possible name of a file") from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "Not a regular file")
    return file


def _kind(entry: os.DirEntry[str]) -> str:
    """What an entry or the target of a link is: "folder", "file", or "" for a broken link and the like."""
    try:
        return "folder" if entry.is_dir() else "file" if entry.is_file() else ""
    except OSError as error:
        if error.errno == errno.ELOOP:
            return ""
        raise


def files_below(folder: str | os.PathLike[str]) -> Iterator[str]:
    """Names of all files below a folder or a URL, links followed, hidden names excluded; it lists as it is read.

    Raises:
        OSError: a folder can't be listed.
        ProbeError: a URL can't be listed.
    """
    return _files(os.fspath(folder), [], LeftOutCounter())


def _files(folder: str, folders: list[str], left_out: LeftOutCounter) -> Iterator[str]:
    """As `files_below`; the names of folders of the first two levels are added to `folders`."""
    if not is_remote(folder):
        yield from _walk(folder, "", frozenset(), folders, left_out)
        return
    for below, inside, files in walk_remote(folder):
        prefix = f"{below}/" if below else ""
        if prefix.count("/") < 2:
            folders += [f"{prefix}{name}" for name in inside]
        yield from (f"{prefix}{name}" for name in files)


def _walk(
    folder: str, prefix: str, above: frozenset[tuple[int, int]], folders: list[str], left_out: LeftOutCounter
) -> Iterator[str]:
    """The files below a folder on a disk, except links back to one of the folders `above` it."""
    facts = os.stat(folder)
    here = facts.st_dev, facts.st_ino
    if here in above:
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
            yield from _walk(entry.path, f"{prefix}{entry.name}/", above | {here}, folders, left_out)
        elif kind == "file":
            yield f"{prefix}{entry.name}"
        elif entry.is_symlink() and is_image(entry.name) and not Path(entry.path).exists():
            left_out.add("links that lead nowhere", f"{prefix}{entry.name}")


def index_folder(
    path: str | os.PathLike[str],
    *,
    source: str | None = None,
    kind: str = "folder",
    left_out: LeftOutCounter | None = None,
) -> ImageIndex:
    """List the images of a folder that holds one sub-folder a class, or the splits train, val and test of such.

    Args:
        path: the folder or its URL. Below a class's sub-folder images may lie at any depth.
        source: what the user named, if that is something else.
        kind: of source.
        left_out: what has been left out before.

    Returns:
        The index, in an order that depends on names alone.

    Raises:
        ProbeError: there is no such folder, it can't be listed, or it does not hold at least two classes of images.
    """
    root, left_out = os.fspath(path), left_out or LeftOutCounter()
    folders: list[str] = []
    try:
        names = sorted(_files(root, folders, left_out)) if is_remote(root) else list(_files(root, folders, left_out))
    except OSError as error:
        what = "a file" if isinstance(error, NotADirectoryError) else (error.strerror or str(error)).lower()
        raise ProbeError(
            f"Expected a folder with one sub-folder a class. Received: {str(error.filename or root)!r}: {what}. Check "
            "its name and permissions."
        ) from error
    return index_tree(names, folders, store_of(root), source=source or root, kind=kind, left_out=left_out)


def index_pictures(path: str | os.PathLike[str]) -> ImageIndex:
    """List all pictures below a folder, as one nameless class.

    Raises:
        ProbeError: there is no such folder, it can't be listed, or it holds no picture.
    """
    root = os.fspath(path)
    try:
        names = tuple(name for name in files_below(root) if is_image(name))
    except OSError as error:
        raise ProbeError(
            f"Expected a folder with pictures. Received: {root!r}: {(error.strerror or str(error)).lower()}."
        ) from error
    if not names:
        raise ProbeError(f"Expected a folder with pictures. Received: {root!r}, which holds none.")
    return ImageIndex(source=root, kind="folder", class_names=("",), files=(names,), store=store_of(root))
