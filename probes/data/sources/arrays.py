"""Images in memory, or the paths of their files, with labels beside them."""

import contextlib
import math
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps

from probes.data.image_index import SPLITS, TRAIN, Entry, ImageIndex, index_entries, split_name
from probes.data.sources.folder import FolderStore
from probes.data.sources.labels import named_outputs, plain_labels, told
from probes.data.sources.pixel_range import EXPECTED, PixelRange, Pixels, as_numpy, check_shape, to_uint8, unit_kinds
from probes.errors import ProbeError
from probes.images.decode import UnreadableImage, unreadable

_CHUNK = 1 << 21  # numbers of an array to look at in one go
_NOT_NUMPY = (TypeError, ValueError, RuntimeError, KeyError, IndexError, OSError)  # what a foreign array may raise

T = TypeVar("T")


def sort_splits(splits: Mapping[str, T]) -> tuple[dict[str, T], dict[str, T]]:
    """Splits under the names of `SPLITS`, and those of which nobody knows what they are for.

    A single split is for training, whatever it is called, unless it is called after another one.

    Raises:
        ProbeError: two of them are the same split under two names, or none has a name that is known.
    """
    known: dict[str, T] = {}
    others: dict[str, T] = {}
    given = ", ".join(repr(str(name)) for name in splits)
    for name, value in splits.items():
        split = split_name(str(name)) or (TRAIN if len(splits) == 1 else None)
        if split is None:
            others[str(name)] = value
        elif split in known:
            raise ProbeError(f"Expected each split once. Received: {given}. Leave one {split} split out.")
        else:
            known[split] = value
    if not known:
        raise ProbeError(f"Expected splits named train, validation or test. Received: {given or 'none'}. Rename them.")
    return {split: known[split] for split in SPLITS if split in known}, others


def image_name(split: str, name: object) -> str:
    """The name of an image that has none of its own."""
    return f"image {name}" if split == TRAIN else f"{split} image {name}"


@dataclass(frozen=True, slots=True, eq=False)
class ArrayStore:
    """Images in memory, turned into pixels one by one.

    Attributes:
        images: split -> its images.
        unit: which kinds of pixels lie within 0 to 1, as from `unit_kinds`.
    """

    images: Mapping[str, Any] = field(repr=False)
    unit: str
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self, name: str) -> npt.NDArray[np.uint8]:
        words = name.split(" ")
        split = words[0] if len(words) == 3 else TRAIN
        try:
            image = self.images[split][int(words[-1])]
            if not isinstance(image, Image.Image):
                return to_uint8(as_numpy(image), self.unit)
        except _NOT_NUMPY as error:
            raise unreadable(error) from error
        with self._lock:  # the same picture may be in a list twice, and it is loaded only when it is looked at
            return _pil_pixels(image)


def _pil_pixels(image: Image.Image) -> npt.NDArray[np.uint8]:
    try:
        image.load()
        with contextlib.suppress(Exception):  # a broken EXIF block says nothing of the pixels
            if image.getexif().get(ExifTags.Base.Orientation, 1) in range(2, 9):
                image = ImageOps.exif_transpose(image)
        if image.mode.startswith("I"):
            wide = np.asarray(image).astype(np.int64)
            deep = image.mode != "I" or wide.max(initial=0) > 255  # 32 bits, of which only eight may be used
            return (np.clip(wide, 0, 65535) >> (8 if deep else 0)).astype(np.uint8)
        if image.mode == "F":
            raise UnreadableImage("floating-point pixels, whose range is unknown")
        if image.mode not in ("L", "RGB", "RGBA"):
            clear = "A" in image.getbands() or "transparency" in image.info
            image = image.convert("L" if image.mode == "1" else "RGBA" if clear else "RGB")
        return np.asarray(image)
    except (UnreadableImage, MemoryError):
        raise
    except Exception as error:  # Pillow's decoders raise nearly any exception on broken files
        raise unreadable(error) from error


