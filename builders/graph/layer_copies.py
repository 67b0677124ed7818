"""Copies of layers with their weights."""

import inspect
from typing import Any

import keras

from builders.errors import BuildError, first_line


def copied_layer(operation: Any, name: str) -> Any:
    """A new layer or operation with the name of its call; its weights are set later."""
    if type(operation) is keras.layers.Lambda:  # a configuration loses the names that its function reads
        return _lambda(operation, name)
    try:
        known = _constructed_with(operation)
        config = operation.get_config() if known is None else known
        if "name" in config:
            config["name"] = name.partition("@")[0]
        copied = type(operation).from_config(dict(config))
        if known is not None:
            # Keras saves it with what it can be made from. Its first call builds it; `build` alone does not always.
            copied.get_config = lambda: config if copied.trainable else {**config, "trainable": False}
            copied.get_build_config = lambda: None
        return copied
    except Exception as error:  # a layer of the user's own may lack get_config
        raise BuildError(
            f"Expected the layer {name!r} ({type(operation).__name__}) to be copied from its configuration. "
            f"Received: {first_line(error)}. Give the class a get_config, or share the layers with share=True."
        ) from error


def _lambda(layer: Any, name: str) -> Any:
    """A new layer with the same function."""
    return keras.layers.Lambda(
        layer.function,
        output_shape=layer._output_shape,
        mask=layer.mask,
        arguments=layer.arguments,
        name=name.partition("@")[0],
        dtype=layer.dtype_policy,
    )


_SIMPLE = (str, int, float, bool, type(None), tuple, list)


def _constructed_with(operation: Any) -> dict[str, Any] | None:
    """The arguments that made a layer of KerasHub; None for other layers, whose configuration holds them.

    KerasHub saves networks whole: configurations of its layers lack arguments, or hold some that the class does not
    take. Keras can't configure an Identity that got a dtype policy.
    """
    made_by = type(operation)
    if not made_by.__module__.startswith("keras_hub.") and made_by is not keras.layers.Identity:
        return None
    base: dict[str, Any] = {"name": operation.name, "dtype": operation.dtype_policy.name}
    if operation._auto_config is not None:  # Keras keeps them if all are words and numbers
        return {**base, **operation._auto_config.config}
    try:
        given = operation.get_config()
    except (NotImplementedError, TypeError):
        given = {}
    taken = {name for each in made_by.__mro__ if issubclass(each, keras.layers.Layer) for name in _arguments(each)}
    kept = {name: getattr(operation, name, ...) for name in _arguments(made_by)}
    classes = {name: _class_config(value) for name, value in kept.items() if inspect.isclass(value)}
    simple = {name: value for name, value in kept.items() if isinstance(value, _SIMPLE)}
    return base | classes | simple | {name: value for name, value in given.items() if name in taken}


def _arguments(made_by: Any) -> list[str]:
    return list(inspect.signature(made_by.__init__).parameters)


def _class_config(made_by: type) -> dict[str, Any]:
    """A class as Keras reads it from a configuration."""
    return {"module": made_by.__module__, "class_name": "function", "config": made_by.__name__, "registered_name": None}


def copy_weights(old: Any, new: Any) -> None:
    """Copy weights and trainable flags between two layers of the same configuration."""
    new.set_weights([weight.numpy() for weight in old.weights])
    # Flags of layers inside a layer and of single variables are in no configuration.
    for parts in ((old._flatten_layers(), new._flatten_layers()), (old.weights, new.weights)):
        for part, copied in zip(*parts, strict=True):
            if part.trainable != copied.trainable:
                copied.trainable = part.trainable
    if hasattr(new, "finalize_state"):  # keras.layers.Normalization computes with derived values
        new.finalize_state()
