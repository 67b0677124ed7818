"""Export a built model to the formats of servers and phones. Each export is run and compared before it counts.

TensorFlow is imported only when a model is exported or run.
"""

import contextlib
import inspect
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from builders.errors import BuildError, first_line
from builders.export.formats import FORMATS, ExportFormat, Pixels, check_format, resized, target_of

_LARGEST_DIFFERENCE = 1e-3  # of a probability, where nothing is quantised; float32 in another order gave 1e-5 at most
# A quantised network that is sound keeps nearly all top classes: EfficientNet-Lite0 97 to 99 % with 8-bit weights and
# 88 to 98 % all in integers, on 200 unseen pictures of each of five data sets, and loses 1.5 points at worst
# (benchmarks/results/quantised.jsonl). One that breaks, as EfficientNet-B0 and B1 do by swish and
# squeeze-and-excitation, keeps two thirds to none (litert-community/efficientnet_b0 and _b1).
_SMALLEST_AGREEMENT = 0.75
_NEAR = 0.1  # two classes whose probabilities differ by less are one answer as good as the other. Ours


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """An exported model that was run and agrees with the Keras model."""

    format: str  # a key of `FORMATS`
    path: Path  # of the file or folder
    largest_difference: float  # between its probabilities and the Keras model's
    same_class: float  # the share of the pictures that both put in the same class, in [0, 1]
    size_bytes: int  # of the file, or of all files in the folder
    takes: str  # its input, in words


def export_model(model: Any, stem: Path, format: str, pictures: Pixels) -> Exported:
    """Export a model, run the result on real pictures and keep it only if it agrees.

    "saved_model" holds the model whole. The others hold the network behind the resizing, and pictures must come
    resized, as `Exported.takes` says. Pixels go in as 0 to 255 everywhere. The target's name is that of `stem` with the
    format's suffix; an older export there is replaced once the new one is sound. Otherwise nothing is left behind.
    `pictures`, of shape (n, height, width, channels), are to compare on, and to calibrate "litert_int8" with (100 or
    more are customary).
    """
    known, path = check_format(format), target_of(stem, format)
    channels = model.input_shape[-1]
    if pictures.ndim != 4 or not pictures.size or pictures.shape[-1] != channels:
        wanted = f"(n, height, width, {channels})"
        raise BuildError(f"Expected pictures of shape {wanted} to compare an export on. Received: {pictures.shape}.")
    pictures = np.ascontiguousarray(pictures, np.float32)
    try:
        _check_replaceable(path, known)
        with tempfile.TemporaryDirectory(prefix=f".{path.name[:50]}.", dir=path.parent) as folder:
            made = Path(folder, path.name)
            with _one_line_errors(known):
                takes = _write(model, made, known, pictures)
                probabilities = known.run(made, pictures)
            difference, agreement = _compared(model.predict(pictures, verbose=0), probabilities, known)
            size = sum(part.stat().st_size for part in (made, *made.rglob("*")) if part.is_file())
            _move(made, path, Path(folder, "old"))
    except OSError as error:
        raise BuildError(
            f"Expected to write {str(path)!r}. Received: {error.strerror or error}. Nothing was written."
        ) from error
    return Exported(
        format=format, path=path, largest_difference=difference, same_class=agreement, size_bytes=size, takes=takes
    )


def run_exported(path: Path, format: str, pictures: Pixels) -> Pixels:
    """Probabilities of shape (n, classes) of an exported model, of pictures as for `export_model`, of any size."""
    known = check_format(format)
    if not path.exists():
        raise BuildError(f"Expected {str(path)!r} to hold a model. Received: nothing there. Export it first.")
    try:
        with _one_line_errors(known):
            return known.run(path, np.ascontiguousarray(pictures, np.float32))
    except OSError as error:
        reason = str(error).splitlines()[0][:200]
        raise BuildError(f"Expected to read {str(path)!r}. Received: {reason}. Export the model again.") from error


