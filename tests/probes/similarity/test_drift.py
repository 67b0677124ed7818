"""Drift: the distance of a layer's inputs from those that its BatchNorm saw."""

import numpy as np
import pytest

from probes.similarity.drift import Moments, bootstrap_drift, bootstrap_weights, wasserstein


def per_image(values):
    """Each image's mean and mean square over its positions, of shape (images, channels)."""
    return values.mean(1), (values**2).mean(1)


def naive_drift(values):
    """The definition, a loop over channels of all positions of all images."""
    total = 0.0
    for channel in range(values.shape[-1]):
        numbers = values[..., channel].ravel()
        total += numbers.mean() ** 2 + (numbers.std() - 1.0) ** 2
    return total / values.shape[-1]


@pytest.fixture
def activations():
    rng = np.random.default_rng(0)
    return rng.normal(0.3, 1.4, size=(12, 9, 5)) + rng.normal(size=(12, 1, 5))  # images, positions, channels


def test_drift_equals_the_naive_loop(activations):
    assert Moments.of(*per_image(activations)).drift == pytest.approx(naive_drift(activations), rel=1e-12)


def test_drift_of_the_source_itself_is_zero():
    assert wasserstein(np.zeros(7), np.ones(7)) == pytest.approx(0.0)


def test_a_shift_of_one_deviation_is_a_drift_of_one():
    assert wasserstein(np.ones(3), np.full(3, 2.0)) == pytest.approx(1.0)  # mean 1, variance 2 - 1 = 1


def test_doubled_deviation_is_a_drift_of_one():
    assert wasserstein(np.zeros(3), np.full(3, 4.0)) == pytest.approx(1.0)


def test_two_halves_of_a_sample_merge_to_the_whole(activations):
    whole = Moments.of(*per_image(activations))
    merged = Moments.of(*per_image(activations[:5])).merge(Moments.of(*per_image(activations[5:])))
    assert merged.count == whole.count
    assert merged.drift == pytest.approx(whole.drift, rel=1e-12)


def test_moments_are_kept_in_double_precision():
    means = np.full((10_000, 1), 1000.1, np.float32)
    moments = Moments.of(means, means**2)
    assert moments.total.dtype == np.float64
    assert moments.total[0] / moments.count == pytest.approx(float(np.float32(1000.1)), rel=1e-12)


def test_rounding_never_makes_a_variance_negative():
    assert np.isfinite(wasserstein(np.full(2, 3.0), np.full(2, 9.0 - 1e-9)))


def test_small_samples_of_the_source_show_no_drift_on_average():
    rng = np.random.default_rng(1)
    plain, corrected = [], []
    for seed in range(60):
        means = rng.normal(0, 0.6, size=(8, 40))
        squares = means**2 + 1 - 0.6**2
        sample = bootstrap_drift(means, squares, bootstrap_weights(8, 100, seed))
        corrected.append(sample.value)
        plain.append(Moments.of(means, squares).drift)
    assert np.mean(plain) > 0.04
    assert abs(np.mean(corrected)) < 0.25 * np.mean(plain)


def test_resamples_spread_around_the_value(activations):
    sample = bootstrap_drift(*per_image(activations), bootstrap_weights(12, 500, 0))
    assert sample.replicates.shape == (500,)
    assert sample.replicates.mean() == pytest.approx(sample.value)
    assert 0 < sample.replicates.std() < 1


def test_a_single_image_has_a_drift_but_no_resamples(activations):
    sample = bootstrap_drift(*per_image(activations[:1]), bootstrap_weights(1, 50, 0))
    assert sample.value == pytest.approx(naive_drift(activations[:1]))
    assert sample.replicates.size == 0


def test_bootstrap_weights_draw_every_image_n_times_in_all():
    weights = bootstrap_weights(9, 30, 3)
    assert weights.shape == (30, 9)
    assert (weights.sum(1) == 9).all()
    assert (bootstrap_weights(9, 30, 3) == weights).all()
