"""The score, the distances that are also reported, and the floor that drift is compared with."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from probes.images.prepare import Prepared, Skipped
from probes.network.features import features_of
from probes.similarity.drift import PART_WEIGHTS, excess_drift, layer_parts, part_means, score
from probes.similarity.reference import Reference, load_reference
from probes.similarity.similarity import (
    Baseline,
    frechet_distance,
    kernel_distance,
    looks_like,
    measure_similarity,
)

DRIFTS = arrays(np.float64, 18, elements=st.floats(0, 5))
SAMPLES = arrays(np.float64, (7, 3), elements=st.floats(-3, 3))


@given(st.floats(0.01, 1), st.floats(-1, 3), st.floats(0, 3))
def test_the_score_is_one_at_the_floor_half_at_the_threshold_and_falls_with_drift(threshold, excess, more):
    assert score(0.0, threshold) == score(-0.1, threshold) == 1.0
    assert score(threshold, threshold) == pytest.approx(0.5)
    assert 0 <= score(excess + more, threshold) <= score(excess, threshold) <= 1


def test_eighteen_layers_fall_into_the_parts_of_the_network():
    assert layer_parts(18) == ("early",) * 5 + ("middle",) * 6 + ("late",) * 7


@given(st.integers(4, 200))
def test_every_network_of_four_layers_or_more_has_all_parts_in_order(n_layers):
    parts = layer_parts(n_layers)
    assert sorted(parts, key=["early", "middle", "late"].index) == list(parts)
    assert set(parts) == {"early", "middle", "late"}


@given(DRIFTS, DRIFTS, arrays(np.float64, 7, elements=st.floats(0, 99)))
def test_excess_is_the_weighted_mean_above_the_floor_and_late_layers_have_no_weight(drift, floor, late):
    naive = sum(
        weight * np.mean([drift[i] - floor[i] for i, of in enumerate(layer_parts(18)) if of == part])
        for part, weight in PART_WEIGHTS.items()
    )
    assert excess_drift(drift, floor) == pytest.approx(naive, abs=1e-9)
    assert excess_drift(np.append(drift[:11], late), floor) == pytest.approx(naive, abs=1e-9)
    assert part_means(np.stack([drift, floor]))[1] == pytest.approx(part_means(floor))


@given(SAMPLES, st.floats(-3, 3))
def test_frechet_distance_is_zero_to_itself_and_the_square_to_a_shift(sample, shift):
    assert frechet_distance(sample, sample) == pytest.approx(0.0, abs=1e-6)
    assert frechet_distance(sample, sample + shift) == pytest.approx(3 * shift**2, abs=1e-6)


def test_frechet_distance_agrees_with_the_matrix_square_root():
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(60, 5)), rng.normal(0.5, 2.0, size=(40, 5)) @ rng.normal(size=(5, 5))
    first, second = np.cov(one, rowvar=False), np.cov(two, rowvar=False)
    naive = ((one.mean(0) - two.mean(0)) ** 2).sum() + np.trace(first + second - 2 * sqrtm(first @ second).real)
    assert frechet_distance(one, two) == pytest.approx(naive, rel=1e-6)


@given(SAMPLES, SAMPLES)
def test_kernel_distance_agrees_with_the_naive_double_loop(one, two):
    def kernel(x, y):
        return (x @ y / 3 + 1) ** 3

    within = [np.mean([kernel(x, y) for i, x in enumerate(s) for j, y in enumerate(s) if i != j]) for s in (one, two)]
    across = np.mean([kernel(x, y) for x in one for y in two])
    assert kernel_distance(one, two) == pytest.approx(sum(within) - 2 * across, rel=1e-6, abs=1e-6)
    assert kernel_distance(one, two) == pytest.approx(kernel_distance(two, one), rel=1e-9, abs=1e-9)


def test_kernel_distance_of_one_distribution_is_zero_on_average():
    rng = np.random.default_rng(3)
    found = [kernel_distance(rng.normal(size=(20, 4)), rng.normal(size=(20, 4))) for _ in range(200)]
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(200)


def test_each_class_has_its_most_frequent_source_labels():
    guesses = np.eye(3)[[0, 0, 1, 2, 2]]
    rows = looks_like(guesses, np.array([0, 0, 0, 1, 1]), 3, ["ant", "bee", "fly"])
    assert rows == ((("ant", 2 / 3), ("bee", 1 / 3)), (("fly", 1.0),), ())


def sample(n_images, shift=0.0, n_layers=8):
    """Rows of a network of that many norms, whose inputs are standard normal but for a shift of their mean."""
    rng = np.random.default_rng(0)
    items = [Prepared(pixels=None, label=n % 2, file=str(n), size=(64, 32), grey=False) for n in range(n_images)]
    means = {f"norm{layer}": rng.normal(shift, 0.1, (n_images, 6)) for layer in range(n_layers)}
    squares = {layer: mean**2 + 1 for layer, mean in means.items()}
    pooled = {"cut": rng.normal(size=(n_images, 5)).astype(np.float32)}
    output = rng.dirichlet(np.ones(3), n_images).astype(np.float32)
    return features_of(items, Skipped(), pooled=pooled, norm_means=means, norm_squares=squares, output=output)


BASELINE = Baseline(
    basis="reference",
    source="birds",
    floor=np.full(8, 0.02),
    sharp_floor=np.zeros(8),
    labels=("ant", "bee", "fly"),
    embeddings=np.random.default_rng(1).normal(size=(20, 5)).astype(np.float32),
)


def similarity(features, baseline=BASELINE):
    return measure_similarity(features, baseline, input_size=96, n_classes=2, threshold=0.1, seed=0)


def test_similarity_is_the_score_of_the_excess_above_the_floor():
    near, far = similarity(sample(40)), similarity(sample(40, shift=0.7))
    assert far.excess == pytest.approx(0.7**2 - 0.02, rel=0.15)
    assert far.score == pytest.approx(2 ** (-far.excess / 0.1))
    assert far.sharp_score < far.score < 0.5 < near.score
    assert near.enlargement == 3.0
    assert far.part("late") == pytest.approx(np.mean([layer.drift for layer in far.per_layer if layer.part == "late"]))


def test_the_unit_of_a_network_divides_its_excess():
    whole, halved = (similarity(sample(40, shift=0.7), replace(BASELINE, unit=unit)) for unit in (1.0, 2.0))
    assert halved.excess == pytest.approx(whole.excess / 2)
    assert np.log2(halved.replicates) == pytest.approx(np.log2(whole.replicates) / 2)


def test_distances_and_labels_need_what_the_reference_has():
    with_all, without = similarity(sample(40)), similarity(sample(40), replace(BASELINE, labels=(), embeddings=None))
    assert with_all.frechet > 0
    assert len(with_all.looks_like) == 2
    assert 1 / 3 <= with_all.source_confidence <= 1
    assert without.frechet is without.kid is without.source_confidence is None
    assert without.looks_like == ()


def test_a_single_image_has_a_score_without_an_error():
    found = similarity(sample(1))
    assert found.standard_error is found.frechet is found.kid is None
    assert found.replicates == ()


def reference(drift):
    return Reference(
        fingerprint="",
        source="ImageNet",
        layers=("only",),
        sizes=np.array([100.0, 200.0]),
        enlargements=np.array([1.0, 4.0]),
        drift=np.asarray(drift, float),
        labels=(),
        embedding_sizes=np.array([100.0, 200.0]),
        embeddings=np.arange(2, dtype=np.float32).reshape(2, 1, 1),
    )


@pytest.mark.parametrize(
    ("size", "enlargement", "floor"),
    [(150, 1.0, 0.2), (100, 2.0, 0.3), (150, 2.0, 0.45), (60, 0.5, 0.1), (900, 99.0, 0.9)],
)
def test_the_floor_is_interpolated_over_size_and_the_logarithm_of_enlargement(size, enlargement, floor):
    assert reference([[[0.1], [0.5]], [[0.3], [0.9]]]).floor(size, enlargement) == pytest.approx([floor])


def test_embeddings_come_from_the_nearest_size():
    known = reference(np.zeros((2, 2, 1)))
    assert [known.source_embeddings(size).item() for size in (90, 140, 160, 500)] == [0, 0, 1, 1]


@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"])
def test_every_shipped_reference_is_finite_and_small(name):
    from importlib import resources

    known = load_reference(name)
    assert (len(known.labels), known.labels[309], known.shipped) == (1000, "bee", True)
    assert (resources.files("probes.similarity.reference") / f"{name}.npz").stat().st_size < 3_000_000
    assert np.isfinite(known.drift).all()
    excess = [excess_drift(known.floor(160, times), known.floor(160)) for times in known.enlargements]
    assert (np.diff(excess) > 0).all()  # images that were shrunk first drift more


@pytest.mark.slow
@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"])
def test_every_shipped_reference_belongs_to_its_weights(name):
    from builders.backbones.load import load_backbone

    assert load_reference(name).fingerprint == load_backbone(name, 96).fingerprint
