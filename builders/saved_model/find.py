"""Find a SavedModel and check it before TensorFlow loads it, since loading can run what it holds."""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from builders.errors import BuildError, first_line
from builders.saved_model.safe_ops import disallowed_in_module

_SHOWN = 3  # ops named in an error


def module_name(path_or_handle: str | Path) -> str:
    """The name of a module: its folder, or the end of its handle without the version."""
    if "://" not in str(path_or_handle):
        return Path(path_or_handle).expanduser().resolve().name
    parts = [part for part in str(path_or_handle).partition("?")[0].split("/") if part and not part.isdigit()]
    return "_".join(parts[2:][-2:]) or "module"


def module_folder(path_or_handle: str | Path) -> Path:
    """The folder of a SavedModel; a handle is resolved, and downloaded, by TensorFlow Hub.

    Raises:
        BuildError: there is no such folder, or the handle can't be resolved.
    """
    if "://" in str(path_or_handle):
        return _resolved(str(path_or_handle))
    folder = Path(path_or_handle).expanduser()
    if folder.is_dir():
        return folder
    found = "a file" if folder.exists() else "no such folder"
    raise BuildError(
        f"Expected the folder of a SavedModel. Received: {str(path_or_handle)!r}, {found}. Give the folder that holds "
        "its saved_model.pb, or the https:// handle of a TensorFlow Hub module."
    )


def _resolved(handle: str) -> Path:
    remedy = "Install it with `pip install tensorflow-hub 'setuptools<82'`"  # setuptools 82 dropped pkg_resources
    try:
        import tensorflow_hub

        remedy = "Check the handle and the network"
        return Path(tensorflow_hub.resolve(handle))
    except Exception as error:  # whatever the network, the archive or one of its resolvers raises
        raise BuildError(
            f"Expected TensorFlow Hub to resolve the handle {handle!r}. Received: {first_line(error)}. {remedy}, or "
            "download the module and give its folder."
        ) from error


def read_module(folder: Path) -> Any:
    """The one `MetaGraphDef` of a TensorFlow 2 SavedModel.

    Raises:
        BuildError: a file is missing or broken, or TensorFlow 1 wrote it.
    """
    from google.protobuf.message import DecodeError
    from tensorflow.core.protobuf import saved_model_pb2

    path = folder / "saved_model.pb"
    if not path.is_file():
        raise BuildError(
            f"Expected {folder} to hold a SavedModel. Received: a folder without saved_model.pb. Give the folder that "
            "`model.export` or `tf.saved_model.save` wrote."
        )
    module = saved_model_pb2.SavedModel()
    try:
        module.ParseFromString(path.read_bytes())
    except (DecodeError, OSError) as error:
        raise BuildError(_broken(path, first_line(error))) from error
    if not module.meta_graphs:
        raise BuildError(_broken(path, "no graph in it"))
    if len(module.meta_graphs) > 1 or not module.meta_graphs[0].HasField("object_graph_def"):
        raise BuildError(
            f"Expected {folder} to hold a SavedModel of TensorFlow 2. Received: one of TensorFlow 1. Load it there and "
            "save it again with tf.saved_model.save."
        )
    return module.meta_graphs[0]


def _broken(path: Path, reason: str) -> str:
    return f"Expected {path} to be complete. Received: {reason}. Download or export the module again."


def require_images(meta: Any, title: str) -> None:
    """Refuse a module for texts. Such a module holds tables, whose refusal would explain less.

    Raises:
        BuildError: its serving signature takes strings.
    """
    from tensorflow.core.framework import types_pb2

    served = meta.signature_def["serving_default"].inputs if "serving_default" in meta.signature_def else {}
    texts = [name for name, tensor in served.items() if tensor.dtype == types_pb2.DT_STRING]
    if texts:
        raise BuildError(not_images(title, f"texts or files ({', '.join(texts)})"))


def not_images(title: str, received: str) -> str:
    return (
        f"Expected {title} to take images of shape (batch, height, width, channels). Received: a module that takes "
        f"{received}. Choose a module for images."
    )


def require_computing(meta: Any, title: str) -> None:
    """Refuse a module that does more than compute.

    Raises:
        BuildError: an op is not on the allow-list; the message names it and the function that holds it.
    """
    refuse(disallowed_in_module(meta.graph_def, _saver_functions(meta)), title, "Load it with --trust (trust=True)")


def refuse(disallowed: Iterable[str], title: str, remedy: str) -> None:
    """Raise a `BuildError` if there are disallowed ops."""
    found = list(disallowed)
    if found:
        more = f" and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        raise BuildError(
            f"Expected {title} to hold computing ops only. Received: {', '.join(found[:_SHOWN])}{more}. {remedy} if "
            "you trust its author."
        )


def _saver_functions(meta: Any) -> frozenset[str]:
    """The functions that save and restore the weights, if nothing but the saver refers to them."""
    saver = {meta.saver_def.save_tensor_name.partition(":")[0], meta.saver_def.restore_op_name.partition(":")[0]}
    own: set[str] = set()
    others = set(_named_by_objects(meta.object_graph_def))
    for node in meta.graph_def.node:
        (own if node.name in saver else others).update(_named_by(node.attr), (node.op,))
    for function in meta.graph_def.library.function:
        others.update(_named_by(function.attr))
        for node in function.node_def:
            others.update(_named_by(node.attr), (node.op,))  # a function can be called by its name alone
        if "api_implements" in function.attr:  # TensorFlow may run it in another function's place
            others.add(function.signature.name)
    for gradient in meta.graph_def.library.gradient:
        others.update((gradient.function_name, gradient.gradient_func))
    others.update(gradient.gradient_func for gradient in meta.graph_def.library.registered_gradients)
    return frozenset(own - others)


def _named_by(attributes: Any) -> Iterator[str]:
    """Names of the functions that the attributes of a node refer to, with their own attributes."""
    for value in attributes.values():
        for function in [value.func, *value.list.func]:
            yield function.name
            yield from _named_by(function.attr)


def _named_by_objects(objects: Any) -> Iterator[str]:
    """Names of the functions that loading gives to objects, and may run."""
    yield from objects.concrete_functions
    for node in objects.nodes:
        yield from node.function.concrete_functions
        yield node.bare_concrete_function.concrete_function_name
