"""Files and folders at URLs: everything that fsspec opens."""

import contextlib
import io
from collections.abc import Iterator
from typing import Any, BinaryIO

from probes.data.bounded_files import LARGEST_FILE, TOO_LARGE
from probes.errors import ProbeError
from probes.images.decode import UnreadableImage

_EXTRAS = {"s3": ("s3", "s3a"), "gs": ("gs", "gcs"), "az": ("az", "abfs", "abfss")}


def is_remote(path: str) -> bool:
    """Whether a path is a URL such as gs://bucket/data; a single letter is a drive of Windows."""
    scheme, separator, _ = path.partition("://")
    return bool(separator) and len(scheme) > 1 and scheme[0].isalpha() and scheme.replace("+", "").isalnum()


def file_system(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it.

    Raises:
        ProbeError: there is no such file system, or the package that reads it is not installed.
    """
    import fsspec  # type: ignore[import-untyped]

    try:
        return fsspec.core.url_to_fs(url)  # type: ignore[no-any-return]
    except ImportError as error:
        scheme = url.partition("://")[0]
        extra = next((extra for extra, schemes in _EXTRAS.items() if scheme in schemes), None)
        advice = f"Install it: `pip install 'netgraft[{extra}]'`" if extra else str(error).rstrip(".")
        raise ProbeError(
            f"Expected the package that reads {scheme}:// . Received: {url!r} without it. {advice}."
        ) from error
    except Exception as error:  # each file system raises exceptions of its own
        raise cannot_read(url, error) from error


def cannot_read(url: str, error: Exception) -> ProbeError:
    """The error about a URL that can't be read."""
    reason = (str(error) or type(error).__name__).split("\n")[0]
    return ProbeError(
        f"Expected to read {url!r}. Received: {type(error).__name__}: {reason:.200}. Check the URL and your rights to "
        "it, or download it."
    )


@contextlib.contextmanager
def open_remote(url: str) -> Iterator[tuple[BinaryIO, str]]:
    """A file at a URL, which can be sought in, and what changes when the file does.

    Raises:
        ProbeError: it can't be opened.
    """
    system, path = file_system(url)
    try:
        version = str(system.ukey(path))
        file = system.open(path, "rb")
    except Exception as error:  # each file system raises exceptions of its own
        raise cannot_read(url, error) from error
    with file:
        yield file, version


def read_remote(url: str) -> io.BytesIO:
    """All that a file at a URL holds.

    Raises:
        OSError: it can't be read.
        UnreadableImage: it is larger than 512 MiB.
    """
    try:
        system, path = file_system(url)
        if (system.size(path) or 0) > LARGEST_FILE:
            raise UnreadableImage(TOO_LARGE, "bomb")
        return io.BytesIO(system.cat_file(path))
    except (OSError, ProbeError, UnreadableImage):
        raise
    except Exception as error:  # each file system raises exceptions of its own
        raise OSError(str(error) or type(error).__name__) from error


def walk_remote(url: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """The folders at and below a URL, hidden ones excluded: the path below the URL, the names of folders and of files.

    Raises:
        ProbeError: there is no such folder, or it can't be listed.
    """
    system, root = file_system(url.rstrip("/") if not url.endswith("://") else url)
    try:
        for path, folders, files in system.walk(root, on_error="raise"):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            below = path[len(root) :].strip("/")
            yield below, folders, sorted(name for name in files if name and not name.startswith("."))
    except ProbeError:
        raise
    except Exception as error:  # each file system raises exceptions of its own
        raise cannot_read(url, error) from error
