"""Start a network from a checkpoint: restore every variable whose name and shape agree, and report the rest."""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import ml_dtypes
import numpy as np
import numpy.typing as npt

from builders.checkpoints.checkpoint import Checkpoint, Place, Weight
from builders.checkpoints.matching import match, rename_weights
from builders.checkpoints.read import read_checkpoint
from builders.errors import BuildError
from builders.graph.layer_names import snake_case


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeMismatch:
    """A variable that the checkpoint has in another shape."""

    name: str  # of the model's variable
    expected: tuple[int, ...]  # its shape
    received: tuple[int, ...]  # the shape in the checkpoint


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmStart:
    """What a warm start restores. Every variable of the model is in one of the first three.

    In `unused`, the state of optimizers, metrics and random generators is left out where the file marks it; a
    name-based TensorFlow checkpoint marks nothing.
    """

    restored: tuple[str, ...]  # the model's variables that take the checkpoint's values
    other_shape: tuple[ShapeMismatch, ...]  # those that the checkpoint has in another shape; they stay as they are
    missing: tuple[str, ...]  # those that the checkpoint lacks; they stay as they are
    unused: tuple[str, ...]  # the checkpoint's other variables, by their names in it, as "conv1/vars/0"

    def __str__(self) -> str:
        """A summary on one line, with up to three names of each kind."""
        lists = (
            ("of other shape", [f"{one.name} {one.received}, not {one.expected}" for one in self.other_shape]),
            ("missing", self.missing),
            ("unused", self.unused),
        )
        parts = [f"{len(self.restored)} variables restored"]
        for title, names in lists:
            shown = f" ({', '.join(names[:3])}{', …' if len(names) > 3 else ''})" if names else ""
            parts.append(f"{len(names)} {title}{shown}")
        return "; ".join(parts)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class WarmStartPlan:
    """A warm start that has not happened yet; the model is unchanged."""

    report: WarmStart  # what `apply` will do
    pairs: tuple[tuple[Any, npt.NDArray[Any]], ...]  # the model's variables that will be restored, and their values

    def apply(self) -> WarmStart:
        """Change the model, in place: all that the report says is restored, or nothing. Returns the report."""
        before = [variable.numpy() for variable, _ in self.pairs]
        try:
            for variable, array in self.pairs:
                variable.assign(array)
        except BaseException:
            for (variable, _), array in zip(self.pairs, before, strict=True):
                variable.assign(array)
            raise
        return self.report


def warm_start(
    model: Any, checkpoint: str | os.PathLike[str] | Checkpoint, *, rename: Mapping[str, str] | None = None
) -> WarmStart:
    """Restore every variable of a model whose name and shape agree with a checkpoint's.

    TensorFlow checkpoints (of objects, and the name-based ones of TensorFlow 1 and estimators), `.weights.h5`,
    `.keras`, legacy `.h5`, `.npz` and `.safetensors` are read; no code from a file is run. Where a file keeps the
    structure of its network, layers with automatic names ("conv2d_3"), and networks of the same structure whose layers
    have other names, are matched by their places.

    Args:
        model: a built `keras.Model`, changed in place; all its weights, trainable or not.
        checkpoint: a file, the prefix of a TensorFlow checkpoint or the folder of several, of which the latest is
            taken; or what `read_checkpoint` gave.
        rename: regular expressions and replacements, applied in order with `re.sub` to the checkpoint's names to get
            the model's (`variable.path`, as in "conv1/kernel"; for `.weights.h5` and `.keras` also "conv1/vars/0").

    Returns:
        What was restored, and what was not.

    Raises:
        BuildError: nothing can be restored, the file can't be read, or has values that are not finite or no numbers.
            The model is unchanged.
    """
    return plan_warm_start(model, checkpoint, rename=rename).apply()


def plan_warm_start(
    model: Any, checkpoint: str | os.PathLike[str] | Checkpoint, *, rename: Mapping[str, str] | None = None
) -> WarmStartPlan:
    """Find out what `warm_start` would do with the same arguments, without changing the model.

    Returns:
        The plan: read its `report`, then call its `apply`.

    Raises:
        BuildError: as of `warm_start`.
    """
    if not isinstance(model, keras.Model) or not model.weights:
        received = f"{model.name} without weights" if isinstance(model, keras.Model) else type(model).__name__
        raise BuildError(f"Expected `model` to be a built keras.Model. Received: {received}. Build it first.")
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = read_checkpoint(checkpoint)
    mine = _model_weights(model, checkpoint)
    renamed, fixed = rename_weights(checkpoint.weights, rename or {}, mine)
    taken = set(fixed.values())
    found = fixed | match(
        [weight for weight in mine if weight not in fixed],
        [weight for weight in renamed if weight not in taken],
        model_name=model.name,
        classes={snake_case(type(layer).__name__) for layer in model._flatten_layers()},
    )
    fitting = [own for own in mine if own in found and own.shape == found[own].shape]
    if not fitting:
        theirs, ours = (
            ", ".join(f"{weight.name} {weight.shape}" for weight in weights[:2]) or "nothing"
            for weights in (checkpoint.weights, mine)
        )
        raise BuildError(
            f"Expected {checkpoint.path} to hold variables of {model.name}. Received: none of the same name and shape; "
            f"the checkpoint has {theirs}, the model {ours}. Check that it is of this network, or map its names with "
            "`rename`."
        )
    used = set(found.values())
    report = WarmStart(
        restored=tuple(own.name for own in fitting),
        other_shape=tuple(
            ShapeMismatch(name=own.name, expected=own.shape, received=found[own].shape)
            for own in mine
            if own in found and own.shape != found[own].shape
        ),
        missing=tuple(own.name for own in mine if own not in found),
        unused=tuple(weight.name for weight, new in zip(checkpoint.weights, renamed, strict=True) if new not in used),
    )
    pairs = tuple((own.value, _converted(found[own].value, own, checkpoint)) for own in fitting)
    return WarmStartPlan(report=report, pairs=pairs)


def _model_weights(model: Any, checkpoint: Checkpoint) -> list[Weight]:
    """The model's variables in order, placed as the checkpoint's format places them."""
    places = checkpoint.places(model)
    weights = []
    for variable in model.weights:
        parent, _, last = variable.path.rpartition("/")
        place = places.get(id(variable), Place(key=last))
        weights.append(Weight(name=variable.path, value=variable, place=place._replace(layer=place.layer or parent)))
    return weights


def _converted(array: npt.NDArray[Any], own: Weight, checkpoint: Checkpoint) -> npt.NDArray[Any]:
    """A stored array in the variable's type, with values that are finite there."""
    dtype = keras.backend.standardize_dtype(own.value.dtype)
    family = _family(dtype)
    problem = None
    if family is None or family != _family(array.dtype.name):
        problem = f"values of type {array.dtype.name} for {own.name}, which has {dtype}"
    else:
        with np.errstate(over="ignore", invalid="ignore"):
            converted = array.astype(ml_dtypes.bfloat16 if dtype == "bfloat16" else dtype)
        if family == "float" and not np.isfinite(converted).all():
            problem = f"values in {own.name} that are not finite in {dtype}"
        elif family == "int" and not np.array_equal(converted, array):
            problem = f"values in {own.name} that are too large for {dtype}"
    if problem:
        raise BuildError(
            f"Expected {checkpoint.path} to hold numbers that the variables can take. Received: {problem}. Take "
            "another checkpoint, or leave this variable out by renaming it."
        )
    return converted


def _family(dtype: str) -> str | None:
    return next((family for family in ("float", "int", "bool") if family in dtype), None)
