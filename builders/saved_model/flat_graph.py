"""One flat graph of a traced module: functions inlined, variables as placeholders."""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any

from builders.errors import BuildError
from builders.saved_model.op_graph import CONTROL_FLOW, OpGraph, dependencies, node_of
from builders.saved_model.safe_ops import VARIABLE_OPS

_OLD_CONTROL_FLOW = {"Enter", "Exit", "LoopCond", "Merge", "NextIteration", "Switch"}
# Attributes that prevent inlining a function: XLA, a choice of implementations, an explicit request.
_BARRIERS = {"_XlaMustCompile", "_XlaMaybeCompile", "_noinline", "api_implements"}


def flatten(concrete: Any, title: str) -> OpGraph:
    """The flat graph of a concrete function of one batch of images, traced in inference mode.

    Ops that do not contribute to the output are left out, such as updating the seed of a random layer.
    """
    source, output = concrete.inputs[0].op.name, concrete.outputs[0].name
    by_handle = {id(variable.handle): variable for variable in concrete.graph.variables}
    captures = concrete.graph.captures
    variables = {inner.op.name: by_handle[id(outer)] for outer, inner in captures if id(outer) in by_handle}
    graph = _inlined(concrete)
    _read_directly(graph)
    if any(_holds_handles(node) for node in _needed(graph, output)):
        graph = _converted(concrete, title)
    graph = _light(graph, output, variables, _constants(concrete))
    _rename_functions(graph)
    present = {node.name for node in graph.node}
    unknown = (node for node in graph.node if node.name not in {source, *variables})
    foreign = {node.op for node in unknown if node.op in {"Placeholder"} | VARIABLE_OPS | _OLD_CONTROL_FLOW}
    if foreign or source not in present:
        found = ", ".join(sorted(foreign)) or "an output that depends on none"
        raise BuildError(
            f"Expected {title} to compute from the images and variables alone, without other state, such as a table, "
            f"and without control flow of TensorFlow 1. Received: {found}. Save another function of the module."
        )
    return OpGraph(graph, source, output, {name: variables[name] for name in variables if name in present})


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
    nodes = [*meta.graph_def.node, *(node for function in functions for node in function.node_def)]
    for holder in [*functions, *nodes]:
        _drop(holder, _BARRIERS.intersection(holder.attr))
    for node in nodes:
        if node.op in CONTROL_FLOW:
            node.attr["_lower_using_switch_merge"].b = False
    ends = [tensor.name for tensor in (*concrete.inputs, *concrete.outputs)]
    meta.collection_def["train_op"].node_list.value.extend(ends)
    config = config_pb2.ConfigProto()
    config.graph_options.rewrite_options.min_graph_nodes = -1  # small graphs as well
    config.graph_options.rewrite_options.optimizers.append("function")
    return tf_optimizer.OptimizeGraph(config, meta, verbose=False)


def _drop(holder: Any, names: Iterable[str]) -> None:
    for name in list(names):
        del holder.attr[name]


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
        raise BuildError(
            f"Expected {title} to compute from the images and variables alone. Received: other state, such as a table. "
            "Save another function of the module."
        ) from error
    finally:
        tf.get_logger().setLevel(level)


def _light(graph: Any, output: str, variables: Mapping[str, Any], constants: Mapping[str, Any]) -> Any:
    """A copy of the nodes behind the output, without values of variables, control edges, devices, runtime attributes.

    Without `_gradient_op_type` an op has its own gradient: a custom one exists only in the process that wrote it.
    """
    light = type(graph)(versions=graph.versions)  # a cleared message keeps its memory
    for node in _needed(graph, output):
        if node.name in variables:
            copy = light.node.add(name=node.name, op="Placeholder")
            copy.attr["dtype"].type = variables[node.name].dtype.as_datatype_enum
            copy.attr["shape"].shape.CopyFrom(variables[node.name].shape.as_proto())
        elif node.name in constants:
            copy = light.node.add(name=node.name, op="Const")
            copy.attr["dtype"].type = constants[node.name].dtype
            copy.attr["value"].tensor.CopyFrom(constants[node.name])
        else:
            copy = light.node.add()
            copy.CopyFrom(node)
            copy.input[:] = _data(node)
    light.library.function.extend(functions_of(light.node, graph.library.function))
    for node in [*light.node, *(node for function in light.library.function for node in function.node_def)]:
        node.device = ""
        _drop(node, [name for name in node.attr if name.startswith("_")])
    return light


def _data(node: Any) -> list[str]:
    return [tensor for tensor in node.input if not tensor.startswith("^")]


def _needed(graph: Any, output: str) -> list[Any]:
    """The nodes that the output is computed from, in the graph's order."""
    nodes = {node.name: node for node in graph.node}
    found = dependencies([node_of(output)], lambda name: [node_of(tensor) for tensor in _data(nodes[name])])
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
