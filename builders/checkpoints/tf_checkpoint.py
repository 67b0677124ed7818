"""Reading TensorFlow's checkpoints: by names, as TensorFlow 1 and estimators wrote them, and by tracked objects."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from builders.checkpoints.stored_weights import Checkpoint, Layout, Read, Weight, readable, unreadable
from builders.errors import BuildError

_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
_SUFFIX = "/.ATTRIBUTES/VARIABLE_VALUE"
_KIND = "TensorFlow checkpoint"

# What a model's object has among its children besides layers: lists that repeat its variables, and Keras's bookkeeping.
_REPEATS = {
    *("variables", "trainable_variables", "non_trainable_variables", "all_variables"),
    *("regularization_losses", "keras_api"),
}
_FIXED = re.compile(r"layer_with_weights-\d+")  # tf_keras: layers in order
_DUPLICATE = re.compile(r"layer-\d+")

Children: TypeAlias = Callable[[Any], Sequence[tuple[str, Any]]]
Placed: TypeAlias = tuple[str, str, Any]  # place of the layer, key in it, the variable's object


def read_folder(folder: Path) -> Checkpoint:
    """The latest checkpoint of a folder with a `checkpoint` file, or the variables of a SavedModel.

    Raises:
        BuildError: the folder names no checkpoint, or it is damaged.
    """
    import tensorflow as tf

    variables = folder / "variables" / "variables"
    latest = tf.train.latest_checkpoint(str(folder))
    if latest is not None:
        return read_prefix(Path(latest))
    if Path(f"{variables}.index").is_file():
        return read_prefix(variables)
    raise BuildError(
        f"Expected the folder {folder} to have a file `checkpoint` that names a TensorFlow checkpoint in it. Received: "
        "none, or one whose files are missing. Name the checkpoint itself, as in dir/ckpt-1."
    )


def read_prefix(prefix: Path) -> Checkpoint:
    """The TensorFlow checkpoint whose files begin with that path.

    Raises:
        BuildError: a file of it is missing or damaged.
    """
    from google.protobuf.message import DecodeError

    with _errors(prefix), readable(prefix, _KIND):
        reader = _reader(prefix)
        shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
        _check_data(prefix)
        kinds = {name: dtype.name for name, dtype in dtypes.items()}
        layout, weights = Layout.NAMES, _named_weights(shapes, kinds)
        if _GRAPH in shapes:
            try:
                layout, weights = Layout.OBJECTS, _object_weights(reader.get_tensor(_GRAPH), shapes, kinds)
            except DecodeError as error:
                raise unreadable(prefix, _KIND, str(error)) from error
    return Checkpoint(path=prefix, layout=layout, weights=tuple(weights), opener=partial(_open, prefix))


def _reader(prefix: Path) -> Any:
    import tensorflow as tf

    return tf.train.load_checkpoint(str(prefix))


def _check_data(prefix: Path) -> None:
    """See that no data file is missing."""
    found = sorted(path.name for path in prefix.parent.iterdir() if path.name.startswith(f"{prefix.name}.data-"))
    count = int(found[0].rpartition("-of-")[2]) if found else 1
    if len(found) < count and not prefix.is_file():
        raise ValueError(f"{len(found)} of {count} files {prefix.name}.data-*")


@contextmanager
def _errors(prefix: Path) -> Iterator[None]:
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        raise unreadable(prefix, _KIND, error.message or str(error)) from error


@contextmanager
def _open(prefix: Path) -> Iterator[Read]:
    with _errors(prefix):
        yield _reader(prefix).get_tensor


def _named_weights(shapes: dict[str, list[int]], dtypes: dict[str, str]) -> list[Weight]:
    return [
        Weight(name=name.removesuffix(":0"), shape=tuple(shapes[name]), dtype=dtypes[name], address=name)
        for name in sorted(shapes)
    ]


def _object_weights(serialized: bytes, shapes: dict[str, list[int]], dtypes: dict[str, str]) -> list[Weight]:
    """The variables of a checkpoint by objects, in the order of its graph."""
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    graph = trackable_object_graph_pb2.TrackableObjectGraph.FromString(serialized)
    stored = {
        index: attribute
        for index, node in enumerate(graph.nodes)
        for attribute in node.attributes
        if attribute.name == "VARIABLE_VALUE" and attribute.checkpoint_key in shapes
    }

    def children(index: int) -> list[tuple[str, int]]:
        return [(child.local_name, child.node_id) for child in graph.nodes[index].children]

    def rank(index: int) -> int | None:
        return len(shapes[stored[index].checkpoint_key]) if index in stored else None

    places = {index: (place, key) for place, key, index in place_objects(0, children, rank)}
    state = _state(graph, children)
    state |= {index for index, attribute in stored.items() if attribute.checkpoint_key.startswith("keras_api/metrics/")}
    counters = {index for name, index in children(0) if name == "save_counter"}
    kept = [index for index in places if index not in counters]
    kept += sorted(set(stored) - set(places) - state)
    full_names = Counter(stored[index].full_name for index in kept)
    return [_object_weight(stored[index], full_names, places.get(index), shapes, dtypes) for index in kept]


def _object_weight(
    attribute: Any,
    full_names: Counter[str],
    place: tuple[str, str] | None,
    shapes: dict[str, list[int]],
    dtypes: dict[str, str],
) -> Weight:
    """One variable, by its name if that is its alone, else by the path of attributes to it."""
    address, full_name = attribute.checkpoint_key, attribute.full_name
    # A name without a slash is the variable's alone, not its layer's; the path of attributes says more then.
    unique = "/" in full_name and full_names[full_name] == 1
    name = full_name.removesuffix(":0") if unique else _public(address.removesuffix(_SUFFIX))
    layer, _, last = name.rpartition("/")
    where, key = place or ("", last)
    return Weight(
        name=name,
        shape=tuple(shapes[address]),
        dtype=dtypes[address],
        layer=layer,
        place=where,
        key=key,
        address=address,
    )


def _public(path: str) -> str:
    """A path of attributes with private ones (`_kernel`) under their public names."""
    return "/".join(part.lstrip("_") or part for part in path.split("/"))


def _state(graph: Any, children: Children) -> set[int]:
    """Variables that are an optimizer's own, not the model's that it merely lists; and an exported model's copies."""
    state = {slot.slot_variable_node_id for node in graph.nodes for slot in node.slot_variables}
    for index in range(len(graph.nodes)):
        mine = children(index)
        if is_optimizer(mine):
            own = [child for name, child in mine if name.strip("_") != "trainable_variables"]
        else:
            own = [child for name, child in mine if name == "_all_variables"]
        state.update(own, *([child for _, child in children(node)] for node in own))
    return state


