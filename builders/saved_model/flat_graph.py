"""A loaded SavedModel as one flat graph: traced on images, functions inlined, variables as placeholders."""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import tensorflow as tf
from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2_as_graph
from tensorflow.python.grappler import tf_optimizer

from builders.errors import BuildError, first_line
from builders.saved_model.op_graph import CONTROL_FLOW, OpGraph, dependencies, node_of, reason_of
from builders.saved_model.safe_ops import VARIABLE_OPS

_OLD_CONTROL_FLOW = {"Enter", "Exit", "LoopCond", "Merge", "NextIteration", "Switch"}
# Attributes that prevent inlining a function: XLA, a choice of implementations, an explicit request.
_BARRIERS = {"_XlaMustCompile", "_XlaMaybeCompile", "_noinline", "api_implements"}
_OPEN_SIZE = 224  # px: the input size of a module that takes any, where the caller gives none


def flatten(module: Any, title: str, input_size: int | None) -> tuple[OpGraph, bool]:
    """The flat graph of a loaded SavedModel in inference mode, and whether the module takes images of any size.

    `input_size` is the height and width in px, where the module leaves them open. Ops that do not contribute to the
    output are left out, such as updating the seed of a random layer.
    """
    concrete, any_size = _traced(module, title, input_size)
    source, output = concrete.inputs[0].op.name, concrete.outputs[0].name
    captured = {inner.op.name: outer for outer, inner in concrete.graph.captures}
    by_handle = {id(variable.handle): variable for variable in concrete.graph.variables}
    variables = {name: by_handle[id(outer)] for name, outer in captured.items() if id(outer) in by_handle}
    graph = _inlined(concrete)
    _read_directly(graph)
    if any(_holds_handles(node) for node in _needed(graph, output)):
        graph = _converted(concrete, title)
    graph = _light(graph, output, variables, captured)
    _rename_functions(graph)
    present = {node.name for node in graph.node}
    unknown = {node.op for node in graph.node if node.name not in {source, *variables}}
    foreign = unknown & ({"Placeholder"} | VARIABLE_OPS | _OLD_CONTROL_FLOW)
    if foreign or source not in present:
        raise _stateful(title, ", ".join(sorted(foreign)) or "an output that depends on none")
    return OpGraph(graph, source, output, {name: variables[name] for name in variables if name in present}), any_size


def _stateful(title: str, received: str) -> BuildError:
    return BuildError(
        f"Expected {title} to compute from the images and variables alone, without other state, such as a table, and "
        f"without control flow of TensorFlow 1. Received: {received}. Save another function of the module."
    )


def _traced(module: Any, title: str, input_size: int | None) -> tuple[Any, bool]:
    """The module in inference mode as one concrete function of a float32 batch of images."""
    function, variants = _entry(module, title)
    variant = next((variant for variant in variants if True not in _leaves(variant)), variants[0])  # not for training
    (_, height, width, channels), dtype = _images_of(variant, title)
    if input_size is not None and not {height, width} <= {None, input_size}:
        raise BuildError(
            f"Expected an input size of {height} x {width} px, the only one that {title} takes. Received: {input_size}."
            " Leave it out."
        )
    size = input_size or _OPEN_SIZE

    def forward(images: Any) -> Any:
        if dtype.is_integer:
            images = tf.saturate_cast(tf.round(images), dtype)
        return _call(function, variant, tf.cast(images, dtype), title)

    spec = tf.TensorSpec((None, height or size, width or size, channels or 3), tf.float32)
    concrete = tf.function(forward, input_signature=[spec], autograph=False).get_concrete_function()
    if len(concrete.outputs) != 1:
        structure = concrete.structured_outputs
        named = structure if isinstance(structure, dict) else [tensor.name for tensor in concrete.outputs]
        raise BuildError(
            f"Expected {title} to put out one tensor, as classifiers and feature extractors do. Received: "
            f"{len(concrete.outputs)} ({', '.join(sorted(map(str, named))) or 'none'}). Save a function that puts out "
            "one of them."
        )
    return concrete, None in (height, width)


