"""Which outputs a model has for the labels of the data, and in what order."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from probes.errors import ProbeError

Label = str | int | bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Outputs:
    """The outputs of a model.

    Attributes:
        labels: of each output, in their order.
        names: the same as the user knows them.
        silent: names of the outputs of which there is no training image.
        numbers: the labels, where they are whole numbers without names other than 0, 1, …; else empty.
    """

    labels: tuple[Label, ...]
    names: tuple[str, ...]
    silent: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()


def label_order(labels: Iterable[Label]) -> list[Label]:
    """Labels in the order of the model's outputs: numbers by value, words by their letters."""
    found = set(labels)
    numbers = all(isinstance(label, int) for label in found)
    return sorted(found) if numbers else sorted(found, key=str)


def checked_names(class_names: Sequence[str]) -> tuple[str, ...]:
    """Names of classes as words, each of them once.

    Raises:
        ProbeError: they are no list, or one of them comes twice.
    """
    if isinstance(class_names, (str, bytes)) or not hasattr(class_names, "__iter__"):
        raise ProbeError(
            f"Expected class names as a list of words. Received: {type(class_names).__name__}. Give one for each class."
        )
    names = tuple(str(name) for name in class_names)
    if len(set(names)) < len(names):
        twice = next(name for place, name in enumerate(names) if name in names[:place])
        raise ProbeError(f"Expected each class name once. Received: {twice!r} twice. Give each class its own name.")
    return names


def outputs_of(labels: Iterable[Label], class_names: Sequence[str] | None = None) -> Outputs:
    """The outputs of a model: one for each class name where these are known, else one for each label.

    Args:
        labels: of the training images.
        class_names: names of the labels 0, 1, …, or the labels themselves where these are words.

    Raises:
        ProbeError: a label has no name, or two have the same.
    """
    ordered = label_order(labels)
    if class_names is None:
        numbers = tuple(label for label in ordered if type(label) is int)
        if numbers == tuple(range(len(ordered))):
            numbers = ()
        return Outputs(labels=tuple(ordered), names=tuple(str(label) for label in ordered), numbers=numbers)
    names = checked_names(class_names)
    words = any(isinstance(label, str) for label in ordered)
    known: Sequence[Label] = names if words else range(len(names))
    found = set(ordered)
    strange = label_order(found - set(known))
    if strange and words:
        raise ProbeError(
            f"Expected labels among the {len(names)} class names, or their numbers from 0 on. Received: the label "
            f"{strange[0]!r:.80}. Give every label its name."
        )
    if strange:
        raise ProbeError(
            f"Expected labels from 0 to {len(names) - 1}, one for each of the {len(names)} class names. "
            f"Received: {ordered[0]!r} to {ordered[-1]!r}. Give every label its name."
        )
    silent = tuple(name for name, label in zip(names, known, strict=True) if label not in found)
    return Outputs(labels=tuple(known), names=names, silent=silent)
