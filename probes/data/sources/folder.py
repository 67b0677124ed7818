"""A folder on a disk or at a URL, with one sub-folder a class, or with such folders in train, val and test."""

import contextlib
import errno
import os
import posixpath
import re
import stat
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

from probes.data.image_index import TRAIN, Entry, ImageIndex, LeftOutCounter, index_entries, split_name
from probes.data.sources.remote import file_system, is_remote, read_remote, readable, walk_remote
from probes.data.sources.source import Options
from probes.errors import ProbeError
from probes.images.suffixes import IMAGE_SUFFIXES, is_image, suffix

_SHARD = re.compile(r"\.(tfrecords?|tfrec)(\.gz|\.gzip)?(-\d+-of-\d+)?$|-\d{5,}-of-\d{5,}$", re.IGNORECASE)
_EXPECTED = "Expected a folder with one sub-folder a class."


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
    """Open a file for reading; an `OSError` for a pipe or a device, which might never end."""
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    try:
        file = os.fdopen(os.open(path, flags), "rb")
    except ValueError as error:  # NUL and lone surrogates
        raise OSError(errno.EINVAL, "Not a possible name of a file") from error
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise OSError(errno.EINVAL, "Not a regular file")
    return file


def open_named(path: str, expected: str) -> BinaryIO:
    """As `open_regular`, for a file that the user named; `expected` begins the message."""
    try:
        return open_regular(path)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise ProbeError(f"{expected} Received: {path!r}: {reason}. Check its name and permissions.") from error


@contextlib.contextmanager
def open_versioned(source: str, expected: str) -> Iterator[tuple[BinaryIO, str, str]]:
    """A file on a disk or at a URL, which can be sought in; its full name; and what changes when the file does."""
    if is_remote(source):
        with readable(source):
            system, path = file_system(source)
            version, file = str(system.ukey(path)), system.open(path, "rb")
        with file:
            yield file, source, version
    else:
        with open_named(source, expected) as file:
            facts = os.fstat(file.fileno())
            yield file, os.path.abspath(source), f"{facts.st_size} {facts.st_mtime_ns}"


def is_shard(name: str) -> bool:
    """Whether a file's name is one that TFRecord files have, as train.tfrecord or train-00000-of-00010."""
    return _SHARD.search(name) is not None


def files_below(
    folder: str | os.PathLike[str], folders: list[str] | None = None, left_out: LeftOutCounter | None = None
) -> Iterator[str]:
    """Names of all files below a folder or a URL, links followed, hidden names excluded; it lists as it is read.

    The names of folders of the first two levels are added to `folders`.
    """
    root, folders = os.fspath(folder), [] if folders is None else folders
    if not is_remote(root):
        yield from _walk(root, "", frozenset(), folders, left_out or LeftOutCounter())
        return
    for below, inside, files in walk_remote(root):
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
        entries = sorted((entry for entry in found if not entry.name.startswith(".")), key=lambda entry: entry.name)
    if prefix.count("/") in (1, 2):
        folders.append(prefix[:-1])
    for entry in entries:
        target = Path(entry.path) if entry.is_symlink() else entry  # a Path takes a circle of links for a missing file
        if target.is_dir():
            yield from _walk(entry.path, f"{prefix}{entry.name}/", above | {here}, folders, left_out)
        elif target.is_file():
            yield f"{prefix}{entry.name}"
        elif isinstance(target, Path) and is_image(entry.name) and not target.exists():
            left_out.add("links that lead nowhere", f"{prefix}{entry.name}")


