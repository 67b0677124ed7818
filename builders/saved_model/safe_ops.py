"""Which TensorFlow ops compute and do nothing else: those that `computing_ops.txt` names. Imports no TensorFlow.

An op that is not named is refused. That an op is stateless says nothing: `ReadFile` and `ImmutableConst` are, and
read any file; `Empty` returns uninitialised memory; `DebugIdentity` writes to a file or a socket.
"""

from importlib import resources
from typing import Any

from builders.errors import BuildError

COMPUTING_OPS = frozenset((resources.files(__package__ or "") / "computing_ops.txt").read_text("utf-8").split())
# Read and change the variables that a function gets. An op that makes a handle reaches any variable by its name.
VARIABLE_OPS = frozenset(
    """
    AssignAddVariableOp AssignSubVariableOp AssignVariableOp DisableCopyOnRead ReadVariableOp ResourceApplyAdam
    ResourceApplyGradientDescent ResourceApplyKerasMomentum ResourceApplyMomentum ResourceApplyRMSProp ResourceGather
    ResourceGatherNd ResourceScatterAdd ResourceScatterUpdate RngReadAndSkip StatefulStandardNormalV2
    StatefulTruncatedNormal StatefulUniform StatefulUniformInt VarIsInitializedOp VariableShape
    """.split()
)
# Write and read the weights of a SavedModel. They belong to its saver, which TensorFlow never runs when it loads.
SAVER_OPS = frozenset(
    "MergeV2Checkpoints RestoreV2 SaveV2 ShardedFilename StaticRegexFullMatch StringJoin VarHandleOp".split()
)


def require_safe(meta: Any, title: str) -> None:
    """Refuse a SavedModel, as its `MetaGraphDef`, that does more than compute."""
    require_computing(meta.graph_def, title, "Load it with --trust (trust=True)", _saver_functions(meta))


def require_computing(graph: Any, title: str, remedy: str, saver: frozenset[str] | None = None) -> None:
    """Refuse a `GraphDef` with ops that are not allowed: it names them and the function that holds them.

    The graph of a SavedModel reads variables as well; `saver` names the functions that nothing but its saver calls.
    """
    allowed = COMPUTING_OPS if saver is None else COMPUTING_OPS | VARIABLE_OPS
    parts = [("its main graph", graph.node, saver is not None)]
    for function in graph.library.function:
        name = function.signature.name
        parts.append((name, function.node_def, name in (saver or ())))
    found = []
    for where, nodes, saves in parts:
        ops = dict.fromkeys(node.op for node in nodes)
        found += [f"{op} in {where}" for op in ops if op not in allowed and not (saves and op in SAVER_OPS)]
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise BuildError(
            f"Expected {title} to hold computing ops only. Received: {', '.join(found[:3])}{more}. {remedy} if you "
            "trust its author."
        )


def _saver_functions(meta: Any) -> frozenset[str]:
    """The functions that save and restore the weights, if nothing but the saver refers to them.

    A reference needs the function's name. If it occurs only where the function is defined and where the saver calls it,
    nothing else can run it, except in the place of another function (`api_implements`).
    """
    saver = {meta.saver_def.save_tensor_name.partition(":")[0], meta.saver_def.restore_op_name.partition(":")[0]}
    called = [node.attr["f"].func.name for node in meta.graph_def.node if node.name in saver and "f" in node.attr]
    functions = {function.signature.name: function for function in meta.graph_def.library.function}
    content = meta.SerializeToString()
    return frozenset(
        name
        for name in called
        if name in functions and content.count(name.encode()) == 2 and "api_implements" not in functions[name].attr
    )
