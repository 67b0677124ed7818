"""The score, and what is reported beside it."""

import numpy as np
import pytest

from probes.similarity.reference import Reference, load_reference
from probes.similarity.score import (
    excess_drift,
    frechet_distance,
    kernel_distance,
    layer_parts,
    looks_like,
    score,
)


def test_score_is_one_at_the_floor_and_half_at_the_threshold():
    assert score(0.0, 0.09) == pytest.approx(1.0)
    assert score(0.09, 0.09) == pytest.approx(0.5)
    assert score(-0.01, 0.09) == pytest.approx(1.0)


def test_score_falls_with_drift_towards_zero():
    scores = score(np.linspace(0, 3, 50), 0.09)
    assert (np.diff(scores) < 0).all()
    assert 0 <= scores[-1] < 1e-6


def test_eighteen_layers_fall_into_the_parts_of_the_network():
    parts = layer_parts(18)
    assert parts == ("early",) * 5 + ("middle",) * 6 + ("late",) * 7


def test_late_layers_do_not_decide():
    drift, floor = np.full(18, 0.2), np.full(18, 0.05)
    wild = drift.copy()
    wild[11:] = 9.0
    assert excess_drift(wild, floor) == pytest.approx(excess_drift(drift, floor)) == pytest.approx(0.15)


def test_frechet_distance_agrees_with_the_matrix_square_root():
    from scipy.linalg import sqrtm

    rng = np.random.default_rng(0)
    one, two = rng.normal(size=(60, 5)), rng.normal(0.5, 2.0, size=(40, 5)) @ rng.normal(size=(5, 5))
    first, second = np.cov(one, rowvar=False), np.cov(two, rowvar=False)
    naive = ((one.mean(0) - two.mean(0)) ** 2).sum() + np.trace(first + second - 2 * sqrtm(first @ second).real)
    assert frechet_distance(one, two) == pytest.approx(naive, rel=1e-6)


def test_frechet_distance_of_a_sample_to_itself_is_zero_and_to_its_shift_the_square():
    sample = np.random.default_rng(1).normal(size=(30, 4))
    assert frechet_distance(sample, sample) == pytest.approx(0.0, abs=1e-9)
    assert frechet_distance(sample, sample + 3.0) == pytest.approx(4 * 9.0)


def test_kernel_distance_agrees_with_the_naive_double_loop():
    rng = np.random.default_rng(2)
    one, two = rng.normal(size=(7, 3)), rng.normal(1.0, size=(5, 3))

    def kernel(x, y):
        return (x @ y / 3 + 1) ** 3

    within_one = np.mean([kernel(x, y) for i, x in enumerate(one) for j, y in enumerate(one) if i != j])
    within_two = np.mean([kernel(x, y) for i, x in enumerate(two) for j, y in enumerate(two) if i != j])
    across = np.mean([kernel(x, y) for x in one for y in two])
    assert kernel_distance(one, two) == pytest.approx(within_one + within_two - 2 * across)


def test_kernel_distance_of_one_distribution_is_zero_on_average():
    rng = np.random.default_rng(3)
    found = [kernel_distance(rng.normal(size=(20, 4)), rng.normal(size=(20, 4))) for _ in range(200)]
    assert abs(np.mean(found)) < 3 * np.std(found) / np.sqrt(200)


def test_each_class_is_told_with_its_most_frequent_labels():
    guesses = np.eye(3)[[0, 0, 1, 2, 2]]
    rows = looks_like(guesses, np.array([0, 0, 0, 1, 1]), 3, ["ant", "bee", "fly"])
    assert rows == ((("ant", 2 / 3), ("bee", 1 / 3)), (("fly", 1.0),), ())


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


def test_the_floor_is_interpolated_over_size_and_enlargement():
    known = reference([[[0.1], [0.5]], [[0.3], [0.9]]])
    assert known.floor(150) == pytest.approx([0.2])
    assert known.floor(100, 2.0) == pytest.approx([0.3])  # half-way from 1 to 4 on the logarithm
    assert known.floor(150, 2.0) == pytest.approx([0.45])
    assert known.floor(60, 0.5) == pytest.approx([0.1])
    assert known.floor(900, 99) == pytest.approx([0.9])


def test_embeddings_come_from_the_nearest_size():
    assert reference(np.zeros((2, 2, 1))).source_embeddings(140).item() == 0.0
    assert reference(np.zeros((2, 2, 1))).source_embeddings(160).item() == 1.0


@pytest.mark.parametrize("name", ["efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2"])
def test_every_shipped_reference_belongs_to_its_weights_and_stays_small(name):
    from importlib import resources

    from builders.backbones.load import load_backbone

    known = load_reference(name)
    assert known.fingerprint == load_backbone(name, 96).fingerprint
    assert len(known.labels) == 1000
    assert known.labels[309] == "bee"
    assert (resources.files("probes.similarity.reference") / f"{name}.npz").stat().st_size < 3_000_000
    assert np.isfinite(known.drift).all()


def test_pictures_that_were_shrunk_first_drift_more():
    known = load_reference("efficientnet_lite0")
    excess = [excess_drift(known.floor(160, e), known.floor(160)) for e in known.enlargements]
    assert (np.diff(excess) > 0).all()
