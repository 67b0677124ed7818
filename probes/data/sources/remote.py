"""Files and folders at URLs: everything that fsspec opens."""

import contextlib
import io
from collections.abc import Iterator
from typing import Any

from probes.data.bounded_files import LARGEST_FILE, TOO_LARGE
from probes.errors import ProbeError
from probes.images.decode import UnreadableImage

_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gs", "gcs": "gs", "az": "az", "abfs": "az", "abfss": "az"}


def is_remote(path: str) -> bool:
    """Whether a path is a URL such as gs://bucket/data; a single letter is a drive of Windows."""
    scheme, separator, _ = path.partition("://")
    return bool(separator) and len(scheme) > 1 and scheme[0].isalpha() and scheme.replace("+", "").isalnum()


def file_system(url: str) -> tuple[Any, str]:
    """The file system of a URL, and the path in it."""
    import fsspec  # type: ignore[import-untyped]

    with readable(url):
        try:
            return fsspec.core.url_to_fs(url)  # type: ignore[no-any-return]
        except ImportError as error:
            scheme = url.partition("://")[0]
            extra = _EXTRAS.get(scheme)
            advice = f"Install it: `pip install 'netgraft[{extra}]'`" if extra else str(error).rstrip(".")
            raise ProbeError(
                f"Expected the package that reads {scheme}:// . Received: {url!r} without it. {advice}."
            ) from error


@contextlib.contextmanager
def readable(url: str) -> Iterator[None]:
    """Turn whatever a file system raises, each of which has exceptions of its own, into a `ProbeError`."""
    try:
        yield
    except ProbeError:
        raise
    except Exception as error:
        reason = (str(error) or type(error).__name__).split("\n")[0]
        raise ProbeError(
            f"Expected to read {url!r}. Received: {type(error).__name__}: {reason:.200}. Check the URL and your rights "
            "to it, or download it."
        ) from error


@contextlib.contextmanager
def as_os_error() -> Iterator[None]:
    """Turn whatever reading raises into an `OSError`: it concerns one image, not all."""
    try:
        yield
    except (OSError, ProbeError, UnreadableImage, MemoryError):
        raise
    except Exception as error:
        raise OSError(str(error) or type(error).__name__) from error


def read_remote(url: str) -> io.BytesIO:
    """All that a file at a URL holds; an `OSError` if it can't be read."""
    with as_os_error():
        system, path = file_system(url)
        if (system.size(path) or 0) > LARGEST_FILE:
            raise UnreadableImage(TOO_LARGE, "bomb")
        return io.BytesIO(system.cat_file(path))


def walk_remote(url: str) -> Iterator[tuple[str, list[str], list[str]]]:
    """The folders at and below a URL, without hidden ones: path below the URL, names of folders, names of files."""
    system, root = file_system(url.rstrip("/") if not url.endswith("://") else url)
    with readable(url):
        for path, folders, files in system.walk(root, on_error="raise"):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            below = path[len(root) :].strip("/")
            yield below, folders, sorted(name for name in files if name and not name.startswith("."))
