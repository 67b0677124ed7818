"""One scale for every network: photographs as the floor, spoiling them as the unit."""

import numpy as np
import pytest

from builders.backbones.load import load_backbone
from builders.backbones.pixel_scaling import SCALINGS
from probes.network.features import tapped
from probes.similarity.pixel_scaling import choose_scaling
from probes.similarity.reference import load_reference
from probes.similarity.score import excess_drift, layer_parts, part_means, reference_baseline, yardstick_baseline
from probes.similarity.standard_photos import (
    CROP,
    SPOILT,
    Standard,
    Yardstick,
    load_standard,
    measure_yardstick,
    photographs,
    prepared,
)
from recommender.pipeline.probed_network import probed_network


def standard(above=0.0, spoilt=1.0, floor=0.5):
    ones = np.ones((2, 2, 2))
    return Standard(
        native_size=200,
        sizes=np.array([100.0, 200.0]),
        enlargements=np.array([1.0, 2.0]),
        floor=floor * ones,
        above_floor=above * ones,
        spoilt=spoilt * np.ones((2, 3, 2)),
    )


def baseline(plain, moved, **changes):
    """Of a network of eight layers that all drift alike."""
    measured = Yardstick(plain=np.full(8, plain), spoilt=np.outer(moved, np.ones(8)))
    return yardstick_baseline(measured, standard(**changes), source=None, share=1.0)


DECIDES = [part != "late" for part in layer_parts(8)]


def test_a_network_that_moves_twice_as_far_counts_half():
    assert baseline(0.1, [0.1, 0.1, 0.1], spoilt=0.1).unit == pytest.approx(1.0)
    assert baseline(0.1, [0.2, 0.2, 0.2], spoilt=0.1).unit == pytest.approx(2.0)


def test_the_floor_lies_below_the_photographs_by_what_the_standard_says_in_the_networks_unit():
    found = baseline(0.5, [0.2, 0.2, 0.2], above=0.1, spoilt=0.1)
    assert found.basis == "yardstick"
    assert found.floor[DECIDES] == pytest.approx(0.5 - 2.0 * 0.1)


def test_ways_of_spoiling_that_a_network_can_not_see_say_nothing():
    assert baseline(0.1, [0.0, 0.2, 0.2], spoilt=0.1).unit == pytest.approx(2.0)
    assert baseline(0.1, [0.0, 0.0, 0.0]).unit == 1.0


def test_a_unit_beyond_all_measure_is_not_believed():
    assert baseline(0.1, [99.0] * 3, spoilt=0.1).unit == 4.0
    assert baseline(0.1, [1e-5] * 3, spoilt=0.1).unit == 0.25


def test_a_network_to_which_photographs_are_foreign_gets_the_floor_of_the_standard():
    found = baseline(2.0, [0.5] * 3, spoilt=0.1, floor=0.05)
    assert (found.basis, found.unit) == ("foreign", 1.0)
    assert found.floor[DECIDES] == pytest.approx(0.05)


def test_the_standard_is_interpolated():
    table = standard()
    table.floor[1], table.spoilt[1] = 1.5, 3.0
    assert table.at(0.75, 1.5)[0] == pytest.approx([1.0, 1.0])
    assert table.at(9.0, 99.0)[0] == pytest.approx([1.5, 1.5])
    assert table.spoilt_at(0.75) == pytest.approx(np.full((3, 2), 2.0))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("way", [None, *SPOILT])
def test_the_squares_are_what_a_network_takes(channels, way):
    squares = list(prepared(64, channels, enlargement=2.0, spoil=SPOILT.get(way)))
    assert len(squares) == len(photographs()) == 16
    assert squares[0].pixels.shape == (64, 64, channels)
    assert squares[0].size == (32, 32)
    assert all(square.pixels.min() >= 0 and square.pixels.max() <= 255 for square in squares)
    colourless = np.ptp(squares[0].pixels[..., :3], axis=-1).max() < 1e-3
    assert colourless == (way in ("grey", "outlines") or channels == 1)


def test_squares_are_shrunk_only_where_that_is_needed():
    assert next(prepared(300, 3)).size == (CROP, CROP)


@pytest.fixture(scope="module", params=["efficientnet_lite0", "efficientnet_lite1"])
def network(request):
    return request.param, probed_network(load_backbone(request.param, 96))


def test_two_photographs_stand_in_for_a_thousand_of_imagenet(network):
    """The floor and the unit by the yardstick, against the reference that was measured on ImageNet."""
    name, probed = network
    measured = measure_yardstick(probed, tapped(probed))
    native = load_backbone(name, 96).native_size
    by_photographs = yardstick_baseline(measured, load_standard(), source=None, share=96 / native)
    by_imagenet = reference_baseline(load_reference(name), source="ImageNet", input_size=96, enlargement=1.0)
    drift = by_imagenet.floor + 0.1  # of pictures at the threshold
    assert float(excess_drift(drift, by_imagenet.floor)) == pytest.approx(0.1)
    assert float(excess_drift(drift, by_photographs.floor)) / by_photographs.unit == pytest.approx(0.1, abs=0.015)


def test_the_yardstick_of_the_standard_network_is_the_standard():
    probed = probed_network(load_backbone("efficientnet_lite0", 96))
    measured = measure_yardstick(probed, tapped(probed))
    own = [part_means(way) for way in measured.spoilt]
    assert own == pytest.approx(load_standard().spoilt_at(96 / 224), abs=1e-3)


@pytest.mark.parametrize("true", SCALINGS)
def test_the_scaling_of_the_pixels_is_told(true):
    """The true scaling of Lite0 is emulated: what comes in by `true` reaches the weights as they want it."""
    backbone = load_backbone("efficientnet_lite0", 96)
    probed = probed_network(backbone)  # takes 0..255, scales itself
    run = tapped(probed)
    scale, offset, reverse = SCALINGS[true].of_channels(3)

    def undo(values):
        return (values[..., ::-1] if reverse else values) / np.array(scale) - np.array(offset) / np.array(scale)

    candidates = {
        name: (lambda pixels, scaling=scaling: undo(scaling.apply(pixels)).astype(np.float32))
        for name, scaling in SCALINGS.items()
    }
    strokes = [np.zeros((96, 96, 3), np.float32)] * 4
    for stroke in strokes:
        stroke[40:50] = 255
    found = choose_scaling(probed, run, candidates, strokes)
    assert found.name == true
    assert found.drift < found.runner_up_drift
