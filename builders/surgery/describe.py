"""A network stage by stage, as a table."""

from dataclasses import dataclass
from typing import Any

import keras

from builders.graph.layer_graph import LayerGraph
from builders.surgery.cut import CutPoint, points_of
from builders.surgery.freeze import can_train, size_of


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """The part of a network between two changes of the spatial resolution.

    Attributes:
        name: "stage 1" and so on, or "head".
        first: its first cut point; of the head its first layer.
        last: its last cut point; of the head its last layer.
        cut_points: how many it holds.
        shape: of the map at its end, or of the head's output.
        depth: the share of the backbone's weighted layers at or below its end; None for the head.
        parameters: number of its weights.
        trainable: how many of them train.
        frozen: how many could train and don't; the rest are statistics of BatchNorm.
    """

    name: str
    first: str
    last: str
    cut_points: int
    shape: tuple[int | None, ...] | None
    depth: float | None
    parameters: int
    trainable: int
    frozen: int

    @property
    def state(self) -> str:
        """frozen, trainable, partly frozen, or - where there is nothing to train."""
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
        """Number of weights in all."""
        return sum(stage.parameters for stage in self.stages)

    @property
    def trainable(self) -> int:
        """How many of them train."""
        return sum(stage.trainable for stage in self.stages)

    def __str__(self) -> str:
        header = ("stage", "from", "to", "cuts", "shape", "depth", "parameters", "state")
        rows = [header]
        for stage in self.stages:
            depth = "" if stage.depth is None else f"{stage.depth:.0%}"
            cells = (stage.name, stage.first, stage.last, str(stage.cut_points), shape_text(stage.shape), depth)
            rows.append((*cells, f"{stage.parameters:,}", stage.state))
        widths = [max(len(row[column]) for row in rows) for column in range(len(header))]
        right = {3, 5, 6}
        lines = [
            "  ".join(
                cell.rjust(width) if column in right else cell.ljust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in rows
        ]
        total = f"{self.title}: {self.parameters:,} parameters, {self.trainable:,} trainable"
        return "\n".join([total, *lines])


def shape_text(shape: tuple[int | None, ...] | None) -> str:
    """(7, 7, 320) as 7×7×320, an open extent as ?."""
    return "?" if shape is None else "×".join("?" if side is None else str(side) for side in shape)


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
    places, points = graph.cuts, points_of(graph)
    stages: list[Stage] = []
    start = 0
    for index, point in enumerate(points):
        ends = index + 1 == len(points) or points[index + 1].shape[:-1] != point.shape[:-1]
        if not ends or _open_extents(point, points, index):
            continue
        within = [other for other in range(len(points)) if start <= places[other] <= places[index]]
        sizes = _sizes(graph, start, places[index] + 1)
        stages.append(
            Stage(
                name=f"stage {len(stages) + 1}",
                first=points[within[0]].layer,
                last=point.layer,
                cut_points=len(within),
                shape=point.shape,
                depth=point.depth,
                parameters=sizes[0],
                trainable=sizes[1],
                frozen=sizes[2],
            )
        )
        start = places[index] + 1
    if start < len(graph.nodes):
        stages.append(_head(graph, start))
    return Description(title=graph.title, stages=tuple(stages))


def _open_extents(point: CutPoint, points: tuple[CutPoint, ...], index: int) -> bool:
    """Whether the shapes are open and only the strides tell that the next cut point is of the same stage."""
    return index + 1 < len(points) and None in point.shape[:-1] and points[index + 1].stride == point.stride


def _head(graph: LayerGraph, start: int) -> Stage:
    sizes = _sizes(graph, start, len(graph.nodes))
    return Stage(
        name="head",
        first=graph.nodes[start].name,
        last=graph.nodes[-1].name,
        cut_points=0,
        shape=graph.nodes[-1].shape,
        depth=None,
        parameters=sizes[0],
        trainable=sizes[1],
        frozen=sizes[2],
    )


def _sizes(graph: LayerGraph, start: int, end: int) -> tuple[int, int, int]:
    """Numbers of all, of trainable and of frozen parameters of the nodes from start to before end."""
    layers: dict[int, Any] = {}
    for step in graph.calls[max(start - 1, 0) : end - 1]:
        if isinstance(step.operation, keras.Layer) and "@" not in step.name:
            layers[id(step.operation)] = step.operation
    every = size_of(weight for layer in layers.values() for weight in layer.weights)
    trains = size_of(weight for layer in layers.values() for weight in layer.trainable_variables)
    able = size_of(weight for layer in layers.values() for weight in can_train(layer))
    return every, trains, able - trains
