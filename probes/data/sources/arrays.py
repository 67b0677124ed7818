"""Images in memory, or the paths of their files, with their labels."""

import contextlib
import math
import os
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps

from probes.data.image_index import Entry, ImageIndex, index_entries
from probes.data.labels import named_outputs, plain_labels, shown
from probes.data.pixel_range import EXPECTED, PixelRange, as_numpy, check_shape, to_uint8, unit_kinds
from probes.data.sources.folder import FolderStore
from probes.data.sources.source import Options, Rows, index_rows, parts_of, splits_of
from probes.errors import ProbeError
from probes.images.decode import UnreadableImage, unreadable

_CHUNK = 1 << 21  # numbers of an array that are read at once
_NOT_NUMPY = (TypeError, ValueError, RuntimeError, KeyError, IndexError, OSError)  # what an array of any library raises


def recognises(data: Any) -> bool:
    """(images, labels) or (paths, labels), also in a dict by split."""
    parts = parts_of(data)
    return bool(parts) and all(isinstance(part, (tuple, list)) and len(part) == 2 for part in parts)


def index(data: Any, options: Options) -> ImageIndex:
    splits = splits_of(data)
    paths = all(_are_paths(images) for images, _ in splits.values())
    return (_index_paths if paths else _index_arrays)(splits, options.class_names)


def _index_arrays(splits: Mapping[str, tuple[Any, Any]], class_names: Sequence[str] | None) -> ImageIndex:
    """Make the index of images in memory; they are not copied.

    Images are an array of shape (n, h, w) or (n, h, w, 1, 3 or 4), or a list of arrays or PIL images of any sizes;
    numbers within 0 to 1 or 0 to 255, or truth values. Labels are as in `plain_labels`.
    """
    ranges = {split: PixelRange() for split in splits}
    widths: set[int] = set()
    checked = {split: _checked(images, split, ranges[split]) for split, (images, _) in splits.items()}
    unit = unit_kinds(ranges)
    rows = {
        split: Rows(plain_labels(labels, len(checked[split]), widths), partial(_pixels, checked[split], unit))
        for split, (_, labels) in splits.items()
    }
    return index_rows(rows, source="arrays", kind="arrays", class_names=named_outputs(class_names, widths))


def _checked(images: Any, split: str, found: PixelRange) -> Any:
    """The images of a split, of which each can be had by its number; their pixels are added to `found`."""
    try:
        if not isinstance(images, (list, tuple)) and not hasattr(images, "shape"):
            images = np.asarray(images)
            if not images.ndim:
                raise TypeError("no array")
        if getattr(images, "ndim", None) == 1 and getattr(images.dtype, "kind", "") == "O":
            images = list(images)
        n = len(images)
        if n:
            (_check_list if isinstance(images, (list, tuple)) else _check_array)(images, found)
    except _NOT_NUMPY as error:
        raise ProbeError(
            f"{EXPECTED} Received: {type(images).__name__} ({unreadable(error)}). Convert it to a NumPy array."
        ) from error
    if not n:
        raise ProbeError(f"{EXPECTED} Received: no images in the {split} split. Give some.")
    return images


def _check_array(images: Any, found: PixelRange) -> None:
    shape: tuple[int, ...] = tuple(images.shape)
    check_shape(shape[1:], f"an array of shape {shape}")
    rows = max(1, _CHUNK // math.prod(shape[1:]))
    for start in range(0, shape[0], rows):
        chunk = as_numpy(images[start : start + rows])
        found.add(chunk)
        if chunk.dtype.kind == "b" or (chunk.dtype == np.uint8 and found.whole > 1):
            return  # the rest would add nothing


def _check_list(images: Sequence[Any], found: PixelRange) -> None:
    for number, image in enumerate(images):
        pixels = None if isinstance(image, Image.Image) else as_numpy(image)
        shape = tuple(pixels.shape) if pixels is not None else image.size
        check_shape(shape, f"image {number} of shape {shape}")
        if pixels is not None:
            found.add(pixels)


def _pixels(images: Any, unit: str, number: int) -> npt.NDArray[np.uint8]:
    try:
        image = images[number]
        return _pil_pixels(image) if isinstance(image, Image.Image) else to_uint8(as_numpy(image), unit)
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise nearly any exception on broken files
        raise unreadable(error) from error


def _pil_pixels(image: Image.Image) -> npt.NDArray[np.uint8]:
    image.load()
    with contextlib.suppress(Exception):  # a broken EXIF block does not concern the pixels
        if image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9):
            image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):
        wide = np.asarray(image).astype(np.int64)
        deep = image.mode != "I" or wide.max(initial=0) > 255  # of 32 bits only eight may be used
        return (np.clip(wide, 0, 65535) >> (8 if deep else 0)).astype(np.uint8)
    if image.mode == "F":
        raise UnreadableImage("floating-point pixels, whose range is unknown")
    if image.mode not in ("L", "RGB", "RGBA"):
        clear = "A" in image.getbands() or "transparency" in image.info
        image = image.convert("L" if image.mode == "1" else "RGBA" if clear else "RGB")
    return np.asarray(image)


def _index_paths(splits: Mapping[str, tuple[Any, Any]], class_names: Sequence[str] | None) -> ImageIndex:
    """Make the index of image files listed one by one; relative paths start from the working directory of this call."""
    entries: list[Entry] = []
    widths: set[int] = set()
    for split, (paths, labels) in splits.items():
        names = [_path(path) for path in paths]
        plain = plain_labels(labels, len(names), widths)
        entries += [Entry(name, label, split) for name, label in zip(names, plain, strict=True)]
    return index_entries(
        entries, FolderStore(Path.cwd()), source="paths", kind="paths", class_names=named_outputs(class_names, widths)
    )


def _are_paths(images: Any) -> bool:
    """Whether it is a list, an array of one axis or a column of a table that begins with a path."""
    if not isinstance(images, (list, tuple)) and getattr(images, "ndim", None) != 1:
        return False
    try:
        first = next(iter(images), None)
    except _NOT_NUMPY:  # an object that only resembles an array
        return False
    return isinstance(first, (str, os.PathLike))


def _path(path: Any) -> str:
    name = os.fsdecode(path) if isinstance(path, (str, bytes, os.PathLike)) else ""
    if not name or "\0" in name:
        raise ProbeError(
            f"Expected paths of images. Received: {shown(path)} ({type(path).__name__}). Give each as text or a Path."
        )
    return name
