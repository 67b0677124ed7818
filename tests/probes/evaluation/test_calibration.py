"""How well probabilities agree with how often they are right, and the temperature that mends them."""

import numpy as np
import pytest
from scipy.special import softmax
from sklearn.metrics import log_loss

from probes.errors import ProbeError
from probes.evaluation import calibration
from probes.evaluation.calibration import apply_temperature, calibrate, calibration_error, fit_temperature, log_losses


def simulated(n_images, temperature, *, seed=0, n_classes=5, scale=4.0):
    """Probabilities that are right once they are brought to that temperature, and labels."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n_images, n_classes)) * scale
    labels = (softmax(logits, axis=1).cumsum(1) > rng.random((n_images, 1))).argmax(1)
    return softmax(logits * temperature, axis=1), labels


def test_the_temperature_of_many_simulated_images_is_found():
    for true in (0.7, 1.0, 2.0):
        assert fit_temperature(*simulated(5000, true)) == pytest.approx(true, rel=0.06)


def test_no_temperature_on_a_grid_has_a_lower_log_loss(monkeypatch):
    monkeypatch.setattr(calibration, "TRUSTED_IMAGES", 0)
    probabilities, labels = simulated(300, 1.7)
    found = log_loss(labels, apply_temperature(probabilities, fit_temperature(probabilities, labels)))
    for temperature in np.geomspace(0.2, 8, 60):
        assert found <= log_loss(labels, apply_temperature(probabilities, temperature)) + 1e-6


def test_few_images_do_less_harm_than_the_temperature_that_fits_them_best(monkeypatch):
    def mean_loss(trusted):
        monkeypatch.setattr(calibration, "TRUSTED_IMAGES", trusted)
        losses = []
        for true in (0.7, 1.0, 1.5, 2.5):
            fresh, labels = simulated(2000, true, seed=99)
            for seed in range(20):
                temperature = fit_temperature(*simulated(20, true, seed=seed))
                losses.append(log_losses(apply_temperature(fresh, temperature), labels).mean())
        return np.mean(losses)

    monkeypatch.setattr(calibration, "LEAST_IMAGES", 1000)
    without = mean_loss(20)
    monkeypatch.setattr(calibration, "LEAST_IMAGES", 10)
    assert mean_loss(20) < mean_loss(1) < mean_loss(0)
    assert mean_loss(20) < without


def test_probabilities_and_their_logarithms_are_the_same():
    probabilities, labels = simulated(200, 2.0, scale=1.0)
    logarithms = np.log(probabilities)
    assert fit_temperature(logarithms, labels) == pytest.approx(fit_temperature(probabilities, labels))
    assert apply_temperature(logarithms, 3.0) == pytest.approx(apply_temperature(probabilities, 3.0))


def test_a_weight_of_two_is_the_image_twice_but_for_what_is_trusted(monkeypatch):
    monkeypatch.setattr(calibration, "TRUSTED_IMAGES", 0)
    probabilities, labels = simulated(60, 2.0)
    weights = np.where(np.arange(60) < 30, 2, 1)
    doubled = np.repeat(np.arange(60), weights)
    assert fit_temperature(probabilities, labels, weights) == pytest.approx(
        fit_temperature(probabilities[doubled], labels[doubled]), rel=1e-4
    )


def test_a_temperature_is_moderate_where_every_image_is_right():
    probabilities = np.tile([0.9, 0.1], (50, 1))
    assert 0.3 < fit_temperature(probabilities, np.zeros(50, int)) < 1.0


@pytest.mark.parametrize("n_images", [1, 9])
def test_a_handful_of_images_fits_no_temperature(n_images):
    assert fit_temperature(*simulated(n_images, 3.0)) == 1.0


def test_a_single_class_fits_no_temperature():
    assert fit_temperature(np.ones((40, 1)), np.zeros(40, int)) == 1.0


def test_a_temperature_keeps_the_order_of_the_classes_and_the_sum():
    probabilities, _ = simulated(100, 1.0)
    for temperature in (0.5, 1.0, 4.0):
        scaled = apply_temperature(probabilities, temperature)
        assert scaled.sum(1) == pytest.approx(np.ones(100))
        assert (scaled.argsort(1) == probabilities.argsort(1)).all()
    assert apply_temperature(probabilities, 1.0) == pytest.approx(probabilities)


def test_a_probability_of_zero_stays_finite():
    scaled = apply_temperature([[1.0, 0.0]], 2.0)
    assert np.isfinite(scaled).all()
    assert np.isfinite(fit_temperature(np.tile([1.0, 0.0], (30, 1)), np.ones(30, int)))


def naive_calibration_error(probabilities, labels, n_bins):
    confidence, correct = probabilities.max(1), probabilities.argmax(1) == labels
    parts = np.array_split(np.argsort(confidence), n_bins)
    return sum(len(part) / len(labels) * abs(confidence[part].mean() - correct[part].mean()) for part in parts)


@pytest.mark.parametrize(("n_images", "n_bins"), [(10, 1), (39, 1), (40, 2), (200, 10), (3000, 15)])
def test_calibration_error_agrees_with_the_naive_loop_over_bins_of_equal_mass(n_images, n_bins):
    probabilities, labels = simulated(n_images, 2.0)
    assert calibration_error(probabilities, labels) == pytest.approx(
        naive_calibration_error(probabilities, labels, n_bins), abs=0.01
    )


def test_calibration_error_does_not_depend_on_the_order_of_equal_probabilities():
    probabilities = np.tile([0.7, 0.3], (100, 1))
    labels = np.repeat([0, 1], [70, 30])
    assert calibration_error(probabilities, labels) == pytest.approx(0.0)
    assert calibration_error(probabilities, labels[::-1]) == pytest.approx(0.0)


def test_weights_count_in_the_calibration_error():
    probabilities = np.tile([0.8, 0.2], (2, 1))
    assert calibration_error(probabilities, np.array([0, 1]), np.array([3.0, 1.0])) == pytest.approx(0.05)


def test_overconfident_probabilities_are_helped_and_true_ones_are_not():
    mended, true = calibrate(*simulated(600, 2.5), seed=0), calibrate(*simulated(600, 1.0), seed=0)
    assert mended.helps
    assert mended.error_after < mended.error_before / 2
    assert mended.log_loss_after < mended.log_loss_before
    assert not true.helps


def test_true_probabilities_are_hardly_ever_said_to_be_helped():
    helped = [calibrate(*simulated(100, 1.0, seed=seed), seed=seed).helps for seed in range(100)]
    assert np.mean(helped) <= 0.05


def test_copies_of_one_image_do_not_make_the_help_clear():
    probabilities, labels = simulated(40, 1.6, seed=1)
    copies = np.repeat(np.arange(40), 25)
    alone = calibrate(probabilities[copies], labels[copies], seed=0)
    grouped = calibrate(probabilities[copies], labels[copies], seed=0, groups=copies)
    assert alone.helps
    assert not grouped.helps


def test_nothing_is_helped_where_nothing_can_be_held_out():
    found = calibrate(*simulated(1, 1.0), seed=0)
    assert (found.temperature, found.helps) == (1.0, False)
    assert found.error_after == found.error_before


@pytest.mark.parametrize("values", [[[0.5, 0.2]], [[2.0, 3.0]]])
def test_what_is_no_probability_is_told(values):
    with pytest.raises(ProbeError, match=r"Expected probabilities, of sum 1 .*\. Received: .*\. Apply softmax"):
        apply_temperature(values, 1.0)
