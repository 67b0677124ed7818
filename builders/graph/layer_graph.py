"""A Keras model laid open: the calls of its layers in order, through nested models, each under a name that lasts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras

from builders.errors import BuildError
from builders.graph.cut_search import Kind, Node, cut_indices
from builders.graph.functional import first_line, functional, is_model, require_one
from builders.graph.layer_kinds import kind_of
from builders.graph.layer_names import Named, free_name, lasting_names


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Call:
    """One use of a layer or operation.

    Attributes:
        name: unique in the graph; the same in every rebuild of the network.
        operation: the Keras layer or operation.
        arguments: what it was called with, symbolic tensors in it.
        inputs: for each symbolic tensor in `arguments` its id and the number of the value that it stands for.
        outputs: numbers of the values that it puts out.
        shapes: their shapes without the batch.
    """

    name: str
    operation: Any
    arguments: Any
    inputs: tuple[tuple[int, int], ...]
    outputs: tuple[int, ...]
    shapes: tuple[tuple[int | None, ...], ...]


class LayerGraph:
    """The calls between one input and one output, each behind all that it reads.

    Attributes:
        title: the model's name.
        calls: in order.
        input: number of the value that the network takes.
        input_shape: its shape without the batch.
        nodes: one for the input, and one for each call.
    """

    def __init__(self, model: Any) -> None:
        self._opened = functional(model)  # holds the symbolic tensors whose ids are used
        self.title = str(model.name)
        inputs, outputs = self._opened.inputs, self._opened.outputs
        require_one(inputs, "input", self.title)
        require_one(outputs, "output", self.title)
        self.input, self.input_shape = 0, tuple(inputs[0].shape[1:])
        self._values = 1
        found: list[tuple[Call, str]] = []
        (self.output,) = self._unroll(self._opened, [self.input], "", found)
        calls = _ancestors(_renamed(found), self.output)
        self.calls = tuple(calls)
        self.nodes = self._nodes()
        if None not in self.input_shape and any(None in (node.shape or ()) for node in self.nodes):
            self.nodes = self._with_known_shapes()

    def _unroll(self, model: Any, inputs: Sequence[int], prefix: str, found: list[tuple[Call, str]]) -> list[int]:
        """Note the calls of a functional model on values of those numbers; returns the numbers of its outputs."""
        known = {id(tensor): number for tensor, number in zip(model.inputs, inputs, strict=True)}
        for depth in sorted(model._nodes_by_depth, reverse=True):
            for node in model._nodes_by_depth[depth]:
                if node.is_input:
                    continue
                read = [(id(tensor), known[id(tensor)]) for tensor in node.arguments.keras_tensors]
                if is_model(node.operation):
                    inner = functional(node.operation, node.arguments.keras_tensors)
                    numbers = self._unroll(inner, [number for _, number in read], f"{node.operation.name}_", found)
                else:
                    numbers = list(range(self._values, self._values + len(node.outputs)))
                    self._values += len(numbers)
                    call = Call(
                        name=node.operation.name,
                        operation=node.operation,
                        arguments=node.arguments,
                        inputs=tuple(read),
                        outputs=tuple(numbers),
                        shapes=tuple(tuple(tensor.shape[1:]) for tensor in node.outputs),
                    )
                    found.append((call, prefix))
                known.update((id(tensor), number) for tensor, number in zip(node.outputs, numbers, strict=True))
        return [known[id(tensor)] for tensor in model.outputs]

    def _nodes(self) -> tuple[Node, ...]:
        maker = {self.input: 0}
        nodes = [Node(name="", kind=Kind.INPUT, parents=(), shape=self.input_shape)]
        counted: set[int] = set()
        for index, call in enumerate(self.calls, start=1):
            first = id(call.operation) not in counted
            counted.add(id(call.operation))
            nodes.append(_node(call, tuple(dict.fromkeys(maker[number] for _, number in call.inputs)), first=first))
            maker.update(dict.fromkeys(call.outputs, index))
        return tuple(nodes)

    def _with_known_shapes(self) -> tuple[Node, ...]:
        """A nested model for inputs of any size has open shapes; here its input is known."""
        shapes = self.shapes_for(self.input_shape)
        return tuple(
            node if node.shape is None else replace(node, shape=shape)
            for node, shape in zip(self.nodes, [self.input_shape, *shapes], strict=True)
        )

    def shapes_for(self, input_shape: Sequence[int | None]) -> list[tuple[int | None, ...]]:
        """Shapes of all calls' first outputs, without the batch, for an input of that shape."""
        import tensorflow as tf

        every = range(1, len(self.nodes))
        traced = tf.function(lambda x: self.run(x, every)).get_concrete_function(
            tf.TensorSpec((1, *input_shape), tf.float32)
        )
        return [tuple(tensor.shape[1:]) for tensor in traced.structured_outputs]

    def index(self, name: str) -> int | None:
        """Index in `nodes` of the call with that name, or of the layer that the model itself calls so."""
        names = [node.name for node in self.nodes]
        if name in names:
            return names.index(name)
        own = [index for index, call in enumerate(self.calls, start=1) if call.operation.name == name]
        return own[0] if len(own) == 1 else None

    @property
    def cuts(self) -> list[int]:
        """Indices in `nodes` of the cut points."""
        return cut_indices(self.nodes)

    @property
    def names(self) -> frozenset[str]:
        """Names that its layers have where they are laid."""
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
        """Run the part of the graph that the wanted nodes depend on.

        Args:
            inputs: a tensor, symbolic or not.
            wanted: indices in `nodes`, none before `start`.
            operation: what to run in the place of a call's operation; itself by default.
            call: how to run it on arguments; a plain call by default.
            start: index in `nodes` of the one that puts `inputs` out, through which every path passes.

        Returns:
            The outputs of the wanted nodes, in their order.
        """
        values: dict[int, Any] = {self._output_of(start): inputs}
        needed = {index for index in self.ancestors(wanted) if index > start}
        for index, step in enumerate(self.calls, start=1):
            if index not in needed:
                continue
            arguments, keywords = step.arguments.fill_in({key: values[number] for key, number in step.inputs})
            function = operation(step) if operation else step.operation
            result = call(function, arguments, keywords) if call else function(*arguments, **keywords)
            values.update(zip(step.outputs, keras.tree.flatten(result), strict=True))
        return [values[self._output_of(index)] for index in wanted]

    def _output_of(self, index: int) -> int:
        """Number of the value that a node puts out first."""
        return self.calls[index - 1].outputs[0] if index else self.input

    @property
    def passages(self) -> list[int]:
        """Indices in `nodes` of those through whose one output every path from input to output passes."""
        nearest = [len(self.nodes)] * len(self.nodes)  # the earliest parent of each node and of all behind it
        for index in range(len(self.nodes) - 1, 0, -1):
            behind = nearest[index + 1] if index + 1 < len(self.nodes) else len(self.nodes)
            nearest[index] = min(behind, *self.nodes[index].parents, len(self.nodes))
        last = len(self.nodes) - 1
        return [
            index
            for index, node in enumerate(self.nodes)
            if (index == last or nearest[index + 1] >= index)
            and (index == 0 or len(self.calls[index - 1].outputs) == 1)
        ]

    def ancestors(self, wanted: Sequence[int]) -> set[int]:
        """Indices in `nodes` of the wanted ones and of all that they depend on."""
        needed, waiting = set(), list(wanted)
        while waiting:
            index = waiting.pop()
            if index not in needed:
                needed.add(index)
                waiting.extend(self.nodes[index].parents)
        return needed

    def lay(self, inputs: Any, wanted: Sequence[int], *, share: bool = False) -> list[Any]:
        """Lay that part of the graph onto a symbolic tensor, flat.

        Args:
            inputs: a symbolic tensor of the shape that the network takes.
            wanted: indices in `nodes`.
            share: whether the layers themselves are used; by default they are copied, weights and all.

        Returns:
            The symbolic outputs of the wanted nodes.
        """
        if share:
            return self.run(inputs, wanted)
        copies: dict[int, Any] = {}

        def copy(step: Call) -> Any:
            if id(step.operation) not in copies:
                copies[id(step.operation)] = _copied(step)
            return copies[id(step.operation)]

        outputs = self.run(inputs, wanted, copy)
        for step in self.calls:
            new = copies.get(id(step.operation))
            if isinstance(new, keras.Layer) and new.weights:
                copy_weights(step.operation, new)
        return outputs


