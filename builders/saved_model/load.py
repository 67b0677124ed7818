"""Open a SavedModel or a TensorFlow Hub module as a Keras model that can be cut and frozen inside."""

import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2

from builders.errors import BuildError, first_line
from builders.saved_model.batch_norms import find_norms
from builders.saved_model.flat_graph import flatten, functions_of
from builders.saved_model.op_graph import CONTROL_FLOW, OpGraph, dependencies, node_of
from builders.saved_model.safe_ops import require_safe
from builders.saved_model.segment import Norm, Segment, Weight, keras_name, segment_names
from builders.saved_model.segment_layer import GraphSegment, trust_graph

_MOMENTUM = 0.99  # of moving statistics, where the module does not say


def load_saved_model(path_or_handle: str | Path, *, input_size: int | None = None, trust: bool = False) -> Any:
    """Open a SavedModel of TensorFlow 2, written by Keras 3, tf_keras, TensorFlow Hub or as a plain `tf.Module`.

    Args:
        path_or_handle: its folder, or the https:// handle of a TensorFlow Hub module.
        input_size: height and width in px for a module that takes any; 224 by default.
        trust: whether to load it even if it does more than compute. Such a module can read and write files.

    Returns:
        A functional `keras.Model` from float32 images of shape (batch, height, width, channels) to the module's one
        output: a chain of `GraphSegment` layers, one between each two cut points and one for the head. Removing layers
        cuts it, their `trainable` flags freeze it. A module that can't be split is one layer, whose `whole`
        gives the reason.

    Raises:
        BuildError: it can't be found, read or trusted, or does not map one batch of images to one tensor.
    """
    title, folder = str(path_or_handle), _folder(path_or_handle)
    meta = _read(folder)
    if not trust:
        require_safe(meta, title)
    momentum = _momentum(meta)
    del meta
    try:
        module = tf.saved_model.load(str(folder))
    except Exception as error:  # broken files cause errors of many kinds
        raise BuildError(
            f"Expected TensorFlow to load {title}. Received: {first_line(error)}. Download or export the module again."
        ) from error
    graph, any_size = flatten(module, title, input_size)
    shape, dtype = graph.shape(graph.output), graph.dtype(graph.output)
    if not dtype.is_floating or shape is None or len(shape) not in (2, 3, 4):
        raise BuildError(
            f"Expected {title} to put out features, class scores or a feature map. Received: {dtype.name} of shape "
            f"{shape if shape is None else (None, *shape[1:])}. Save a function that puts out the layer below."
        )
    norms = find_norms(graph)
    trainable = _trainable(graph.variables, [norm for _, norm in norms])
    cuts = graph.cuts(trainable)
    inputs = tensor = keras.Input((graph.shape(f"{graph.source}:0") or ())[1:], name="image")
    for segment in _split(graph, cuts, norms, trainable):
        if trust:
            trust_graph(segment.graph)
        layer = GraphSegment(segment, momentum=momentum, whole=None if cuts else _reason(graph))
        layer.any_size = any_size
        tensor = layer(tensor)
        layer.assign(graph.variables)
    return keras.Model(inputs, tensor, name=keras_name(_name(path_or_handle), "module", set()))


def _name(path_or_handle: str | Path) -> str:
    """The name of a module: its folder, or the end of its handle without the version."""
    if "://" not in str(path_or_handle):
        return Path(path_or_handle).expanduser().resolve().name
    parts = [part for part in str(path_or_handle).partition("?")[0].split("/") if part and not part.isdigit()]
    return "_".join(parts[2:][-2:]) or "module"


def _folder(path_or_handle: str | Path) -> Path:
    """The folder of a SavedModel; a handle is resolved, and downloaded, by TensorFlow Hub."""
    if "://" not in str(path_or_handle):
        return Path(path_or_handle).expanduser()
    remedy = "Install it with `pip install tensorflow-hub 'setuptools<82'`"  # setuptools 82 dropped pkg_resources
    try:
        import tensorflow_hub

        remedy = "Check the handle and the network"
        return Path(tensorflow_hub.resolve(str(path_or_handle)))
    except Exception as error:  # whatever the network, the archive or one of its resolvers raises
        raise BuildError(
            f"Expected TensorFlow Hub to resolve the handle {str(path_or_handle)!r}. Received: {first_line(error)}. "
            f"{remedy}, or download the module and give its folder."
        ) from error


