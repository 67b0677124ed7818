"""What a checkpoint holds: the values of its variables, their names, and where they belong in a network."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple


class Place(NamedTuple):
    """Where a variable belongs in its network; "" is unknown."""

    layer: str = ""  # names of the layers around it, from the outermost to its own, joined by "/"
    path: str = ""  # the position of its layer in the structure, independent of names
    key: str = ""  # its name within the layer: "kernel", or "0" where files number variables


_NOWHERE = Place()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Weight:
    """One variable, of a file or of a model."""

    name: str  # as it is shown; unique in a file
    value: Any  # the array, or the model's variable
    place: Place = _NOWHERE

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.value.shape)


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """The variables of a checkpoint, without the state of optimizers, metrics and random generators that is marked."""

    path: Path  # the file; for TensorFlow checkpoints the prefix of its files
    weights: tuple[Weight, ...]
    places: Callable[[Any], dict[int, Place]] = lambda _: {}  # of a model's variables, by `id`, as this format has them
