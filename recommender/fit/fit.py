"""Train what was recommended."""

import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from builders.training.schedule import AUGMENTATIONS
from recommender.errors import RecommendError
from recommender.fit.plan import SOLVED_AT_ONCE, FitOptions, FitSession
from recommender.fit.result import FitResult
from recommender.progress import Clock

if TYPE_CHECKING:
    from recommender.pipeline.decision import Decision

_PRECISIONS = ("float32", "mixed_float16", "mixed_bfloat16")


def fit(found: "Decision", model: Any, options: FitOptions) -> FitResult:
    """Train the model of a recommendation; `recommender.Recommendation.fit` documents the arguments."""
    _check_options(options)
    from builders.surgery.frozen_split import split_frozen

    clock = Clock()
    given = model is not None
    model = model if given else found.build()
    _check_model(model, len(found.measurements.size.class_names))
    frozen_split = split_frozen(model)
    session = FitSession(found=found, model=model, frozen_split=frozen_split, given=given, options=options, clock=clock)
    n_images = sum(len(names) for names in found.index.files)  # of a stream, a sample
    if frozen_split.solvable and n_images <= SOLVED_AT_ONCE:
        from recommender.fit.linear_probe import fit_frozen

        return fit_frozen(session)
    from recommender.fit.fine_tuning import fit_tuned

    return fit_tuned(session)


def check_augmentation(names: Sequence[str] | None) -> None:
    """Refuse unknown augmentations."""
    for name in names or ():
        if name not in AUGMENTATIONS:
            raise RecommendError(
                f"Expected `augmentation` to hold some of {', '.join(AUGMENTATIONS)}. Received: {name!r}."
            )


def _check_options(options: FitOptions) -> None:
    options.schedule(1000)
    check_augmentation(options.augmentation)
    if options.precision not in (None, *_PRECISIONS):
        raise RecommendError(
            f"Expected `precision` to be one of {', '.join(_PRECISIONS)}. Received: {options.precision!r}."
        )
    if options.logs is not None and importlib.util.find_spec("tensorboard") is None:
        raise RecommendError(
            "Expected the package that writes logs. Received: no tensorboard. Install with: pip install "
            "'netgraft[logs]'."
        )


def _check_model(model: Any, n_classes: int) -> None:
    """Refuse a model that can't be trained on the classes."""
    shape = tuple(getattr(model, "output_shape", ()) or ())
    if len(shape) != 2 or shape[-1] != n_classes:
        raise RecommendError(
            f"Expected a Keras model that puts out a probability for each of {n_classes} classes. Received: "
            f"{type(model).__name__} with an output of shape {shape or 'unknown'}. Start from what `build` returns."
        )
    last = model.layers[-1]
    name = getattr(getattr(last, "activation", None), "__name__", None)
    activation = "softmax" if type(last).__name__ == "Softmax" else name
    if activation != "softmax":
        raise RecommendError(
            f"Expected the model's last layer to have the activation softmax. Received: {activation}. Start from what "
            "`build` returns, or add a softmax layer."
        )
