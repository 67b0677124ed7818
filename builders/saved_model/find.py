"""Find a SavedModel and check it before TensorFlow loads it, since loading can run what it holds."""

from pathlib import Path
from typing import Any

from builders.errors import BuildError, first_line
from builders.saved_model.safe_ops import require_computing


def module_name(path_or_handle: str | Path) -> str:
    """The name of a module: its folder, or the end of its handle without the version."""
    if "://" not in str(path_or_handle):
        return Path(path_or_handle).expanduser().resolve().name
    parts = [part for part in str(path_or_handle).partition("?")[0].split("/") if part and not part.isdigit()]
    return "_".join(parts[2:][-2:]) or "module"


def module_folder(path_or_handle: str | Path) -> Path:
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


def read_module(folder: Path) -> Any:
    """The one `MetaGraphDef` of a TensorFlow 2 SavedModel."""
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

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


def require_safe(meta: Any, title: str) -> None:
    """Refuse a module that does more than compute."""
    remedy = "Load it with --trust (trust=True)"
    require_computing(meta.graph_def, title, remedy, _saver_functions(meta))


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
