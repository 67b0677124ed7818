"""Inputs, augmentation, mixup and prediction."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builders.training.data import PREDICTION_BATCH, Examples, Pictures, mixup, predict

RAMP = np.tile(np.arange(64, dtype=np.float32)[None, :, None], (64, 1, 3))[None]


def test_a_cropped_picture_is_a_part_of_the_picture_enlarged():
    rng = np.random.default_rng(0)
    cropped = Pictures(pixels=RAMP, crop=True)
    for _ in range(20):
        row = cropped.varied(np.array([0]), rng)[0, 32, :, 0]
        assert (np.diff(row) > 0).all()  # not mirrored
        assert 0.8 * 63 <= row[-1] - row[0] <= 63


def test_half_of_the_pictures_are_mirrored():
    mirrored = Pictures(pixels=RAMP, mirror=True).varied(np.zeros(200, np.int64), np.random.default_rng(0))
    corners = mirrored[:, 0, 0, 0]
    assert set(corners) == {0.0, 63.0}
    assert 0.3 < (corners == 0).mean() < 0.7


def test_plain_pictures_are_not_augmented():
    np.testing.assert_array_equal(Pictures(pixels=RAMP, mirror=True, crop=True).plain(np.array([0])), RAMP)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000), share=st.floats(0, 1), n=st.integers(1, 6))
def test_mixup_agrees_with_its_formula_example_by_example(seed, share, n):
    rng = np.random.default_rng(seed)
    inputs, labels = rng.normal(size=(n, 2, 3)).astype(np.float32), rng.integers(0, 3, n)
    weights = rng.integers(0, 3, n).astype(np.float32)
    partners = rng.permutation(n)
    x, y, w = mixup(inputs, np.eye(3, dtype=np.float32)[labels], weights, share, partners)
    for one, other in enumerate(partners):
        np.testing.assert_allclose(x[one], share * inputs[one] + (1 - share) * inputs[other], atol=1e-5)
        own, others = share * weights[one], (1 - share) * weights[other]
        assert w[one] == pytest.approx(own + others, abs=1e-6)
        if own + others > 1e-6:
            expected = np.zeros(3)
            expected[labels[one]] += own / (own + others)
            expected[labels[other]] += others / (own + others)
            np.testing.assert_allclose(y[one], expected, atol=1e-5)


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
