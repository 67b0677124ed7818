"""Reading HDF5 weights: Keras 3's store (`.weights.h5`, `.keras`) and the older layout by layers (`.h5`)."""

import re
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from builders.checkpoints.stored_weights import Checkpoint, Layout, Read, Weight, readable
from builders.errors import BuildError

MEMBER = "model.weights.h5"  # of a .keras archive
_STATE = re.compile(r"(^|/)(optimizer|metrics|seed_generator(_\d+)?)/")
_TOP_LEVEL = "top_level_model_weights"


def read_h5(path: Path) -> Checkpoint:
    """Read what an HDF5 file of weights holds, or a `.keras` archive with one in it.

    Raises:
        BuildError: the file is damaged or holds no weights.
    """
    with readable(path, "HDF5 file"), _open_file(path) as file:
        datasets = _datasets(file)
        group = file.get("model_weights", file)
        if "layer_names" in group.attrs or "layer_names0" in group.attrs:
            layout, weights = Layout.LEGACY, _legacy_weights(group, datasets)
        else:
            names = {path: group.attrs.get("name") for path, group in _groups(file).items()}
            layout, weights = Layout.STORE, _store_weights(names, datasets)
    if not weights:
        raise BuildError(f"Expected {path} to hold the weights of a Keras model. Received: an HDF5 file with none.")
    return Checkpoint(path=path, layout=layout, weights=tuple(weights), opener=partial(_open_arrays, path))


@contextmanager
def _open_file(path: Path) -> Iterator[Any]:
    import h5py

    with ExitStack() as stack:
        source: Any = stack.enter_context(path.open("rb"))
        zipped = source.read(2) == b"PK"
        source.seek(0)
        if zipped:
            archive = stack.enter_context(zipfile.ZipFile(source))
            source = stack.enter_context(archive.open(MEMBER))
        yield stack.enter_context(h5py.File(source, "r"))


@contextmanager
def _open_arrays(path: Path) -> Iterator[Read]:
    with _open_file(path) as file:

        def read(address: str) -> Any:
            dataset = file[address]
            if dataset.is_virtual or dataset.external:
                raise ValueError(f"{address} is kept in another file")
            if dataset.attrs.get("dtype") == "bfloat16":
                import ml_dtypes

                return np.array(dataset, dtype=ml_dtypes.bfloat16)
            return np.asarray(dataset[()])

        yield read


def _datasets(file: Any) -> dict[str, Any]:
    """The arrays by path; links to elsewhere are not followed."""
    import h5py

    found: dict[str, Any] = {}
    file.visititems(lambda path, item: found.update({path: item}) if isinstance(item, h5py.Dataset) else None)
    return found


