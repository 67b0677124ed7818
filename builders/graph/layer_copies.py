"""Copies of layers, with their weights and trainable flags."""

from typing import Any

from builders.errors import BuildError, first_line


def copied_layer(operation: Any, name: str) -> Any:
    """A new layer or operation with the name of its call; its weights are set later.

    Raises:
        BuildError: its class has no usable configuration.
    """
    try:
        config = operation.get_config()
        if "name" in config:
            config["name"] = name.partition("@")[0]
        return type(operation).from_config(config)
    except Exception as error:  # a layer of the user's own may lack get_config
        raise BuildError(
            f"Expected the layer {name!r} ({type(operation).__name__}) to be copied from its configuration. "
            f"Received: {first_line(error)}. Give the class a get_config, or share the layers with share=True."
        ) from error


def copy_weights(old: Any, new: Any) -> None:
    """Copy weights and trainable flags between two layers of the same configuration."""
    new.set_weights([weight.numpy() for weight in old.weights])
    for part, copied in zip(old._flatten_layers(), new._flatten_layers(), strict=True):
        if part.trainable != copied.trainable:  # flags of layers inside a layer are in no configuration
            copied.trainable = part.trainable
    for weight, copied in zip(old.weights, new.weights, strict=True):
        if weight.trainable != copied.trainable:  # nor are flags of single variables
            copied.trainable = weight.trainable
    if hasattr(new, "finalize_state"):  # keras.layers.Normalization computes with derived values
        new.finalize_state()
