"""Names of layers that are the same in every rebuild of a network. Pure."""

import re
from collections.abc import Collection, Sequence
from typing import NamedTuple


class Named(NamedTuple):
    """A layer or operation as its model calls it."""

    name: str
    class_name: str
    prefix: str  # of a layer in a nested model: the nested model's name with an underscore; else empty


def stable_names(layers: Sequence[Named]) -> list[str]:
    """Names that are unique and that a rebuild repeats, in the order of the layers.

    Keras numbers unnamed layers through the whole session: `conv2d_94`. Here they are numbered from the first of their
    class in the network. If layers of nested models share a name, the later ones get the nested model's name in front.
    """
    taken: set[str] = set()

    def take(name: str, prefix: str) -> str:
        free = name if name not in taken else free_name(prefix + name, taken)
        taken.add(free)
        return free

    names = [""] * len(layers)
    numbered: dict[str, list[tuple[int, int]]] = {}
    for index, layer in enumerate(layers):
        stem = snake_case(layer.class_name)
        match = re.fullmatch(rf"{stem}(?:_(\d+))?", layer.name)
        if match:
            numbered.setdefault(stem, []).append((int(match[1] or 0), index))
        else:
            names[index] = take(layer.name, layer.prefix)
    for stem, members in numbered.items():
        for rank, (_, index) in enumerate(sorted(members)):
            names[index] = take(f"{stem}_{rank}" if rank else stem, layers[index].prefix)
    return names


def free_name(name: str, taken: Collection[str]) -> str:
    """The name, or the name with the first free number behind it if it is taken."""
    candidate, number = name, 1
    while candidate in taken:
        candidate, number = f"{name}_{number}", number + 1
    return candidate


def snake_case(name: str) -> str:
    """A class name in the form in which Keras makes layer names from it."""
    name = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
