"""Write a built model and its description: whole or not at all."""

import contextlib
import importlib.util
import json
import os
import stat
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from recommender.errors import RecommendError

BESIDE = (".keras", ".json", ".labels.txt", ".md", ".features.npz")  # what lies beside a model, itself among it
_PICTURES = (".png", ".svg", ".pdf")


def check_target(path: Path) -> None:
    """Make sure, before anything is measured, that a model can be written there.

    Raises:
        RecommendError: it can't; the message says why.
    """
    expected = "Expected `--build` to name a .keras file in a writable folder."
    if path.suffix != ".keras":
        raise RecommendError(f"{expected} Received: {str(path)!r}. Give it the suffix .keras.")
    try:
        for target in (path.with_suffix(suffix) for suffix in BESIDE):
            if _is_folder(target):
                raise RecommendError(f"{expected} Received: {str(target)!r}, a folder. Name a file.")
        if not _is_folder(path.parent):
            raise RecommendError(f"{expected} Received: {str(path)!r}, whose folder does not exist. Make it first.")
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise RecommendError(f"{expected} Received: {str(path)!r}: {error.strerror}. Choose another place.") from error


def check_folder(path: Path) -> None:
    """Make sure, before anything is measured, that a folder is there and can be written into; it is made.

    Raises:
        RecommendError: it can't; the message says why.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=path):
            pass
    except OSError as error:
        raise RecommendError(
            f"Expected `--logs` to name a writable folder. Received: {str(path)!r}: {error.strerror}. Choose another "
            "place."
        ) from error


def _is_folder(path: Path) -> bool:
    """Unlike `Path.is_dir` it raises, in every version of Python, when it can't tell."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def write_model(
    model: Any, description: dict[str, Any], path: Path, beside: Mapping[str, Callable[[Path], object]] | None = None
) -> tuple[Path, ...]:
    """Write MODEL.keras, MODEL.json and what else lies beside them under temporary names, and move all into place.

    Args:
        model: a `keras.Model`.
        description: plain data for the .json file.
        path: of the .keras file; the other files lie beside it.
        beside: suffix in place of ".keras" -> function that writes such a file to a path.

    Returns:
        What was written, the model first.

    Raises:
        RecommendError: the disk refused.
    """

    def describe(target: Path) -> None:
        target.write_text(json.dumps(description, indent=2, allow_nan=False) + "\n", encoding="utf-8")

    writers = {".keras": model.save, ".json": describe, **(beside or {})}
    return write_together({path.with_suffix(suffix): write for suffix, write in writers.items()})


def write_together(writers: Mapping[Path, Callable[[Path], object]]) -> tuple[Path, ...]:
    """Write several files under temporary names, and move them into place when all are whole, the first one last.

    Raises:
        RecommendError: the disk refused.
    """
    first = next(iter(writers))
    try:
        with contextlib.ExitStack() as stack:
            made = {path: stack.enter_context(_temporary(path)) for path in writers}
            for path, write in writers.items():
                write(made[path])
            for path in reversed(made):
                made[path].replace(path)
    except OSError as error:
        raise RecommendError(
            f"Expected to write {str(first)!r}. Received: {error.strerror or error}. Nothing was written."
        ) from error
    return tuple(writers)


def check_plot(path: Path) -> None:
    """Make sure, before anything is measured, that a picture can be drawn there.

    Raises:
        RecommendError: it can't; the message says why.
    """
    if path.suffix.lower() not in _PICTURES:
        raise RecommendError(
            f"Expected `--plot` to name a file that ends in {', '.join(_PICTURES)}. Received: {str(path)!r}."
        )
    if importlib.util.find_spec("matplotlib") is None:
        raise RecommendError(
            "Expected a package that draws. Received: no matplotlib. Install with: pip install 'netgraft[plot]'."
        )
    if not _is_folder(path.parent):
        raise RecommendError(
            f"Expected `--plot` to name a file in a folder that exists. Received: {str(path)!r}. Make it first."
        )


@contextlib.contextmanager
def _temporary(path: Path) -> Iterator[Path]:
    """A new name beside `path`, with its suffix; what is left under it at the end is removed."""
    handle, name = tempfile.mkstemp(prefix=f".{path.stem[:50]}.", suffix=path.suffix, dir=path.parent)
    os.close(handle)
    Path(name).chmod(0o666 & ~_umask())
    try:
        yield Path(name)
    finally:
        Path(name).unlink(missing_ok=True)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask
