"""One scale for every network: photographs as the floor, taking their colour away as the unit."""

import numpy as np
import pytest

from builders.backbones import load_backbone
from builders.pixels import SCALINGS
from probes.features import tapped
from probes.reference import load_reference
from probes.scaling import choose_scaling
from probes.similarity import excess_drift, layer_parts, part_means, reference_baseline, yardstick_baseline
from probes.yardstick import CROP, Standard, Yardstick, load_standard, measure_yardstick, photographs, prepared
from recommender.wiring import probed_network


def standard(above=0.0, unit=1.0, floor=0.5):
    ones = np.ones((2, 2, 2))
    return Standard(
        native_size=200,
        sizes=np.array([100.0, 200.0]),
        enlargements=np.array([1.0, 2.0]),
        floor=floor * ones,
        above_floor=above * ones,
        unit=unit * ones,
    )


def baseline(plain, grey, **changes):
    measured = Yardstick(plain=np.array(plain), grey=np.array(grey))
    return yardstick_baseline(measured, measured, standard(**changes), source=None, share=1.0, enlargement=1.0)


def test_a_network_that_moves_twice_as_far_counts_half():
    once = baseline([0.1] * 8, [0.2] * 8, unit=0.1)
    twice = baseline([0.1] * 8, [0.3] * 8, unit=0.1)
    assert (once.unit, twice.unit) == pytest.approx((1.0, 2.0))


def test_the_floor_lies_below_the_photographs_by_what_the_standard_says_in_the_networks_unit():
    found = baseline([0.5] * 10, [0.7] * 10, above=0.1, unit=0.1)
    decides = [part != "late" for part in layer_parts(10)]
    assert found.floor[decides] == pytest.approx(0.5 - 2.0 * 0.1)


def test_a_network_that_sees_no_colour_has_the_unit_1():
    assert baseline([0.1] * 8, [0.1] * 8).unit == 1.0


def test_a_unit_beyond_all_measure_is_not_believed():
    assert baseline([0.1] * 8, [99.0] * 8, unit=0.1).unit == 4.0
    assert baseline([0.1] * 8, [0.10001] * 8, unit=0.1).unit == 0.25


def test_a_network_to_which_photographs_are_foreign_gets_the_floor_of_the_standard():
    found = baseline([2.0] * 8, [2.5] * 8, unit=0.1, floor=0.05)
    decides = [part != "late" for part in layer_parts(8)]
    assert (found.basis, found.unit) == ("foreign", 1.0)
    assert found.floor[decides] == pytest.approx(0.05)


def test_the_standard_is_interpolated():
    table = standard()
    table.unit[1] = 3.0
    assert table.at(0.75, 1.5)[2] == pytest.approx([2.0, 2.0])
    assert table.at(9.0, 99.0)[2] == pytest.approx([3.0, 3.0])


@pytest.mark.parametrize(("channels", "grey"), [(3, False), (3, True), (1, False), (4, True)])
def test_the_squares_are_what_a_network_takes(channels, grey):
    squares = list(prepared(64, 2.0, grey=grey, channels=channels))
    assert len(squares) == len(photographs()) == 16
    assert squares[0].pixels.shape == (64, 64, channels)
    assert squares[0].size == (32, 32)
    assert (np.ptp(squares[0].pixels[..., :3], axis=-1).max() < 1e-3) == (grey or channels == 1)
    assert all(square.pixels.min() >= 0 and square.pixels.max() <= 255 for square in squares)


def test_squares_are_shrunk_only_where_that_is_needed():
    assert next(prepared(300, 1.0, grey=False, channels=3)).size == (CROP, CROP)


@pytest.fixture(scope="module", params=["efficientnet_lite0", "efficientnet_lite1"])
def network(request):
    return request.param, probed_network(load_backbone(request.param, 96))


def test_two_photographs_stand_in_for_a_thousand_of_imagenet(network):
    """The floor and the unit by the yardstick, against the reference that was measured on ImageNet."""
    name, probed = network
    measured = measure_yardstick(probed, tapped(probed))
    native = load_backbone(name, 96).native_size
    by_photographs = yardstick_baseline(
        measured, measured, load_standard(), source=None, share=96 / native, enlargement=1.0
    )
    by_imagenet = reference_baseline(load_reference(name), source="ImageNet", input_size=96, enlargement=1.0)
    drift = by_imagenet.floor + 0.1  # of pictures at the threshold
    assert float(excess_drift(drift, by_imagenet.floor)) == pytest.approx(0.1)
    assert float(excess_drift(drift, by_photographs.floor)) / by_photographs.unit == pytest.approx(0.1, abs=0.015)


def test_the_yardstick_of_the_standard_network_is_the_standard():
    probed = probed_network(load_backbone("efficientnet_lite0", 96))
    measured = measure_yardstick(probed, tapped(probed))
    _, _, unit = load_standard().at(96 / 224, 1.0)
    assert part_means(measured.grey - measured.plain) == pytest.approx(unit, abs=1e-3)


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