def _chunks(images: Any, shape: Sequence[int]) -> Iterator[Pixels]:
    rows = max(1, _CHUNK // math.prod(shape[1:]))
    for start in range(0, shape[0], rows):
        yield as_numpy(images[start : start + rows])


def _look_at_array(images: Any, found: PixelRange) -> int:
    shape: tuple[int, ...] = tuple(images.shape)
    if shape[:1] == (0,):
        return 0
    check_shape(shape[1:], f"an array of shape {shape}")
    for chunk in _chunks(images, shape):
        found.add(chunk)
        if chunk.dtype.kind == "b" or (chunk.dtype == np.uint8 and found.is_wide):
            break  # the rest tells nothing new
    return shape[0]


def _look_at_list(images: Sequence[Any], found: PixelRange) -> int:
    for number, image in enumerate(images):
        pixels = None if isinstance(image, Image.Image) else as_numpy(image)
        shape = tuple(pixels.shape) if pixels is not None else image.size
        check_shape(shape, f"image {number} of shape {shape}")
        if pixels is not None:
            found.add(pixels)
    return len(images)


def _look_at(images: Any, split: str, found: PixelRange) -> tuple[Any, int]:
    """Check the images of a split; returns them, to be had by their numbers, and how many there are."""
    try:
        if not isinstance(images, (list, tuple)) and not hasattr(images, "shape"):
            images = np.asarray(images)
            if not images.ndim:
                raise TypeError("no array")
        if getattr(images, "ndim", None) == 1 and getattr(images.dtype, "kind", "") == "O":
            images = list(images)
        n = _look_at_list(images, found) if isinstance(images, (list, tuple)) else _look_at_array(images, found)
    except _NOT_NUMPY as error:
        raise ProbeError(
            f"{EXPECTED} Received: {type(images).__name__} ({unreadable(error)}). Convert it to a NumPy array."
        ) from error
    if not n:
        raise ProbeError(f"{EXPECTED} Received: no images in the {split} split. Give some.")
    found.check()
    return images, n


def index_arrays(splits: Mapping[str, tuple[Any, Any]], *, class_names: Sequence[str] | None = None) -> ImageIndex:
    """Make the index of images in memory; they are not copied.

    Args:
        splits: of `SPLITS`, each with its images and labels. Images are an array of shape (n, h, w) or
            (n, h, w, 1, 3 or 4), or a list of arrays or PIL images of any sizes; whole or floating-point numbers within
            0 to 1 or 0 to 255, or truth values. Labels are as in `plain_labels`.
        class_names: of all classes: names of the labels 0, 1, …, or the labels themselves where these are words.

    Raises:
        ProbeError: they are no such images or labels, or of fewer than two classes.
    """
    images: dict[str, Any] = {}
    ranges = {split: PixelRange() for split in splits}
    entries: list[Entry] = []
    widths: set[int] = set()
    for split, (given, labels) in splits.items():
        images[split], n = _look_at(given, split, ranges[split])
        width = max(7, len(str(n - 1)))
        for number, label in enumerate(plain_labels(labels, n, widths)):
            entries.append(Entry(image_name(split, f"{number:0{width}}"), label, split))
    store = ArrayStore(images, unit_kinds(ranges))
    names = named_outputs(class_names, widths)
    return index_entries(entries, store, source="arrays", kind="arrays", class_names=names)


def index_paths(splits: Mapping[str, tuple[Any, Any]], *, class_names: Sequence[str] | None = None) -> ImageIndex:
    """Make the index of image files listed one by one, which lie relative to today's working directory.

    Args:
        splits: of `SPLITS`, each with the paths of its images and their labels, as in `plain_labels`.
        class_names: as for `index_arrays`.

    Raises:
        ProbeError: they are no paths or no labels, or of fewer than two classes.
    """
    entries: list[Entry] = []
    widths: set[int] = set()
    for split, (paths, labels) in splits.items():
        names = [_path(path) for path in _listed(paths)]
        if not names:
            raise ProbeError(f"Expected paths of images. Received: none in the {split} split. Give some.")
        plain = plain_labels(labels, len(names), widths)
        entries += [Entry(name, label, split) for name, label in zip(names, plain, strict=True)]
    store, outputs = FolderStore(Path.cwd()), named_outputs(class_names, widths)
    return index_entries(entries, store, source="paths", kind="paths", class_names=outputs)


def are_paths(images: Any) -> bool:
    """Whether it is a list, a tuple, an array of one axis or a column of a table that begins with a path or a text."""
    if not isinstance(images, (list, tuple)) and getattr(images, "ndim", None) != 1:
        return False
    try:
        first = next(iter(images), None)
    except _NOT_NUMPY:  # what only looks like an array
        return False
    return isinstance(first, (str, os.PathLike))


def _listed(paths: Any) -> Sequence[Any]:
    if isinstance(paths, (list, tuple)):
        return paths
    try:
        return list(np.ravel(paths).tolist())
    except _NOT_NUMPY:
        raise ProbeError(f"Expected a list of paths. Received: {type(paths).__name__}. Convert it to a list.") from None


def _path(path: Any) -> str:
    try:
        name = os.fsdecode(path)
    except TypeError:
        raise ProbeError(
            f"Expected paths of images. Received: {told(path)} ({type(path).__name__}). Give each as text or a Path."
        ) from None
    if not name or "\0" in name:
        raise ProbeError(f"Expected paths of images. Received: {told(name)}. Take it and its label out.")
    return name
