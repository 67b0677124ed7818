"""Export a built model to the formats of servers, phones and browsers, each one run and compared before it counts.

TensorFlow is imported only when a model is exported or run.
"""

import contextlib
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from builders.errors import BuildError
from builders.export.formats import FORMATS, ExportFormat, check_format, find_format, target_of
from builders.export.native_logs import native_logs_discarded

__all__ = ["FORMATS", "ExportFormat", "Exported", "check_format", "export_model", "run_exported", "target_of"]

_LARGEST_DIFFERENCE = 1e-3  # of a probability, where nothing is quantised; float32 in another order gave 1e-5 at most
# A quantised network that is sound keeps nearly all top classes: EfficientNet-Lite0 97 to 99 % with 8-bit weights and
# 88 to 98 % all in integers, on 200 unseen pictures of each of five data sets, and loses 1.5 points at worst
# (benchmarks/results/quantised.jsonl). One that breaks, as EfficientNet-B0 and B1 do by swish and
# squeeze-and-excitation, keeps two thirds to none (litert-community/efficientnet_b0 and _b1).
_SMALLEST_AGREEMENT = 0.75
_NEAR = 0.1  # two classes whose probabilities differ by less are one answer as good as the other. Ours
_BATCH = 32  # pictures that a SavedModel is given at a time


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """An exported model that was run and agrees with the Keras model.

    Attributes:
        format: a key of `FORMATS`.
        path: of the file, or of the SavedModel's folder.
        largest_difference: between its probabilities and the Keras model's.
        same_class: the share of the pictures that both put in the same class, in [0, 1].
        n_pictures: how many pictures the two were compared on.
        size_bytes: of the file, or of all files in the folder.
        input_shape: what it takes, None where it may be anything: (batch, height, width, channels), float32.
        takes: the same in words, for a reader.
    """

    format: str
    path: Path
    largest_difference: float
    same_class: float
    n_pictures: int
    size_bytes: int
    input_shape: tuple[int | None, int | None, int | None, int]
    takes: str


def export_model(model: Any, stem: Path, format: str, pictures: npt.NDArray[np.float32]) -> Exported:
    """Export a model, run the result on real pictures and keep it only if it agrees.

    "saved_model" holds the model whole. The others can't resize as it does: they hold the network behind the resizing,
    and pictures must come resized, as `Exported.takes` says. Pixels go in as 0 to 255 everywhere.

    Args:
        model: as `build_model` returns it; it is unchanged.
        stem: of the target's path; the format's suffix is added to its name. An older export there is replaced, once
            the new one is sound.
        format: a key of `FORMATS`.
        pictures: of shape (n, height, width, channels), 0 to 255: those to compare on, and to calibrate "litert_int8"
            with (100 or more are customary).

    Returns:
        What was written, and how it compares.

    Raises:
        BuildError: the format is unknown, a package is missing, the format can't express the model, the result does
            not agree with the model, or the disk refused. Nothing is left behind then.
    """
    check_format(format)
    known, path = find_format(format), target_of(stem, format)
    pictures = _checked(model, pictures)
    try:
        _check_replaceable(path, folder=format == "saved_model")
        with tempfile.TemporaryDirectory(prefix=f".{path.name[:50]}.", dir=path.parent) as folder:
            made = Path(folder, path.name)
            with _told_in_one_line(known), native_logs_discarded():
                shape = _write(model, made, format, pictures)
                probabilities = _run(made, format, pictures)
            expected = model.predict(pictures, batch_size=_BATCH, verbose=0)
            difference, agreement = _compared(expected, probabilities, known)
            size = sum(part.stat().st_size for part in (made, *made.rglob("*")) if part.is_file())
            _move(made, path, Path(folder, "old"))
    except OSError as error:
        raise BuildError(
            f"Expected to write {str(path)!r}. Received: {error.strerror or error}. Nothing was written."
        ) from error
    return Exported(
        format=format,
        path=path,
        largest_difference=difference,
        same_class=agreement,
        n_pictures=len(pictures),
        size_bytes=size,
        input_shape=shape,
        takes=_in_words(shape),
    )


