"""One flat graph of a traced module: functions inlined, variables as placeholders."""

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from builders.errors import BuildError
from builders.saved_model.op_graph import CONTROL_FLOW, FlatGraph, tensor_ref
from builders.saved_model.safe_ops import VARIABLE_OPS

_OLD_CONTROL_FLOW = {"Enter", "Exit", "LoopCond", "Merge", "NextIteration", "Switch"}
# Attributes that prevent inlining a function: XLA, a choice of implementations, an explicit request.
_BARRIERS = ("_XlaMustCompile", "_XlaMaybeCompile", "_noinline", "api_implements")


def flatten(concrete: Any, title: str) -> FlatGraph:
    """The flat graph of a concrete function of one batch of images.

    Ops that do not contribute to the output are left out, such as updating the seed of a random layer.

    Args:
        concrete: the module, traced in inference mode.
        title: its name in errors.

    Raises:
        BuildError: it holds state that is no variable, or TensorFlow 1's control flow.
    """
    source, output = concrete.inputs[0].op.name, concrete.outputs[0].name
    variables = _variables(concrete)
    graph = _inlined(concrete)
    _read_directly(graph)
    if any(_holds_handles(node) for node in _needed(graph, output).values()):
        graph = _converted(concrete, title)
    graph = _light(graph, output, variables, _constants(concrete))
    _rename_functions(graph)
    _require_known(graph, {source, *variables}, title)
    present = {node.name for node in graph.node}
    if source not in present:
        raise BuildError(
            f"Expected {title} to compute from the images. Received: an output that depends on none. Save another "
            "function of the module."
        )
    kept = {name: variable for name, variable in variables.items() if name in present}
    return FlatGraph(graph=graph, input=source, output=output, variables=kept)


def _require_known(graph: Any, known: set[str], title: str) -> None:
    old = sorted({node.op for node in graph.node} & _OLD_CONTROL_FLOW)
    if old:
        raise BuildError(
            f"Expected {title} to hold no control flow of TensorFlow 1, which can't be trained here. Received: "
            f"{', '.join(old)}. Save the module again with TensorFlow 2."
        )
    if any(node.op in VARIABLE_OPS or (node.op == "Placeholder" and node.name not in known) for node in graph.node):
        raise BuildError(_stateful(title))


def _stateful(title: str) -> str:
    return (
        f"Expected {title} to compute from the images and variables alone. Received: a module that keeps other state, "
        "such as a table. Save a function without it."
    )


def _variables(concrete: Any) -> dict[str, Any]:
    """The variables that a function reads, by the node that its handle enters by."""
    by_handle = {id(variable.handle): variable for variable in concrete.graph.variables}
    captures = concrete.graph.captures
    return {inner.op.name: by_handle[id(outer)] for outer, inner in captures if id(outer) in by_handle}


def _constants(concrete: Any) -> dict[str, Any]:
    """The constant tensors that it captures, as protos, by their node."""
    import tensorflow as tf

    able = ((outer, inner) for outer, inner in concrete.graph.captures if outer.dtype not in (tf.resource, tf.variant))
    return {inner.op.name: tf.make_tensor_proto(outer.numpy()) for outer, inner in able}


def _inlined(concrete: Any) -> Any:
    """The graph with all function calls inlined; control flow stays as ops that hold functions."""
    from tensorflow.core.protobuf import config_pb2, meta_graph_pb2
    from tensorflow.python.grappler import tf_optimizer

    meta = meta_graph_pb2.MetaGraphDef(graph_def=concrete.graph.as_graph_def())
    functions = meta.graph_def.library.function
    for function in functions:
        _drop(function.attr, _BARRIERS)
    for node in [*meta.graph_def.node, *(node for function in functions for node in function.node_def)]:
        _drop(node.attr, _BARRIERS)
        if node.op in CONTROL_FLOW:
            node.attr["_lower_using_switch_merge"].b = False
    ends = [tensor.name for tensor in (*concrete.inputs, *concrete.outputs)]
    meta.collection_def["train_op"].node_list.value.extend(ends)
    config = config_pb2.ConfigProto()
    config.graph_options.rewrite_options.min_graph_nodes = -1  # small graphs as well
    config.graph_options.rewrite_options.optimizers.append("function")
    return tf_optimizer.OptimizeGraph(config, meta, verbose=False)


def _drop(attributes: Any, names: tuple[str, ...]) -> None:
    for name in names:
        if name in attributes:
            del attributes[name]


