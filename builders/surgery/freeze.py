"""Freezing and unfreezing parts of any Keras model, by depth, by layer or by variable."""

import re
from collections.abc import Iterable
from typing import Any, NamedTuple

import keras

from builders.errors import BuildError
from builders.graph.layer_graph import LayerGraph
from builders.surgery.cut import brief, flat_copy, settle, tell_apart


class Frozen(NamedTuple):
    """A model and how many of its parameters train."""

    model: Any
    trainable_parameters: int


def freeze(
    model: Any,
    until: str | float | None = None,
    *,
    variables: str | None = None,
    invert: bool = False,
    train_batch_norm: bool = False,
    share: bool = False,
) -> Frozen:
    """Freeze a part of a model, and train the rest.

    The flag is set on the layers and the model's own stays True, since a frozen parent hides its trainable children. A
    frozen BatchNorm layer runs in inference mode: below the freeze depth statistics never move. Behind it BatchNorm
    trains and moves its statistics only with `train_batch_norm`; else it is frozen as well.

    Args:
        model: a built `keras.Model` with one input and one output.
        until: the last layer to freeze, with all that it depends on; or a share of the depth in [0, 1], which settles
            on the last cut point down to there. 0 freezes nothing, 1 the whole backbone.
        variables: in place of `until`, a regular expression; variables whose path it is found in are frozen, all others
            train. Where it splits a layer, the flags live in the variables: a saved file does not keep those.
        invert: whether what `variables` matches trains and all else is frozen.
        train_batch_norm: whether BatchNorm that is not frozen trains and moves its statistics.
        share: whether the new model uses the given one's layers themselves; by default it gets copies.

    Returns:
        The model, and its number of trainable parameters.

    Raises:
        BuildError: there is no such layer, or the expression is not valid or matches nothing.
    """
    if (until is None) == (variables is None):
        raise BuildError(f"Expected either `until` or `variables`. Received: {until!r}, {variables!r}. Give one.")
    new = flat_copy(model, share=share)
    if variables is not None:
        _match_variables(new, variables, frozen=not invert, rest=True)
    else:
        freeze_below(new, until)
    hold_batch_norm(new, train_batch_norm=train_batch_norm)
    if invert and not new.trainable_variables:
        raise BuildError(
            f"Expected `variables` to leave something to train. Received: {variables!r}, which matches BatchNorm "
            "alone: that is frozen as well. Say train_batch_norm=True."
        )
    return Frozen(new, trainable_parameters(new))


def freeze_below(model: Any, until: str | float | None) -> None:
    """Freeze a flat model in place up to a layer or depth, and train what lies behind; None or 0 trains all."""
    below = _below(LayerGraph(model), until)
    for layer in model.layers:
        set_trainable(layer, layer.name not in below)


def set_trainable(layer: Any, value: bool) -> None:
    """Set the flag of a layer and of all layers inside it.

    Keras passes over a flag that is set to what it is, and in a file it keeps the outer flag alone: a frozen attention
    layer comes back frozen, with trainable layers in it.
    """
    layer.trainable = not value
    layer.trainable = value


def unfreeze(
    model: Any,
    above: str | float | None = None,
    *,
    variables: str | None = None,
    train_batch_norm: bool = False,
    share: bool = False,
) -> Frozen:
    """Train a part of a model, and leave the rest as it is.

    Args:
        model: a built `keras.Model` with one input and one output.
        above: a layer, or a share of the depth in [0, 1], as in `freeze`; what lies behind it trains. By default all.
        variables: in place of `above`, a regular expression; variables whose path it is found in train.
        train_batch_norm: whether BatchNorm among them trains and moves its statistics; by default it stays frozen.
        share: whether the new model uses the given one's layers themselves; by default it gets copies.

    Returns:
        The model, and its number of trainable parameters.

    Raises:
        BuildError: there is no such layer, or the expression is not valid or matches nothing.
    """
    if above is not None and variables is not None:
        raise BuildError(f"Expected `above` or `variables`. Received both: {above!r}, {variables!r}. Give one.")
    new = flat_copy(model, share=share)
    if variables is not None:
        _match_variables(new, variables, frozen=False, rest=None)
    else:
        below = _below(LayerGraph(new), above or 0.0)
        for layer in new.layers:
            if layer.name not in below:
                set_trainable(layer, True)
    hold_batch_norm(new, train_batch_norm=train_batch_norm)
    return Frozen(new, trainable_parameters(new))


def _below(graph: LayerGraph, until: str | float | None) -> set[str]:
    """Names of the layers that the freeze depth takes in."""
    if isinstance(until, str):
        index = graph.index(until)
        tell_apart(graph, until)
        if index is None:
            raise BuildError(f"Expected `freeze` to name a layer of {graph.title}. Received: {until!r}. {brief(graph)}")
    elif not until:
        return set()
    else:
        index = settle(graph, float(until), "`freeze`")
    return {graph.nodes[place].name.partition("@")[0] for place in graph.ancestors([index])}


def _match_variables(model: Any, pattern: str, *, frozen: bool, rest: bool | None) -> None:
    """Freeze or train the variables that a pattern matches; the rest trains, is frozen, or stays as it is for None."""
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise BuildError(f"Expected `variables` to be a regular expression. Received: {pattern!r}: {error}.") from error
    found = False
    for layer in model.layers:
        flags, able = [], {id(variable) for variable in can_train(layer)}
        for variable in layer.weights:
            if id(variable) in able:
                match = expression.search(variable.path) is not None
                found |= match
                flags.append((variable, _wanted(match, variable.trainable, frozen=frozen, rest=rest)))
        if flags:
            set_trainable(layer, any(trains for _, trains in flags))
            for variable, trains in flags:
                variable.trainable = trains
    if not found:
        paths = [variable.path for variable in model.weights]
        raise BuildError(
            f"Expected `variables` to match a variable of {model.name}. Received: {pattern!r}, which matches none of "
            f"{len(paths)}. They look like {', '.join(paths[:1] + paths[-1:])}."
        )


def _wanted(match: bool, now: bool, *, frozen: bool, rest: bool | None) -> bool:
    if match:
        return not frozen
    if rest is None:
        return now
    return frozen


def can_train(layer: Any, *, batch_norm: bool = True) -> list[Any]:
    """The variables that train if they are let: no moving statistics, no state of a random generator."""
    parts = [
        part for part in layer._flatten_layers() if batch_norm or not isinstance(part, keras.layers.BatchNormalization)
    ]
    return [variable for part in parts for variable in part._trainable_variables]


def hold_batch_norm(model: Any, *, train_batch_norm: bool) -> None:
    """Freeze all BatchNorm layers of a model in place, unless they shall train."""
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization) and not train_batch_norm:
            set_trainable(layer, False)
        elif hasattr(layer, "train_batch_norm"):
            layer.train_batch_norm = train_batch_norm


def trainable_parameters(model: Any) -> int:
    """How many parameters of the model train."""
    return size_of(model.trainable_variables)


def size_of(variables: Iterable[Any]) -> int:
    """Number of values in variables."""
    total = 0
    for variable in variables:
        count = 1
        for extent in variable.shape:
            count *= int(extent)
        total += count
    return total