def _entry(module: Any, title: str) -> tuple[Any, Sequence[Any]]:
    """The function to call, and the concrete functions that it chooses among."""
    for name in ("__call__", "serve"):
        function: Any = getattr(module, name, None)
        variants = getattr(function, "concrete_functions", None)
        if variants:
            return function, variants
    signatures = dict(getattr(module, "signatures", {}))
    chosen = signatures.get("serving_default") or (len(signatures) == 1 and next(iter(signatures.values())))
    if chosen:
        return chosen, [chosen]
    raise BuildError(
        f"Expected {title} to have a function to call. Received: neither __call__ nor serve, and the signatures "
        f"{', '.join(signatures) or 'none'}. Save the module with signatures={{'serving_default': …}}."
    )


def _leaves(variant: Any) -> list[Any]:
    return list(tf.nest.flatten(variant.structured_input_signature))


def _is_tensor(leaf: Any) -> bool:
    return hasattr(leaf, "shape") and leaf.shape.rank != 0  # and no single number


def _images_of(variant: Any, title: str) -> tuple[tuple[int | None, ...], Any]:
    """Shape and dtype of the one batch of images that a concrete function takes."""
    specs = [leaf for leaf in _leaves(variant) if _is_tensor(leaf)]
    if len(specs) == 1 and specs[0].dtype.name != "string" and specs[0].shape.rank in (None, 4):
        shape = (None,) * 4 if specs[0].shape.rank is None else tuple(specs[0].shape)
        if shape[0] is None and (shape[1] not in (1, 3) or shape[3] in (1, 3, 4, None)):  # and not channels first
            return shape, specs[0].dtype
    received = ", ".join(f"{spec.dtype.name} {spec.shape}" for spec in specs)
    raise BuildError(
        f"Expected {title} to take one batch of images of shape (None, height, width, channels). Received: a module "
        f"that takes {received or 'no tensor'}. Save a function of the images alone."
    )


def _call(function: Any, variant: Any, images: Any, title: str) -> Any:
    """Call it in inference mode, with the first arguments that it takes; the last are those that it was saved with."""
    filled = [images if _is_tensor(leaf) else leaf for leaf in _leaves(variant)]
    as_saved = tf.nest.pack_sequence_as(variant.structured_input_signature, filled)
    reason: Exception = TypeError()
    for positional, named in (((images,), {"training": False}), ((images,), {}), as_saved):
        try:
            return function(*positional, **named)
        except (TypeError, ValueError) as error:
            reason = error
    raise BuildError(
        f"Expected {title} to run on images of shape {images.shape}. Received: {reason_of(reason)}. Choose another "
        "input size, or save the module with a signature for it."
    ) from reason


def _inlined(concrete: Any) -> Any:
    """The graph with all function calls inlined; control flow stays as ops that hold functions."""
    meta = meta_graph_pb2.MetaGraphDef(graph_def=concrete.graph.as_graph_def())
    functions = meta.graph_def.library.function
    nodes = [*meta.graph_def.node, *(node for function in functions for node in function.node_def)]
    for holder in [*functions, *nodes]:
        for name in _BARRIERS.intersection(holder.attr):
            del holder.attr[name]
    for node in nodes:
        if node.op in CONTROL_FLOW:
            node.attr["_lower_using_switch_merge"].b = False
    ends = [tensor.name for tensor in (*concrete.inputs, *concrete.outputs)]
    meta.collection_def["train_op"].node_list.value.extend(ends)
    config = config_pb2.ConfigProto()
    config.graph_options.rewrite_options.min_graph_nodes = -1  # small graphs as well
    config.graph_options.rewrite_options.optimizers.append("function")
    return tf_optimizer.OptimizeGraph(config, meta, verbose=False)


def _read_directly(graph: Any) -> None:
    """Replace each read of a variable by the value of the node that its handle enters by."""
    nodes = {node.name: node for node in graph.node}
    for node in graph.node:
        if node.op == "ReadVariableOp":
            handle = nodes[node_of(node.input[0])]
            while handle.op == "Identity":
                handle = nodes[node_of(handle.input[0])]
            dtype = node.attr["dtype"].type
            node.op, node.input[:] = "Identity", [handle.name]
            node.attr.clear()
            node.attr["T"].type = dtype


