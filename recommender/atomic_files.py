"""Write a built model and its description: whole or not at all."""

import contextlib
import importlib.util
import json
import stat
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from recommender.errors import RecommendError

_SUFFIXES = (".keras", ".json", ".labels.txt", ".md", ".features.npz")  # of a model and the files that go with it
_PLOTS = (".png", ".svg", ".pdf")


def check_target(path: Path) -> None:
    """Make sure, before anything is measured, that a model can be written there.

    Raises:
        RecommendError: it can't; the message says why.
    """
    expected = "Expected `--build` to name a .keras file in a writable folder."
    if path.suffix != ".keras":
        raise RecommendError(f"{expected} Received: {str(path)!r}. Give it the suffix .keras.")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
        for target in (path.with_suffix(suffix) for suffix in _SUFFIXES):
            with contextlib.suppress(FileNotFoundError):  # unlike `Path.is_dir`, `stat` reports other errors
                if stat.S_ISDIR(target.stat().st_mode):
                    raise RecommendError(f"{expected} Received: {str(target)!r}, a folder. Name a file.")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RecommendError(
            f"{expected} Received: {str(path)!r}, whose folder does not exist. Make it first."
        ) from error
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


def check_plot(path: Path) -> None:
    """Make sure, before anything is measured, that a plot can be written there.

    Raises:
        RecommendError: it can't; the message says why.
    """
    if path.suffix.lower() not in _PLOTS:
        raise RecommendError(
            f"Expected `--plot` to name a file that ends in {', '.join(_PLOTS)}. Received: {str(path)!r}."
        )
    if importlib.util.find_spec("matplotlib") is None:
        raise RecommendError(
            "Expected matplotlib. Received: it is not installed. Install with: pip install 'netgraft[plot]'."
        )
    if not path.parent.is_dir():
        raise RecommendError(
            f"Expected `--plot` to name a file in a folder that exists. Received: {str(path)!r}. Make it first."
        )


def write_model(
    model: Any, description: dict[str, Any], path: Path, further: Mapping[str, Callable[[Path], object]] | None = None
) -> tuple[Path, ...]:
    """Write MODEL.keras, MODEL.json and the files that go with them, all or none.

    Args:
        model: a `keras.Model`.
        description: plain data for the .json file.
        path: of the .keras file; the other files get its name with another suffix.
        further: suffix in place of ".keras" -> function that writes such a file to a path.

    Returns:
        What was written, the model first.

    Raises:
        RecommendError: the disk refused.
    """

    def describe(target: Path) -> None:
        target.write_text(json.dumps(description, indent=2, allow_nan=False) + "\n", encoding="utf-8")

    writers = {".keras": model.save, ".json": describe, **(further or {})}
    return write_together({path.with_suffix(suffix): write for suffix, write in writers.items()})


def write_together(writers: dict[Path, Callable[[Path], object]]) -> tuple[Path, ...]:
    """Write several files of one folder to a temporary folder, and move them into place when all are whole.

    The first one is moved last.

    Raises:
        RecommendError: the disk refused.
    """
    first = next(iter(writers))
    try:
        with tempfile.TemporaryDirectory(prefix=f".{first.name[:50]}.", dir=first.parent) as folder:
            for path, write in writers.items():
                write(Path(folder, path.name))
            for path in reversed(writers):
                Path(folder, path.name).replace(path)
    except OSError as error:
        raise RecommendError(
            f"Expected to write {str(first)!r}. Received: {error.strerror or error}. Nothing was written."
        ) from error
    return tuple(writers)