def index_folder(
    path: str | os.PathLike[str],
    *,
    source: str | None = None,
    kind: str = "folder",
    left_out: LeftOutCounter | None = None,
) -> ImageIndex:
    """List the images of a folder or a URL of one.

    The first folder of a path is the class; where the first folders are splits (train, val, test …), the second is.
    Below it images may lie at any depth. `source` is what the user named, if that is something else, and `left_out`
    what has been left out before.
    """
    root, left_out = os.fspath(path), left_out or LeftOutCounter()
    source = source or root
    folders: list[str] = []
    try:
        names = sorted(files_below(root, folders, left_out))
    except OSError as error:
        what = "a file" if isinstance(error, NotADirectoryError) else (error.strerror or str(error)).lower()
        raise ProbeError(
            f"{_EXPECTED} Received: {str(error.filename or root)!r}: {what}. Check its name and permissions."
        ) from error
    images = [name for name in names if is_image(name)]
    others = (name for name in names if not is_image(name) and ("/" in name or is_shard(name)))
    ignored = Counter(suffix(name).encode("unicode_escape").decode() or "no suffix" for name in others)
    inside = sorted({name.split("/", 1)[0] for name in images if "/" in name})
    if not inside:
        n_folders = sum("/" not in name for name in folders)
        raise _no_classes(len(images), n_folders, ignored, left_out, source)
    splits = _splits(inside, images)
    if kind == "folder" and len(inside) == 1 and not splits and (deeper := _class_folders(images)):
        raise ProbeError(
            f"{_EXPECTED} Received: {source!r} with the single class {inside[0]!r}. Point at the folder inside: "
            f"`recommend {os.path.join(source, deeper)!r}`."
        )
    index = index_entries(
        _entries(images, splits, left_out), store_of(root), source=source, kind=kind, left_out=left_out, ignored=ignored
    )
    return replace(index, empty=_empty(images, folders, splits))


def _no_classes(
    n_images: int, n_folders: int, ignored: Counter[str], left_out: LeftOutCounter, source: str
) -> ProbeError:
    kinds = ", ".join(f"{count} {kind}" for kind, count in sorted(ignored.items())) or "no files"
    received = f" with {n_folders} sub-folders and no image in them ({kinds})" if n_folders else ", an empty folder"
    received = f" with {n_images} images and no class folders" if n_images else received
    return ProbeError(
        f"{_EXPECTED} Received: {source!r}{received}{left_out}. Move each class's images into a sub-folder named after "
        f"it. Images are {' '.join(sorted(IMAGE_SUFFIXES))}."
    )


def _splits(inside: Sequence[str], images: Sequence[str]) -> frozenset[str]:
    """The first folders that are splits; none where they are classes, some of which may be called like a split.

    Some split must hold class folders. Besides, all first folders that hold images (`inside`) are called like splits,
    or several are and the training split is among those with class folders: then the others belong to no split.
    """
    called = {name: split for name in inside if (split := split_name(name))}
    deep = {called[top] for name in images if name.count("/") > 1 and (top := name.split("/", 1)[0]) in called}
    several = TRAIN in deep and len(set(called.values())) > 1
    return frozenset(called) if deep and (several or len(called) == len(inside)) else frozenset()


def _class_folders(images: Sequence[str]) -> str:
    """The folder below which there are several with images, where all the images lie; empty if there is none."""
    folders = {name.rpartition("/")[0] for name in images if "/" in name}
    common = posixpath.commonpath(folders)
    below = {folder.removeprefix(common).strip("/").partition("/")[0] for folder in folders}
    return common if len(below - {""}) > 1 else ""


def _entries(images: Sequence[str], splits: Collection[str], left_out: LeftOutCounter) -> Iterator[Entry]:
    level = 1 if splits else 0
    for name in images:
        parts = name.split("/", 1 + level)
        if splits and len(parts) > 1 and parts[0] not in splits:
            left_out.add("images outside the splits", name)
        elif len(parts) <= 1 + level:
            left_out.add("images outside the class folders", name)
        else:
            yield Entry(name, parts[level], (split_name(parts[0]) if splits else None) or TRAIN)


def _empty(images: Sequence[str], folders: Collection[str], splits: Collection[str]) -> tuple[str, ...]:
    """Folders at the level of the classes that hold no image."""
    level = 1 if splits else 0

    def classes(paths: Iterable[Sequence[str]]) -> set[str]:
        return {parts[level] for parts in paths if len(parts) > level and (not splits or parts[0] in splits)}

    full = classes(name.split("/")[:-1] for name in images)
    return tuple(sorted(classes(name.split("/") for name in folders) - full))


def index_pictures(path: str | os.PathLike[str]) -> ImageIndex:
    """List all pictures below a folder, as one nameless class."""
    root = os.fspath(path)
    try:
        names = tuple(name for name in files_below(root) if is_image(name))
        received = "which holds none"
    except OSError as error:
        names, received = (), (error.strerror or str(error)).lower()
    if not names:
        raise ProbeError(f"Expected a folder with pictures. Received: {root!r}, {received}. Check its name.")
    return ImageIndex(source=root, kind="folder", class_names=("",), files=(names,), store=store_of(root))
