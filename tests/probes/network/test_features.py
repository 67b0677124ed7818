"""One pass of a network: rows of pooled features and of standardised moments."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from tiny import SIZE, tiny_network

from builders.backbones.load import open_backbone
from probes.images.prepare import Prepared
from probes.network.features import BATCH_SIZE, Norm, about, batches, features_of, run_over, standardise
from recommender.pipeline.keras_network import infer
from recommender.pipeline.probed_network import probed_network
from recommender.pipeline.programs import make_program

ENGINES = ("tensorflow", "litert")


@pytest.fixture(scope="module", params=ENGINES)
def network(request):
    opened = open_backbone(tiny_network())
    backbone = opened.at(SIZE)
    program = make_program(backbone, opened, None) if request.param == "litert" else None
    return probed_network(backbone, program=program)


def pictures(n, seed=0):
    pixels = np.random.default_rng(seed).uniform(0, 255, (n, SIZE, SIZE, 3)).astype(np.float32)
    return [
        Prepared(pixels=each, label=number % 3, file=f"{number}.png", size=(40, 30 + number), grey=False)
        for number, each in enumerate(pixels)
    ]


@given(st.lists(st.integers(), max_size=70))
def test_batches_hold_every_item_once_and_in_order(items):
    found = list(batches(iter(items)))
    assert [item for batch in found for item in batch] == items
    assert all(len(batch) == BATCH_SIZE for batch in found[:-1])
    assert all(found)


@settings(deadline=None)
@given(
    arrays(np.float64, (6, 9, 4), elements=st.floats(-5, 5)),
    arrays(np.float64, 4, elements=st.floats(-3, 3)),
    arrays(np.float64, 4, elements=st.floats(0.1, 4)),
)
def test_standardised_moments_are_those_of_the_standardised_tensor(z, centre, scale):
    y = z * scale + centre
    norm = Norm(layer="", centre=centre, scale=scale)
    mean, square = standardise(norm, *about(centre, y.mean(1), (y**2).mean(1)))
    assert mean == pytest.approx(z.mean(1), abs=1e-4)
    assert square == pytest.approx((z**2).mean(1), abs=1e-3)


def test_channels_without_scale_are_left_out():
    norm = Norm(layer="", centre=np.zeros(3), scale=np.array([1.0, 1e-5, -2.0]))
    mean, _ = standardise(norm, np.array([[1.0, 7.0, 4.0]]), np.ones((1, 3)))
    assert mean.tolist() == [[1.0, -2.0]]


def test_overflow_becomes_infinite_without_a_warning():
    mean, _ = standardise(Norm(layer="", centre=np.zeros(1), scale=np.ones(1)), [[1e300]], [[np.inf]])
    assert not np.isfinite(mean).any()


def test_pooled_features_are_global_averages_at_every_cut_point(network):
    items = pictures(5)
    found = run_over(network, items)
    model = tiny_network()
    pixels = np.stack([item.pixels for item in items])
    assert tuple(found.pooled) == network.cuts
    for cut in network.cuts:
        maps = keras.Model(model.input, model.get_layer(cut).output)(pixels, training=False).numpy()
        assert found.pooled[cut] == pytest.approx(maps.mean((1, 2)), abs=1e-4)
    assert found.output == pytest.approx(model(pixels, training=False).numpy(), abs=1e-5)


def test_norm_moments_are_those_of_the_input_of_batch_norm(network):
    items = pictures(3)
    found = run_over(network, items)
    model = tiny_network()
    layer = model.get_layer("block1_bn")
    before = keras.Model(model.input, layer.input)(np.stack([item.pixels for item in items])).numpy()
    z = (before - layer.moving_mean.numpy()) / np.sqrt(layer.moving_variance.numpy() + layer.epsilon)
    assert found.norm_means["block1_bn"] == pytest.approx(z.mean((1, 2)), rel=1e-3, abs=1e-3)
    assert found.norm_squares["block1_bn"] == pytest.approx((z**2).mean((1, 2)), rel=1e-3, abs=1e-3)


def test_rows_follow_the_stream_across_batches(network):
    items = pictures(BATCH_SIZE + 3)
    done = []
    found = run_over(network, iter(items), progress=done.append)
    alone = run_over(network, [items[-1]])
    assert found.files == tuple(item.file for item in items)
    assert done == [BATCH_SIZE, BATCH_SIZE + 3]
    assert found.pooled[network.cuts[-1]][-1] == pytest.approx(alone.pooled[network.cuts[-1]][0], abs=1e-5)


def test_an_empty_stream_has_no_rows(network):
    found = run_over(network, [])
    assert (found.files, found.pooled, len(found.labels)) == ((), {}, 0)


@given(st.permutations(range(6)), st.integers(0, 6))
def test_chosen_rows_keep_all_their_columns_together(order, kept):
    items = pictures(6)
    numbers = np.arange(6, dtype=np.float32)[:, None]
    table = features_of(items, None, pooled={"a": numbers}, norm_means={"n": numbers}, norm_squares={"n": numbers})
    found = table.rows(np.array(order[:kept], int))
    assert found.files == tuple(items[row].file for row in order[:kept])
    assert found.labels.tolist() == [items[row].label for row in order[:kept]]
    assert found.sizes.tolist() == [list(items[row].size) for row in order[:kept]]
    for column in (found.pooled["a"], found.norm_means["n"], found.norm_squares["n"]):
        assert column[:, 0].tolist() == order[:kept]
    assert table.rows(np.arange(6) % 2 == 0).files == ("0.png", "2.png", "4.png")


def test_layers_that_take_no_training_argument_are_called_without_it():
    assert infer(keras.layers.Flatten(), (np.ones((2, 3, 1), np.float32),), {}).shape == (2, 3)
    dropped = infer(keras.layers.Dropout(0.9), (np.ones((4, 4), np.float32),), {"training": True})
    assert keras.ops.convert_to_numpy(dropped).min() == 1
