"""Surgery on any Keras model: list its cut points, and cut there.

Every verb of surgery returns a new, flat model and leaves the given one and its weights as they are, unless
`share=True` asks for the same layers to be used in both.
"""

import difflib
import warnings
from dataclasses import dataclass
from typing import Any

import keras

from builders.errors import BuildError
from builders.graph.layer_graph import LayerGraph


class CutMoved(UserWarning):
    """A cut was asked for between two cut points and was made at the one below."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CutPoint:
    """A tensor through which every path from input to output passes.

    Attributes:
        layer: the layer that puts it out, under a name that is the same in every rebuild of the network.
        depth: the share of the backbone's weighted layers at or below it, in (0, 1]; 1.0 is the whole backbone.
        shape: (height, width, channels), or (tokens, channels); None for an extent that depends on the input.
        stride: pixels of the input for one position of the map; None where that can't be told.
        parameters: the number of weights at or below it.
        batch_norm: the last BatchNorm layer since the cut point before, or None.
    """

    layer: str
    depth: float
    shape: tuple[int | None, ...]
    stride: int | None
    parameters: int
    batch_norm: str | None


def cut_points(model: Any) -> tuple[CutPoint, ...]:
    """The places where a network can be cut, from input to output.

    A cut point lies behind a residual join or behind a unit of convolution, normalisation and activation; never inside
    a residual block, between a depthwise convolution and the pointwise one that completes it, or in the widened part
    of an inverted residual. Nested models are looked into. The classification head, which begins where the last map is
    pooled or flattened, holds none.

    Args:
        model: a built `keras.Model` with one input and one output.

    Returns:
        The cut points, in order. The last one ends the backbone.

    Raises:
        BuildError: the model has several inputs or outputs, or hides its layers.
    """
    return points_of(LayerGraph(model))


def points_of(graph: LayerGraph) -> tuple[CutPoint, ...]:
    """The cut points of a model that is laid open already."""
    nodes, places = graph.nodes, graph.cuts
    if not places:
        return ()
    layers = [sum(node.layers for node in nodes[: place + 1]) for place in places]
    sides = _sides(graph, places)
    points, start = [], 0
    for place, below, side in zip(places, layers, sides, strict=True):
        norms = [node.name for node in nodes[start : place + 1] if node.norm]
        points.append(
            CutPoint(
                layer=nodes[place].name,
                depth=below / layers[-1],
                shape=nodes[place].shape or (),
                stride=side,
                parameters=sum(node.parameters for node in nodes[: place + 1]),
                batch_norm=norms[-1] if norms else None,
            )
        )
        start = place + 1
    return tuple(points)


_NOMINAL = 256  # px: stands in for an extent that the network leaves open


def _sides(graph: LayerGraph, places: list[int]) -> list[int | None]:
    """Pixels of the input for one position of each map."""
    shapes: list[tuple[int | None, ...]] = [graph.nodes[place].shape or () for place in places]
    *extents, channels = graph.input_shape
    if None in extents and len(extents) == 2:
        extents = [_NOMINAL, _NOMINAL]
        every = graph.shapes_for((*extents, channels))
        shapes = [every[place - 1] for place in places]
    strides: list[int | None] = []
    for shape in shapes:
        positions = 1
        for side in shape[:-1]:
            positions *= side or 0
        area = (extents[0] or 0) * (extents[1] or 0) if len(extents) == 2 else 0
        stride = (area / positions) ** 0.5 if positions and area else 0.0
        strides.append(round(stride) or None)
    return strides


def find_cut(graph: LayerGraph, layer: str) -> int:
    """Index in the graph's nodes of the cut point at that layer.

    Raises:
        BuildError: the layer is no cut point; the message names the cut points on either side.
    """
    index = graph.index(layer)
    if index is not None and index in graph.cuts:
        return index
    points = [graph.nodes[place].name for place in graph.cuts]
    if not points:
        raise BuildError(f"Expected {graph.title} to have cut points. Received: a network that holds no feature map.")
    if index is None:
        near = difflib.get_close_matches(layer, points, n=2, cutoff=0.0)
    else:
        below = [graph.nodes[place].name for place in graph.cuts if place < index][-1:]
        near = below + [graph.nodes[place].name for place in graph.cuts if place > index][:1]
    raise BuildError(
        f"Expected `cut` to name a cut point of {graph.title}. Received: {layer!r}. Nearest: {', '.join(near)}. "
        f"{brief(graph)}"
    )


def brief(graph: LayerGraph) -> str:
    """The cut points in one sentence."""
    points = points_of(graph)
    if not points:
        return f"{graph.title} has no cut point."
    first, last = points[0], points[-1]
    return f"{graph.title} has {len(points)} cut points, {first.layer} ({first.depth:.0%} deep) to {last.layer} (100%)."


class LayerRenumbered(UserWarning):
    """A name stands for one layer in the list of cut points and for another one in the model itself."""


def tell_apart(graph: LayerGraph, name: str) -> None:
    """Warn where the model itself calls another layer by a name that is numbered anew."""
    index = graph.index(name)
    layers = [step for step in graph.calls if isinstance(step.operation, keras.Layer)]
    own = next((step.name for step in layers if step.operation.name == name and step.name != name), None)
    meant = graph.calls[index - 1].operation.name if index else name
    if own and meant != name:
        warnings.warn(
            f"{name!r} is taken for the layer that builders.cut_points lists so, which {graph.title} itself calls "
            f"{meant!r}. For the one that {graph.title} calls {name!r} say {own!r}.",
            LayerRenumbered,
            stacklevel=3,
        )


def settle(graph: LayerGraph, depth: float, what: str) -> int:
    """Index of the deepest cut point down to that share of the depth."""
    if not 0 < depth <= 1:
        raise BuildError(f"Expected {what} as a share of the depth to be in (0, 1]. Received: {depth}. {brief(graph)}")
    below = [place for place, point in zip(graph.cuts, points_of(graph), strict=True) if point.depth <= depth + 1e-9]
    if not below:
        raise BuildError(f"Expected {what} to reach the first cut point. Received: {depth}. {brief(graph)}")
    return below[-1]


def cut(model: Any, at: str | float | None = None, *, remove: int | None = None, share: bool = False) -> Any:
    """Keep the part of a network that ends at a cut point.

    Args:
        model: a built `keras.Model` with one input and one output.
        at: a cut point's layer, or a share of the depth in (0, 1], which settles on the last cut point down to there;
            1.0 keeps the whole backbone and drops the classification head.
        remove: in place of `at`, how many layers to take off from the end; settles on the nearest cut point below.
        share: whether the new model uses the given one's layers themselves; by default it gets copies.

    Returns:
        A flat `keras.Model` from the same input to the map at the cut point. Where the cut had to move, a `CutMoved`
        warning says where to.

    Raises:
        BuildError: there is no such cut point; the message names its neighbours.
    """
    if (at is None) == (remove is None):
        raise BuildError(f"Expected either `at` or `remove`. Received: at={at!r}, remove={remove!r}. Give one of them.")
    graph = LayerGraph(model)
    if isinstance(at, str):
        place = find_cut(graph, at)
        tell_apart(graph, at)
    elif at is not None:
        place = settle(graph, float(at), "`at`")
        depth = points_of(graph)[graph.cuts.index(place)].depth
        if depth < at - 1e-9:
            _say(f"Cut at {graph.nodes[place].name}, {depth:.1%} of the depth: the last cut point down to {at:.1%}.")
    else:
        place = _after_removing(graph, remove or 0)
    return copy_part(graph, place, share=share)


def _after_removing(graph: LayerGraph, remove: int) -> int:
    last = len(graph.nodes) - 1 - remove
    below = [place for place in graph.cuts if place <= last]
    if remove < 1 or not below:
        raise BuildError(
            f"Expected `remove` to leave a cut point. Received: {remove} of {len(graph.nodes) - 1} layers. "
            f"{brief(graph)}"
        )
    if below[-1] != last:
        _say(
            f"Cut at {graph.nodes[below[-1]].name}, the nearest cut point below: without its last {remove} layers "
            f"{graph.title} ends at {graph.nodes[last].name or 'its input'}, which is none."
        )
    return below[-1]


def _say(message: str) -> None:
    warnings.warn(message, CutMoved, stacklevel=3)


def copy_part(graph: LayerGraph, place: int, *, share: bool = False) -> Any:
    inputs = graph.input_layer()
    (output,) = graph.lay(inputs, [place], share=share)
    return keras.Model(inputs, output, name=graph.title)


def flat_copy(model: Any, *, share: bool = False) -> Any:
    """The whole model laid flat: the same function from copies of the same layers."""
    graph = LayerGraph(model)
    return copy_part(graph, len(graph.nodes) - 1, share=share)
