"""Write a built model and its description: whole or not at all."""

import contextlib
import json
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recommender.errors import RecommendError


def check_target(path: Path) -> None:
    """Make sure, before anything is measured, that a model can be written there.

    Raises:
        RecommendError: it can't; the message says why.
    """
    expected = "Expected `--build` to name a .keras file in a writable folder."
    if path.suffix != ".keras":
        raise RecommendError(f"{expected} Received: {str(path)!r}. Give it the suffix .keras.")
    try:
        for target in (path, path.with_suffix(".json")):
            if _is_folder(target):
                raise RecommendError(f"{expected} Received: {str(target)!r}, a folder. Name a file.")
        if not _is_folder(path.parent):
            raise RecommendError(f"{expected} Received: {str(path)!r}, whose folder does not exist. Make it first.")
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise RecommendError(f"{expected} Received: {str(path)!r}: {error.strerror}. Choose another place.") from error


def _is_folder(path: Path) -> bool:
    """Unlike `Path.is_dir` it raises, in every version of Python, when it can't tell."""
    try:
        return stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return False


def write_model(model: Any, description: dict[str, Any], path: Path) -> None:
    """Write MODEL.keras and MODEL.json under temporary names and move both into place.

    Args:
        model: a `keras.Model`.
        description: plain data for the .json file.
        path: of the .keras file; the .json file lies beside it.

    Raises:
        RecommendError: the disk refused.
    """
    beside = path.with_suffix(".json")
    try:
        with _temporary(path) as model_file, _temporary(beside) as json_file:
            model.save(model_file)
            json_file.write_text(json.dumps(description, indent=2, allow_nan=False) + "\n", encoding="utf-8")
            json_file.replace(beside)
            model_file.replace(path)
    except OSError as error:
        raise RecommendError(
            f"Expected to write {str(path)!r}. Received: {error.strerror or error}. Nothing was written."
        ) from error


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
