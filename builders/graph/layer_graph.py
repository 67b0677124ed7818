"""The layer graph of a Keras model: the calls of its layers in order, through nested models, under stable names."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import keras

from builders.errors import BuildError
from builders.graph.cut_search import Kind, Node, ancestors, bottlenecks, cut_indices
from builders.graph.functional import functional
from builders.graph.layer_copies import copied_layer, copy_weights
from builders.graph.layer_kinds import kind_of
from builders.graph.layer_names import Named, free_name, stable_names


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


class LayerGraph:
    """The calls between one input and one output, in topological order.

    Attributes:
        title: the model's name.
        calls: in order.
        input_shape: of the network's input, without the batch.
        nodes: one for the input, and one for each call.
    """

    def __init__(self, model: Any) -> None:
        self._model = functional(model)  # keeps the symbolic tensors alive whose ids are used
        self.title = str(model.name)
        for tensors, what in ((self._model.inputs, "input"), (self._model.outputs, "output")):
            if len(tensors) != 1:
                names = ", ".join(str(tensor.name) for tensor in tensors[:3])
                raise BuildError(
                    f"Expected {self.title} to have one {what}, as image classifiers have. Received: {len(tensors)} "
                    f"({names}). Pass a keras.Model of the part that you want."
                )
        self.input_shape = tuple(self._model.inputs[0].shape[1:])
        self._n_values = 1  # value 0 is the network's input
        found: list[tuple[Call, str]] = []
        (output,) = self._unroll(self._model, [0], "", found)
        self.calls = _needed(_renamed(found), output)
        self.nodes = self._nodes()
        if None not in self.input_shape and any(None in (node.shape or ()) for node in self.nodes):
            self.nodes = self._with_known_shapes()

    def _unroll(self, model: Any, inputs: Sequence[int], prefix: str, found: list[tuple[Call, str]]) -> list[int]:
        """Append the calls of a functional model on numbered values; returns the numbers of its outputs."""
        known = {id(tensor): number for tensor, number in zip(model.inputs, inputs, strict=True)}
        for depth in sorted(model._nodes_by_depth, reverse=True):
            for node in model._nodes_by_depth[depth]:
                if node.is_input:
                    continue
                read = tuple((id(tensor), known[id(tensor)]) for tensor in node.arguments.keras_tensors)
                if isinstance(node.operation, keras.Model):
                    inner = functional(node.operation, node.arguments.keras_tensors)
                    numbers = self._unroll(inner, [number for _, number in read], f"{node.operation.name}_", found)
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
            parents = tuple(dict.fromkeys(maker[number] for _, number in call.inputs))
            nodes.append(_node(call, parents, first=id(call.operation) not in counted))
            counted.add(id(call.operation))
            maker.update(dict.fromkeys(call.outputs, index))
        return tuple(nodes)

    def _with_known_shapes(self) -> tuple[Node, ...]:
        """The nodes with the shapes for this input; a nested model for inputs of any size leaves them open."""
        shapes = self.shapes_for(self.input_shape)
        return tuple(
            node if node.shape is None else replace(node, shape=shape)
            for node, shape in zip(self.nodes, [self.input_shape, *shapes], strict=True)
        )

    def shapes_for(self, input_shape: Sequence[int | None]) -> list[tuple[int | None, ...]]:
        """Shapes of the first outputs of all calls, without the batch, for an input of that shape."""
        import tensorflow as tf

        every = range(1, len(self.nodes))
        traced = tf.function(lambda x: self.run(x, every)).get_concrete_function(
            tf.TensorSpec((1, *input_shape), tf.float32)
        )
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

    @property
    def passages(self) -> list[int]:
        """Indices in `nodes` with one output, through which every path from input to output passes."""
        single = [True, *(len(call.outputs) == 1 for call in self.calls)]
        passed = bottlenecks(self.nodes)
        return [index for index in range(len(self.nodes)) if passed[index] and single[index]]

    def ancestors(self, wanted: Iterable[int]) -> set[int]:
        """Indices in `nodes` of the wanted nodes and of all that they depend on."""
        return ancestors(self.nodes, wanted)

    @property
    def names(self) -> frozenset[str]:
        """Names that the layers have in a copy of the network."""
        return frozenset(node.name.partition("@")[0] for node in self.nodes)

    def input_layer(self) -> Any:
        """A new symbolic input of the shape that the network takes."""
        return keras.Input(self.input_shape, name=free_name("image", self.names))

    def run(
        self,
        inputs: Any,
        wanted: Sequence[int],
        operation: Callable[[Call], Any] | None = None,
        call: Callable[[Any, Any, Mapping[str, Any]], Any] | None = None,
        start: int = 0,
    ) -> list[Any]:
        """Run the part of the graph that the wanted nodes depend on; returns their first outputs.

        Args:
            inputs: a tensor, symbolic or not; the output of node `start`, through which every path passes.
            wanted: indices in `nodes`, none before `start`.
            operation: what to run in place of a call's operation; itself by default.
            call: how to run it on arguments; a plain call by default.
            start: index in `nodes`.
        """
        first = [0, *(step.outputs[0] for step in self.calls)]
        values: dict[int, Any] = {first[start]: inputs}
        for index in sorted(index for index in self.ancestors(wanted) if index > start):
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


def _needed(calls: Sequence[Call], output: int) -> tuple[Call, ...]:
    """The calls that the output value depends on, in order."""
    needed, kept = {output}, []
    for call in reversed(calls):
        if needed.intersection(call.outputs):
            needed.update(number for _, number in call.inputs)
            kept.append(call)
    return tuple(reversed(kept))


def _node(call: Call, parents: tuple[int, ...], *, first: bool) -> Node:
    operation = call.operation
    weighted = isinstance(operation, keras.Layer) and bool(operation.weights)
    kind = kind_of(operation, weighted=weighted)
    mixing = kind in (Kind.MIXING, Kind.DEPTHWISE) and first
    return Node(
        name=call.name,
        kind=kind,
        parents=parents,
        shape=call.shapes[0] if len(call.shapes) == 1 else None,
        layers=int(getattr(operation, "weighted_layers", 1)) if mixing else 0,
        parameters=int(operation.count_params()) if weighted and first else 0,
        norm=isinstance(operation, keras.layers.BatchNormalization) or bool(getattr(operation, "norms", ())),
    )


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
