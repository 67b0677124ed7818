"""Folders and files at URLs: all that TensorFlow's file systems open, such as gs:// and, with tensorflow-io, s3://."""

import contextlib
import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

from probes.data.image_index import ImageIndex
from probes.data.sources.bounded_files import TOO_LARGE, read_whole
from probes.data.sources.layout import holds_shards_alone, index_tree
from probes.errors import ProbeError
from probes.images.decode import UnreadableImage
from probes.images.suffixes import is_image

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")  # two letters at least: one is a drive of Windows
_BUFFER = 1 << 20  # bytes asked for at once


def is_remote(path: str | os.PathLike[str]) -> bool:
    """Whether a path is a URL such as gs://bucket/data."""
    return _SCHEME.match(os.fspath(path)) is not None


@contextlib.contextmanager
def _os_errors() -> Iterator[None]:
    """What TensorFlow raises for a file becomes an OSError with one line."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.NotFoundError as error:
        raise FileNotFoundError(_line(error.message) or "no such file") from error
    except tf.errors.OpError as error:
        raise OSError(_line(error.message) or type(error).__name__) from error


def _line(message: str) -> str:
    return message.strip().split("\n")[0]


class _RemoteFile(io.RawIOBase):
    """A file at a URL, read from any place."""

    def __init__(self, url: str) -> None:
        import tensorflow as tf

        super().__init__()
        with _os_errors():
            self._file = tf.io.gfile.GFile(url, "rb")
            self._size = int(self._file.size())
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence]
        if start + offset < 0:
            raise OSError("a place before the beginning of a file")
        self._at = start + offset
        return self._at

    def readinto(self, buffer: "memoryview", /) -> int:  # type: ignore[override]
        if self._at >= max(self._size, 1):  # a folder is of no size, too, and only reading it tells
            return 0
        with _os_errors():
            if self._file.tell() != self._at:
                self._file.seek(self._at)
            data = self._file.read(len(buffer))
        buffer[: len(data)] = data
        self._at += len(data)
        return len(data)

    def close(self) -> None:
        if not self.closed:
            with _os_errors():
                self._file.close()
        super().close()


def open_remote(url: str) -> io.BufferedReader:
    """A file at a URL, to be read from any place and closed.

    Raises:
        OSError: it can't be opened.
    """
    return io.BufferedReader(_RemoteFile(url), _BUFFER)


def fetch(url: str) -> io.BytesIO:
    """All that a small file at a URL holds, such as a manifest.

    Raises:
        ProbeError: it can't be read, or is larger than 512 MiB.
    """
    try:
        with open_remote(url) as file:
            return read_whole(file, TOO_LARGE)
    except (OSError, UnreadableImage) as error:
        raise cant_open("a file", url, error) from error


def cant_open(what: str, url: str, error: Exception) -> ProbeError:
    """The refusal of a URL."""
    advice = "Check the URL and your rights to it, or download it."
    if "not implemented" in str(error):
        advice = "TensorFlow opens gs:// and, once tensorflow-io is imported, s3://; download from elsewhere first."
    return ProbeError(f"Expected {what} at a URL. Received: {url!r}: {error}. {advice}")


@dataclass(frozen=True, slots=True)
class RemoteStore:
    """Files below a URL, by their names relative to it; URLs as names are themselves.

    Attributes:
        root: the URL, empty where all names are URLs.
    """

    root: str

    def open(self, name: str) -> BinaryIO:
        url = name if is_remote(name) or not self.root else f"{self.root.rstrip('/')}/{name}"
        with open_remote(url) as file:
            return read_whole(file, TOO_LARGE)


def list_remote(url: str) -> tuple[list[str], list[str]]:
    """All files and folders below a URL, hidden ones passed over.

    What is named like an image is taken for a file: to ask for each of a million would take hours on a bucket.

    Returns:
        Names of the files and of the folders, relative to the URL.

    Raises:
        ProbeError: there is no such folder, or it can't be listed.
    """
    import tensorflow as tf

    root = url.rstrip("/") if not url.endswith("://") else url
    files: list[str] = []
    folders: list[str] = []
    ahead = [""]
    try:
        while ahead:
            prefix = ahead.pop()
            with _os_errors():
                listed = sorted(tf.io.gfile.listdir(f"{root}/{prefix}"), reverse=True)
                for entry in listed:
                    name = entry.rstrip("/")
                    if not name or name.startswith("."):
                        continue
                    path = f"{prefix}{name}"
                    is_file = not entry.endswith("/") and (is_image(name) or not tf.io.gfile.isdir(f"{root}/{path}"))
                    (files if is_file else folders).append(path)
                    if not is_file:
                        ahead.append(f"{path}/")
    except OSError as error:
        raise cant_open("a folder", url, error) from error
    return sorted(files), sorted(folders)


def index_remote(url: str) -> ImageIndex:
    """List the images of a folder at a URL; it holds one sub-folder a class, or the splits train, val and test of such.

    A folder of TFRecord files and no images in sub-folders will do, too.

    Args:
        url: of the folder, as "gs://bucket/data".

    Returns:
        The index.

    Raises:
        ProbeError: there is no such folder, it can't be listed, or it does not hold at least two classes of images.
    """
    from probes.data.sources.records import index_records  # which opens files by this module

    files, folders = list_remote(url)
    if holds_shards_alone(files):
        return index_records(url)
    return index_tree(files, folders, RemoteStore(url), source=url, kind="folder")
