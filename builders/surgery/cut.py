"""Cut points of any Keras model, and cutting there.

Every verb of surgery returns a new, flat model and leaves the given one and its weights unchanged, unless `share=True`
asks for the same layers in both.
"""

import difflib
import warnings
from typing import Any

import keras

from builders.errors import BuildError
from builders.graph.cut_search import CutPoint, stride_of
from builders.graph.layer_graph import LayerGraph


class CutMoved(UserWarning):
    """The requested cut lies between two cut points; the network was cut at the lower one."""


class LayerRenumbered(UserWarning):
    """A name stands for one layer in the list of cut points and for another one in the model itself."""


def cut_points(model: Any) -> tuple[CutPoint, ...]:
    """The places where a network can be cut, from input to output.

    A cut point lies behind a residual join or a unit of convolution, normalisation and activation; never inside a
    residual block, between a depthwise convolution and its pointwise convolution, or in the widened part of an inverted
    residual. Cut points inside nested models are found too. The classification head, which begins where the last map
    is pooled or flattened, has none.

    Args:
        model: a built `keras.Model` with one input and one output.

    Returns:
        The cut points, in order. The last one ends the backbone.

    Raises:
        BuildError: the model has several inputs or outputs, or hides its layers.
    """
    return points_of(LayerGraph(model))


def points_of(graph: LayerGraph) -> tuple[CutPoint, ...]:
    """The cut points of a layer graph."""
    points, start = [], 0
    total = sum(node.layers for node in graph.nodes[: graph.cuts[-1] + 1]) if graph.cuts else 0
    for place, stride in zip(graph.cuts, _strides(graph), strict=True):
        below = graph.nodes[: place + 1]
        norms = [node.name for node in below[start:] if node.norm]
        points.append(
            CutPoint(
                layer=below[-1].name,
                depth=sum(node.layers for node in below) / total,
                shape=below[-1].shape or (),
                stride=stride,
                parameters=sum(node.parameters for node in below),
                batch_norm=norms[-1] if norms else None,
            )
        )
        start = place + 1
    return tuple(points)


def _strides(graph: LayerGraph) -> list[int | None]:
    """Input pixels for one position of the map at each cut point; None if unknown."""
    *extents, channels = graph.input_shape
    if len(extents) != 2:
        return [None] * len(graph.cuts)
    shapes = [node.shape for node in graph.nodes]
    if None in extents and graph.cuts:
        extents = [256, 256]  # any size at which no map vanishes
        shapes = [None, *graph.shapes_for((*extents, channels))]
    return [stride_of(extents, shapes[place] or ()) for place in graph.cuts]


def find_cut(graph: LayerGraph, layer: str) -> int:
    """Index in the graph's nodes of the cut point at that layer; an error names the nearest ones."""
    index = graph.index(layer)
    if index is not None and index in graph.cuts:
        return index
    names = [graph.nodes[place].name for place in graph.cuts]
    if not names:
        raise BuildError(f"Expected {graph.title} to have cut points. Received: a network without a feature map.")
    if index is None:
        near = difflib.get_close_matches(layer, names, n=2, cutoff=0.0)
    else:
        below = sum(place < index for place in graph.cuts)
        near = names[max(below - 1, 0) : below + 1]
    raise BuildError(
        f"Expected `cut` to name a cut point of {graph.title}. Received: {layer!r}. Nearest: {', '.join(near)}. "
        f"{summary(graph)}"
    )


def summary(graph: LayerGraph) -> str:
    """The cut points in one sentence."""
    points = points_of(graph)
    if not points:
        return f"{graph.title} has no cut point."
    first, last = points[0], points[-1]
    return f"{graph.title} has {len(points)} cut points, {first.layer} ({first.depth:.0%} deep) to {last.layer} (100%)."


def warn_if_renumbered(graph: LayerGraph, name: str) -> None:
    """Warn if the model itself gives this name to another layer than the list of cut points does."""
    index = graph.index(name)
    meant = graph.calls[index - 1].operation.name if index else name
    layers = [step for step in graph.calls if isinstance(step.operation, keras.Layer)]
    own = next((step.name for step in layers if step.operation.name == name and step.name != name), None)
    if own and meant != name:
        warnings.warn(
            f"{name!r} is taken for the layer with that name in builders.cut_points, which {graph.title} itself calls "
            f"{meant!r}. For the one that {graph.title} calls {name!r} say {own!r}.",
            LayerRenumbered,
            stacklevel=3,
        )


def cut_at_depth(graph: LayerGraph, depth: float, what: str) -> int:
    """Index in the graph's nodes of the last cut point up to that share of the depth; `what` names the argument."""
    if not 0 < depth <= 1:
        raise BuildError(
            f"Expected {what} as a share of the depth to be in (0, 1]. Received: {depth}. {summary(graph)}"
        )
    below = [place for place, point in zip(graph.cuts, points_of(graph), strict=True) if point.depth <= depth + 1e-9]
    if not below:
        raise BuildError(f"Expected {what} to reach the first cut point. Received: {depth}. {summary(graph)}")
    return below[-1]


def cut(model: Any, at: str | float | None = None, *, remove: int | None = None, share: bool = False) -> Any:
    """Keep the part of a network that ends at a cut point.

    Args:
        model: a built `keras.Model` with one input and one output.
        at: a cut point's layer, or a share of the depth in (0, 1], which selects the last cut point up to there; 1.0
            keeps the whole backbone and removes the classification head.
        remove: in place of `at`, how many layers to remove from the end; selects the nearest cut point below.
        share: whether the new model uses the given one's layers themselves; by default it gets copies.

    Returns:
        A flat `keras.Model` from the same input to the map at the cut point. If the cut had to move, a `CutMoved`
        warning says where to.

    Raises:
        BuildError: there is no such cut point; the message names the nearest ones.
    """
    if (at is None) == (remove is None):
        raise BuildError(f"Expected either `at` or `remove`. Received: at={at!r}, remove={remove!r}. Give one of them.")
    graph = LayerGraph(model)
    moved = None
    if isinstance(at, str):
        place = find_cut(graph, at)
        warn_if_renumbered(graph, at)
    elif at is not None:
        place = cut_at_depth(graph, float(at), "`at`")
        depth = points_of(graph)[graph.cuts.index(place)].depth
        if depth < at - 1e-9:
            moved = f"{depth:.1%} of the depth: the last cut point up to {at:.1%}."
    else:
        last = len(graph.nodes) - 1 - (remove or 0)
        below = [place for place in graph.cuts if place <= last]
        if not remove or remove < 1 or not below:
            raise BuildError(
                f"Expected `remove` to leave a cut point. Received: {remove} of {len(graph.nodes) - 1} layers. "
                f"{summary(graph)}"
            )
        place = below[-1]
        if place != last:
            moved = (
                f"the nearest cut point below: without its last {remove} layers {graph.title} ends at "
                f"{graph.nodes[last].name}, which is none."
            )
    if moved:
        warnings.warn(f"Cut at {graph.nodes[place].name}, {moved}", CutMoved, stacklevel=2)
    return graph.model_of(place, share=share)


def flat_copy(model: Any, *, share: bool = False) -> Any:
    """The whole model without nesting: the same function from copies of the same layers."""
    graph = LayerGraph(model)
    return graph.model_of(len(graph.nodes) - 1, share=share)
