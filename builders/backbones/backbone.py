"""A pretrained network at one input size. Keras-free: the network itself is loaded when it is first needed."""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

from builders.backbones.pixel_scaling import PixelScaling
from builders.graph.cut_search import CutPoint, Node, ancestors
from builders.strategy import Strategy

if TYPE_CHECKING:
    from builders.graph.layer_graph import LayerGraph


@dataclass(frozen=True, kw_only=True, eq=False)
class BackboneFacts:
    """What is known of a pretrained network without Keras."""

    name: str  # in the registry, or of the file it came from
    title: str  # for people
    source: str | None  # the data set that the weights were trained on, or None if unknown
    native_size: int  # px: the input size that the weights were trained at, as far as is known
    channels: int  # of the pictures that it takes: 1 grey, 3 RGB, 4 RGB with alpha
    scaling: PixelScaling | None  # of their pixels, inside `network`; None if unknown, it then takes scaled pixels
    points: tuple[CutPoint, ...]  # a module that can't be cut has one, its output
    nodes: tuple[Node, ...] = field(repr=False)  # of the layer graph
    fingerprint: str  # a digest of the weights, which depends neither on the head nor on the file format
    has_composite_layers: bool = False  # whether a layer with weights contains others, as MultiHeadAttention does
    whole: str = ""  # why a SavedModel has to stay whole; empty for all else


@dataclass(frozen=True, kw_only=True, eq=False)
class Backbone(BackboneFacts):
    """A pretrained network, at one input size."""

    input_size: int  # px: height and width of the pictures that `network` takes
    load: Callable[[], "LayerGraph"] = field(repr=False)

    @cached_property
    def graph(self) -> "LayerGraph":
        """The layer graph of the network."""
        return self.load()

    @property
    def network(self) -> Any:
        """A `keras.Model` from pixels 0..255 (batch, input_size, input_size, channels) to the network's output."""
        return self.graph.model

    @property
    def megabytes(self) -> float:
        """Size in MB of the weights up to the last cut point, in 32 bits each."""
        return 4e-6 * self.points[-1].parameters

    @property
    def multiply_adds(self) -> float:
        """Millions for one picture, about: each weight counts once for each position of the next cut point's map.

        Unlike a measured time it is the same in every run. Where no map is known, one at stride 32 is assumed.
        """
        total, below = 0.0, 0
        for point in self.points:
            sides = point.shape[:-1] or (self.input_size / 32, self.input_size / 32)
            total += (point.parameters - below) * math.prod(side or 1 for side in sides)
            below = point.parameters
        return total / 1e6

    def parameter_counts(self, strategy: Strategy) -> tuple[int, int]:
        """Numbers of (frozen, trainable) parameters of the model of a strategy, whose head has no hidden layers.

        Statistics of BatchNorm count as frozen. The model is not built.
        """
        index = {node.name: number for number, node in enumerate(self.nodes)}
        levels = strategy.head.levels or (strategy.cut,)
        used = ancestors(self.nodes, [index[level] for level in levels])
        below = set() if strategy.freeze is None else ancestors(self.nodes, [index[strategy.freeze]])
        total = sum(self.nodes[number].parameters for number in used)
        above = [self.nodes[number] for number in used - below]
        trainable = sum(node.trainable if strategy.train_batch_norm else node.trainable_without_norm for node in above)
        channels = sum(self.nodes[index[level]].width for level in levels)
        return total - trainable, trainable + (channels + 1) * strategy.head.classes


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class OpenedBackbone:
    """A backbone whose input size is still to be chosen."""

    native_size: int  # px: the input size that it was trained at, as far as is known
    smallest_size: int = 1  # px: the smallest input it takes
    fixed: bool  # whether its input size is given and should be kept
    at: Callable[[int], Backbone]  # gives it at an input size in px
