"""One scale for every network: the standard photographs give the floor, degrading them gives the unit."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import SIZE, tiny_network

from builders.backbones.load import load_backbone, open_backbone
from builders.backbones.pixel_scaling import SCALINGS
from probes.errors import ProbeError
from probes.similarity.drift import excess_drift, layer_parts, part_means
from probes.similarity.pixel_scaling import choose_scaling
from probes.similarity.reference import load_reference
from probes.similarity.similarity import choose_baseline, reference_baseline, standard_photos_baseline
from probes.similarity.standard_photos import (
    CROP,
    DEGRADATIONS,
    StandardPhotos,
    load_standard_photos,
    measure_standard_photos,
    photo_drift,
    photographs,
    prepared,
)
from recommender.pipeline.probed_network import probed_network

DECIDES = [part != "late" for part in layer_parts(8)]


def standard(above=0.0, degraded=1.0, floor=0.5):
    ones = np.ones((2, 2, 2))
    return StandardPhotos(
        native_size=200,
        sizes=np.array([100.0, 200.0]),
        enlargements=np.array([1.0, 2.0]),
        floor=floor * ones,
        above_floor=above * ones,
        degraded=degraded * np.ones((2, 3, 2)),
    )


def baseline(plain, added, **changes):
    """Of a network of eight layers with the same drift."""
    measured = np.full(8, plain), np.outer(added, np.ones(8))
    return standard_photos_baseline(measured, standard(**changes), source=None, share=1.0)


@given(st.floats(0.3, 3.9), st.floats(0.01, 1.0))
def test_the_unit_is_how_many_times_farther_the_network_drifts(times, known):
    assert baseline(0.1, [times * known] * 3, degraded=known).unit == pytest.approx(times)


@pytest.mark.parametrize(
    ("added", "unit"),
    [([0.0, 0.2, 0.2], 2.0), ([0.0] * 3, 1.0), ([99.0] * 3, 4.0), ([1e-5] * 3, 0.25)],
    ids=["one degradation is invisible", "all are invisible", "far too large", "far too small"],
)
def test_the_unit_uses_visible_degradations_and_has_limits(added, unit):
    assert baseline(0.1, added, degraded=0.1).unit == pytest.approx(unit)


def test_the_floor_is_the_drift_of_the_photographs_minus_what_the_standard_network_has_above_its_own():
    found = baseline(0.5, [0.2] * 3, above=0.1, degraded=0.1)
    assert found.basis == "standard_photos"
    assert found.floor[DECIDES] == pytest.approx(0.5 - 2.0 * 0.1)


def test_a_network_for_which_photographs_are_out_of_distribution_has_the_floor_of_the_standard_network():
    found = baseline(2.0, [0.5] * 3, degraded=0.1, floor=0.05)
    assert (found.basis, found.unit) == ("out_of_distribution", 1.0)
    assert found.floor[DECIDES] == pytest.approx(0.05)


def test_the_standard_table_is_interpolated():
    table = standard()
    table.floor[1], table.degraded[1] = 1.5, 3.0
    assert table.at(0.75, 1.5)[0] == pytest.approx([1.0, 1.0])
    assert table.at(9.0, 99.0)[0] == pytest.approx([1.5, 1.5])
    assert table.at(0.75)[2] == pytest.approx(np.full((3, 2), 2.0))


@pytest.mark.parametrize("channels", [1, 3, 4])
@pytest.mark.parametrize("way", [None, *DEGRADATIONS])
def test_the_squares_are_valid_inputs_of_the_network(channels, way):
    squares = list(prepared(64, channels, enlargement=2.0, degrade=DEGRADATIONS.get(way)))
    assert len(squares) == len(photographs()) == 16
    assert squares[0].pixels.shape == (64, 64, channels)
    assert squares[0].size == (32, 32)
    assert all(square.pixels.min() >= 0 and square.pixels.max() <= 255 for square in squares)
    colourless = np.ptp(squares[0].pixels[..., :3], axis=-1).max() < 1e-3
    assert colourless == (way in ("grey", "outlines") or channels == 1)


def test_squares_are_shrunk_only_if_that_is_needed():
    assert next(prepared(300, 3)).size == (CROP, CROP)


@pytest.fixture(scope="module")
def tiny():
    return probed_network(open_backbone(tiny_network()).at(SIZE))


def test_a_network_without_a_reference_is_compared_with_the_photographs_at_the_same_enlargement(tiny):
    arguments = {"source": None, "native_size": SIZE}
    plain = choose_baseline(tiny, None, enlargement=0.5, **arguments)
    enlarged = choose_baseline(tiny, None, enlargement=4.0, **arguments)
    late = [part == "late" for part in layer_parts(len(plain.floor))]
    assert plain.floor == pytest.approx(plain.sharp_floor)
    assert plain.floor[late] == pytest.approx(photo_drift(tiny)[late])
    assert enlarged.floor[late] == pytest.approx(photo_drift(tiny, enlargement=4.0)[late])
    assert enlarged.sharp_floor == pytest.approx(plain.sharp_floor)


def test_a_network_without_finite_outputs_has_no_scaling(tiny):
    broken = {name: lambda pixels: np.full_like(pixels, np.inf) for name in ("one", "other")}
    with pytest.raises(ProbeError, match="Expected finite outputs"):
        choose_scaling(tiny, broken, [])


@pytest.fixture(scope="module", params=["efficientnet_lite0", "efficientnet_lite1"])
def network(request):
    return request.param, load_backbone(request.param, 96)


@pytest.mark.slow
def test_two_photographs_replace_a_thousand_images_of_imagenet(network):
    """The floor and the unit by the photographs, against the reference that was measured on ImageNet."""
    name, backbone = network
    probed = probed_network(backbone)
    measured = measure_standard_photos(probed)
    share = 96 / backbone.native_size
    by_photographs = standard_photos_baseline(measured, load_standard_photos(), source=None, share=share)
    by_imagenet = reference_baseline(load_reference(name), source="ImageNet", input_size=96, enlargement=1.0)
    drift = by_imagenet.floor + 0.1  # of images at the threshold
    assert float(excess_drift(drift, by_imagenet.floor)) == pytest.approx(0.1)
    assert float(excess_drift(drift, by_photographs.floor)) / by_photographs.unit == pytest.approx(0.1, abs=0.015)
    if name == "efficientnet_lite0":
        assert part_means(measured[1]) == pytest.approx(load_standard_photos().at(share)[2], abs=1e-3)


@pytest.fixture(scope="module")
def lite():
    return probed_network(load_backbone("efficientnet_lite0", 96))  # takes 0..255, scales itself


@pytest.mark.slow
@pytest.mark.parametrize("true", SCALINGS)
def test_the_scaling_of_the_pixels_is_found(lite, true):
    """The true scaling of Lite0 is emulated: what is scaled by `true` reaches the weights as they need it."""
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
    found = choose_scaling(lite, candidates, strokes)
    assert found.name == true
    assert found.drift < found.runner_up_drift
