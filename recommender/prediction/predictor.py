"""A model that is ready to predict, and the names of its classes."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from probes.evaluation.out_of_distribution import Detector
from recommender.errors import RecommendError

T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Predictor:
    """A model that is ready to predict.

    `run` takes pixels 0..255 of shape (n, size, size, channels) and returns the features that the detector reads, if
    there is one, and probabilities of shape (n, classes).
    """

    run: Callable[[Any], Sequence[Any]]
    size: int
    channels: int
    classes: tuple[str, ...]
    detector: Detector | None
    notes: tuple[str, ...] = ()  # what a user should know, a line each


def notes_on(description: Path, names: Sequence[str] | None, undetected: str) -> tuple[str, ...]:
    """What a user should know: that there is no description with names, and why there is no detector, if so."""
    notes = [] if names is not None else [f"No {description.name} with the model: classes are reported by number."]
    if undetected:
        notes.append(f"{undetected}: out-of-distribution pictures are not detected.")
    return tuple(notes)


def described_names(path: Path) -> tuple[str, ...] | None:
    """The classes that the description of a model names; None where there is no description."""

    def names(description: Any) -> tuple[str, ...]:
        dataset = description["dataset"]
        return tuple(str(name) for name in dataset.get("classes") or dataset["class_counts"])

    return _described(path, names)


def described_size(path: Path) -> int | None:
    """The side in px of the pictures that a model takes, from its description; None where there is none."""
    return _described(path, lambda description: int(description["strategy"]["input_size"]))


def _described(path: Path, read: Callable[[Any], T]) -> T | None:
    try:
        return read(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise RecommendError(
            f"Expected {str(path)!r} to describe the model and name its classes. Received: one that does not "
            f"({type(error).__name__}). Build the model again, or remove the file."
        ) from error


def checked_names(class_names: Sequence[str] | None, n_classes: int, title: str) -> tuple[str, ...]:
    """The names of a model's classes; their numbers if they have none."""
    names = tuple(str(number) for number in range(n_classes)) if class_names is None else tuple(class_names)
    if len(names) != n_classes:
        raise RecommendError(
            f"Expected the names of {n_classes} classes for {title!r}. Received: {len(names)}. The .json file must be "
            "the one that was written with the model."
        )
    return names
