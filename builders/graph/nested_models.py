"""Models inside models, and layers that hold blocks, as functional models."""

from collections import Counter
from collections.abc import Sequence
from typing import Any

import keras

from builders.errors import BuildError, first_line


def functional(model: Any, inputs: Sequence[Any] = ()) -> Any:
    """The model itself, the functional model inside a sequential one, or a trace of a `call` that the user wrote.

    `inputs` are symbolic tensors of the shapes that it is called on, if known.
    """
    known = model._functional if isinstance(model, keras.Sequential) else model
    if hasattr(known, "_nodes_by_depth") and _calls_as_keras_does(model):
        return known
    own = [variable.name for variable in model._trainable_variables + model._non_trainable_variables]
    if own:
        raise BuildError(
            f"Expected the weights of {model.name} to belong to its layers. Received: a subclassed model with weights "
            f"of its own ({', '.join(own[:3])}). Move them into a layer."
        )
    config = model.get_build_config() or {}
    built = [config["input_shape"]] if config.get("input_shape") else list((config.get("shapes_dict") or {}).values())
    shapes = (
        [tensor.shape for tensor in inputs] or built or [each.shape for each in getattr(known, "inputs", None) or ()]
    )
    if known is None or not shapes:
        raise BuildError(
            f"Expected {model.name} to be built. Received: a model without an input shape, since it was never called. "
            "Call it on a batch of images first."
        )
    symbolic = [keras.Input(batch_shape=(None, *shape[1:])) for shape in shapes]
    try:
        return keras.Model(symbolic, model.call(*symbolic), name=model.name)
    except Exception as error:  # the `call` is the user's code
        raise BuildError(
            f"Expected the layers of {model.name} to be visible. Received: a subclassed model whose `call` does not "
            f"run on symbolic tensors ({first_line(error)}). Pass the functional model inside it."
        ) from error


def _calls_as_keras_does(model: Any) -> bool:
    """Whether the graph of a model is all that it computes; a subclass may do more in a `call` of its own."""
    owner = next(each for each in type(model).__mro__ if "call" in vars(each))
    return owner.__module__.partition(".")[0] in ("keras", "keras_hub")


def inner_model(node: Any) -> tuple[Any, list[int | None]]:
    """The functional model of what a node calls, if that is a model or a layer that holds blocks; else None.

    Also which of its outputs each of the node's is; None for a constant.
    """
    if isinstance(node.operation, keras.Model):
        return functional(node.operation, node.arguments.keras_tensors), list(range(len(node.outputs)))
    return _blocks(node) if _holds_blocks(node.operation) else (None, [])


def _holds_blocks(operation: Any) -> bool:
    """Whether a layer of KerasHub is a stack of blocks, or a block with BatchNorm inside.

    All its weights belong to layers in it. A transformer's block stays whole, and so does a layer of the user's own.
    """
    if not isinstance(operation, keras.Layer) or not type(operation).__module__.startswith("keras_hub."):
        return False
    if operation._trainable_variables or operation._non_trainable_variables:
        return False
    parts = operation._flatten_layers(include_self=False)
    if any(isinstance(part, keras.layers.BatchNormalization) for part in parts):
        return True
    inside = operation._flatten_layers(include_self=False, recursive=False)
    composite = [type(part) for part in inside if any(sub.weights for sub in part._flatten_layers(include_self=False))]
    return max(Counter(composite).values(), default=0) > 1


def _blocks(node: Any) -> tuple[Any, list[int | None]]:
    """A layer's `call` as a functional model; None if it does not run on symbolic tensors."""
    inputs = [keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype) for tensor in node.arguments.keras_tensors]
    given = {id(tensor): new for tensor, new in zip(node.arguments.keras_tensors, inputs, strict=True)}
    arguments, keywords = node.arguments.fill_in(given)
    try:
        outputs = keras.tree.flatten(node.operation.call(*arguments, **keywords))
        symbolic = [output for output in outputs if isinstance(output, keras.KerasTensor)]
        model = keras.Model(inputs, symbolic)
    except Exception:  # noqa: BLE001  # layers raise many kinds of exception on shapes that are not known
        return None, []
    places = iter(range(len(symbolic)))
    return model, [next(places) if isinstance(output, keras.KerasTensor) else None for output in outputs]