def _groups(file: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    file.visititems(lambda path, item: found.update({path: item}) if path.split("/")[-1] == "vars" else None)
    return found


def _dtype(dataset: Any) -> str:
    return str(dataset.attrs.get("dtype") or dataset.dtype.name)


def _store_weights(names: dict[str, Any], datasets: dict[str, Any]) -> list[Weight]:
    """Weights of Keras 3's store, at `<place>/vars/<number>`."""
    layers = {path.removesuffix("vars").rstrip("/"): str(name or "") for path, name in names.items()}
    addresses = [path for path in datasets if "vars" in path.split("/") and not _STATE.search(path)]
    addresses.sort(key=_numbers_last)
    weights = []
    for address in addresses:
        place, key = address.rpartition("vars/")[::2]
        place = place.rstrip("/")
        weights.append(
            Weight(
                name=address,
                shape=datasets[address].shape,
                dtype=_dtype(datasets[address]),
                layer=qualified_name(place, layers.get),
                place=place or ".",
                key=key,
                address=address,
            )
        )
    return name_by_layer(weights)


def qualified_name(place: str, name_at: Callable[[str], str | None]) -> str:
    """The names of the layers along a path of Keras 3's store, the model's own left out."""
    parts = place.split("/") if place else []
    names = [name_at("/".join(parts[:end])) for end in range(1, len(parts) + 1)]
    return "/".join(name for name in names if name) if names and names[-1] else ""


def name_by_layer(weights: Sequence[Weight]) -> list[Weight]:
    """Weights of a store, called after their layers where these have names of their own: `conv1/vars/0`."""
    names = [f"{weight.layer}/vars/{weight.key}" for weight in weights]
    if not all(weight.layer or weight.place == "." for weight in weights) or len(set(names)) < len(names):
        return list(weights)
    return [replace(weight, name=name) if weight.layer else weight for weight, name in zip(weights, names, strict=True)]


def _numbers_last(path: str) -> list[tuple[str, int]]:
    """Sort `conv2d`, `conv2d_2`, `conv2d_10` in this order, and so the numbers of variables."""
    split = [re.fullmatch(r"(.*?)_?(\d*)", part) for part in path.split("/")]
    return [(match[1], int(match[2] or -1)) for match in split if match]


def _legacy_weights(group: Any, datasets: dict[str, Any]) -> list[Weight]:
    """Weights of the older layout: a group for each layer, in order, with the names of its weights in order."""
    base = group.name.strip("/")
    listed = []
    for layer in [*_strings(group, "layer_names"), *([_TOP_LEVEL] if _TOP_LEVEL in group else [])]:
        address = f"{base}/{layer}".lstrip("/")
        names = _strings(group[layer], "weight_names")
        shapes = [datasets[f"{address}/{name}"].shape for name in names]
        listed.append((layer, [name.removesuffix(":0") for name in names], shapes))
    placed = legacy_places(listed)
    addresses = [
        f"{base}/{layer}/{name}".lstrip("/")
        for layer, _, _ in listed
        for name in _strings(group[layer], "weight_names")
    ]
    names = [name if "/" in name else f"{layer}/{name}" for layer, names, _ in listed for name in names]
    if len(set(names)) < len(names):
        names = [address.removeprefix(f"{base}/").removesuffix(":0") for address in addresses]
    return [
        Weight(
            name=name,
            shape=datasets[address].shape,
            dtype=_dtype(datasets[address]),
            layer=layer,
            place=place,
            key=key,
            address=address,
        )
        for name, address, (layer, place, key) in zip(names, addresses, placed, strict=True)
    ]


def legacy_places(
    layers: Sequence[tuple[str, Sequence[str], Sequence[tuple[int, ...]]]],
) -> list[tuple[str, str, str]]:
    """Layer, place and key of each weight in the older layout.

    Args:
        layers: (name, names of weights, shapes of weights) of each layer, in order. A nested model is one layer here,
            and its weights' names tell its own layers apart.

    Returns:
        (layer, place, key) of all weights. The place counts the layers whose weights have the same ranks.
    """
    placed: list[tuple[str, str, str]] = []
    counts: dict[str, int] = {}
    for layer, names, shapes in layers:
        parents = ["/".join(name.split("/")[:-1]) for name in names]
        nested = len(set(parents)) > 1
        members: dict[str, list[int]] = {}
        for index, parent in enumerate(parents):
            inner = parent.removeprefix(layer).strip("/") if parent.split("/")[0] == layer else parent
            members.setdefault(f"{layer}/{inner}" if nested and inner else layer, []).append(index)
        found: list[tuple[str, str, str]] = [("", "", "")] * len(names)
        for name, indices in members.items():
            ranks = ",".join(str(len(shapes[index])) for index in indices)
            counts[ranks] = counts.get(ranks, -1) + 1
            for index in indices:
                found[index] = (name, f"({ranks})#{counts[ranks]}", names[index].split("/")[-1])
        placed.extend(found)
    return placed


def _strings(group: Any, name: str) -> list[str]:
    """A list of names from a group's attributes, where long ones are kept in numbered parts."""
    parts = [group.attrs[name]] if name in group.attrs else []
    while f"{name}{len(parts)}" in group.attrs:
        parts.append(group.attrs[f"{name}{len(parts)}"])
    return [item.decode() if isinstance(item, bytes) else str(item) for part in parts for item in part]