def _read(folder: Path) -> Any:
    """The one `MetaGraphDef` of a TensorFlow 2 SavedModel."""
    path, module = folder / "saved_model.pb", saved_model_pb2.SavedModel()
    try:
        module.ParseFromString(path.read_bytes())
    except (DecodeError, OSError) as error:
        raise BuildError(
            f"Expected {str(folder)!r} to be the folder of a SavedModel, with its saved_model.pb. Received: "
            f"{first_line(error)}. Give the folder that `model.export` or `tf.saved_model.save` wrote, or the https:// "
            "handle of a TensorFlow Hub module."
        ) from error
    if len(module.meta_graphs) != 1 or not module.meta_graphs[0].HasField("object_graph_def"):
        raise BuildError(
            f"Expected {str(folder)!r} to hold a whole SavedModel of TensorFlow 2. Received: one of TensorFlow 1, or "
            "an empty one. Load it there and save it again with tf.saved_model.save."
        )
    return module.meta_graphs[0]


def _reason(graph: OpGraph) -> str:
    """Why the graph has no cut point."""
    held = sorted({graph.ops[name].type for name in graph.path} & CONTROL_FLOW)
    if held:
        return f"It can't be split: its graph holds control flow that can't be inlined ({', '.join(held)})."
    return "It can't be split: its graph has no feature map of a convolution that every path passes through."


def _momentum(meta: Any) -> float:
    """The momentum of the moving statistics, where the module's training functions agree on one."""
    found = set()  # TensorFlow stores the weight of a batch's statistics in the moving ones
    for node in (node for function in meta.graph_def.library.function for node in function.node_def):
        if node.op == "FusedBatchNormV3" and node.attr["exponential_avg_factor"].f not in (0, 1):
            found.add(round(1 - node.attr["exponential_avg_factor"].f, 6))
        elif node.op == "Const" and node.name.endswith("AssignMovingAvg/decay"):
            found.add(round(1 - float(tf.make_ndarray(node.attr["value"].tensor)), 6))
    return found.pop() if len(found) == 1 else _MOMENTUM


def _trainable(variables: Mapping[str, Any], norms: Sequence[Norm]) -> frozenset[str]:
    """The variables that may train; all that can, if the module was saved entirely frozen."""
    statistics = {node for norm in norms for node in (norm.mean, norm.variance)}
    able = {node for node, variable in variables.items() if variable.dtype.is_floating and node not in statistics}
    marked = {node for node in able if variables[node].trainable}
    return frozenset(marked or able)


def _split(
    graph: OpGraph, cuts: Sequence[int], norms: Sequence[tuple[int, Norm]], trainable: frozenset[str]
) -> Iterator[Segment]:
    """The segments between the cuts, and the head behind the last one."""
    names = segment_names([graph.path[place] for place in cuts], [node.name for node in graph.nodes if node.layers])
    ends = [(place, f"{graph.path[place]}:0") for place in cuts]
    if not cuts or cuts[-1] < len(graph.path) - 1:
        names.append("head" if cuts else "module")
        ends.append((len(graph.path) - 1, graph.output))
    start, source = 0, f"{graph.source}:0"
    for name, (end, target) in zip(names, ends, strict=True):
        part = _part(graph, source, target)
        input_shape, output_shape = graph.shape(source) or (), graph.shape(target) or ()
        yield Segment(
            name=name,
            graph=zlib.compress(part.SerializeToString(deterministic=True), 6),
            source=source,
            target=target,
            input_shape=input_shape[1:],
            output_shape=output_shape[1:],
            weights=tuple(_weights(graph, part, trainable)),
            norms=tuple(norm for place, norm in norms if start < place <= end),
            weighted_layers=sum(node.layers for node in graph.nodes[start + 1 : end + 1]),
            head=end == len(graph.path) - 1 and len(output_shape) == 2,
        )
        start, source = end, target


def _part(graph: OpGraph, source: str, target: str) -> Any:
    """A `GraphDef` of the ops that lead from one tensor to another; the first is a placeholder in it."""
    first = node_of(source)
    needed = dependencies([node_of(target)], lambda name: map(node_of, graph.reads(name)) if name != first else ())
    part = type(graph.graph_def)(versions=graph.graph_def.versions)
    for node in graph.graph_def.node:
        if node.name == first:
            part.node.add(name=first, op="Placeholder").attr["dtype"].type = graph.dtype(source).as_datatype_enum
        elif node.name in needed:
            copy = part.node.add()
            copy.CopyFrom(node)
            copy.input[:] = graph.reads(node.name)
    part.library.function.extend(functions_of(part.node, graph.graph_def.library.function))
    return part


def _weights(graph: OpGraph, part: Any, trainable: frozenset[str]) -> Iterator[Weight]:
    taken: set[str] = set()
    for node in part.node:
        if node.name in graph.variables:
            variable = graph.variables[node.name]
            name = variable.name.partition(":")[0]
            yield Weight(
                name=keras_name(name, name, taken),
                node=node.name,
                shape=tuple(variable.shape.as_list()),
                dtype=variable.dtype.name,
                trainable=node.name in trainable,
            )