def copy_weights(old: Any, new: Any) -> None:
    """Give a layer the weights of another of the same make, one layer's arrays in memory at a time."""
    new.set_weights([weight.numpy() for weight in old.weights])
    for part, inner in zip(old._flatten_layers(), new._flatten_layers(), strict=True):
        if part.trainable != inner.trainable:  # nor are those of layers inside a layer
            inner.trainable = part.trainable
    for weight, copied in zip(old.weights, new.weights, strict=True):
        if weight.trainable != copied.trainable:  # flags of single variables are in no configuration
            copied.trainable = weight.trainable
    if hasattr(new, "finalize_state"):  # keras.layers.Normalization computes with derived values
        new.finalize_state()


def _ancestors(calls: list[Call], output: int) -> Iterator[Call]:
    """The calls that the output depends on, in order."""
    needed = {output}
    kept = []
    for call in reversed(calls):
        if needed.intersection(call.outputs):
            needed.update(number for _, number in call.inputs)
            kept.append(call)
    return reversed(kept)


def _node(call: Call, parents: tuple[int, ...], *, first: bool) -> Node:
    operation = call.operation
    weights = list(operation.weights) if isinstance(operation, keras.Layer) else []
    kind = kind_of(operation, bool(weights))
    mixing = kind in (Kind.MIXING, Kind.DEPTHWISE) and first
    return Node(
        name=call.name,
        kind=kind,
        parents=parents,
        shape=call.shapes[0] if len(call.shapes) == 1 else None,
        layers=int(getattr(operation, "weighted_layers", 1)) if mixing else 0,
        parameters=int(operation.count_params()) if weights and first else 0,
        norm=isinstance(operation, keras.layers.BatchNormalization) or bool(getattr(operation, "norms", ())),
    )


