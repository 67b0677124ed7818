"""Reading TensorFlow checkpoints: by names, as TensorFlow 1 and estimators wrote them, and by tracked objects."""

import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from builders.checkpoints.checkpoint import NOWHERE, Checkpoint, Place, Read, Weight, readable
from builders.errors import BuildError

_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
_PART = re.compile(r"\.(index|data-\d{5}-of-\d{5}|meta)$")
_TABLE = b"\x57\xfb\x80\x8b\x24\x75\x47\xdb"  # ends a TensorFlow 1 checkpoint of one file

_LISTS = {"variables", "trainable_variables", "non_trainable_variables", "all_variables"}  # of a model's variables
_BOOKKEEPING = {*_LISTS, "regularization_losses", "keras_api"}
_ORDERED = re.compile(r"layer_with_weights-\d+")  # tf_keras: layers in order
_DUPLICATE = re.compile(r"layer-\d+")

_Children: TypeAlias = Callable[[Any], Sequence[tuple[str, Any]]]


def recognises(path: Path) -> bool:
    """Whether the path is a folder, or names a checkpoint by its prefix or one of its files."""
    return path.is_dir() or _prefix(path) is not None


def _prefix(path: Path) -> Path | None:
    prefix = path.with_name(_PART.sub("", path.name))
    if prefix.parent.is_dir():
        parts = [other.name.removeprefix(prefix.name) for other in prefix.parent.iterdir()]
        if any(part == ".index" or part.startswith(".data-") for part in parts):
            return prefix
    if prefix.is_file() and prefix.stat().st_size >= len(_TABLE):
        with prefix.open("rb") as file:
            file.seek(-len(_TABLE), os.SEEK_END)
            return prefix if file.read() == _TABLE else None
    return None


def read(path: Path) -> Checkpoint:
    """Read names, shapes and places; of a folder those of its latest checkpoint, or of a SavedModel's variables.

    Raises:
        BuildError: the folder names no checkpoint, or a file is missing or damaged.
    """
    prefix = _in_folder(path) if path.is_dir() else _prefix(path)
    if prefix is None:
        raise BuildError(
            f"Expected the folder {path} to have a file `checkpoint` that names a TensorFlow checkpoint in it. "
            "Received: none, or one whose files are missing. Name the checkpoint itself, as in dir/ckpt-1."
        )
    with _reader(prefix) as reader:
        shapes = {name: tuple(shape) for name, shape in reader.get_variable_to_shape_map().items()}
        dtypes = {name: dtype.name for name, dtype in reader.get_variable_to_dtype_map().items()}
        by_object = _GRAPH in shapes
        found = _object_weights(reader.get_tensor(_GRAPH), shapes) if by_object else _named_weights(sorted(shapes))
    weights = tuple(
        Weight(name=name, shape=shapes[address], dtype=dtypes[address], place=place, address=address)
        for name, place, address in found
    )
    if not by_object:
        return Checkpoint(path=prefix, weights=weights, opener=partial(_open, prefix))
    return Checkpoint(path=prefix, weights=weights, opener=partial(_open, prefix), places=places, any_root=True)


def _in_folder(folder: Path) -> Path | None:
    import tensorflow as tf

    latest = tf.train.latest_checkpoint(str(folder))
    return Path(latest) if latest is not None else _prefix(folder / "variables" / "variables")


@contextmanager
def _reader(prefix: Path) -> Iterator[Any]:
    import tensorflow as tf
    from google.protobuf.message import DecodeError

    with readable(prefix, "TensorFlow checkpoint", tf.errors.OpError, DecodeError):
        yield tf.train.load_checkpoint(str(prefix))


@contextmanager
def _open(prefix: Path) -> Iterator[Read]:
    with _reader(prefix) as reader:
        yield reader.get_tensor


def _named_weights(addresses: Sequence[str]) -> Iterator[tuple[str, Place, str]]:
    for address in addresses:
        yield address.removesuffix(":0"), NOWHERE, address


def _object_weights(serialized: bytes, shapes: dict[str, tuple[int, ...]]) -> Iterator[tuple[str, Place, str]]:
    """Name, place and address of the variables of a checkpoint by objects, in the order of its graph."""
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    nodes = trackable_object_graph_pb2.TrackableObjectGraph.FromString(serialized).nodes
    stored = {
        index: attribute
        for index, node in enumerate(nodes)
        for attribute in node.attributes
        if attribute.name == "VARIABLE_VALUE" and attribute.checkpoint_key in shapes
    }

    def children(index: int) -> list[tuple[str, int]]:
        return [(child.local_name, child.node_id) for child in nodes[index].children]

    def rank(index: int) -> int | None:
        return len(shapes[stored[index].checkpoint_key]) if index in stored else None

    found = {index: (path, key) for path, key, index in _placed(0, children, rank)}
    lists = [child for index in range(len(nodes)) for name, child in children(index) if name in _LISTS]
    listed = [child for index in lists for _, child in children(index) if child in stored]
    found |= {index: ("", "") for index in listed if index not in found}
    found = {index: place for index, place in found.items() if place != (".", "save_counter")}
    full_names = Counter(stored[index].full_name for index in found)
    for index, (path, key) in found.items():
        address, full_name = stored[index].checkpoint_key, stored[index].full_name
        # A name without a slash is the variable's alone, not its layer's: the path of attributes says more then.
        unique = "/" in full_name and full_names[full_name] == 1
        name = full_name.removesuffix(":0") if unique else _public(address.removesuffix(_SUFFIX))
        layer, _, last = name.rpartition("/")
        yield name, Place(layer, path, key or last), address


def _public(path: str) -> str:
    """A path of attributes with private ones (`_kernel`) under their public names."""
    return "/".join(part.lstrip("_") or part for part in path.split("/"))


def places(model: Any) -> dict[int, Place]:
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


def _placed(root: Any, children: _Children, rank: Callable[[Any], int | None]) -> list[tuple[str, str, Any]]:
    """Walk a graph of tracked objects of Keras 3, tf_keras or a plain module to paths that they share.

    Layers that a model keeps in a list are counted among those of the list whose weights have the same ranks, so that
    a layer without weights, or of another kind, moves no other.

    Args:
        root: where to begin.
        children: the children of an object, with the names of its attributes.
        rank: the number of dimensions of a variable; None for any other object.

    Returns:
        Path of the layer, key and object of each variable, once.
    """
    seen: set[Any] = set()

    def visit(node: Any) -> list[tuple[str, str, Any]]:
        found: list[tuple[str, str, Any]] = []
        counts: dict[str, int] = {}
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
                    counts[ranks] = counts.get(ranks, -1) + 1
                    part = f"({ranks})#{counts[ranks]}"
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
