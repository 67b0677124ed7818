"""The elements of a `tf.data.Dataset`, image by image."""

import contextlib
import itertools
import re
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

from probes.data.class_order import Label
from probes.data.labels import plain_labels
from probes.data.pixel_range import PixelRange, as_numpy, check_shape
from probes.errors import ProbeError
from probes.images.suffixes import is_image

EXPECTED = "Expected a tf.data.Dataset of (image, label)."
IMAGE_KEYS = ("image", "images", "img")
LABEL_KEYS = ("label", "labels", "class")
_LONGEST_PATH = 4096


class Keys(NamedTuple):
    """The keys of the image and the label in elements that are dictionaries."""

    image: str
    label: str


class Example(NamedTuple):
    """One image of a stream: its pixels or the bytes of its file, its label and its weight in what is fitted."""

    image: Any
    label: Label
    weight: float


class _Parts(NamedTuple):
    image: Any
    label: Any
    weight: Any = None


def examples(dataset: Any, keys: Keys | None, found: PixelRange, widths: set[int]) -> Iterator[Example]:
    """The images of a dataset, batched or not.

    Args:
        dataset: a `tf.data.Dataset`; its first element decides whether it is batched.
        keys: of the image and the label in a dictionary, where they do not have the usual names.
        found: the range of the pixels is added to it.
        widths: the number of classes of one-hot labels is added to it.

    Raises:
        ProbeError: the elements are no images with one label each, or can't be read.
    """
    batched: bool | None = None
    shapes: set[tuple[int, ...]] = set()
    for parts in _read(dataset, keys):
        if batched is None:
            batched = _is_batch(tuple(parts.image.shape), tuple(parts.label.shape), parts.image.dtype.name == "string")
        images = _images(parts.image, batched)
        labels = _labels(parts.label, batched, len(images), widths)
        weights = _weights(parts.weight, len(images))
        for image, label, weight in zip(images, labels, weights, strict=True):
            if isinstance(image, bytes):
                _refuse_path(image)
            else:
                if image.shape not in shapes:
                    check_shape(image.shape)
                    shapes.add(image.shape)
                found.add(image)
                found.check()
            yield Example(image, label, weight)


def _read(dataset: Any, keys: Keys | None) -> Iterator[_Parts]:
    _parts(dataset.element_spec, keys)
    with readable(0):
        elements = iter(dataset)
    for n_read in itertools.count():
        with readable(n_read):
            element = next(elements, None)
        if element is None:
            return
        yield _parts(element, keys)


@contextlib.contextmanager
def readable(n_read: int) -> Iterator[None]:
    """Turn what the user's own pipeline raises after `n_read` elements into a `ProbeError`."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        reason = re.sub(r"\{\{.*?\}\}", "", error.message).strip().split("\n")[0]
        raise ProbeError(
            f"Expected a tf.data.Dataset that can be read to its end. Received: {type(error).__name__} after "
            f"{n_read:,} elements: {reason:.200}. Correct its pipeline, or skip what fails with `.ignore_errors()`."
        ) from error


def _parts(element: Any, keys: Keys | None) -> _Parts:
    """The parts of an element, or of its specification."""
    if isinstance(element, dict):
        image, label = keys or (_one_of(IMAGE_KEYS, element, "image"), _one_of(LABEL_KEYS, element, "label"))
        parts = _Parts(element[image], element[label])
    elif isinstance(element, (tuple, list)) and len(element) in (2, 3):
        parts = _Parts(*element)
    else:
        several = isinstance(element, (tuple, list))
        received = f"elements of {len(element)} parts" if several else "elements without a label"
        raise ProbeError(f"{EXPECTED} Received: {received}. Make them pairs with `.map`.")
    if isinstance(parts.image, dict) and len(parts.image) == 1:  # what a model with one named input takes
        parts = parts._replace(image=next(iter(parts.image.values())))
    for part, what in ((parts.image, "image"), (parts.label, "label")):
        if not hasattr(part, "dtype") or "Sparse" in type(part).__name__:
            raise ProbeError(f"{EXPECTED} Received: {type(part).__name__} as {what}. Make it one tensor with `.map`.")
    return parts


def _one_of(words: tuple[str, ...], element: dict[str, Any], what: str) -> str:
    found = [word for word in words if word in element]
    if len(found) != 1:
        given = ", ".join(repr(str(key)) for key in element)
        raise ProbeError(
            f"{EXPECTED} Received: dictionaries with the keys {given}, of which {'several' if found else 'none'} "
            f"may be the {what}. Make them pairs with `.map`."
        )
    return found[0]


def _is_batch(image: tuple[int, ...], label: tuple[int, ...], encoded: bool) -> bool:
    """Whether an element is a batch, from the shapes of its image and its label.

    With a label of one axis it is a batch of numbers, or one image with a one-hot row.
    """
    if len(label) != 1:
        return len(label) > 1
    if encoded:
        return len(image) == 1
    return len(image) == 4 or (len(image) == 3 and image[2] not in (1, 3, 4))


def _images(value: Any, batched: bool) -> list[Any]:
    if hasattr(value, "to_tensor"):  # ragged: a batch of images of different sizes
        rows = [value[row] for row in range(value.shape[0])] if batched else [value]
        return [as_numpy(row.to_tensor() if hasattr(row, "to_tensor") else row) for row in rows]
    array = as_numpy(value)
    if array.dtype.kind == "O":
        return array.reshape(-1).tolist() if batched else [array[()]]
    if batched and array.ndim:
        return list(array)
    return [array[0] if array.ndim == 4 and len(array) else array]  # the first frame of an animation


def _labels(value: Any, batched: bool, n: int, widths: set[int]) -> list[Label]:
    if hasattr(value, "to_tensor"):  # ragged
        raise ProbeError(
            f"Expected one label an image. Received: labels as {type(value).__name__}. Multi-label data are not "
            "supported: keep one label for each image."
        )
    array = as_numpy(value)
    return plain_labels(array if batched else array[None], n, widths)


def _weights(value: Any, n: int) -> list[float]:
    if value is None:
        return [1.0] * n
    weights = np.ravel(as_numpy(value))
    if len(weights) != n or weights.dtype.kind not in "biuf" or not (np.isfinite(weights) & (weights >= 0)).all():
        raise ProbeError(
            f"Expected (image, label, weight) with one number from 0 up as weight. Received: {weights[:3]!r:.80}. "
            "Leave the weights out with `.map`."
        )
    return [float(weight) for weight in weights]


def _refuse_path(data: bytes) -> None:
    if len(data) < _LONGEST_PATH and is_image(path := data.decode("latin-1")) and "\n" not in path:
        raise ProbeError(
            f"Expected the bytes of image files. Received: a path, {path!r:.80}. Read the files with "
            "`.map(lambda path, label: (tf.io.read_file(path), label))`."
        )