def _renamed(found: Sequence[tuple[Call, str]]) -> list[Call]:
    """Give the calls names that are unique and that a rebuild repeats; later calls of one layer are numbered with @."""
    operations: dict[int, Named] = {}
    for call, prefix in found:
        own = Named(name=call.operation.name, made_by=type(call.operation).__name__, prefix=prefix)
        operations.setdefault(id(call.operation), own)
    names = dict(zip(operations, lasting_names(list(operations.values())), strict=True))
    times: dict[int, int] = {}
    calls = []
    for call, _ in found:
        key = id(call.operation)
        times[key] = times.get(key, 0) + 1
        calls.append(replace(call, name=names[key] + (f"@{times[key]}" if times[key] > 1 else "")))
    return calls


def _copied(step: Call) -> Any:
    """A new layer or operation with the name that it has in the graph; its weights are set later."""
    operation = step.operation
    try:
        config = operation.get_config()
        if "name" in config:
            config["name"] = step.name.partition("@")[0]
        return type(operation).from_config(config)
    except Exception as error:  # a layer of the user's own may lack get_config
        raise BuildError(
            f"Expected the layer {step.name!r} ({type(operation).__name__}) to be copied from its configuration. "
            f"Received: {first_line(error)}. Give the class a get_config, or share the layers with share=True."
        ) from error
