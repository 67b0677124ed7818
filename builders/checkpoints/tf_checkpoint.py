"""Reading TensorFlow checkpoints: by names, as TensorFlow 1 and estimators wrote them, and by tracked objects."""

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from builders.checkpoints.checkpoint import Checkpoint, Place, Weight
from builders.errors import BuildError

_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_PART = re.compile(r"\.(index|data-\d{5}-of-\d{5}|meta)$")

_LISTS = {"variables", "trainable_variables", "non_trainable_variables", "all_variables"}  # of a model's variables
_BOOKKEEPING = {*_LISTS, "regularization_losses", "keras_api"}
_ORDERED = re.compile(r"layer_with_weights-\d+")  # tf_keras: layers in order
_DUPLICATE = re.compile(r"layer-\d+")

_Children: TypeAlias = Callable[[Any], Sequence[tuple[str, Any]]]  # of a tracked object, by the names of its attributes
_Rank: TypeAlias = Callable[[Any], int | None]  # number of dimensions of a variable; None for any other object


def recognises(path: Path) -> bool:
    """Whether the path is a folder, or names a checkpoint by its prefix or one of its files."""
    return path.is_dir() or _prefix(path) is not None


def _prefix(path: Path) -> Path | None:
    prefix = path.with_name(_PART.sub("", path.name))
    others = prefix.parent.iterdir() if prefix.parent.is_dir() else ()
    parts = [other.name.removeprefix(prefix.name) for other in others]
    return prefix if any(part == ".index" or part.startswith(".data-") for part in parts) else None


def read(path: Path) -> Checkpoint:
    """Read a checkpoint; of a folder its latest one, or the variables of a SavedModel."""
    import tensorflow as tf

    prefix = _prefix(path)
    if path.is_dir():
        latest = tf.train.latest_checkpoint(str(path))
        prefix = Path(latest) if latest is not None else _prefix(path / "variables" / "variables")
    if prefix is None:
        raise BuildError(
            f"Expected the folder {path} to have a file `checkpoint` that names a TensorFlow checkpoint in it. "
            "Received: none, or one whose files are missing. Name the checkpoint itself, as in dir/ckpt-1."
        )
    reader = tf.train.load_checkpoint(str(prefix))
    ranks = {address: len(shape) for address, shape in reader.get_variable_to_shape_map().items()}
    if _GRAPH in ranks:
        found = list(_tracked(reader.get_tensor(_GRAPH), ranks))
    else:
        found = [(address.removesuffix(":0"), Place(), address) for address in sorted(ranks)]
    weights = tuple(
        Weight(name=name, value=np.asarray(reader.get_tensor(address)), place=place) for name, place, address in found
    )
    return Checkpoint(path=prefix, weights=weights, places=_places)


def _tracked(serialized: bytes, ranks: dict[str, int]) -> Iterator[tuple[str, Place, str]]:
    """Name, place and address of the variables of a checkpoint by objects, in the order of its graph."""
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    nodes = trackable_object_graph_pb2.TrackableObjectGraph.FromString(serialized).nodes
    stored = {
        index: attribute
        for index, node in enumerate(nodes)
        for attribute in node.attributes
        if attribute.name == "VARIABLE_VALUE" and attribute.checkpoint_key in ranks
    }

    def children(index: int) -> list[tuple[str, int]]:
        return [(child.local_name, child.node_id) for child in nodes[index].children]

    def rank(index: int) -> int | None:
        return ranks[stored[index].checkpoint_key] if index in stored else None

    found = {index: (path, key) for path, key, index in _placed(0, children, rank)}
    lists = [child for index in range(len(nodes)) for name, child in children(index) if name in _LISTS]
    listed = [child for index in lists for _, child in children(index) if child in stored]
    found |= {index: ("", "") for index in listed if index not in found}
    found = {index: place for index, place in found.items() if place != (".", "save_counter")}
    full_names = Counter(stored[index].full_name for index in found)
    for index, (path, key) in found.items():
        address, name = stored[index].checkpoint_key, stored[index].full_name
        # A name without a slash is the variable's alone, not its layer's: the path of attributes says more then.
        if "/" not in name or full_names[name] > 1:
            parts = address.removesuffix("/.ATTRIBUTES/VARIABLE_VALUE").split("/")
            name = "/".join(part.lstrip("_") or part for part in parts)
        name = name.removesuffix(":0")
        layer, _, last = name.rpartition("/")
        yield name, Place(layer, path, key or last), address


def _places(model: Any) -> dict[int, Place]:
    """Where the variables of a model are among the objects that TensorFlow tracks."""
    import tensorflow as tf

    variables = {id(variable): variable for variable in model.weights}
    objects: dict[int, Any] = {id(model): model}

    def children(node: int) -> list[tuple[str, int]]:
        found = tf.train.TrackableView.children(objects[node])
        objects.update({id(child): child for child in found.values()})
        return [(name, id(child)) for name, child in found.items()]

    def rank(node: int) -> int | None:
        return len(variables[node].shape) if node in variables else None

    placed = _placed(id(model), children, rank)
    return {node: Place(variables[node].path.rpartition("/")[0], path, key) for path, key, node in placed}


def _placed(root: Any, children: _Children, rank: _Rank) -> list[tuple[str, str, Any]]:
    """Path of the layer, key and object of each variable, in paths that Keras 3, tf_keras and plain modules share.

    Layers that a model keeps in a list are counted among those of the list whose weights have the same ranks, so that
    a layer without weights, or of another kind, moves no other.
    """
    seen: set[Any] = set()

    def visit(node: Any) -> list[tuple[str, str, Any]]:
        found: list[tuple[str, str, Any]] = []
        counts: Counter[str] = Counter()
        for name, child, ordered in _layers(node, children):
            if child in seen:
                continue
            seen.add(child)
            part = name.lstrip("_")
            if rank(child) is not None:
                found.append(("", part, child))
            elif below := visit(child):
                if ordered:
                    ranks = ",".join(str(rank(item)) for path, _, item in below if not path) or "nested"
                    part = f"({ranks})#{counts[ranks]}"
                    counts[ranks] += 1
                found += [(f"{part}/{path}" if path else part, key, item) for path, key, item in below]
        return found

    return [(path or ".", key, item) for path, key, item in visit(root)]


def _layers(node: Any, children: _Children) -> Iterator[tuple[str, Any, bool]]:
    """The children of an object, and whether each is one of an ordered list; those of an optimizer are left out."""
    own = children(node)
    if any(name in {"_iterations", "iter"} for name, _ in own):
        return
    numbered = bool(own) and all(name.isdigit() for name, _ in own)
    for name, child in own:
        if name in {"_operations", "_functional"}:  # Keras 3 keeps the layers of a model in them
            for inner, item, ordered in _layers(child, children):
                yield inner, item, ordered or name == "_operations"
        elif not _DUPLICATE.fullmatch(name) and name.strip("_") not in _BOOKKEEPING:
            yield name, child, numbered or _ORDERED.fullmatch(name) is not None
