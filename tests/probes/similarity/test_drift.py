"""Drift: the distance of a layer's inputs from those that its BatchNorm saw."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from probes.similarity.drift import bootstrap_drift, bootstrap_weights, plain_drift, wasserstein

ACTIVATIONS = arrays(np.float64, (4, 6, 3), elements=st.floats(-9, 9))  # images, positions, channels


def per_image(values):
    """Each image's mean and mean square over its positions, of shape (images, channels)."""
    return values.mean(1), (values**2).mean(1)


def naive_drift(values):
    """The definition, a loop over channels of all positions of all images."""
    channels = [values[..., channel].ravel() for channel in range(values.shape[-1])]
    return np.mean([each.mean() ** 2 + (each.std() - 1.0) ** 2 for each in channels])


@pytest.fixture
def activations():
    rng = np.random.default_rng(0)
    return rng.normal(0.3, 1.4, size=(12, 9, 5)) + rng.normal(size=(12, 1, 5))


@given(ACTIVATIONS)
def test_drift_equals_the_naive_loop(values):
    assert plain_drift(*per_image(values)) == pytest.approx(naive_drift(values), rel=1e-6, abs=1e-6)


@given(ACTIVATIONS, st.permutations(range(4)))
def test_drift_does_not_depend_on_the_order_of_images(values, order):
    means, squares = per_image(values)
    assert plain_drift(means[order], squares[order]) == pytest.approx(plain_drift(means, squares))


@pytest.mark.parametrize(
    ("mean", "deviation", "drift"),
    [(0.0, 1.0, 0.0), (1.0, 1.0, 1.0), (0.0, 2.0, 1.0), (0.0, 0.0, 1.0), (-2.0, 3.0, 8.0)],
)
def test_drift_is_the_wasserstein_distance_of_two_gaussians(mean, deviation, drift):
    assert wasserstein(np.full(3, mean), np.full(3, mean**2 + deviation**2)) == pytest.approx(drift)


def test_rounding_never_makes_a_variance_negative():
    assert np.isfinite(wasserstein(np.full(2, 3.0), np.full(2, 9.0 - 1e-9)))


def test_moments_are_summed_in_double_precision():
    means = np.full((10_000, 1), 1000.1, np.float32)
    exact = float(np.float32(1000.1))
    assert plain_drift(means, np.full((10_000, 1), exact**2)) == pytest.approx(exact**2 + 1, rel=1e-9)


def test_small_samples_of_the_source_have_no_drift_on_average():
    rng = np.random.default_rng(1)
    plain, corrected = [], []
    for seed in range(60):
        means = rng.normal(0, 0.6, size=(8, 40))
        squares = means**2 + 1 - 0.6**2
        corrected.append(bootstrap_drift(means, squares, bootstrap_weights(np.arange(8), 100, seed))[0])
        plain.append(plain_drift(means, squares))
    assert np.mean(plain) > 0.04
    assert abs(np.mean(corrected)) < 0.25 * np.mean(plain)


def test_resamples_spread_around_the_value(activations):
    value, replicates = bootstrap_drift(*per_image(activations), bootstrap_weights(np.arange(12), 500, 0))
    assert replicates.shape == (500,)
    assert replicates.mean() == pytest.approx(value)
    assert 0 < replicates.std() < 1


def test_a_single_image_has_a_drift_but_no_resamples(activations):
    value, replicates = bootstrap_drift(*per_image(activations[:1]), bootstrap_weights([0], 50, 0))
    assert value == pytest.approx(naive_drift(activations[:1]))
    assert replicates.size == 0


@settings(max_examples=30)
@given(st.integers(1, 40), st.integers(0, 2**32 - 1))
def test_every_resample_draws_as_many_images_as_there_are(n_images, seed):
    weights = bootstrap_weights(np.arange(n_images), 30, seed)
    assert weights.shape == (30, n_images)
    assert (weights.sum(1) == n_images).all()
    assert (bootstrap_weights(np.arange(n_images), 30, seed) == weights).all()


def test_images_of_a_group_are_resampled_together_whatever_the_group_is_called():
    groups = np.repeat([7, 3, 9, 1], [1, 4, 2, 5])
    weights = bootstrap_weights(groups, 50, 0)
    for group in np.unique(groups):
        assert (weights[:, groups == group] == weights[:, groups == group][:, :1]).all()
    np.testing.assert_array_equal(weights, bootstrap_weights(np.repeat([0, 1, 2, 3], [1, 4, 2, 5]), 50, 0))


def test_the_drift_of_correlated_images_is_as_uncertain_as_that_of_their_groups():
    """Twenty patients with ten like images each tell as much as twenty images."""
    rng = np.random.default_rng(0)
    means, squares = per_image(rng.normal(0.3, 1, (20, 6, 9)))
    ten_each = [np.repeat(part, 10, axis=0) for part in (means, squares)]
    groups = np.repeat(np.arange(20), 10)
    one = bootstrap_drift(means, squares, bootstrap_weights(np.arange(20), 300, 0))
    grouped = bootstrap_drift(*ten_each, bootstrap_weights(groups, 300, 0), 20)
    alone = bootstrap_drift(*ten_each, bootstrap_weights(np.arange(200), 300, 0))
    assert grouped[0] == pytest.approx(one[0])
    assert grouped[1].std() == pytest.approx(one[1].std())
    assert alone[1].std() < 0.6 * grouped[1].std()
