"""Elements of a `tf.data.Dataset` as images, labels and weights."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from probes.data.labels import ONE_LABEL, Label, plain_labels
from probes.data.pixel_range import as_numpy
from probes.errors import ProbeError

EXPECTED = "Expected a tf.data.Dataset of (image, label)."
_IMAGE_KEYS, _LABEL_KEYS = ("image", "images", "img"), ("label", "labels", "class")

Keys = tuple[str, str]  # of the image and the label in elements that are dictionaries


def parts(element: Any, keys: Keys | None) -> tuple[Any, Any, Any]:
    """Image, label and weight of an element, or of its specification."""
    weight = None
    if isinstance(element, dict):
        image, label = (element[key] for key in keys or usual_keys(element))
    elif isinstance(element, (tuple, list)) and len(element) in (2, 3):
        image, label, weight = (*element, None)[:3]
    else:
        raise ProbeError(f"{EXPECTED} Received: elements of another form. Make them pairs with `.map`.")
    if isinstance(image, dict) and len(image) == 1:  # what a model with one named input takes
        image = next(iter(image.values()))
    for part, what in ((image, "image"), (label, "label")):
        if not hasattr(part, "dtype") or "Sparse" in type(part).__name__:
            raise ProbeError(f"{EXPECTED} Received: {type(part).__name__} as {what}. Make it one tensor with `.map`.")
    return image, label, weight


def usual_keys(names: Mapping[str, Any]) -> Keys:
    """The keys of the image and the label among those of a dictionary, by the names that people give them."""
    images, labels = ([key for key in keys if key in names] for keys in (_IMAGE_KEYS, _LABEL_KEYS))
    if len(images) != 1 or len(labels) != 1:
        raise ProbeError(
            f"{EXPECTED} Received: dictionaries with the keys {', '.join(repr(str(key)) for key in names)}, of which "
            f"{len(images)} may be the image and {len(labels)} the label. Make them pairs with `.map`, that of "
            "`builder.as_dataset()` if it is a builder."
        )
    return images[0], labels[0]


def is_batch(image: tuple[int, ...], label: tuple[int, ...], encoded: bool) -> bool:
    """Whether an element is a batch, from the shapes of its image and its label.

    With a label of one axis it is a batch of numbers, or one image with a one-hot row.
    """
    if len(label) != 1:
        return len(label) > 1
    if encoded:
        return len(image) == 1
    return len(image) == 4 or (len(image) == 3 and image[2] not in (1, 3, 4))


def images(value: Any, batched: bool) -> list[Any]:
    """The images of an element: pixels, or the bytes of files."""
    if hasattr(value, "to_tensor"):  # ragged: a batch of images of different sizes
        rows = [value[row] for row in range(value.shape[0])] if batched else [value]
        return [as_numpy(row.to_tensor() if hasattr(row, "to_tensor") else row) for row in rows]
    array = as_numpy(value)
    if array.dtype.kind == "O":
        return array.reshape(-1).tolist() if batched else [array[()]]
    if batched and array.ndim:
        return list(array)
    return [array[0] if array.ndim == 4 and len(array) else array]  # the first frame of an animation


def labels(value: Any, batched: bool, n: int, widths: set[int]) -> list[Label]:
    """The labels of `n` images of an element; the number of classes of one-hot ones is added to `widths`."""
    if hasattr(value, "to_tensor"):  # ragged
        raise ProbeError(f"Expected one label an image. Received: labels as {type(value).__name__}. {ONE_LABEL}")
    array = as_numpy(value)
    return plain_labels(array if batched else array[None], n, widths)


def weights(value: Any, n: int) -> list[float]:
    """The weights of `n` images of an element."""
    if value is None:
        return [1.0] * n
    weights = np.ravel(as_numpy(value))
    if len(weights) != n or weights.dtype.kind not in "biuf" or not (np.isfinite(weights) & (weights >= 0)).all():
        raise ProbeError(
            f"Expected (image, label, weight) with one number from 0 up as weight. Received: {weights[:3]!r:.80}. "
            "Leave the weights out with `.map`."
        )
    return [float(weight) for weight in weights]