def _read_directly(graph: Any) -> None:
    """Replace each read of a variable by the value of the node that its handle enters by."""
    nodes = {node.name: node for node in graph.node}
    for node in graph.node:
        if node.op == "ReadVariableOp":
            handle = nodes[tensor_ref(node.input[0])[0]]
            while handle.op == "Identity":
                handle = nodes[tensor_ref(handle.input[0])[0]]
            dtype = node.attr["dtype"].type
            node.op, node.input[:] = "Identity", [handle.name]
            node.attr.clear()
            node.attr["T"].type = dtype


def _holds_handles(node: Any) -> bool:
    from tensorflow import resource

    values = [node.attr[name] for name in ("T", "Tin") if name in node.attr]  # indexing creates a missing one
    types = {number for value in values for number in (value.type, *value.list.type)}
    return node.op.startswith("Resource") or resource.as_datatype_enum in types


def _converted(concrete: Any, title: str) -> Any:
    """The inlined graph where control flow reads variables: TensorFlow itself makes constants of them."""
    import tensorflow as tf
    from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2_as_graph

    level = tf.get_logger().level
    tf.get_logger().setLevel("ERROR")  # it warns of unused collections
    try:
        return convert_variables_to_constants_v2_as_graph(concrete, lower_control_flow=False)[1]
    except (ValueError, KeyError) as error:
        raise BuildError(_stateful(title)) from error
    finally:
        tf.get_logger().setLevel(level)


def _light(graph: Any, output: str, variables: Mapping[str, Any], constants: Mapping[str, Any]) -> Any:
    """A copy of the nodes behind the output, without values of variables, control edges, devices, runtime attributes.

    Without `_gradient_op_type` an op has its own gradient: a custom one exists only in the process that wrote it.
    """
    light = type(graph)()  # a cleared message keeps its memory
    light.versions.CopyFrom(graph.versions)
    for name, node in _needed(graph, output).items():
        if name in variables:
            copy = light.node.add(name=name, op="Placeholder")
            copy.attr["dtype"].type = variables[name].dtype.as_datatype_enum
            copy.attr["shape"].shape.CopyFrom(variables[name].shape.as_proto())
        elif name in constants:
            copy = light.node.add(name=name, op="Const")
            copy.attr["dtype"].type = constants[name].dtype
            copy.attr["value"].tensor.CopyFrom(constants[name])
        else:
            copy = light.node.add()
            copy.CopyFrom(node)
            copy.input[:] = _data(node)
            _bare(copy)
    light.library.function.extend(reached(light.node, graph.library.function))
    for function in light.library.function:
        for node in function.node_def:
            _bare(node)
    return light


def _needed(graph: Any, output: str) -> dict[str, Any]:
    """The nodes that the output is computed from, in the graph's order."""
    nodes = {node.name: node for node in graph.node}
    needed, waiting = set(), [tensor_ref(output)[0]]
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting.extend(tensor_ref(tensor)[0] for tensor in _data(nodes[name]))
    return {name: node for name, node in nodes.items() if name in needed}


def reached(nodes: Any, library: Any) -> Iterator[Any]:
    """The functions that nodes refer to, directly or through other functions."""
    functions = {function.signature.name: function for function in library}
    waiting = list(nodes)
    while waiting:
        for value in waiting.pop().attr.values():
            for name in [value.func.name, *(function.name for function in value.list.func)]:
                if name in functions:
                    function = functions.pop(name)
                    waiting.extend(function.node_def)
                    yield function


def _data(node: Any) -> list[str]:
    return [tensor for tensor in node.input if not tensor.startswith("^")]


def _bare(node: Any) -> None:
    node.device = ""
    for name in [name for name in node.attr if name.startswith("_")]:
        del node.attr[name]


def _rename_functions(graph: Any) -> None:
    """Give functions names that depend on their content: one process may load modules that share names."""
    library = graph.library.function
    if not library:
        return
    digest = hashlib.sha256(b"".join(function.SerializeToString(deterministic=True) for function in library))
    names = {function.signature.name: f"{function.signature.name}_{digest.hexdigest()[:12]}" for function in library}
    for function in library:
        function.signature.name = names[function.signature.name]
    for node in [*graph.node, *(node for function in library for node in function.node_def)]:
        for value in node.attr.values():
            for called in [value.func] if value.HasField("func") else value.list.func:
                called.name = names.get(called.name, called.name)