def _holds_handles(node: Any) -> bool:
    values = [node.attr[name] for name in ("T", "Tin") if name in node.attr]  # indexing creates a missing one
    types = {number for value in values for number in (value.type, *value.list.type)}
    return node.op.startswith("Resource") or tf.resource.as_datatype_enum in types


def _converted(concrete: Any, title: str) -> Any:
    """The inlined graph where control flow reads variables: TensorFlow itself makes constants of them."""
    logger, level = tf.get_logger(), tf.get_logger().level
    logger.setLevel("ERROR")  # it warns of unused collections
    try:
        return convert_variables_to_constants_v2_as_graph(concrete, lower_control_flow=False)[1]
    except (ValueError, KeyError) as error:
        raise _stateful(title, first_line(error)) from error
    finally:
        logger.setLevel(level)


def _light(graph: Any, output: str, variables: Mapping[str, Any], captured: Mapping[str, Any]) -> Any:
    """A copy of the nodes behind the output, without values of variables, control edges, devices, runtime attributes.

    Without `_gradient_op_type` an op has its own gradient: a custom one exists only in the process that wrote it.
    """
    light = type(graph)(versions=graph.versions)  # a cleared message keeps its memory
    for node in _needed(graph, output):
        if node.name in variables:
            copy = light.node.add(name=node.name, op="Placeholder")
            copy.attr["dtype"].type = variables[node.name].dtype.as_datatype_enum
            copy.attr["shape"].shape.CopyFrom(variables[node.name].shape.as_proto())
        elif node.name in captured and captured[node.name].dtype not in (tf.resource, tf.variant):
            proto = tf.make_tensor_proto(captured[node.name].numpy())
            copy = light.node.add(name=node.name, op="Const")
            copy.attr["dtype"].type = proto.dtype
            copy.attr["value"].tensor.CopyFrom(proto)
        else:
            copy = light.node.add()
            copy.CopyFrom(node)
            copy.input[:] = [tensor for tensor in node.input if not tensor.startswith("^")]
    light.library.function.extend(functions_of(light.node, graph.library.function))
    for node in [*light.node, *(node for function in light.library.function for node in function.node_def)]:
        node.device = ""
        for name in [name for name in node.attr if name.startswith("_")]:
            del node.attr[name]
    return light


def _needed(graph: Any, output: str) -> list[Any]:
    """The nodes that the output is computed from, in the graph's order; control edges, as "^add", don't count."""
    reads = {node.name: [node_of(tensor) for tensor in node.input if tensor[0] != "^"] for node in graph.node}
    found = dependencies([node_of(output)], reads.__getitem__)
    return [node for node in graph.node if node.name in found]


def _called(nodes: Iterable[Any]) -> list[Any]:
    """The references to functions in the attributes of nodes."""
    values = [value for node in nodes for value in node.attr.values()]
    return [called for value in values for called in ([value.func] if value.HasField("func") else value.list.func)]


def functions_of(nodes: Iterable[Any], library: Iterable[Any]) -> list[Any]:
    """The functions that nodes refer to, directly or through other functions."""
    functions = {function.signature.name: function for function in library}

    def names(holders: Iterable[Any]) -> list[str]:
        return [called.name for called in _called(holders) if called.name in functions]

    found = dependencies(names(nodes), lambda name: names(functions[name].node_def))
    return [function for name, function in functions.items() if name in found]


def _rename_functions(graph: Any) -> None:
    """Give functions names that depend on their content: one process may load modules that share names."""
    library = graph.library.function
    digest = hashlib.sha256(b"".join(function.SerializeToString(deterministic=True) for function in library))
    names = {function.signature.name: f"{function.signature.name}_{digest.hexdigest()[:12]}" for function in library}
    for function in library:
        function.signature.name = names[function.signature.name]
    for called in _called([*graph.node, *(node for function in library for node in function.node_def)]):
        called.name = names.get(called.name, called.name)
