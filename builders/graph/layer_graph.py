"""The layer graph of a Keras model: the calls of its layers in order, through nested models, under stable names."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import keras
import tensorflow as tf

from builders.errors import BuildError
from builders.graph.cut_search import Kind, Node, ancestors, cut_indices
from builders.graph.layer_copies import copied_layer, copy_weights
from builders.graph.layer_names import Named, free_name, stable_names
from builders.graph.nested_models import functional, inner_model
from builders.graph.variables import size_of, trainable_variables

_CLASSES = {  # of layers and operations, by what they do to a feature map
    # These act on each value alone or normalise: a unit ends behind them, not in front of them.
    Kind.POINTWISE: (
        "Activation BatchNormalization Dropout ELU GaussianDropout GaussianNoise GroupNormalization Identity "
        "LayerNormalization LeakyReLU Normalization PReLU ReLU Rescaling RMSNormalization SpatialDropout2D "
        "UnitNormalization LayerScale Relu Relu6 Sigmoid Silu Gelu Elu Selu HardSigmoid HardSilu HardSwish Tanh "
        "LeakyRelu Softplus Swish Add Subtract Divide TrueDivide Clip Maximum Minimum HGNetV2LearnableAffineBlock"
    ),
    Kind.GATE: "Multiply SqueezeAndExcite2D",
    Kind.PADDING: "ZeroPadding1D ZeroPadding2D Cropping2D Pad",
    Kind.GLOBAL_POOLING: "GlobalAveragePooling1D GlobalAveragePooling2D GlobalMaxPooling1D GlobalMaxPooling2D",
    Kind.DEPTHWISE: "DepthwiseConv1D DepthwiseConv2D",
    Kind.AVERAGE_POOLING: "AveragePooling2D",
}
_KINDS = {name: kind for kind, names in _CLASSES.items() for name in names.split()}


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Call:
    """One call of a layer or operation."""

    name: str  # unique in the graph; the same in every rebuild of the network
    operation: Any  # the Keras layer or operation
    arguments: Any  # what it was called with, symbolic tensors included
    # for each symbolic tensor in `arguments` its id and the number of the value that it stands for
    inputs: tuple[tuple[int, int], ...]
    outputs: tuple[int, ...]  # numbers of its output values
    shapes: tuple[tuple[int | None, ...], ...]  # their shapes without the batch
    single: bool = True  # whether the first of them is the only one that is read


class LayerGraph:
    """The calls between one input and one output, in topological order; `nodes` begin with one for the input."""

    def __init__(self, model: Any) -> None:
        self.model = model
        self._model = functional(model)  # keeps the symbolic tensors alive whose ids are used
        self.title = str(model.name)
        for tensors, what in ((self._model.inputs, "input"), (self._model.outputs, "output")):
            if len(tensors) != 1:
                names = ", ".join(str(tensor.name) for tensor in tensors[:3])
                raise BuildError(
                    f"Expected {self.title} to have one {what}, as image classifiers have. Received: {len(tensors)} "
                    f"({names}). Pass a keras.Model of the part that you want."
                )
        self.input_shape = tuple(self._model.inputs[0].shape[1:])  # without the batch
        self._n_values = 1  # value 0 is the network's input
        found: list[tuple[Call, str]] = []
        needed = set(self._unroll(self._model, [0], "", found))
        calls = []
        for call in reversed(_renamed(found)):
            if needed.intersection(call.outputs):
                needed.update(number for _, number in call.inputs)
                calls.append(replace(call, single=not needed.intersection(call.outputs[1:])))
        self.calls = tuple(reversed(calls))
        self.nodes = self._nodes()
        if None not in self.input_shape and any(None in (node.shape or ()) for node in self.nodes):
            # A nested model for inputs of any size leaves them open.
            shapes = [self.input_shape, *self.shapes_for(self.input_shape)]
            nodes = zip(self.nodes, shapes, strict=True)
            self.nodes = tuple(node if node.shape is None else replace(node, shape=shape) for node, shape in nodes)

    def _unroll(self, model: Any, inputs: Sequence[int], prefix: str, found: list[tuple[Call, str]]) -> list[int]:
        """Append the calls of a functional model on numbered values; returns the numbers of its outputs."""
        known = {id(tensor): number for tensor, number in zip(model.inputs, inputs, strict=True)}
        for depth in sorted(model._nodes_by_depth, reverse=True):
            for node in model._nodes_by_depth[depth]:
                if node.is_input:
                    continue
                read = tuple((id(tensor), known[id(tensor)]) for tensor in node.arguments.keras_tensors)
                inner, places = inner_model(node)
                if inner is not None:
                    made = self._unroll(inner, [number for _, number in read], f"{node.operation.name}_", found)
                    numbers = [-1 if place is None else made[place] for place in places]
                else:
                    numbers = list(range(self._n_values, self._n_values + len(node.outputs)))
                    self._n_values += len(numbers)
                    call = Call(
                        name=node.operation.name,
                        operation=node.operation,
                        arguments=node.arguments,
                        inputs=read,
                        outputs=tuple(numbers),
                        shapes=tuple(tuple(tensor.shape[1:]) for tensor in node.outputs),
                    )
                    found.append((call, prefix))
                known.update((id(tensor), number) for tensor, number in zip(node.outputs, numbers, strict=True))
        return [known[id(tensor)] for tensor in model.outputs]

    def _nodes(self) -> tuple[Node, ...]:
        maker = {0: 0}  # number of a value -> index of the node that makes it
        nodes = [Node(name="", kind=Kind.INPUT, parents=(), shape=self.input_shape)]
        counted: set[int] = set()
        for index, call in enumerate(self.calls, start=1):
            layer = call.operation
            weighted = isinstance(layer, keras.Layer) and bool(layer.weights)
            new = id(layer) not in counted
            first = weighted and new  # the weights of a layer count once
            counted.add(id(layer))
            kind = getattr(layer, "kind", None)  # a segment of a SavedModel knows it
            if not isinstance(kind, Kind):
                kind = _KINDS.get(type(layer).__name__, Kind.MIXING if weighted else Kind.OTHER)
            if kind is Kind.MIXING and 1 < getattr(layer, "groups", 1) == call.shapes[0][-1]:
                kind = Kind.DEPTHWISE
            node = Node(
                name=call.name,
                kind=kind,
                parents=tuple(dict.fromkeys(maker[number] for _, number in call.inputs)),
                shape=call.shapes[0] if call.single else None,
                layers=int(getattr(layer, "weighted_layers", 1)) if kind.mixes and new else 0,
                parameters=size_of(layer.weights) if first else 0,
                trainable=size_of(trainable_variables(layer)) if first else 0,
                trainable_without_norm=size_of(trainable_variables(layer, batch_norm=False)) if first else 0,
                norm=isinstance(layer, keras.layers.BatchNormalization) or bool(getattr(layer, "norms", ())),
            )
            nodes.append(node)
            maker.update(dict.fromkeys(call.outputs, index))
        return tuple(nodes)

    def shapes_for(self, input_shape: Sequence[int | None]) -> list[tuple[int | None, ...]]:
        """Shapes of the first outputs of all calls, without the batch, for an input of that shape."""
        every = range(1, len(self.nodes))
        spec = tf.TensorSpec((1, *input_shape), tf.float32)
        traced = tf.function(lambda x: self.run(x, every)).get_concrete_function(spec)
        return [tuple(tensor.shape[1:]) for tensor in traced.structured_outputs]

    def index(self, name: str) -> int | None:
        """Index in `nodes` of the call with that name, or of the only layer to which the model itself gives it."""
        names = [node.name for node in self.nodes]
        if name in names:
            return names.index(name)
        own = [index for index, call in enumerate(self.calls, start=1) if call.operation.name == name]
        return own[0] if len(own) == 1 else None

    @cached_property
    def cuts(self) -> list[int]:
        """Indices in `nodes` of the cut points."""
        return cut_indices(self.nodes)

    def ancestors(self, wanted: Iterable[int]) -> set[int]:
        """Indices in `nodes` of the wanted nodes and of all that they depend on."""
        return ancestors(self.nodes, wanted)

    @property
    def names(self) -> frozenset[str]:
        """Names that the layers have in a copy of the network."""
        return frozenset(node.name.partition("@")[0] for node in self.nodes)

    def input_layer(self, shape: Sequence[int | None] | None = None) -> Any:
        """A new symbolic input, by default of the shape that the network takes."""
        return keras.Input(shape or self.input_shape, name=free_name("image", self.names))

    def run(
        self,
        inputs: Any,
        wanted: Sequence[int],
        operation: Callable[[Call], Any] | None = None,
        call: Callable[[Any, Any, Mapping[str, Any]], Any] | None = None,
        start: int | Sequence[int] = 0,
    ) -> list[Any]:
        """The first outputs of the wanted nodes, from `start`, whose outputs are the tensors `inputs`.

        `operation` gives what to run in place of a call's operation, `call` runs it on arguments; by default a plain
        call of the operation itself. Every path from the input passes through a node of `start`: one, with one tensor,
        or several, with a list of tensors.
        """
        first = [0, *(step.outputs[0] for step in self.calls)]
        starts, tensors = ([start], [inputs]) if isinstance(start, int) else (start, inputs)
        values: dict[int, Any] = {first[index]: tensor for index, tensor in zip(starts, tensors, strict=True)}
        for index in sorted(ancestors(self.nodes, wanted, set(starts)) - set(starts)):
            step = self.calls[index - 1]
            arguments, keywords = step.arguments.fill_in({key: values[number] for key, number in step.inputs})
            function = operation(step) if operation else step.operation
            result = call(function, arguments, keywords) if call else function(*arguments, **keywords)
            values.update(zip(step.outputs, keras.tree.flatten(result), strict=True))
        return [values[first[index]] for index in wanted]

    def copy_onto(self, inputs: Any, wanted: Sequence[int], *, share: bool = False) -> list[Any]:
        """The symbolic outputs of the wanted nodes for a symbolic input, without nesting.

        The layers are copied with their weights, unless `share` asks for the layers themselves.
        """
        if share:
            return self.run(inputs, wanted)
        copies: dict[int, tuple[Any, Any]] = {}

        def copy(step: Call) -> Any:
            key = id(step.operation)
            if key not in copies:
                copies[key] = step.operation, copied_layer(step.operation, step.name)
            return copies[key][1]

        outputs = self.run(inputs, wanted, copy)
        for old, new in copies.values():
            if isinstance(new, keras.Layer) and new.weights:
                copy_weights(old, new)
        return outputs

    def model_of(self, place: int, *, share: bool = False) -> Any:
        """A flat `keras.Model` from the network's input to the output of a node."""
        inputs = self.input_layer()
        return keras.Model(inputs, self.copy_onto(inputs, [place], share=share)[0], name=self.title)


def _renamed(found: Sequence[tuple[Call, str]]) -> list[Call]:
    """Give the calls stable names; the second call of a layer gets the suffix @2, and so on."""
    layers: dict[int, Named] = {}
    for call, prefix in found:
        named = Named(call.operation.name, type(call.operation).__name__, prefix)
        layers.setdefault(id(call.operation), named)
    names = dict(zip(layers, stable_names(list(layers.values())), strict=True))
    times = dict.fromkeys(layers, 0)
    calls = []
    for call, _ in found:
        key = id(call.operation)
        times[key] += 1
        calls.append(replace(call, name=names[key] + (f"@{times[key]}" if times[key] > 1 else "")))
    return calls
