"""Start a network from a checkpoint: restore every variable whose name and shape agree, and report the rest."""

import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from builders.checkpoints.checkpoint import Checkpoint, Place, Weight
from builders.checkpoints.matching import match
from builders.checkpoints.read import read_checkpoint
from builders.checkpoints.renaming import rename_weights
from builders.errors import BuildError
from builders.graph.layer_names import snake_case


@dataclass(frozen=True, slots=True, kw_only=True)
class ShapeMismatch:
    """A variable that the checkpoint has in another shape.

    Attributes:
        name: of the model's variable.
        expected: its shape.
        received: the shape in the checkpoint.
    """

    name: str
    expected: tuple[int, ...]
    received: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WarmStart:
    """What a warm start restores. Every variable of the model is in one of the first three.

    Attributes:
        restored: the model's variables that take the checkpoint's values.
        other_shape: those that the checkpoint has in another shape; they stay as they are.
        missing: those that the checkpoint lacks; they stay as they are.
        unused: the other variables of the checkpoint, by their names in it (in `.weights.h5` and `.keras` files the
            layer's name, or its path where none is kept, and a number: "conv1/vars/0"). The state of optimizers,
            metrics and random generators and save counters are left out where the file marks them; a name-based
            TensorFlow checkpoint marks nothing, so that the slots of its optimizer are listed.
    """

    restored: tuple[str, ...]
    other_shape: tuple[ShapeMismatch, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]

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
    """A warm start that has not happened yet.

    Attributes:
        report: what `apply` will do.
        model: the network, unchanged so far.
        checkpoint: the source of the values.
        pairs: the model's variables that will be restored, with the stored ones.
    """

    report: WarmStart
    model: Any
    checkpoint: Checkpoint
    pairs: tuple[tuple[Any, Weight], ...]

    def apply(self) -> WarmStart:
        """Change the model, in place: all that the report says is restored, or nothing.

        Returns:
            The report.

        Raises:
            BuildError: the file is damaged, or has values that a variable can't take. The model is unchanged.
        """
        with self.checkpoint.open() as read:
            arrays = [_convert(read(weight), weight, variable, self.checkpoint) for variable, weight in self.pairs]
        changed = []
        try:
            for (variable, _), array in zip(self.pairs, arrays, strict=True):
                changed.append((variable, variable.numpy()))
                variable.assign(array)
        except BaseException:
            for variable, old in changed:
                variable.assign(old)
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
        BuildError: nothing can be restored, or the file can't be read.
    """
    if not isinstance(model, keras.Model) or not model.weights:
        received = f"{model.name} without weights" if isinstance(model, keras.Model) else type(model).__name__
        raise BuildError(f"Expected `model` to be a built keras.Model. Received: {received}. Build it first.")
    if not isinstance(checkpoint, Checkpoint):
        checkpoint = read_checkpoint(checkpoint)
    mine = _model_weights(model, checkpoint)
    renamed, fixed = rename_weights(checkpoint.weights, rename or {}, mine)
    taken = {weight.address for weight in fixed.values()}
    roots = {weight.name.split("/")[0] for weight in renamed}
    if not checkpoint.any_root:  # only the name of a model of this class under another automatic number
        roots = {root for root in roots if _stem(root) == _stem(model.name)}
    rest = match(
        [weight for weight in mine if weight.address not in fixed],
        [weight for weight in renamed if weight.address not in taken],
        model_name=model.name,
        classes={snake_case(type(layer).__name__) for layer in model._flatten_layers()},
        roots=sorted(roots),
    )
    sources = {own: weight.address for own, weight in (fixed | rest).items()}
    return _plan(model, checkpoint, mine, sources)


def _model_weights(model: Any, checkpoint: Checkpoint) -> list[Weight]:
    """The model's variables in order, placed as the checkpoint's format places them; an address is an index."""
    places = checkpoint.places(model)
    weights = []
    for index, variable in enumerate(model.weights):
        parent, _, last = variable.path.rpartition("/")
        place = places.get(id(variable), Place("", "", last))
        weights.append(
            Weight(
                name=variable.path,
                shape=tuple(variable.shape),
                dtype=keras.backend.standardize_dtype(variable.dtype),
                place=place._replace(layer=place.layer or parent),
                address=index,
            )
        )
    return weights


def _plan(model: Any, checkpoint: Checkpoint, mine: list[Weight], sources: Mapping[int, Any]) -> WarmStartPlan:
    stored = {weight.address: weight for weight in checkpoint.weights}
    found = [(own, stored[sources[own.address]]) for own in mine if own.address in sources]
    fitting = [(own, other) for own, other in found if own.shape == other.shape]
    if not fitting:
        raise BuildError(_nothing_fits(model, checkpoint, mine))
    for own, other in fitting:
        if _family(other.dtype) is None or _family(own.dtype) != _family(other.dtype):
            raise _unfit(checkpoint, f"values of type {other.dtype} for {own.name}, which has {own.dtype}")
    used = set(sources.values())
    report = WarmStart(
        restored=tuple(own.name for own, _ in fitting),
        other_shape=tuple(
            ShapeMismatch(name=own.name, expected=own.shape, received=other.shape)
            for own, other in found
            if own.shape != other.shape
        ),
        missing=tuple(own.name for own in mine if own.address not in sources),
        unused=tuple(weight.name for weight in checkpoint.weights if weight.address not in used),
    )
    pairs = tuple((model.weights[own.address], other) for own, other in fitting)
    return WarmStartPlan(report=report, model=model, checkpoint=checkpoint, pairs=pairs)


def _nothing_fits(model: Any, checkpoint: Checkpoint, mine: list[Weight]) -> str:
    theirs, own = (
        ", ".join(f"{weight.name} {weight.shape}" for weight in weights[:2]) or "nothing"
        for weights in (checkpoint.weights, mine)
    )
    name, count = Counter(weight.name for weight in mine).most_common(1)[0]
    note = f"; {name!r} names {count} variables of it" if count > 1 else ""
    return (
        f"Expected {checkpoint.path} to hold variables of {model.name}. Received: none of the same name and shape; the "
        f"checkpoint has {theirs}, the model {own}{note}. Check that it is of this network, or map its names with "
        "`rename`."
    )


def _convert(array: npt.NDArray[Any], weight: Weight, variable: Any, checkpoint: Checkpoint) -> npt.NDArray[Any]:
    """A stored array in the variable's type, with values that are finite there."""
    import ml_dtypes

    kind = keras.backend.standardize_dtype(variable.dtype)
    with np.errstate(over="ignore", invalid="ignore"):
        converted = np.asarray(array).astype(ml_dtypes.bfloat16 if kind == "bfloat16" else kind)
    if _family(kind) == "float" and not np.isfinite(converted).all():
        raise _unfit(checkpoint, f"values in {weight.name} that are not finite in {kind}")
    if _family(kind) == "int" and not np.array_equal(converted, array):
        raise _unfit(checkpoint, f"values in {weight.name} that are too large for {kind}")
    return converted


def _unfit(checkpoint: Checkpoint, problem: str) -> BuildError:
    return BuildError(
        f"Expected {checkpoint.path} to hold numbers that the variables can take. Received: {problem}. Take another "
        "checkpoint, or leave this variable out by renaming it."
    )


def _stem(name: str) -> str:
    return re.sub(r"_\d+$", "", name)


def _family(dtype: str) -> str | None:
    return next((family for family in ("float", "int", "bool") if family in dtype), None)
