"""Inputs, augmentation, batches and prediction."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.training.batches import PREDICTION_BATCH, TrainingBatches, predict
from builders.training.data import SHIFT, ZOOM, Examples, Pictures
from builders.training.schedule import AUGMENTATIONS

RAMP = np.tile(np.arange(64, dtype=np.float32)[None, :, None], (64, 1, 3))[None]


def varied(*names, n=200):
    pictures = Pictures(pixels=RAMP, augmentation=names)
    return pictures.varied(np.zeros(n, np.int64), np.random.default_rng(0))


def test_a_shifted_picture_is_moved_and_zoomed_a_little():
    rows = varied("shift")[:, 32, :, 0]
    slopes = (rows[:, 40] - rows[:, 24]) / 16
    assert 1 - ZOOM - 0.01 <= slopes.min() < 0.95
    assert 1.05 < slopes.max() <= 1 + ZOOM + 0.01
    middle = rows[:, 31:33].mean(1) - 31.5
    assert 0.8 * SHIFT * 64 < np.abs(middle).max() <= SHIFT * 64 + 0.1
    assert (np.diff(rows[:, 12:52]) > 0).all()  # not mirrored


def test_half_of_the_pictures_are_mirrored():
    corners = varied("mirror")[:, 0, 0, 0]
    assert set(corners) == {0.0, 63.0}
    assert 0.3 < (corners == 0).mean() < 0.7


def test_a_brighter_or_darker_picture_stays_within_the_range_of_pixels():
    changed = varied("brightness")
    added = changed[:, 0, 40, 0] - 40
    assert -25.5 <= added.min() < -20 < 20 < added.max() <= 25.5
    assert changed.min() >= 0 <= changed.max() <= 255


def test_each_augmentation_is_drawn_alike_whatever_the_others_are():
    np.testing.assert_array_equal(varied("mirror", "shift")[:, :, ::1], varied("shift", "mirror"))


def test_plain_pictures_are_not_augmented():
    np.testing.assert_array_equal(Pictures(pixels=RAMP, augmentation=AUGMENTATIONS).plain(np.array([0])), RAMP)


@settings(deadline=None, max_examples=25)
@given(n=st.integers(1, 40), size=st.integers(1, 12))
def test_every_image_is_seen_once_before_any_is_seen_again(n, size):
    examples = Examples(
        inputs=Pictures(pixels=None), rows=np.arange(n), labels=np.zeros(n, np.int64), weights=np.ones(n)
    )
    batches = TrainingBatches(examples, min(n, size), seed=0)
    rows = np.concatenate([batches.places(step) for step in range(-(-3 * n // min(n, size)))])
    for epoch in range(3):
        assert sorted(rows[n * epoch : n * epoch + n]) == list(range(n))


@pytest.mark.parametrize("n", [1, PREDICTION_BATCH, PREDICTION_BATCH + 3])
def test_predictions_come_in_the_order_of_the_examples(n):
    inputs = keras.Input((4,))
    model = keras.Model(inputs, keras.layers.Rescaling(2.0)(inputs))
    x = np.random.default_rng(0).normal(size=(100, 4)).astype(np.float32)
    rows = np.random.default_rng(1).permutation(100)[:n]
    labels = np.zeros(n, np.int64)
    chosen = Examples(inputs=Pictures(pixels=x), rows=rows, labels=labels, weights=np.ones(n))
    np.testing.assert_allclose(predict(model, chosen), 2 * x[rows])


def test_a_sample_of_examples_keeps_rows_labels_and_weights_together():
    n = 50
    all_of_them = Examples(
        inputs=Pictures(pixels=RAMP), rows=np.arange(n), labels=np.arange(n) + 100, weights=np.arange(n) / n
    )
    some = all_of_them.sample(20, 0)
    assert len(some) == len(set(some.rows)) == 20
    np.testing.assert_array_equal(some.labels, some.rows + 100)
    np.testing.assert_array_equal(some.weights, some.rows / n)
    assert len(all_of_them.sample(80, 0)) == n
