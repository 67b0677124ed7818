"""A Keras model, ready to predict."""

from collections.abc import Callable, Sequence
from typing import Any

from probes.evaluation.out_of_distribution import Detector
from recommender.errors import RecommendError
from recommender.prediction.predictor import Predictor, checked_names

_AS_BUILT = ("bilinear", True)  # interpolation and antialias of the resizing in a built model


def predictor_of(
    model: Any,
    *,
    class_names: Sequence[str] | None = None,
    detector: Detector | None = None,
    title: str | None = None,
    notes: Sequence[str] = (),
) -> Predictor:
    """Make a `keras.Model` ready to predict; classes are numbered by default. `title` names it in messages."""
    title = title or str(getattr(model, "name", "the model"))
    size, channels, n_classes = _shape(model, title)
    names = checked_names(class_names, n_classes, title)
    run = _compiled(model, detector, title, (size, size, channels))
    return Predictor(run=run, size=size, channels=channels, classes=names, detector=detector, notes=tuple(notes))


def _shape(model: Any, title: str) -> tuple[int, int, int]:
    """Side in px and channels of the pictures that a model takes, and its number of classes."""
    import keras

    inputs, outputs = (list(getattr(model, part, None) or ()) for part in ("inputs", "outputs"))
    shapes = [tuple(tensor.shape) for tensor in (*inputs, *outputs)]
    if (len(inputs), [len(shape) for shape in shapes]) == (1, [4, 2]):
        (_, height, width, channels), (_, n_classes) = shapes
        resizing = next((layer for layer in model.layers if isinstance(layer, keras.layers.Resizing)), None)
        if height is None and resizing is not None and (resizing.interpolation, resizing.antialias) == _AS_BUILT:
            height, width = resizing.height, resizing.width
        if channels in (1, 3, 4) and (n_classes or 0) > 1 and height is not None and height == width:
            return int(height), int(channels), int(n_classes)
    raise RecommendError(
        f"Expected {title!r} to take one picture, to resize it to a square unless its input is one, and to put out the "
        f"probabilities of classes. Received: inputs and outputs of shapes {shapes}. Name a built model."
    )


def _compiled(
    model: Any, detector: Detector | None, title: str, shape: tuple[int, int, int]
) -> Callable[[Any], Sequence[Any]]:
    """One function for the input of the prediction layer, if there is a detector, and for probabilities."""
    import keras

    from probes.network.readout import with_constant_weights

    outputs, last = list(model.outputs), model.layers[-1]
    if detector is not None:
        ends_in_dense = isinstance(last, keras.layers.Dense) and last.output is outputs[0]
        if not ends_in_dense or tuple(last.input.shape) != (None, len(detector.mean)):
            raise RecommendError(
                f"Expected a detector for the features of {title!r}. Received: one of {len(detector.mean)} features. "
                "The .features.npz file must be the one that was written with the model."
            )
        outputs = [last.input, *outputs]
    network = keras.Model(model.inputs, outputs)
    return with_constant_weights(lambda pixels: network(pixels, training=False), shape)
