"""A model's variables as a checkpoint of each layout would list them, so that the two can be laid side by side."""

from typing import Any, TypeAlias

import keras
import tensorflow as tf
from keras.src.saving import saving_lib
from keras.src.utils.naming import to_snake_case

from builders.checkpoints.hdf5 import legacy_places, qualified_name
from builders.checkpoints.stored_weights import Layout, Weight
from builders.checkpoints.tf_checkpoint import place_objects

_Places: TypeAlias = dict[int, tuple[str, str, str]]  # a variable's id -> layer, place and key


def lay_out(model: Any, layout: Layout) -> list[Weight]:
    """The variables of a model, placed as a checkpoint of that layout places them.

    Args:
        model: a built `keras.Model`.
        layout: how the checkpoint says where a variable belongs.

    Returns:
        A weight for each of `model.weights`, in that order; its address is its index there. One that the layout has
        no place for has an empty place.
    """
    places: _Places = {}
    if layout is Layout.STORE:
        places = _store_places(model)
    elif layout is Layout.OBJECTS:
        places = _object_places(model)
    elif layout is Layout.LEGACY:
        places = _legacy_places(model)
    weights = []
    for index, variable in enumerate(model.weights):
        parent, _, last = variable.path.rpartition("/")
        layer, place, key = places.get(id(variable), ("", "", last))
        weights.append(
            Weight(
                name=variable.path,
                shape=tuple(variable.shape),
                dtype=keras.backend.standardize_dtype(variable.dtype),
                layer=layer or parent,
                place=place,
                key=key,
                address=index,
            )
        )
    return weights


def class_names(model: Any) -> set[str]:
    """The classes of a model's layers as Keras makes automatic names of them: "conv2d", "functional"."""
    return {to_snake_case(type(layer).__name__) for layer in model._flatten_layers()}


class _Recorder(saving_lib.H5IOStore):  # type: ignore[misc]
    """Takes what Keras would write to a store, and writes nothing."""

    def __init__(self) -> None:
        self.stores: dict[str, dict[str, Any]] = {}
        self.names: dict[str, str] = {}

    def __bool__(self) -> bool:
        return True

    def make(self, path: str, metadata: dict[str, str] | None = None) -> dict[str, Any]:
        self.names[path] = (metadata or {}).get("name", "")
        return self.stores.setdefault(path, {})


def _store_places(model: Any) -> _Places:
    """Ask Keras itself where it would put each variable."""
    recorder = _Recorder()
    skipped = {id(getattr(model, "optimizer", None))}
    saving_lib._save_state(model, weights_store=recorder, assets_store=None, inner_path="", visited_saveables=skipped)
    return {
        id(variable): (qualified_name(place, recorder.names.get), place or ".", key)
        for place, store in recorder.stores.items()
        for key, variable in store.items()
    }


def _object_places(model: Any) -> _Places:
    """Walk what TensorFlow would track."""
    variables = {id(variable): variable for variable in model.weights}
    objects: dict[int, Any] = {id(model): model}

    def children(node: int) -> list[tuple[str, int]]:
        if node in variables:
            return []
        found = tf.train.TrackableView.children(objects[node])
        objects.update({id(child): child for child in found.values()})
        return [(name, id(child)) for name, child in found.items()]

    def rank(node: int) -> int | None:
        return len(variables[node].shape) if node in variables else None

    placed = place_objects(id(model), children, rank)
    return {node: (variables[node].path.rpartition("/")[0], place, key) for place, key, node in placed}


def _legacy_places(model: Any) -> _Places:
    """Go through the layers as Keras did before its store: a group for each, trainable weights first."""
    groups = [(layer.name, [*layer.trainable_weights, *layer.non_trainable_weights]) for layer in model.layers]
    listed = {id(variable) for _, variables in groups for variable in variables}
    groups.append(("top_level_model_weights", [weight for weight in model.weights if id(weight) not in listed]))
    places = legacy_places(
        [
            (name, [variable.path for variable in variables], [tuple(variable.shape) for variable in variables])
            for name, variables in groups
        ]
    )
    flat = [variable for _, variables in groups for variable in variables]
    return {id(variable): place for variable, place in zip(flat, places, strict=True)}
