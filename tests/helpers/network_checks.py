"""What every network has to pass to be a backbone: checks by name, for any `keras.Model` or loaded backbone."""

import re

import keras
import numpy as np

from builders import HeadSpec, cut, cut_points, describe, freeze, graft
from builders.graph.layer_graph import LayerGraph


def pictures(network, count=2, seed=0):
    """Random pixels of 0 to 255 of the size that the network takes."""
    rng = np.random.default_rng(seed)
    return rng.uniform(0, 255, (count, *network.input_shape[1:])).astype(np.float32)


def answer(model, pixels):
    """The output in inference mode, without the trace that `predict` needs."""
    return np.asarray(model(pixels, training=False))


def size_of(weights):
    return sum(int(np.prod(weight.shape)) for weight in weights)


def chosen(points):
    """The first, a middle and the last cut point."""
    return [points[index] for index in sorted({0, len(points) // 2, len(points) - 1})]


def the_whole_output_follows_from_a_cut_point_alone(network):
    graph = LayerGraph(network)
    last = len(graph.nodes) - 1
    for place in chosen(graph.cuts):
        assert graph.nodes[place].is_map
        values = graph.run(keras.KerasTensor((None, *graph.nodes[place].shape)), [last], start=place)
        assert tuple(values[0].shape[1:]) == graph.nodes[last].shape


def cut_points_are_in_order_and_the_last_one_is_the_whole_backbone(network):
    points = cut_points(network)
    for field in ("depth", "parameters", "stride"):
        values = [getattr(point, field) for point in points if getattr(point, field) is not None]
        assert values == sorted(values), field
    assert points[0].depth > 0
    assert points[-1].depth == 1.0
    assert len({point.layer for point in points}) == len(points)


def features_are_finite(network):
    graph = LayerGraph(network)
    for values in graph.run(pictures(network), graph.cuts):
        assert np.isfinite(np.asarray(values)).all()


def a_cut_model_computes_what_the_whole_one_does_there(network):
    points, pixels = cut_points(network), pictures(network)
    graph = LayerGraph(network)
    for point in chosen(points):
        trunk = cut(network, point.layer)
        assert trunk.output_shape[1:] == point.shape
        assert trunk.count_params() == point.parameters
        assert [other.layer for other in cut_points(trunk)] == [p.layer for p in points[: points.index(point) + 1]]
        (expected,) = graph.run(pixels, [graph.index(point.layer)])
        np.testing.assert_allclose(answer(trunk, pixels), np.asarray(expected), rtol=1e-3, atol=1e-3)


def grafted(network):
    """A new head at a third of the depth, with the lower half of the rest frozen; and the last frozen layer."""
    points = cut_points(network)
    third = min(points, key=lambda point: abs(point.depth - 1 / 3))
    trunk = cut(network, third.layer)
    below = points[points.index(third) // 2].layer
    return freeze(graft(trunk, HeadSpec(classes=3)), until=below, train_batch_norm=True), below


def what_is_frozen_stays_and_the_rest_trains(network):
    (model, trainable), until = grafted(network)
    assert trainable == size_of(model.trainable_weights) == describe(model).trainable
    assert describe(model).parameters == model.count_params()
    before = {weight.path: weight.numpy().copy() for weight in model.weights}
    below = {layer.name for layer in cut(model, until).layers}
    model.compile("adam", "sparse_categorical_crossentropy", run_eagerly=True)  # a trace costs more than the one step
    model.train_on_batch(pictures(model, 4), np.arange(4) % 3)
    moved = {weight.path for weight in model.weights if not np.array_equal(weight.numpy(), before[weight.path])}
    assert not {path.split("/")[0] for path in moved} & below
    assert {weight.path for weight in model.trainable_weights} <= moved
    assert all("moving_" in path for path in moved - {weight.path for weight in model.trainable_weights})


def a_saved_model_loads_with_keras_alone_and_answers_the_same(network, folder, *, flags=True):
    (model, _), _ = grafted(network)
    model.save(folder / "m.keras")
    again = keras.models.load_model(folder / "m.keras")
    pixels = pictures(network)
    np.testing.assert_allclose(answer(again, pixels), answer(model, pixels), rtol=1e-6, atol=1e-5)
    places = [
        {re.sub(r"variable_\d+$", "variable", weight.path) for weight in of.trainable_weights}  # Keras numbers these
        for of in (again, model)
    ]
    assert places[0] == places[1] or not flags


STRUCTURE = (
    the_whole_output_follows_from_a_cut_point_alone,
    cut_points_are_in_order_and_the_last_one_is_the_whole_backbone,
)
NETWORK = (
    *STRUCTURE,
    features_are_finite,
    a_cut_model_computes_what_the_whole_one_does_there,
    what_is_frozen_stays_and_the_rest_trains,
)
