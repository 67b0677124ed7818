"""A network stage by stage, as a table."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import keras

from builders.graph.cut_search import CutPoint
from builders.graph.layer_graph import LayerGraph
from builders.graph.variables import size_of, trainable_variables
from builders.surgery.cut import points_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The part of a network between two changes of the spatial resolution."""

    name: str  # "stage 1" and so on, or "head"
    first: str  # its first cut point; of the head its first layer
    last: str  # its last cut point; of the head its last layer
    cut_points: int  # how many it has
    shape: tuple[int | None, ...] | None  # of the map at its end, or of the head's output
    depth: float | None  # the share of the backbone's weighted layers at or below its end; None for the head
    parameters: int  # number of its weights
    trainable: int  # how many of them train
    frozen: int  # how many could train and don't; the rest are statistics of BatchNorm

    @property
    def state(self) -> str:
        """frozen, trainable, partly frozen, or - if nothing could train."""
        if not self.trainable:
            return "frozen" if self.frozen else "-"
        return "partly frozen" if self.frozen else "trainable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Description:
    """The stages of a network; its string is a table."""

    title: str
    stages: tuple[Stage, ...]

    @property
    def parameters(self) -> int:
        """Number of all weights."""
        return sum(stage.parameters for stage in self.stages)

    @property
    def trainable(self) -> int:
        """Number of weights that train."""
        return sum(stage.trainable for stage in self.stages)

    def __str__(self) -> str:
        rows = [("stage", "from", "to", "cuts", "shape", "depth", "parameters", "state")]
        for stage in self.stages:
            depth = "" if stage.depth is None else f"{stage.depth:.0%}"
            shape = "?" if stage.shape is None else "×".join(str(side or "?") for side in stage.shape)
            place = (stage.name, stage.first, stage.last, str(stage.cut_points), shape, depth)
            rows.append((*place, f"{stage.parameters:,}", stage.state))
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        lines = [f"{self.title}: {self.parameters:,} parameters, {self.trainable:,} trainable"]
        for row in rows:
            cells = (f"{cell:{side}{width}}" for cell, side, width in zip(row, "<<<><>><", widths, strict=True))
            lines.append("  ".join(cells).rstrip())
        return "\n".join(lines)


def describe(model: Any) -> Description:
    """A network stage by stage, with shapes, parameters and what is frozen.

    Args:
        model: a built `keras.Model` with one input and one output.

    Returns:
        The table, head included; print it.

    Raises:
        BuildError: the model has several inputs or outputs, or hides its layers.
    """
    graph = LayerGraph(model)
    stages: list[Stage] = []
    start, cuts = 0, iter(graph.cuts)
    for _, group in groupby(points_of(graph), key=_resolution):
        points = tuple(group)
        end = [next(cuts) for _ in points][-1] + 1
        stages.append(_stage(graph, f"stage {len(stages) + 1}", start, end, points))
        start = end
    if start < len(graph.nodes):
        stages.append(_stage(graph, "head", start, len(graph.nodes), ()))
    return Description(title=graph.title, stages=tuple(stages))


def _resolution(point: CutPoint) -> object:
    """What is equal for the cut points of one stage: height and width, or the stride if they are open."""
    return point.stride if None in point.shape[:-1] else point.shape[:-1]


def _stage(graph: LayerGraph, name: str, start: int, end: int, points: Sequence[CutPoint]) -> Stage:
    """The nodes from start to before end, and their cut points; the head has none."""
    layers = [
        step.operation
        for step in graph.calls[max(start - 1, 0) : end - 1]
        if isinstance(step.operation, keras.Layer) and "@" not in step.name  # a later call has the same weights
    ]
    trainable = size_of(weight for layer in layers for weight in layer.trainable_variables)
    return Stage(
        name=name,
        first=points[0].layer if points else graph.nodes[start].name,
        last=graph.nodes[end - 1].name,
        cut_points=len(points),
        shape=graph.nodes[end - 1].shape,
        depth=points[-1].depth if points else None,
        parameters=size_of(weight for layer in layers for weight in layer.weights),
        trainable=trainable,
        frozen=size_of(weight for layer in layers for weight in trainable_variables(layer)) - trainable,
    )
