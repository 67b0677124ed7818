"""Names of layers that a rebuild of the network repeats. Pure."""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Named:
    """A layer or operation as its model calls it.

    Attributes:
        name: its name there.
        made_by: the name of its class.
        prefix: what tells its model from others, for a layer of a nested model; else empty.
    """

    name: str
    made_by: str
    prefix: str


def lasting_names(layers: Sequence[Named]) -> list[str]:
    """Names that are unique and that a rebuild repeats, in the order of the layers.

    Keras numbers layers without a name of their own on and on through a session: `conv2d_94`. Here they are numbered
    from the first of their kind in the network, which is what a fresh session would have called them. A name that
    layers of nested models share is given the model's in front.
    """
    taken: set[str] = set()
    names = [""] * len(layers)
    numbered: dict[str, list[tuple[int, int]]] = {}
    for index, layer in enumerate(layers):
        stem = snake_case(layer.made_by)
        match = re.fullmatch(rf"{stem}(?:_(\d+))?", layer.name)
        if match:
            numbered.setdefault(stem, []).append((int(match[1] or 0), index))
        else:
            names[index] = _free(layer.name, layer.prefix, taken)
    for stem, members in numbered.items():
        for rank, (_, index) in enumerate(sorted(members)):
            names[index] = _free(f"{stem}_{rank}" if rank else stem, layers[index].prefix, taken)
    return names


def _free(name: str, prefix: str, taken: set[str]) -> str:
    """The name, with the prefix where another layer has it, and a number where that is not enough; then it is taken."""
    free = name if name not in taken else free_name(prefix + name, taken)
    taken.add(free)
    return free


def free_name(name: str, taken: Collection[str]) -> str:
    """The name, with a number behind it where it is taken."""
    candidate, number = name, 1
    while candidate in taken:
        candidate, number = f"{name}_{number}", number + 1
    return candidate


def snake_case(name: str) -> str:
    """A class's name as Keras makes layer names of it."""
    name = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", name).lower()
