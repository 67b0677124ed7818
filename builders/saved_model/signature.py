"""How a loaded SavedModel is called on images: which function, with which arguments, at which size."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from builders.errors import BuildError
from builders.saved_model.find import not_images
from builders.saved_model.op_graph import reason_of

OPEN_SIZE = 224  # px: the input size of a module that takes any, where the caller gives none


class Traced(NamedTuple):
    """A module in inference mode as one concrete function of images, and whether it takes them at any size."""

    concrete: Any
    any_size: bool


def trace(module: Any, title: str, input_size: int | None) -> Traced:
    """The module in inference mode as one concrete function of a float32 batch of images.

    Args:
        module: what `tf.saved_model.load` returned.
        title: its name in errors.
        input_size: height and width in px, where the module leaves them open.

    Raises:
        BuildError: its input is not one batch of images, or its output not one tensor.
    """
    import tensorflow as tf

    function, variants = _entry(module, title)
    inference = [variant for variant in variants if True not in _leaves(variant)] or list(variants)
    specs = ((variant, _image_spec(variant, title)) for variant in inference)
    sizes = {None, input_size}
    fitting = next((pair for pair in specs if input_size is None or set(_shape(pair[1])[1:3]) <= sizes), None)
    variant, spec = fitting or (inference[0], _image_spec(inference[0], title))
    shape = _input_shape(spec, title, input_size)

    def forward(images: Any) -> Any:
        if spec.dtype.is_integer:
            images = tf.saturate_cast(tf.round(images), spec.dtype)
        return _call(function, variant, tf.cast(images, spec.dtype), title)

    traced = tf.function(forward, input_signature=[tf.TensorSpec(shape, tf.float32)], autograph=False)
    concrete = traced.get_concrete_function()
    _require_one_output(concrete, title)
    return Traced(concrete, any_size=None in _shape(spec)[1:3])


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


def _image_spec(variant: Any, title: str) -> Any:
    """The spec of the one batch of images that a concrete function takes."""
    import tensorflow as tf

    specs = [leaf for leaf in _leaves(variant) if _is_tensor(leaf)]
    if len(specs) != 1:
        named = ", ".join(str(spec.name) for spec in specs) or "none"
        raise BuildError(
            f"Expected {title} to take one batch of images. Received: a module with {len(specs)} inputs ({named}). "
            "Save a function of the images alone."
        )
    if specs[0].dtype == tf.string or specs[0].shape.rank not in (None, 4):
        raise BuildError(not_images(title, f"{specs[0].dtype.name} of shape {specs[0].shape}"))
    return specs[0]


def _shape(spec: Any) -> tuple[int | None, ...]:
    return (None,) * 4 if spec.shape.rank is None else tuple(spec.shape)


def _input_shape(spec: Any, title: str, input_size: int | None) -> tuple[int | None, ...]:
    batch, height, width, channels = _shape(spec)
    if batch is not None or (height in (1, 3) and channels not in (1, 3, 4, None)):
        why = f"batches of {batch} only" if batch else "channels first"
        raise BuildError(
            f"Expected {title} to take images of shape (None, height, width, channels). Received: {spec.shape}, {why}. "
            "Save it with that shape."
        )
    if input_size is not None and not {height, width} <= {None, input_size}:
        raise BuildError(
            f"Expected an input size of {height} x {width} px, the only one that {title} takes. Received: {input_size}."
            " Leave it out."
        )
    size = input_size or OPEN_SIZE
    return None, height or size, width or size, channels or 3


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


def _require_one_output(concrete: Any, title: str) -> None:
    if len(concrete.outputs) != 1:
        structure = concrete.structured_outputs
        named = structure if isinstance(structure, dict) else [tensor.name for tensor in concrete.outputs]
        raise BuildError(
            f"Expected {title} to put out one tensor, as classifiers and feature extractors do. Received: "
            f"{len(concrete.outputs)} ({', '.join(sorted(map(str, named))) or 'none'}). Save a function that puts out "
            "one of them."
        )
