"""Calibration error against a naive loop, and the temperature against simulations with a known one."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.special import softmax
from sklearn.metrics import log_loss

from probes.evaluation import evaluation
from probes.evaluation.evaluation import apply_temperature, calibrate, calibration_error, fit_temperature, log_losses


def simulated(n_images, temperature, *, seed=0, n_classes=5, scale=4.0):
    """Probabilities that are calibrated by that temperature, and labels."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n_images, n_classes)) * scale
    labels = (softmax(logits, axis=1).cumsum(1) > rng.random((n_images, 1))).argmax(1)
    return softmax(logits * temperature, axis=1), labels


@pytest.mark.parametrize("true", [0.7, 1.0, 2.0])
def test_the_true_temperature_of_many_images_is_found(true):
    assert fit_temperature(*simulated(5000, true)) == pytest.approx(true, rel=0.06)


def test_without_a_prior_no_temperature_on_a_grid_has_a_lower_log_loss(monkeypatch):
    monkeypatch.setattr(evaluation, "TRUSTED_IMAGES", 0)
    probabilities, labels = simulated(300, 1.7)
    found = log_loss(labels, apply_temperature(probabilities, fit_temperature(probabilities, labels)))
    for temperature in np.geomspace(0.2, 8, 60):
        assert found <= log_loss(labels, apply_temperature(probabilities, temperature)) + 1e-6


@pytest.mark.slow
def test_with_few_images_the_prior_lowers_the_log_loss_of_new_images(monkeypatch):
    def mean_loss(trusted):
        monkeypatch.setattr(evaluation, "TRUSTED_IMAGES", trusted)
        losses = []
        for true in (0.7, 1.0, 1.5, 2.5):
            fresh, labels = simulated(2000, true, seed=99)
            for seed in range(20):
                temperature = fit_temperature(*simulated(20, true, seed=seed))
                losses.append(log_losses(apply_temperature(fresh, temperature), labels).mean())
        return np.mean(losses)

    monkeypatch.setattr(evaluation, "LEAST_IMAGES", 1000)
    without_temperature = mean_loss(20)
    monkeypatch.setattr(evaluation, "LEAST_IMAGES", 10)
    assert mean_loss(20) < mean_loss(1) < mean_loss(0)
    assert mean_loss(20) < without_temperature


def test_a_temperature_is_moderate_where_every_image_is_right():
    assert 0.3 < fit_temperature(np.tile([0.9, 0.1], (50, 1)), np.zeros(50, int)) < 1.0


@pytest.mark.parametrize("data", [simulated(1, 3.0), simulated(9, 3.0), (np.ones((40, 1)), np.zeros(40, int))])
def test_few_images_or_a_single_class_have_the_temperature_one(data):
    assert fit_temperature(*data) == 1.0


@settings(deadline=None, max_examples=40)
@given(arrays(float, (7, 4), elements=st.floats(-20, 20)), st.floats(0.1, 10))
def test_a_temperature_keeps_the_order_of_the_classes_and_the_sum(logits, temperature):
    probabilities = softmax(logits, axis=1)
    scaled = apply_temperature(probabilities, temperature)
    assert scaled.sum(1) == pytest.approx(np.ones(7))
    assert (np.take_along_axis(scaled, probabilities.argmax(1)[:, None], 1)[:, 0] == scaled.max(1)).all()
    assert apply_temperature(probabilities, 1.0) == pytest.approx(probabilities, abs=1e-9)


def test_a_probability_of_zero_stays_finite():
    assert np.isfinite(apply_temperature([[1.0, 0.0]], 2.0)).all()
    assert np.isfinite(fit_temperature(np.tile([1.0, 0.0], (30, 1)), np.ones(30, int)))


def naive_calibration_error(probabilities, labels, n_bins):
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == labels
    parts = np.array_split(np.argsort(confidence), n_bins)
    return sum(len(part) / len(labels) * abs(confidence[part].mean() - correct[part].mean()) for part in parts)


@pytest.mark.parametrize(("n_images", "n_bins"), [(10, 1), (39, 1), (40, 2), (200, 10), (3000, 15)])
def test_the_calibration_error_agrees_with_a_naive_loop_over_bins_of_equal_mass(n_images, n_bins):
    probabilities, labels = simulated(n_images, 2.0)
    naive = naive_calibration_error(probabilities, labels, n_bins)
    assert calibration_error(probabilities, labels) == pytest.approx(naive, abs=0.01)


def test_the_order_of_equal_probabilities_does_not_matter():
    probabilities, labels = np.tile([0.7, 0.3], (100, 1)), np.repeat([0, 1], [70, 30])
    assert calibration_error(probabilities, labels) == pytest.approx(0.0)
    assert calibration_error(probabilities, labels[::-1]) == pytest.approx(0.0)


def test_overconfident_probabilities_are_improved_and_calibrated_ones_are_left():
    improved, calibrated = calibrate(*simulated(600, 2.5), seed=0), calibrate(*simulated(600, 1.0), seed=0)
    assert improved.helps
    assert improved.error_after < improved.error_before / 2
    assert not calibrated.helps


@pytest.mark.slow
def test_calibrated_probabilities_are_rarely_reported_as_improved():
    assert np.mean([calibrate(*simulated(100, 1.0, seed=seed), seed=seed).helps for seed in range(100)]) <= 0.05


def test_copies_of_an_image_are_not_counted_as_evidence():
    probabilities, labels = simulated(40, 1.6, seed=1)
    copies = np.repeat(np.arange(40), 25)
    assert calibrate(probabilities[copies], labels[copies], seed=0).helps
    assert not calibrate(probabilities[copies], labels[copies], seed=0, groups=copies).helps


def test_a_temperature_that_can_not_be_cross_fitted_does_not_help():
    found = calibrate(*simulated(1, 1.0), seed=0)
    assert (found.temperature, found.helps) == (1.0, False)
    assert found.error_after == found.error_before
