"""Labels as plain values, and which outputs a model has for them, in what order."""

from collections.abc import Collection, Iterable, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from probes.errors import ProbeError

Label = str | int | bool
ONE_LABEL = "Multi-label data are not supported: keep one label for each image."


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """The outputs of a model, in their order."""

    labels: tuple[Label, ...]
    names: tuple[str, ...]  # as the user knows the labels
    silent: tuple[str, ...] = ()  # names of the outputs of which there is no training image
    numbers: tuple[int, ...] = ()  # the labels, where they are whole numbers without names other than 0, 1, …


def label_order(labels: Iterable[Label]) -> list[Label]:
    """Labels in the order of the model's outputs: numbers by value, words by their letters."""
    found = set(labels)
    numbers = all(isinstance(label, int) for label in found)
    return sorted(found) if numbers else sorted(found, key=str)


def checked_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """Names of classes as words, each of them once."""
    if isinstance(class_names, (str, bytes)) or not hasattr(class_names, "__iter__"):
        raise ProbeError(
            f"Expected class names as a list of words. Received: {type(class_names).__name__}. Give one for each class."
        )
    names = tuple(str(name) for name in class_names)
    if len(set(names)) < len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ProbeError(f"Expected each class name once. Received: {twice!r} twice. Give each class its own name.")
    return names


def outputs_of(labels: Iterable[Label], class_names: Sequence[str] | None = None) -> Outputs:
    """The outputs of a model: one for each class name where these are known, else one for each training label.

    `class_names` are the names of the labels 0, 1, …, or the labels themselves where these are words.
    """
    found = set(labels)
    ordered = label_order(found)
    if class_names is None:
        numbers = tuple(label for label in ordered if type(label) is int)
        if numbers == tuple(range(len(ordered))):
            numbers = ()
        return Outputs(labels=tuple(ordered), names=tuple(str(label) for label in ordered), numbers=numbers)
    names = checked_names(class_names)
    known: Sequence[Label] = names if any(isinstance(label, str) for label in ordered) else range(len(names))
    if strange := label_order(found - set(known)):
        raise ProbeError(
            f"Expected labels among the {len(names)} class names, or their numbers from 0 to {len(names) - 1}. "
            f"Received: the label {strange[0]!r:.80}. Give every label its name."
        )
    silent = tuple(name for name, label in zip(names, known, strict=True) if label not in found)
    return Outputs(labels=tuple(known), names=names, silent=silent)


def shown(value: Any) -> str:
    """A value as a message shows it, short and in one line."""
    return " ".join(repr(value.tolist() if isinstance(value, np.ndarray) else value).split())[:80]


def plain_labels(labels: Any, n: int, widths: set[int] | None = None) -> list[Label]:
    """Labels of `n` images as Python's own numbers, words or truth values.

    They are of shape (n,) or (n, 1), or one-hot rows of shape (n, classes), whose length is added to `widths`.
    """
    found = _label_array(labels)
    if found.ndim not in (1, 2) or len(found) != n:
        raise ProbeError(
            f"Expected one label for each image. Received: {n:,} images and labels of shape {found.shape}. Give an "
            "array or a list of as many labels."
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
    except (TypeError, ValueError, RuntimeError) as error:  # rows of different lengths, for example
        raise ProbeError(
            f"Expected labels as a list or an array. Received: {type(labels).__name__}, which NumPy can't read "
            f"({shown(error)}). Convert it to a list. {ONE_LABEL}"
        ) from error


def _from_rows(rows: npt.NDArray[Any]) -> list[Label]:
    """The class numbers of one-hot rows."""
    if (bad := ((rows != 0) & (rows != 1)).any(axis=1) | ((rows == 1).sum(axis=1) != 1)).any():
        raise ProbeError(
            "Expected one label an image: class numbers, or one-hot rows with exactly one 1. Received: the row "
            f"{shown(rows[bad][0])}. {ONE_LABEL}"
        )
    return [int(label) for label in rows.argmax(axis=1)]


def _plain(label: Any) -> Label:
    if isinstance(label, bytes):
        return label.decode(errors="replace")
    if isinstance(label, str):
        return str(label)
    if isinstance(label, (bool, np.bool_)):
        return bool(label)
    if isinstance(label, (int, np.integer)) or (isinstance(label, (float, np.floating)) and float(label).is_integer()):
        return int(label)
    raise ProbeError(
        f"Expected labels as whole numbers or words. Received: {shown(label)}. Leave the images without a label out."
    )


def named_outputs(class_names: Sequence[str] | None, widths: Collection[int]) -> Sequence[str] | None:
    """Names of all classes, where they or the widths of one-hot rows are known; else None."""
    names = None if class_names is None else checked_names(class_names)
    if not widths:
        return names
    if len(widths) > 1 or (names is not None and {len(names)} != set(widths)):
        given = " and ".join(str(width) for width in sorted(widths))
        raise ProbeError(
            "Expected one-hot rows of one width, and as many class names. Received: rows of "
            f"{given} numbers{f' and {len(names)} names' if names else ''}. Give all rows the same width."
        )
    return names or [str(number) for number in range(*widths)]


def refuse_combined(words: Set[str], source: str) -> None:
    """Refuse cells like "cat|dog" that hold several labels, but not names that merely contain such a character.

    Cells hold several labels if at least half of those with the character have a part that is a whole label elsewhere.
    """
    for separator in "|;,":
        parts = {word: {part.strip() for part in word.split(separator)} - {""} for word in words if separator in word}
        several = sorted(word for word, own in parts.items() if len(own) > 1 and not own.isdisjoint(words))
        if several and 2 * len(several) >= len(parts):
            raise ProbeError(
                f"Expected one label an image. Received: {source!r} with labels like {shown(several[0])}, whose parts "
                f"occur elsewhere too. {ONE_LABEL} Or write another character for {separator!r} where it is part of a "
                "class's name."
            )