@contextlib.contextmanager
def _one_line_errors(known: ExportFormat) -> Iterator[None]:
    """Turn nearly anything that converters and interpreters raise into an error of one line, and discard their logs.

    These are what C++ writes to standard error, of the whole process, and warnings of deprecations inside.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with tempfile.TemporaryFile() as discarded, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            os.dup2(discarded.fileno(), 2)
            yield
    except (BuildError, OSError):
        raise
    except Exception as error:
        others = ", ".join(name for name in FORMATS if name != known.name)
        raise BuildError(
            f"Expected a model that {known.title} can hold and run. Received: {type(error).__name__}: "
            f"{first_line(error)}. Choose another format: {others}."
        ) from error
    finally:
        sys.stderr.flush()
        os.dup2(stderr, 2)
        os.close(stderr)


def _write(model: Any, path: Path, known: ExportFormat, pictures: Pixels) -> str:
    """Write the file; returns what it takes, in words."""
    network, size = _at_inference(model), "of any size"
    if not known.any_size:
        network = behind_resizing(network)
        height, width = network.input_shape[1:3]
        pictures, size = resized(pictures, height, width), f"resized to {width} × {height} px (bilinear, antialiased)"
    known.write(network, path, pictures)
    count, channels = "one picture at a time" if known.one_by_one else "a batch of pictures", model.input_shape[-1]
    return f"{count} {size}, {channels} channel{'s' * (channels > 1)}, float32 pixels from 0 to 255"


def _at_inference(model: Any) -> Any:
    """The model without layers, as Keras's image augmentation, that are random unless they are told not to train."""
    import keras

    from builders.graph.layer_graph import Call, LayerGraph

    def is_random(operation: Any) -> bool:
        parts = operation._flatten_layers() if isinstance(operation, keras.Layer) else ()
        draws = any(hasattr(part, "seed_generator") or hasattr(part, "generator") for part in parts)
        asked = inspect.signature(operation.call).parameters.get("training") if draws else None
        return asked is not None and asked.default is True

    if not any(map(is_random, model._flatten_layers(include_self=False))):
        return model
    graph = LayerGraph(model)
    inputs, last = graph.input_layer(), len(graph.nodes) - 1

    def plain(call: Call) -> Any:
        return (lambda x, **_: x) if is_random(call.operation) else call.operation

    return keras.Model(inputs, graph.run(inputs, [last], plain)[0], name=model.name)


def behind_resizing(model: Any) -> Any:
    """The part of a model behind its resizing, in copied layers: for targets that can't resize as the model does."""
    import keras

    from builders.surgery.cut import flat_copy

    if isinstance(model.layers[1], keras.layers.Resizing):
        copy = flat_copy(model)
        return keras.Model(copy.layers[1].output, copy.output, name=copy.name)
    if None in model.input_shape[1:]:
        raise BuildError(
            f"Expected a model with a Resizing layer in front, or of a fixed input size. Received: {model.name!r}, "
            f"which takes {model.input_shape}. Export a SavedModel."
        )
    return model


def _compared(expected: Pixels, found: Pixels, known: ExportFormat) -> tuple[float, float]:
    """The largest difference and the share of pictures in the same class; raises where they are not good enough."""
    if found.shape != expected.shape or not np.isfinite(found).all():
        raise BuildError(
            f"Expected finite probabilities of shape {expected.shape} of the exported {known.title} file. Received: "
            f"shape {found.shape}, {np.isfinite(found).mean():.0%} finite. Nothing was written; choose another format."
        )
    difference = float(np.abs(found - expected).max())
    agreement = float((found.argmax(axis=1) == expected.argmax(axis=1)).mean())
    likely = expected[np.arange(len(found)), found.argmax(axis=1)]  # the model's probabilities of the file's answers
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


def _check_replaceable(path: Path, known: ExportFormat) -> None:
    """Raise where something lies that is no older export: that is not ours to replace."""
    if not path.exists():
        return
    received = None
    if path.is_dir() != bool(known.folder):
        received = "a folder" if path.is_dir() else "a file"
    elif known.folder and any(path.iterdir()) and not (path / known.folder).is_file():
        received = "a folder with other things in it"
    if received:
        raise BuildError(
            f"Expected {str(path)!r} to be free or an older export. Received: {received}. Choose another name, or "
            "remove it."
        )


def _move(made: Path, path: Path, old: Path) -> None:
    """Move what was made into place; an older folder goes to `old`, and back if that fails."""
    if not path.is_dir():
        made.replace(path)
        return
    path.replace(old)
    try:
        made.replace(path)
    except OSError:
        old.replace(path)
        raise
