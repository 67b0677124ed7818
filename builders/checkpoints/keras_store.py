"""Keras 3's layout in HDF5: each variable at `<path of attributes and layer classes>/vars/<number>`."""

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from builders.checkpoints.checkpoint import Place, Weight

_STATE = re.compile(r"(^|/)(optimizer|metrics|seed_generator(_\d+)?)/")


def weights(file: Any) -> list[Weight]:
    """The variables of an open HDF5 file, named after their layers where these have names: `conv1/vars/0`."""
    import h5py

    names: dict[str, str] = {}
    datasets: dict[str, Any] = {}

    def visit(address: str, item: Any) -> None:  # links to other files are not followed
        path, _, last = address.rpartition("vars")
        if isinstance(item, h5py.Dataset) and "vars" in address.split("/") and not _STATE.search(address):
            datasets[address] = item
        elif not last and address.split("/")[-1] == "vars":
            names[path.rstrip("/")] = str(item.attrs.get("name") or "")

    file.visititems(visit)
    found = []
    for address, dataset in datasets.items():
        path, _, key = address.rpartition("vars/")
        found.append(
            Weight(
                name=address,
                shape=dataset.shape,
                dtype=str(dataset.attrs.get("dtype") or dataset.dtype.name),
                place=_place(path.rstrip("/"), key, names.get),
                address=address,
            )
        )
    by_layer = [f"{weight.place.layer}/vars/{weight.place.key}" for weight in found]
    if not all(weight.place.layer or weight.place.path == "." for weight in found) or len({*by_layer}) < len(found):
        return found
    return [
        replace(weight, name=name) if weight.place.layer else weight
        for weight, name in zip(found, by_layer, strict=True)
    ]


def _place(path: str, key: str, name_at: Callable[[str], str | None]) -> Place:
    """A place whose layer is the names of the layers along the path, without the model's own."""
    parts = path.split("/") if path else []
    names = [name_at("/".join(parts[:end])) for end in range(1, len(parts) + 1)]
    layer = "/".join(name for name in names if name) if names and names[-1] else ""
    return Place(layer, path or ".", key)


def places(model: Any) -> dict[int, Place]:
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
