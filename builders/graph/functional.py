"""Convert a model of any type to a functional one, so that its layer graph can be read."""

from collections.abc import Sequence
from typing import Any

import keras

from builders.errors import BuildError, first_line


def functional(model: Any, inputs: Sequence[Any] = ()) -> Any:
    """The model itself, the functional model inside a sequential one, or a trace of a subclassed model's `call`.

    Args:
        model: a built `keras.Model`.
        inputs: symbolic tensors of the shapes that it is called on, if known.

    Raises:
        BuildError: its layers can't be read from outside.
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
    shapes = [tensor.shape for tensor in inputs] or _built_shapes(model)
    symbolic = [keras.Input(batch_shape=(None, *shape[1:])) for shape in shapes]
    try:
        return keras.Model(symbolic, model.call(*symbolic), name=model.name)
    except Exception as error:  # the `call` is the user's code
        raise BuildError(
            f"Expected the layers of {model.name} to be visible. Received: a subclassed model whose `call` does not "
            f"run on symbolic tensors ({first_line(error)}). Pass the functional model inside it."
        ) from error


def _built_shapes(model: Any) -> list[Any]:
    config = model.get_build_config() or {}
    shape = config.get("input_shape")
    shapes = [shape] if shape else list((config.get("shapes_dict") or {}).values())
    if not shapes:
        raise BuildError(
            f"Expected {model.name} to be built. Received: a model that was never called. Call it on a batch of images "
            "first."
        )
    return shapes