def run_exported(path: Path, format: str, pictures: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Run an exported model.

    Args:
        path: of the file, or of the SavedModel's folder, written by `export_model`.
        format: a key of `FORMATS`.
        pictures: of shape (n, height, width, channels), 0 to 255, of any size: they are resized as the Keras model
            does it where the file can't.

    Returns:
        Probabilities of shape (n, classes).

    Raises:
        BuildError: the format is unknown, a package is missing, or the file can't be run.
    """
    check_format(format)
    known = find_format(format)
    if not path.exists():
        raise BuildError(f"Expected {str(path)!r} to hold a model. Received: nothing there. Export it first.")
    with _told_in_one_line(known), native_logs_discarded():
        return _run(path, format, np.ascontiguousarray(pictures, np.float32))


@contextlib.contextmanager
def _told_in_one_line(known: ExportFormat) -> Iterator[None]:
    try:
        yield
    except (BuildError, OSError):
        raise
    except Exception as error:  # converters and interpreters raise nearly anything on what they can't express
        lines = [line.strip() for line in str(error).splitlines() if line.strip()]
        told = f"{type(error).__name__}: {lines[0][:200]}" if lines else type(error).__name__
        others = ", ".join(name for name in FORMATS if name != known.name)
        raise BuildError(
            f"Expected a model that {known.title} can hold and run. Received: {told}. Choose another format: {others}."
        ) from error


def _checked(model: Any, pictures: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    channels = model.input_shape[-1]
    if pictures.ndim != 4 or not pictures.size or pictures.shape[-1] != channels:
        raise BuildError(
            f"Expected pictures of shape (n, height, width, {channels}) to try an export on. "
            f"Received: {pictures.shape}."
        )
    return np.ascontiguousarray(pictures, np.float32)


def _write(
    model: Any, made: Path, format: str, pictures: npt.NDArray[np.float32]
) -> tuple[int | None, int | None, int | None, int]:
    """Write the file; returns the shape of what it takes."""
    if format == "saved_model":
        model.export(str(made), format="tf_saved_model", verbose=False)
        return (None, *model.input_shape[1:])
    from builders.export.fixed_size import behind_resizing, resized

    network = behind_resizing(model)
    height, width, channels = network.input_shape[1:]
    if format == "onnx":
        from builders.export.onnx_file import write_onnx

        write_onnx(network, made)
        return (None, height, width, channels)
    from builders.export.litert import write_litert

    write_litert(network, made, format, resized(pictures, height, width))
    return (1, height, width, channels)


def _run(path: Path, format: str, pictures: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    if format == "onnx":
        from builders.export.onnx_file import run_onnx

        return run_onnx(path, pictures)
    if format != "saved_model":
        from builders.export.litert import run_litert

        return run_litert(path, pictures)
    import tensorflow as tf

    loaded = tf.saved_model.load(str(path))  # its variables live as long as it does
    parts = [loaded.serve(tf.constant(pictures[start : start + _BATCH])) for start in range(0, len(pictures), _BATCH)]
    return np.concatenate([part.numpy() for part in parts])


def _compared(
    expected: npt.NDArray[np.float32], found: npt.NDArray[np.float32], known: ExportFormat
) -> tuple[float, float]:
    """The largest difference and the share of pictures in the same class; raises where they are not good enough."""
    if found.shape != expected.shape or not np.isfinite(found).all():
        raise BuildError(
            f"Expected finite probabilities of shape {expected.shape} of the exported {known.title} file. Received: "
            f"shape {found.shape}, {np.isfinite(found).mean():.0%} finite. Nothing was written; choose another format."
        )
    difference = float(np.abs(found - expected).max())
    agreement = float((found.argmax(axis=1) == expected.argmax(axis=1)).mean())
    likely = expected[np.arange(len(found)), found.argmax(axis=1)]  # how likely the model holds the file's answers
    sound = float((expected.max(axis=1) - likely < _NEAR).mean())
    if known.quantised and sound < _SMALLEST_AGREEMENT:
        raise BuildError(
            f"Expected the {known.title} file to put at least {_SMALLEST_AGREEMENT:.0%} of {len(found):,} pictures in "
            f"the class that the Keras model does, or one as likely. Received: {sound:.0%}. Nothing was written; "
            "choose the format litert, or an EfficientNet-Lite backbone, which is made for 8 bits."
        )
    if not known.quantised and difference > _LARGEST_DIFFERENCE:
        raise BuildError(
            f"Expected the {known.title} file to agree with the Keras model to {_LARGEST_DIFFERENCE:g}. Received: a "
            f"probability that differs by {difference:.2g}. Nothing was written; choose another format."
        )
    return difference, agreement


def _check_replaceable(path: Path, *, folder: bool) -> None:
    """Raises `BuildError` where something lies that is no older export: that is not ours to replace."""
    if path.is_dir() != folder and path.exists():
        wanted, there = ("folder", "file") if folder else ("file", "folder")
        raise BuildError(
            f"Expected {str(path)!r} to be a {wanted} or free. Received: a {there}. Choose another name, or remove it."
        )
    if folder and path.exists() and any(path.iterdir()) and not (path / "saved_model.pb").is_file():
        raise BuildError(
            f"Expected {str(path)!r} to be free or a SavedModel. Received: a folder with other things in it. "
            "Choose another name, or remove it."
        )


def _move(made: Path, path: Path, old: Path) -> None:
    """Move what was made into place; what was there goes to `old`, and back if that fails."""
    if not path.is_dir():
        made.replace(path)
        return
    path.replace(old)
    try:
        made.replace(path)
    except OSError:
        old.replace(path)
        raise


def _in_words(shape: tuple[int | None, int | None, int | None, int]) -> str:
    batch, height, width, channels = shape
    count = "one picture at a time" if batch == 1 else "a batch of pictures"
    size = "of any size" if height is None else f"resized to {width} × {height} px (bilinear, antialiased)"
    return f"{count} {size}, {channels} channel{'s' * (channels > 1)}, float32 pixels from 0 to 255"
