"""The layout of `.h5` before Keras 3: a group for each layer, in order, with the names of its weights in order."""

from collections.abc import Sequence
from typing import Any, TypeAlias

from builders.checkpoints.checkpoint import Place, Weight

_TOP_LEVEL = "top_level_model_weights"
_Layers: TypeAlias = Sequence[tuple[str, Sequence[str], Sequence[tuple[int, ...]]]]  # name, weights' names and shapes


def recognises(file: Any) -> bool:
    """Whether an open HDF5 file has this layout."""
    attributes = file.get("model_weights", file).attrs
    return "layer_names" in attributes or "layer_names0" in attributes


def weights(file: Any) -> list[Weight]:
    """The variables of an open HDF5 file."""
    group = file.get("model_weights", file)
    layers = []
    addresses: list[tuple[str, str]] = []  # of all datasets: the layer's group, the weight's name
    for layer in [*_strings(group, "layer_names"), *([_TOP_LEVEL] if _TOP_LEVEL in group else [])]:
        names = _strings(group[layer], "weight_names")
        shapes = [group[layer][name].shape for name in names]
        layers.append((layer, [name.removesuffix(":0") for name in names], shapes))
        addresses += [(layer, name) for name in names]
    shown = [(name if "/" in name else f"{layer}/{name}").removesuffix(":0") for layer, name in addresses]
    if len(set(shown)) < len(shown):
        shown = [f"{layer}/{name}".removesuffix(":0") for layer, name in addresses]
    found = []
    for title, (layer, name), place in zip(shown, addresses, _places(layers), strict=True):
        dataset = group[layer][name]
        dtype = str(dataset.attrs.get("dtype") or dataset.dtype.name)
        address = f"{group.name}/{layer}/{name}"
        found.append(Weight(name=title, shape=dataset.shape, dtype=dtype, place=place, address=address))
    return found


def places(model: Any) -> dict[int, Place]:
    """Where Keras 2 would have stored each variable of a model: by layers, trainable weights first."""
    groups = [(layer.name, [*layer.trainable_weights, *layer.non_trainable_weights]) for layer in model.layers]
    listed = {id(variable) for _, variables in groups for variable in variables}
    groups.append((_TOP_LEVEL, [weight for weight in model.weights if id(weight) not in listed]))
    flat = [variable for _, variables in groups for variable in variables]
    found = _places([(name, [one.path for one in some], [tuple(one.shape) for one in some]) for name, some in groups])
    return {id(variable): place for variable, place in zip(flat, found, strict=True)}


def _places(layers: _Layers) -> list[Place]:
    """The places of all weights; a path counts the layers whose weights have the same ranks.

    A nested model is one layer in this layout, and the names of its weights separate its own layers.
    """
    places: list[Place] = []
    counts: dict[str, int] = {}
    for layer, names, shapes in layers:
        parents = [name.rpartition("/")[0] for name in names]
        nested = len(set(parents)) > 1
        members: dict[str, list[int]] = {}
        for index, parent in enumerate(parents):
            inner = parent.removeprefix(layer).strip("/") if parent.split("/")[0] == layer else parent
            members.setdefault(f"{layer}/{inner}" if nested and inner else layer, []).append(index)
        found: dict[int, Place] = {}
        for name, indices in members.items():
            ranks = ",".join(str(len(shapes[index])) for index in indices)
            counts[ranks] = counts.get(ranks, -1) + 1
            for index in indices:
                found[index] = Place(name, f"({ranks})#{counts[ranks]}", names[index].split("/")[-1])
        places += [found[index] for index in range(len(names))]
    return places


def _strings(group: Any, name: str) -> list[str]:
    """A list of names from a group's attributes; HDF5 keeps a long one in numbered parts."""
    parts = [group.attrs[name]] if name in group.attrs else []
    while f"{name}{len(parts)}" in group.attrs:
        parts.append(group.attrs[f"{name}{len(parts)}"])
    return [item.decode() if isinstance(item, bytes) else str(item) for part in parts for item in part]