def is_optimizer(children: Iterable[tuple[str, Any]]) -> bool:
    """Whether an object with these children is an optimizer."""
    return any(name in {"_iterations", "iter"} for name, _ in children)


def place_objects(root: Any, children: Children, rank: Callable[[Any], int | None]) -> list[Placed]:
    """Walk a graph of tracked objects, in Keras 3's, tf_keras's or a plain module's shape, to places they share.

    Layers that a model keeps in a list are counted among those of the list whose weights have the same ranks, so that
    one without weights, or one of another make, moves no other.

    Args:
        root: where to begin.
        children: the children of an object, by the names of its attributes.
        rank: the number of dimensions of a variable; None for any other object.

    Returns:
        Place, key and object of each variable, once.
    """
    seen: set[Any] = set()

    def visit(node: Any) -> list[Placed]:
        if node in seen:
            return []
        seen.add(node)
        found: list[Placed] = []
        counts: dict[str, int] = {}
        for name, child, listed in _flat_children(node, children):
            if rank(child) is not None:
                if child not in seen:
                    seen.add(child)
                    found.append(("", name.lstrip("_"), child))
                continue
            below = visit(child)
            if not below:
                continue
            part = name.lstrip("_")
            if listed:
                ranks = ",".join(str(rank(item)) for place, _, item in below if not place) or "nested"
                counts[ranks] = counts.get(ranks, -1) + 1
                part = f"({ranks})#{counts[ranks]}"
            found.extend((f"{part}/{place}" if place else part, key, item) for place, key, item in below)
        return found

    return [(place or ".", key, item) for place, key, item in visit(root)]


def _flat_children(node: Any, children: Children) -> Iterator[tuple[str, Any, bool]]:
    """Children of an object, those of Keras 3's inner lists as its own; True for one of an ordered list."""
    mine = children(node)
    if is_optimizer(mine):
        return
    numbered = bool(mine) and all(name.isdigit() for name, _ in mine)
    for name, child in mine:
        if name in {"_operations", "_functional"}:
            yield from (
                (inner, item, listed or name == "_operations")
                for inner, item, listed in _flat_children(child, children)
            )
        elif not _DUPLICATE.fullmatch(name) and name.strip("_") not in _REPEATS:
            yield name, child, numbered or bool(_FIXED.fullmatch(name))
