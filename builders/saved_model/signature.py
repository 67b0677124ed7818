"""How a loaded SavedModel is called on images: which function, with which arguments, at which size."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from builders.errors import BuildError
from builders.saved_model.find import not_images
from builders.saved_model.op_graph import reason_of

OPEN_SIZE = 224  # px: the input size of a module that takes any, where none is asked for


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
        BuildError: it takes or puts out something else than one batch of images and one tensor.
    """
    import tensorflow as tf

    function, variants = _entry(module, title)
    variant, spec = _variant(variants, title, input_size)
    shape = _input_shape(spec, title, input_size)

    def forward(images: Any) -> Any:
        if spec.dtype.is_integer:
            images = tf.saturate_cast(tf.round(images), spec.dtype)
        return _call(function, variant, tf.cast(images, spec.dtype), title)

    traced = tf.function(forward, input_signature=[tf.TensorSpec(shape, tf.float32)], autograph=False)
    concrete = traced.get_concrete_function()
    _require_one_output(concrete, title)
    return Traced(concrete, any_size=None in _extents(spec)[1:3])


def _entry(module: Any, title: str) -> tuple[Any, Sequence[Any]]:
    """What to call, and the concrete functions that it chooses among."""
    for name in ("__call__", "serve"):
        function: Any = getattr(module, name, None)
        variants = getattr(function, "concrete_functions", None)
        if variants:
            return function, variants
    signatures = dict(getattr(module, "signatures", {}))
    if len(signatures) == 1:
        return (*signatures.values(), list(signatures.values()))
    if "serving_default" in signatures:
        return signatures["serving_default"], [signatures["serving_default"]]
    raise BuildError(
        f"Expected {title} to have a function to call. Received: neither __call__ nor serve, and the signatures "
        f"{', '.join(signatures) or 'none'}. Save the module with signatures={{'serving_default': …}}."
    )


def _variant(variants: Sequence[Any], title: str, input_size: int | None) -> tuple[Any, Any]:
    """The concrete function of inference mode that suits the size, and the spec of the images that it takes."""
    resting = [variant for variant in variants if True not in _leaves(variant)] or list(variants)
    for variant in resting:
        (spec,) = _require_one_input(variant, title)
        if input_size is None or set(_extents(spec)[1:3]) <= {None, input_size}:
            return variant, spec
    return resting[0], *_require_one_input(resting[0], title)


def _leaves(variant: Any) -> list[Any]:
    import tensorflow as tf

    return list(tf.nest.flatten(variant.structured_input_signature))


def _tensors(variant: Any) -> Iterator[Any]:
    """The inputs of a concrete function that are no single numbers."""
    return (leaf for leaf in _leaves(variant) if hasattr(leaf, "shape") and leaf.shape.rank != 0)


def _require_one_input(variant: Any, title: str) -> list[Any]:
    import tensorflow as tf

    specs = list(_tensors(variant))
    if len(specs) != 1:
        named = ", ".join(str(spec.name) for spec in specs) or "none"
        raise BuildError(
            f"Expected {title} to take one batch of images. Received: a module with {len(specs)} inputs ({named}). "
            "Save a function of the images alone."
        )
    if specs[0].dtype == tf.string or specs[0].shape.rank not in (None, 4):
        raise BuildError(not_images(title, f"{specs[0].dtype.name} of shape {specs[0].shape}"))
    return specs


def _extents(spec: Any) -> tuple[int | None, ...]:
    return (None,) * 4 if spec.shape.rank is None else tuple(spec.shape)


def _input_shape(spec: Any, title: str, input_size: int | None) -> tuple[int | None, ...]:
    batch, height, width, channels = _extents(spec)
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
        filled = [images if hasattr(leaf, "shape") and leaf.shape.rank != 0 else leaf for leaf in _leaves(variant)]
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
    outputs = concrete.outputs
    if len(outputs) != 1:
        structure = concrete.structured_outputs
        named = structure if isinstance(structure, dict) else [tensor.name for tensor in outputs]
        names = ", ".join(sorted(map(str, named)))
        raise BuildError(
            f"Expected {title} to put out one tensor, as classifiers and feature extractors do. Received: "
            f"{len(outputs)} ({names or 'none'}). Save a function that puts out one of them."
        )
