"""HDF5 weights of Keras.

Keras 3 (`.weights.h5`, `.keras`) keeps each variable at `<path of attributes and layer classes>/vars/<number>`. Older
ones (`.h5`) have a group for each layer, in order, with the names of its weights in order.
"""

import io
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from builders.checkpoints.checkpoint import Checkpoint, Place, Weight
from builders.errors import BuildError

_MEMBER = "model.weights.h5"  # of a .keras archive
_STATE = re.compile(r"(^|/)(optimizer|metrics|seed_generator(_\d+)?)/")
_TOP_LEVEL = "top_level_model_weights"


def read(path: Path) -> Checkpoint:
    """Read a file of either layout."""
    import h5py

    source: Any = path.open("rb")
    if zipfile.is_zipfile(path):
        with source, zipfile.ZipFile(source) as archive:
            source = io.BytesIO(archive.read(_MEMBER))
    with source, h5py.File(source, "r") as file:
        group = file.get("model_weights", file)
        older = "layer_names" in group.attrs or "layer_names0" in group.attrs
        weights = _older_weights(group) if older else _weights(file)
    if not weights:
        raise BuildError(f"Expected {path} to hold the weights of a Keras model. Received: an HDF5 file with none.")
    return Checkpoint(path=path, weights=tuple(weights), places=_older_places if older else _places)


def _array(dataset: Any) -> npt.NDArray[Any]:
    if dataset.is_virtual or dataset.external:
        raise ValueError(f"{dataset.name} is kept in another file")
    if dataset.attrs.get("dtype") == "bfloat16":
        import ml_dtypes

        return np.array(dataset, dtype=ml_dtypes.bfloat16)
    return np.asarray(dataset[()])


def _weights(file: Any) -> list[Weight]:
    """The variables of a store of Keras 3, named after their layers where these have names: `conv1/vars/0`."""
    import h5py

    names: dict[str, str] = {}
    datasets: dict[str, Any] = {}

    def visit(address: str, item: Any) -> None:  # links to other files are not followed
        *path, last = address.split("/")
        if last == "vars":
            names["/".join(path)] = str(item.attrs.get("name") or "")
        elif isinstance(item, h5py.Dataset) and "vars" in path and not _STATE.search(address):
            datasets[address] = item

    file.visititems(visit)
    places = []
    for address in datasets:
        path, _, key = address.rpartition("vars/")
        places.append(_place(path.rstrip("/"), key, names.get))
    shown = [
        f"{place.layer}/vars/{place.key}" if place.layer else address
        for address, place in zip(datasets, places, strict=True)
    ]
    if len(set(shown)) < len(shown):
        shown = list(datasets)
    return [
        Weight(name=name, value=_array(dataset), place=place)
        for name, dataset, place in zip(shown, datasets.values(), places, strict=True)
    ]


def _place(path: str, key: str, name_at: Callable[[str], str | None]) -> Place:
    """A place whose layer is the names of the layers along the path, without the model's own."""
    parts = path.split("/") if path else []
    names = [name_at("/".join(parts[:end])) for end in range(1, len(parts) + 1)]
    layer = "/".join(name for name in names if name) if names and names[-1] else ""
    return Place(layer, path or ".", key)


def _places(model: Any) -> dict[int, Place]:
    """Where Keras itself would store each variable of a model."""
    from keras.src.saving import saving_lib

    class Recorder(saving_lib.H5IOStore):  # type: ignore[misc]
        """Records what Keras would write."""

        def __init__(self) -> None:
            self.stores: dict[str, dict[str, Any]] = {}
            self.names: dict[str, str] = {}

        def __bool__(self) -> bool:
            return True

        def make(self, path: str, metadata: dict[str, str] | None = None) -> dict[str, Any]:
            self.names[path] = (metadata or {}).get("name", "")
            return self.stores.setdefault(path, {})

    recorder = Recorder()
    skipped = {id(getattr(model, "optimizer", None))}
    saving_lib._save_state(model, weights_store=recorder, assets_store=None, inner_path="", visited_saveables=skipped)
    return {
        id(variable): _place(path, key, recorder.names.get)
        for path, store in recorder.stores.items()
        for key, variable in store.items()
    }


def _older_weights(group: Any) -> list[Weight]:
    """The variables in the layout before Keras 3."""
    layers = [*_strings(group, "layer_names"), *([_TOP_LEVEL] if _TOP_LEVEL in group else [])]
    datasets = [
        (layer, name, group[layer][name]) for layer in layers for name in _strings(group[layer], "weight_names")
    ]
    found = [(layer, name.removesuffix(":0"), dataset.ndim) for layer, name, dataset in datasets]
    shown = [name if "/" in name else f"{layer}/{name}" for layer, name, _ in found]
    if len(set(shown)) < len(shown):
        shown = [f"{layer}/{name}" for layer, name, _ in found]
    return [
        Weight(name=name, value=_array(dataset), place=place)
        for name, (*_, dataset), place in zip(shown, datasets, _counted(found), strict=True)
    ]


def _older_places(model: Any) -> dict[int, Place]:
    """Where Keras 2 would have stored each variable of a model: by layers, trainable weights first."""
    found = [
        (layer.name, variable)
        for layer in model.layers
        for variable in (*layer.trainable_weights, *layer.non_trainable_weights)
    ]
    listed = {id(variable) for _, variable in found}
    found += [(_TOP_LEVEL, variable) for variable in model.weights if id(variable) not in listed]
    places = _counted([(layer, variable.path, len(variable.shape)) for layer, variable in found])
    return {id(variable): place for (_, variable), place in zip(found, places, strict=True)}


def _counted(weights: Sequence[tuple[str, str, int]]) -> list[Place]:
    """Places from layer, name and rank of each weight; a path counts the layers whose weights have the same ranks.

    A nested model is one layer in this layout, and the names of its weights separate its own layers.
    """
    owners = []
    for layer, group in groupby(weights, key=lambda weight: weight[0]):
        parents = [name.rpartition("/")[0] for _, name, _ in group]
        for parent in parents:
            inner = parent.removeprefix(layer).strip("/") if parent.split("/")[0] == layer else parent
            owners.append(f"{layer}/{inner}" if inner and len(set(parents)) > 1 else layer)
    ranks: dict[str, list[str]] = {}
    for owner, (*_, rank) in zip(owners, weights, strict=True):
        ranks.setdefault(owner, []).append(str(rank))
    paths: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for owner, some in ranks.items():
        kind = ",".join(some)
        paths[owner] = f"({kind})#{counts[kind]}"
        counts[kind] += 1
    return [
        Place(owner, paths[owner], name.split("/")[-1]) for owner, (_, name, _) in zip(owners, weights, strict=True)
    ]


def _strings(group: Any, name: str) -> list[str]:
    """A list of names from a group's attributes; HDF5 keeps a long one in numbered parts."""
    parts = [group.attrs[name]] if name in group.attrs else []
    while f"{name}{len(parts)}" in group.attrs:
        parts.append(group.attrs[f"{name}{len(parts)}"])
    return [item.decode() if isinstance(item, bytes) else str(item) for part in parts for item in part]
