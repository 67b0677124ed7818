"""What a tf.train.Example holds: an encoded picture, its label and the name of its class."""

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, cast

import numpy as np
import numpy.typing as npt

from probes.data.image_index import Label
from probes.errors import ProbeError

IMAGE_KEYS = ("image/encoded", "image", "image_raw", "image/raw", "encoded")
LABEL_KEYS = ("image/class/label", "label", "class", "image/class", "image/label", "image/class/text")
_TEXT_KEYS = ("image/class/text", "class/text", "label/text")
_SHAPES = (
    ("image/height", "image/width", "image/channels"),
    ("height", "width", "depth"),
    ("height", "width", "channels"),
)
_KINDS = {"bytes_list": "bytes", "int64_list": "integers", "float_list": "floats", None: "nothing"}
_LISTED = 12

Features = Mapping[str, Any]


class BrokenExample(Exception):
    """The data are no tf.train.Example, or lack what is asked for; the message says what, for many records at once."""


def parse(data: bytes) -> Features:
    """The features of a serialized tf.train.Example.

    Raises:
        BrokenExample: it is none.
    """
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    try:
        return cast(Features, tf.train.Example.FromString(data).features.feature)
    except DecodeError as error:
        raise BrokenExample("records that are no tf.train.Example") from error


def _values(features: Features, key: str) -> list[Any]:
    """The values of a feature; none where it is missing."""
    if key not in features:
        return []
    feature = features[key]
    kind = feature.WhichOneof("kind")
    return list(getattr(feature, kind).value) if kind else []


def _kind(features: Features, key: str) -> str:
    return _KINDS[features[key].WhichOneof("kind")]


@dataclass(frozen=True, slots=True, kw_only=True)
class Keys:
    """The names of the features that tell the class.

    Attributes:
        label: of the class.
        text: of the class's name; None where there is no such feature.
    """

    label: str
    text: str | None


def _image_key(features: Features) -> str | None:
    return next((key for key in IMAGE_KEYS if key in features and _kind(features, key) == "bytes"), None)


def find_keys(features: Features, source: str) -> Keys:
    """Find the features by the names that people give them.

    Args:
        features: of the first record.
        source: what the user named.

    Raises:
        ProbeError: the picture or the label is missing.
    """
    image = _image_key(features)
    label = next((key for key in LABEL_KEYS if key in features), None)
    if image is None or label is None:
        found = [f"{key!r} ({_kind(features, key)})" for key in sorted(features)]
        more = f" and {len(found) - _LISTED} more" if len(found) > _LISTED else ""
        what, keys = ("an encoded picture", IMAGE_KEYS) if image is None else ("a label", LABEL_KEYS)
        raise ProbeError(
            f"Expected {what} in each record, as one of {', '.join(map(repr, keys))}. Received: {source!r}, whose "
            f"first record holds {', '.join(found[:_LISTED]) or 'no features'}{more}. Name the features so."
        )
    return Keys(label=label, text=next((key for key in _TEXT_KEYS if key in features and key != label), None))


def labels_of(features: Features, keys: Keys) -> list[Label]:
    """The labels of a record, one or more.

    Raises:
        BrokenExample: it has none.
    """
    values = [value for value in _values(features, keys.label) if value != b""]
    if not values:
        raise BrokenExample("records without a label")
    return [_label(value) for value in values]


def _label(value: bytes | int | float) -> Label:
    if isinstance(value, bytes):
        return value.decode(errors="replace")
    if isinstance(value, float) and not value.is_integer():
        raise BrokenExample("records whose label is no whole number")
    return int(value)


def several_labels(keys: Keys, n: int, source: str) -> ProbeError:
    """The refusal of records with several labels."""
    return ProbeError(
        f"Expected one label an image. Received: {source!r} with {n} values in {keys.label!r}. Multi-label data are "
        "not supported, nor are one-hot labels: write one number or one word for each image."
    )


def text_of(features: Features, keys: Keys) -> str:
    """The name of a record's class; empty where it has none."""
    values = _values(features, keys.text) if keys.text else []
    return values[0].decode(errors="replace") if len(values) == 1 and isinstance(values[0], bytes) else ""


def has_image(features: Features) -> bool:
    """Whether a record has a picture, if only an empty one."""
    key = _image_key(features)
    return key is not None and len(features[key].bytes_list.value) == 1


def image_of(features: Features) -> BinaryIO | npt.NDArray[np.uint8]:
    """The picture of a record that has one: its file, or the pixels where it holds plain ones with their shape."""
    data: bytes = features[_image_key(features) or ""].bytes_list.value[0]
    for names in _SHAPES:
        shape = [values[0] for name in names if len(values := _values(features, name)) == 1]
        whole = len(shape) == 3 and all(isinstance(n, int) and n > 0 for n in shape)
        if whole and shape[2] in (1, 3, 4) and math.prod(shape) == len(data):
            return np.frombuffer(data, np.uint8).reshape(shape)
    return io.BytesIO(data)
