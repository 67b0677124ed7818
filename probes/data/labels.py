"""Labels as plain values, from any of the forms that arrays and tables have them in."""

from collections.abc import Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from probes.data.class_order import Label, checked_names
from probes.errors import ProbeError

_ADVICE = "Multi-label data are not supported: keep one label for each image."


def shown(value: Any) -> str:
    """A value as a message shows it, short and in one line."""
    return " ".join(repr(value.tolist() if isinstance(value, np.ndarray) else value).split())[:80]


def plain_labels(labels: Any, n: int, widths: set[int] | None = None) -> list[Label]:
    """Labels as Python's own numbers, words or truth values.

    Args:
        labels: whole numbers, words or truth values of shape (n,) or (n, 1), or one-hot rows of shape (n, classes).
        n: how many images there are.
        widths: the number of classes of one-hot rows is added to it.

    Raises:
        ProbeError: they are not one label for each image.
    """
    found = _label_array(labels)
    if found.ndim not in (1, 2):
        raise ProbeError(
            f"Expected labels as a list or an array of shape (n,). Received: {type(labels).__name__} of shape "
            f"{found.shape}. Give one label for each image."
        )
    if len(found) != n:
        raise ProbeError(
            f"Expected one label for each image. Received: {n:,} images and {len(found):,} labels. Give as many labels."
        )
    if found.ndim == 2 and found.shape[1] != 1:
        numbers = _from_rows(found)
        if widths is not None:
            widths.add(found.shape[1])
        return numbers
    plain = [_plain(label) for label in found.reshape(-1).tolist()]
    words = [label for label in plain if isinstance(label, str)]
    if words and len(words) < len(plain):
        number = next(label for label in plain if not isinstance(label, str))
        raise ProbeError(
            f"Expected labels of one kind. Received: numbers and words, as {shown(number)} and {shown(words[0])}. Give "
            "all labels as words."
        )
    return plain


def _label_array(labels: Any) -> npt.NDArray[Any]:
    """Labels as an array; those of a list keep their own types."""
    try:
        if not isinstance(labels, (list, tuple)) or any(np.ndim(label) for label in labels):
            return np.asarray(labels)
        plain = (np.asarray(label)[()] if hasattr(label, "__array__") else label for label in labels)
        return np.fromiter(plain, dtype=object, count=len(labels))
    except ValueError:  # rows of different lengths
        raise ProbeError(
            f"Expected one label an image. Received: lists of labels of different lengths. {_ADVICE}"
        ) from None
    except (TypeError, RuntimeError) as error:
        raise ProbeError(
            f"Expected labels as a list or an array. Received: {type(labels).__name__}, which NumPy can't read. "
            "Convert it to a list."
        ) from error


def _from_rows(rows: npt.NDArray[Any]) -> list[Label]:
    """The class numbers of one-hot rows."""
    clean, ones = ((rows == 0) | (rows == 1)).all(axis=1), (rows == 1).sum(axis=1)
    if (several := clean & (ones > 1) | (rows.dtype.kind not in "biuf")).any():
        raise ProbeError(
            f"Expected one label an image. Received: several labels an image, as {shown(rows[several][0])}. {_ADVICE}"
        )
    if (bad := ~clean | (ones != 1)).any():
        raise ProbeError(
            f"Expected class numbers, or one-hot rows with exactly one 1. Received: the row {shown(rows[bad][0])}. "
            "Give one class number for each image; multi-label data are not supported."
        )
    return [int(label) for label in rows.argmax(axis=1)]


def _plain(label: Any) -> Label:
    if type(label) in (int, str, bool):
        return label  # type: ignore[no-any-return]
    if isinstance(label, bytes):
        return label.decode(errors="replace")
    if isinstance(label, str):
        return str(label)
    if isinstance(label, (bool, np.bool_)):
        return bool(label)
    if isinstance(label, (int, np.integer)) or (isinstance(label, (float, np.floating)) and float(label).is_integer()):
        return int(label)
    missing = label is None or type(label).__name__ in ("NAType", "NaTType") or str(label) == "nan"
    advice = "Leave the images without a label out." if missing else "Give numbers or words."
    raise ProbeError(f"Expected labels as whole numbers or words. Received: {shown(label)}. {advice}")


def named_outputs(class_names: Sequence[str] | None, widths: Collection[int]) -> Sequence[str] | None:
    """Names of all classes, where they or the width of one-hot rows are known; else None.

    Args:
        class_names: given by the user.
        widths: how many classes one-hot rows have; empty where there are no such rows.

    Raises:
        ProbeError: rows differ in width, or there are not as many names.
    """
    names = None if class_names is None else checked_names(class_names)
    if not widths:
        return names
    if len(widths) > 1:
        given = " and ".join(str(width) for width in sorted(widths))
        raise ProbeError(f"Expected one-hot rows of one width. Received: rows of {given} numbers. Give all the same.")
    (width,) = widths
    if names is not None and len(names) != width:
        raise ProbeError(
            f"Expected a class name for each number of a one-hot row. Received: {len(names)} names and rows of "
            f"{width} numbers. Give {width} names."
        )
    return names or [str(number) for number in range(width)]
