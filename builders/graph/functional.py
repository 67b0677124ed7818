"""See the layers of a model of any make as a functional graph."""

from collections.abc import Sequence
from typing import Any

import keras

from builders.errors import BuildError


def functional(model: Any, inputs: Sequence[Any] | None = None) -> Any:
    """The model as a functional one: itself, what a sequential one holds, or what a subclassed one's `call` does.

    Args:
        model: a built `keras.Model`.
        inputs: symbolic tensors of the shapes that it is called on, where they are known.

    Raises:
        BuildError: its layers can't be seen from outside.
    """
    if hasattr(model, "_nodes_by_depth"):
        return model
    if isinstance(model, keras.Sequential):
        if model._functional is None:
            raise BuildError(
                f"Expected {model.name} to be built. Received: a model without an input shape. Call it on a batch of "
                "images, or give it a keras.Input first."
            )
        return model._functional
    own = [variable.name for variable in model._trainable_variables + model._non_trainable_variables]
    if own:
        raise BuildError(
            f"Expected the weights of {model.name} to belong to its layers. Received: a subclassed model with weights "
            f"of its own ({', '.join(own[:3])}). Move them into a layer."
        )
    shapes = [tuple(tensor.shape) for tensor in inputs] if inputs else _built_shapes(model)
    symbolic = [keras.Input(batch_shape=(None, *shape[1:])) for shape in shapes]
    try:
        return keras.Model(symbolic, model.call(*symbolic), name=model.name)
    except Exception as error:  # whatever code the model's author wrote
        raise BuildError(
            f"Expected the layers of {model.name} to be visible. Received: a subclassed model whose `call` does not "
            f"run on symbolic tensors ({first_line(error)}). Pass the functional model inside it."
        ) from error


def _built_shapes(model: Any) -> list[tuple[int | None, ...]]:
    config = model.get_build_config() or {}
    shape = config.get("input_shape")
    shapes = [shape] if shape else list((config.get("shapes_dict") or {}).values())
    if not shapes:
        raise BuildError(
            f"Expected {model.name} to be built. Received: a model that has not seen an input. Call it on a batch of "
            "images first."
        )
    return [tuple(part) for part in shapes]


def first_line(error: BaseException) -> str:
    """What an exception says, on one line and without a full stop."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")


def is_model(operation: Any) -> bool:
    return isinstance(operation, keras.Model)


def require_one(tensors: Sequence[Any], what: str, title: str) -> None:
    if len(tensors) != 1:
        names = ", ".join(str(tensor.name) for tensor in tensors[:3])
        raise BuildError(
            f"Expected {title} to have one {what}, as image classifiers have. Received: {len(tensors)} ({names}). "
            "Pass a keras.Model of the part that you want."
        )
