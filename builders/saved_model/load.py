"""Open a SavedModel or a TensorFlow Hub module as a Keras model that can be cut and frozen inside."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from builders.errors import BuildError, first_line
from builders.saved_model.batch_norms import find_norms
from builders.saved_model.find import module_folder, module_name, read_module, require_computing, require_images
from builders.saved_model.flat_graph import flatten, reached
from builders.saved_model.op_graph import CONTROL_FLOW, FlatGraph, OpGraph, Ref, tensor_name
from builders.saved_model.segment import Norm, Segment, Weight, keras_name, segment_names
from builders.saved_model.signature import trace

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
        cuts it, their `trainable` flags freeze it. A module that can't be split is one layer, and `why_whole` gives
        the reason.

    Raises:
        BuildError: it can't be found, read or trusted, or does not map one batch of images to one tensor.
    """
    title = str(path_or_handle)
    folder = module_folder(path_or_handle)
    meta = read_module(folder)
    require_images(meta, title)
    if not trust:
        require_computing(meta, title)
    momentum = _momentum(meta)
    del meta
    flat, any_size = _flat(folder, title, input_size)
    graph = OpGraph(flat)
    _require_features(graph, title)
    norms = find_norms(graph)
    trainable = _trainable(flat.variables, [norm for _, norm in norms])
    cuts = graph.cuts(trainable)
    segments = _split(graph, cuts, norms, trainable)
    layers = list(_layers(segments, flat.variables, momentum, whole=None if cuts else _reason(graph), trusted=trust))
    layers[0].any_size = any_size
    return _chain(layers, graph, keras_name(module_name(path_or_handle), "module", set()))


def why_whole(model: Any) -> str | None:
    """Why a module could not be split, in one sentence; None for one that was, and for models of other origin."""
    reasons = (getattr(layer, "whole", None) for layer in model.layers)
    return next((str(reason) for reason in reasons if reason), None)


def _flat(folder: Path, title: str, input_size: int | None) -> tuple[FlatGraph, bool]:
    import tensorflow as tf

    try:
        module = tf.saved_model.load(str(folder))
    except Exception as error:  # broken files cause errors of many kinds
        raise BuildError(
            f"Expected TensorFlow to load {title}. Received: {first_line(error)}. Download or export the module again."
        ) from error
    traced = trace(module, title, input_size)
    return flatten(traced.concrete, title), traced.any_size


def _require_features(graph: OpGraph, title: str) -> None:
    import tensorflow as tf

    shape, dtype = graph.shape(graph.output), tf.as_dtype(graph.dtype(graph.output))
    if not dtype.is_floating or shape is None or len(shape) not in (2, 3, 4):
        raise BuildError(
            f"Expected {title} to put out features, class scores or a feature map. Received: {dtype.name} of shape "
            f"{shape if shape is None else (None, *shape[1:])}. Save a function that puts out the layer below."
        )


def _momentum(meta: Any) -> float:
    """The momentum of the moving statistics, where the module's training functions agree on one."""
    functions = meta.graph_def.library.function
    found = {round(1 - share, 6) for function in functions for share in _shares(function.node_def)}
    return found.pop() if len(found) == 1 else _MOMENTUM


def _shares(nodes: Iterable[Any]) -> Iterator[float]:
    """The weight of a batch's statistics in the moving ones, as TensorFlow stores it."""
    import tensorflow as tf

    for node in nodes:
        if node.op == "FusedBatchNormV3" and node.attr["exponential_avg_factor"].f not in (0, 1):
            yield node.attr["exponential_avg_factor"].f
        elif node.op == "Const" and node.name.endswith("AssignMovingAvg/decay"):
            yield float(tf.make_ndarray(node.attr["value"].tensor))


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
    ends = [(place, (graph.path[place], 0)) for place in cuts]
    if not cuts or cuts[-1] < len(graph.path) - 1:
        names.append("head" if cuts else "module")
        ends.append((len(graph.path) - 1, graph.output))
    start, source = 0, (graph.flat.input, 0)
    for name, (end, target) in zip(names, ends, strict=True):
        nodes = _part(graph, source, target)
        input_shape, output_shape = graph.shape(source) or (), graph.shape(target) or ()
        yield Segment(
            name=name,
            graph=nodes.SerializeToString(deterministic=True),
            source=tensor_name(source),
            target=tensor_name(target),
            input_shape=input_shape[1:],
            output_shape=output_shape[1:],
            weights=tuple(_weights(graph, nodes, trainable)),
            norms=tuple(norm for place, norm in norms if start < place <= end),
            weighted_layers=sum(node.layers for node in graph.nodes[start + 1 : end + 1]),
            head=end == len(graph.path) - 1 and len(output_shape) == 2,
        )
        start, source = end, target


def _part(graph: OpGraph, source: Ref, target: Ref) -> Any:
    """A `GraphDef` of the ops that lead from one tensor to another; the first is a placeholder in it."""
    flat = graph.flat.graph
    needed, waiting = {source[0]}, [target[0]]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting.extend(read for read, _ in graph.reads(name))
    part = type(flat)()
    part.versions.CopyFrom(flat.versions)
    for node in flat.node:
        if node.name == source[0]:
            part.node.add(name=node.name, op="Placeholder").attr["dtype"].type = graph.dtype(source)
        elif node.name in needed:
            copy = part.node.add()
            copy.CopyFrom(node)
            copy.input[:] = [tensor_name(ref) for ref in graph.reads(node.name)]
    part.library.function.extend(reached(part.node, flat.library.function))
    return part


def _weights(graph: OpGraph, part: Any, trainable: frozenset[str]) -> Iterator[Weight]:
    taken: set[str] = set()
    for node in part.node:
        if node.name in graph.flat.variables:
            variable = graph.flat.variables[node.name]
            name = variable.name.partition(":")[0]
            yield Weight(
                name=keras_name(name, name, taken),
                node=node.name,
                shape=tuple(variable.shape.as_list()),
                dtype=variable.dtype.name,
                trainable=node.name in trainable,
            )


def _layers(
    segments: Iterable[Segment], variables: Mapping[str, Any], momentum: float, *, whole: str | None, trusted: bool
) -> Iterator[Any]:
    from builders.saved_model.segment_layer import GraphSegment, trust

    for segment in segments:
        if trusted:
            trust(segment.graph)
        layer = GraphSegment(segment, momentum=momentum, whole=whole)
        layer.build((None, *segment.input_shape))
        layer.assign(variables)
        yield layer


def _chain(layers: Sequence[Any], graph: OpGraph, name: str) -> Any:
    import keras

    shape = graph.shape((graph.flat.input, 0)) or ()
    inputs = tensor = keras.Input(shape[1:], name="image")
    for layer in layers:
        tensor = layer(tensor)
    return keras.Model(inputs, tensor, name=name)


def _reason(graph: OpGraph) -> str:
    """Why the graph has no cut point."""
    held = sorted({graph.ops[name].op for name in graph.path} & CONTROL_FLOW)
    if held:
        return f"It can't be split: its graph holds control flow that can't be inlined ({', '.join(held)})."
    if not any(node.is_map and node.layers for node in graph.nodes):
        return "It can't be split: no convolution in its graph puts out a feature map."
    return "It can't be split: no feature map in its graph is one that every path passes through."
