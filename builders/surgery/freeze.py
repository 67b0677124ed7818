"""Freeze and unfreeze parts of any Keras model, by depth, by layer or by variable."""

import re
from typing import Any, NamedTuple

import keras

from builders.errors import BuildError
from builders.graph.layer_graph import LayerGraph
from builders.graph.variables import size_of, trainable_variables
from builders.surgery.cut import cut_at_depth, flat_copy, summary, warn_if_renumbered


class Frozen(NamedTuple):
    """A model and how many of its parameters train."""

    model: Any
    trainable_parameters: int


def freeze(
    model: Any,
    until: str | float | None = None,
    *,
    variables: str | None = None,
    train_batch_norm: bool = False,
    share: bool = False,
) -> Frozen:
    """Freeze a part of a model, and train the rest.

    The flag is set on the layers and the model's own stays True, since a frozen parent hides its trainable children. A
    frozen BatchNorm layer runs in inference mode: below the freeze depth statistics never move. Above it BatchNorm
    trains and moves its statistics only with `train_batch_norm`; otherwise it is frozen as well.

    Args:
        model: a built `keras.Model` with one input and one output.
        until: the last layer to freeze, with all that it depends on; or a share of the depth in [0, 1], which selects
            the last cut point up to there. 0 freezes nothing, 1 the whole backbone.
        variables: in place of `until`, a regular expression; variables whose path contains a match are frozen, all
            others train. If it splits a layer, the flags are kept in the variables, and a saved file loses them.
        train_batch_norm: whether BatchNorm that is not frozen trains and moves its statistics.
        share: whether the new model uses the given one's layers themselves; by default it gets copies.

    Returns:
        The model, and its number of trainable parameters.

    Raises:
        BuildError: there is no such layer, or the expression is not valid, matches nothing, or leaves nothing to train.
    """
    if (until is None) == (variables is None):
        raise BuildError(f"Expected either `until` or `variables`. Received: {until!r}, {variables!r}. Give one.")
    new = flat_copy(model, share=share)
    freeze_below(new, until)
    if variables is not None:
        _match_variables(new, variables, trains=False)
    return _finished(new, variables, train_batch_norm)


def unfreeze(
    model: Any,
    above: str | float | None = None,
    *,
    variables: str | None = None,
    train_batch_norm: bool = False,
    share: bool = False,
) -> Frozen:
    """Train a part of a model, and leave the rest unchanged. What is not listed here is as in `freeze`.

    Args:
        above: a layer, or a share of the depth in [0, 1]; what lies behind it trains. By default all.
        variables: in place of `above`, a regular expression; variables whose path contains a match train.
    """
    if above is not None and variables is not None:
        raise BuildError(f"Expected `above` or `variables`. Received both: {above!r}, {variables!r}. Give one.")
    new = flat_copy(model, share=share)
    if variables is not None:
        _match_variables(new, variables, trains=True)
    else:
        below = _below(new, above)
        for layer in new.layers:
            if layer.name not in below:
                _set_trainable(layer, True)
    return _finished(new, variables, train_batch_norm)


def _finished(new: Any, pattern: str | None, train_batch_norm: bool) -> Frozen:
    hold_batch_norm(new, train_batch_norm=train_batch_norm)
    if pattern is not None and not new.trainable_variables:
        raise BuildError(
            f"Expected `variables` to leave something to train. Received: {pattern!r}, which leaves nothing but frozen "
            "variables. Make the pattern narrower; BatchNorm trains only with train_batch_norm=True."
        )
    return Frozen(new, size_of(new.trainable_variables))


def freeze_below(model: Any, until: str | float | None) -> None:
    """Freeze a flat model in place up to a layer or depth, and train what lies behind; None or 0 trains all."""
    below = _below(model, until)
    for layer in model.layers:
        _set_trainable(layer, layer.name not in below)


def hold_batch_norm(model: Any, *, train_batch_norm: bool) -> None:
    """Freeze all BatchNorm layers of a model in place, unless they are to train."""
    for layer in model._flatten_layers():
        if isinstance(layer, keras.layers.BatchNormalization) and not train_batch_norm:
            _set_trainable(layer, False)
        elif hasattr(layer, "train_batch_norm"):
            layer.train_batch_norm = train_batch_norm


def _set_trainable(layer: Any, value: bool) -> None:
    """Set the flag of a layer and of all layers inside it.

    Keras ignores a flag that is set to its present value, and a file keeps the outer flag alone: a frozen attention
    layer is loaded as frozen, with trainable layers in it.
    """
    layer.trainable = not value
    layer.trainable = value


def _below(model: Any, until: str | float | None) -> set[str]:
    """Names of the layers of a flat model up to a layer or depth; none for None and 0."""
    if not until and not isinstance(until, str):
        return set()
    graph = LayerGraph(model)
    if isinstance(until, str):
        index = graph.index(until)
        warn_if_renumbered(graph, until)
        if index is None:
            raise BuildError(
                f"Expected `freeze` to name a layer of {graph.title}. Received: {until!r}. {summary(graph)}"
            )
    else:
        index = cut_at_depth(graph, float(until or 0), "`freeze`")
    return {graph.nodes[place].name.partition("@")[0] for place in graph.ancestors([index])}


def _match_variables(model: Any, pattern: str, *, trains: bool) -> None:
    """Set in place whether the variables that match a pattern train."""
    try:
        expression = re.compile(pattern)
    except re.error as error:
        raise BuildError(f"Expected `variables` to be a regular expression. Received: {pattern!r}: {error}.") from error
    found = False
    for layer in model.layers:
        variables = trainable_variables(layer)
        matches = [expression.search(variable.path) is not None for variable in variables]
        if any(matches):
            found = True
            flags = [trains if match else one.trainable for one, match in zip(variables, matches, strict=True)]
            _set_trainable(layer, any(flags))
            for variable, flag in zip(variables, flags, strict=True):
                variable.trainable = flag
    if not found:
        paths = [variable.path for variable in model.weights]
        raise BuildError(
            f"Expected `variables` to match a variable of {model.name}. Received: {pattern!r}, which matches none of "
            f"{len(paths)}: {' to '.join(paths[:1] + paths[-1:])}."
        )
