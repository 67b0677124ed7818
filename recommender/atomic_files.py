"""Write a built model and its description: whole or not at all."""

import contextlib
import importlib.util
import json
import stat
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from recommender.errors import RecommendError

_SUFFIXES = (".keras", ".json", ".labels.txt", ".md", ".features.npz")  # of a model and the files that go with it
_PLOTS = (".png", ".svg", ".pdf")


def check_target(path: Path) -> None:
    """Make sure, before anything is measured, that a model can be written there."""
    _check_files("--build", path, path.suffix, _SUFFIXES)


def check_report(path: Path) -> None:
    """Make sure, before anything is measured, that a report can be written there."""
    _check_files("--report", path, path.suffix.lower(), (".html",))


def _check_files(option: str, path: Path, given: str, suffixes: Sequence[str]) -> None:
    """Check that a path has the first of the suffixes, and that files with each of them can be written there."""
    expected = f"Expected `{option}` to name a {suffixes[0]} file in a writable folder. Received: {str(path)!r}"
    if given != suffixes[0]:
        raise RecommendError(f"{expected}. Give it the suffix {suffixes[0]}.")
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
        for target in (path, *(path.with_suffix(suffix) for suffix in suffixes[1:])):
            with contextlib.suppress(FileNotFoundError):  # unlike `Path.is_dir`, `stat` reports other errors
                if stat.S_ISDIR(target.stat().st_mode):
                    name = "" if target == path else f" and {str(target)!r},"
                    raise RecommendError(f"{expected},{name} a folder. Name a file.")
    except (FileNotFoundError, NotADirectoryError) as error:
        raise RecommendError(f"{expected}, whose folder does not exist. Make it first.") from error
    except OSError as error:
        raise RecommendError(f"{expected}: {error.strerror}. Choose another place.") from error


def check_folder(path: Path) -> None:
    """Make sure, before anything is measured, that a folder is there and can be written into; it is made."""
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
    """Make sure, before anything is measured, that a plot can be written there."""
    if path.suffix.lower() not in _PLOTS or not path.parent.is_dir():
        raise RecommendError(
            f"Expected `--plot` to name a file that ends in {', '.join(_PLOTS)}, in a folder that exists. Received: "
            f"{str(path)!r}. Name another."
        )
    if importlib.util.find_spec("matplotlib") is None:
        raise RecommendError(
            "Expected matplotlib. Received: it is not installed. Install with: pip install 'netgraft[plot]'."
        )


def write_model(
    model: Any, description: dict[str, Any], path: Path, further: Mapping[str, Callable[[Path], object]] | None = None
) -> tuple[Path, ...]:
    """Write MODEL.keras, MODEL.json and the files of further suffixes, all or none; returns them, the model first."""
    text = json.dumps(description, indent=2, allow_nan=False) + "\n"
    writers = {
        ".keras": model.save,
        ".json": lambda target: target.write_text(text, encoding="utf-8"),
        **(further or {}),
    }
    return write_together({path.with_suffix(suffix): write for suffix, write in writers.items()})


def write_together(writers: dict[Path, Callable[[Path], object]]) -> tuple[Path, ...]:
    """Write files of one folder into a temporary one, and move them when all are whole, the first one last."""
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
