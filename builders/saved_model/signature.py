"""How a loaded SavedModel is called on images: which function, with which arguments, at which size."""

from collections.abc import Callable, Sequence
from typing import Any

from builders.errors import BuildError
from builders.saved_model.op_graph import reason_of

_OPEN_SIZE = 224  # px: the input size of a module that takes any, where the caller gives none


def trace(module: Any, title: str, input_size: int | None) -> tuple[Any, bool]:
    """The module in inference mode as one concrete function of a float32 batch of images.

    `module` is what `tf.saved_model.load` returned; `input_size` the height and width in px, where the module leaves
    them open. The second value says whether it takes images of any size.
    """
    import tensorflow as tf

    function, variants = _entry(module, title)
    inference = [variant for variant in variants if True not in _leaves(variant)] or list(variants)
    fitting = (variant for variant in inference if {*_image_shape(variant, title)[1:3]} <= {None, input_size})
    variant = next(fitting, inference[0]) if input_size else inference[0]
    _, height, width, channels = _image_shape(variant, title)
    if input_size is not None and not {height, width} <= {None, input_size}:
        raise BuildError(
            f"Expected an input size of {height} x {width} px, the only one that {title} takes. Received: {input_size}."
            " Leave it out."
        )
    (dtype,) = (leaf.dtype for leaf in _leaves(variant) if _is_tensor(leaf))
    size = input_size or _OPEN_SIZE

    def forward(images: Any) -> Any:
        if dtype.is_integer:
            images = tf.saturate_cast(tf.round(images), dtype)
        return _call(function, variant, tf.cast(images, dtype), title)

    spec = tf.TensorSpec((None, height or size, width or size, channels or 3), tf.float32)
    concrete = tf.function(forward, input_signature=[spec], autograph=False).get_concrete_function()
    if len(concrete.outputs) != 1:
        structure = concrete.structured_outputs
        named = structure if isinstance(structure, dict) else [tensor.name for tensor in concrete.outputs]
        raise BuildError(
            f"Expected {title} to put out one tensor, as classifiers and feature extractors do. Received: "
            f"{len(concrete.outputs)} ({', '.join(sorted(map(str, named))) or 'none'}). Save a function that puts out "
            "one of them."
        )
    return concrete, None in (height, width)


def _entry(module: Any, title: str) -> tuple[Any, Sequence[Any]]:
    """The function to call, and the concrete functions that it chooses among."""
    for name in ("__call__", "serve"):
        function: Any = getattr(module, name, None)
        variants = getattr(function, "concrete_functions", None)
        if variants:
            return function, variants
    signatures = dict(getattr(module, "signatures", {}))
    chosen = signatures.get("serving_default") or (len(signatures) == 1 and next(iter(signatures.values())))
    if chosen:
        return chosen, [chosen]
    raise BuildError(
        f"Expected {title} to have a function to call. Received: neither __call__ nor serve, and the signatures "
        f"{', '.join(signatures) or 'none'}. Save the module with signatures={{'serving_default': …}}."
    )


def _leaves(variant: Any) -> list[Any]:
    import tensorflow as tf

    return list(tf.nest.flatten(variant.structured_input_signature))


def _is_tensor(leaf: Any) -> bool:
    """Whether an argument of a concrete function is a tensor and no single number."""
    return hasattr(leaf, "shape") and leaf.shape.rank != 0


def _image_shape(variant: Any, title: str) -> tuple[int | None, ...]:
    """Shape of the one batch of images that a concrete function takes."""
    specs = [leaf for leaf in _leaves(variant) if _is_tensor(leaf)]
    if len(specs) == 1 and specs[0].dtype.name != "string" and specs[0].shape.rank in (None, 4):
        shape = (None,) * 4 if specs[0].shape.rank is None else tuple(specs[0].shape)
        channels_first = shape[1] in (1, 3) and shape[3] not in (1, 3, 4, None)
        if shape[0] is None and not channels_first:
            return shape
    received = ", ".join(f"{spec.dtype.name} {spec.shape}" for spec in specs)
    raise BuildError(
        f"Expected {title} to take one batch of images of shape (None, height, width, channels). Received: a module "
        f"that takes {received or 'no tensor'}. Save a function of the images alone."
    )


def _call(function: Any, variant: Any, images: Any, title: str) -> Any:
    """Call it in inference mode, in the first way that it takes."""
    import tensorflow as tf

    def as_saved() -> Any:
        filled = [images if _is_tensor(leaf) else leaf for leaf in _leaves(variant)]
        positional, named = tf.nest.pack_sequence_as(variant.structured_input_signature, filled)
        return function(*positional, **named)

    ways: tuple[Callable[[], Any], ...] = (
        lambda: function(images, training=False),
        lambda: function(images),
        as_saved,
    )
    reason: Exception = TypeError()
    for way in ways:
        try:
            return way()
        except (TypeError, ValueError) as error:
            reason = error
    raise BuildError(
        f"Expected {title} to run on images of shape {images.shape}. Received: {reason_of(reason)}. Choose another "
        "input size, or save the module with a signature for it."
    ) from reason
