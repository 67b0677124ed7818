"""The out-of-distribution detector against a naive covariance, and its threshold against the rate that it promises."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

from probes.errors import ProbeError
from probes.evaluation.out_of_distribution import FEWEST, Detector, fit_detector, threshold_of

WIDTH = 40


def training_features(n, *, seed=0, rank=5):
    """Features that vary in a few directions, and slightly in all."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(99).normal(size=(rank, WIDTH))
    return 3 + rng.normal(size=(n, rank)) @ directions * 0.3 + rng.normal(size=(n, WIDTH)) * 0.05


def other_features(n):
    """Features of another distribution."""
    return 3 + np.random.default_rng(7).normal(size=(n, WIDTH)) * 0.6


def flagged(detector, features):
    """The share of features beyond the threshold; a distance that is NaN counts."""
    return np.mean(~(detector.distance(features) <= detector.threshold))


def test_the_distance_equals_a_naive_one_block_by_block():
    train, others = training_features(11), np.concatenate([training_features(5, seed=1), other_features(5)])
    detector = fit_detector([train[:, :10], train[:, 10:]])

    def scaled(row):
        root = np.sign(row) * np.sqrt(np.abs(row))
        return np.concatenate([part / np.linalg.norm(part) for part in (root[:10], root[10:])]) / np.sqrt(2)

    x = np.array([scaled(row) for row in train])
    values, vectors = (part[..., ::-1] for part in np.linalg.eigh(np.cov(x.T)))
    axes = vectors[:, : len(detector.axes)]
    beside = (x - x.mean(0)) @ (np.eye(WIDTH) - axes @ axes.T)
    noise = np.var(beside, axis=0, ddof=1) / (1 - len(detector.axes) / WIDTH)
    for row, distance in zip(others, detector.distance(others), strict=True):
        centred = scaled(row) - x.mean(0)
        rest = centred - axes @ (axes.T @ centred)
        squares = ((axes.T @ centred) ** 2 / values[: len(detector.axes)]).sum()
        squares += (rest[:10] ** 2).sum() / noise[:10].mean() + (rest[10:] ** 2).sum() / noise[10:].mean()
        assert distance == pytest.approx(np.sqrt(squares / WIDTH), rel=0.01)  # axes in half precision


def test_a_block_of_small_features_counts_as_much_as_one_of_large_features():
    """A drawing differs from photographs at the early cut points, whose features are the smaller ones."""
    train, fresh, other = training_features(300), training_features(200, seed=1), training_features(50, seed=2)
    small = 1e-12 * np.random.default_rng(1).uniform(1, 1.1, (550, 6))
    small[500:] *= np.where(np.arange(6) < 3, 1.0, 2.0)  # another direction
    blocks = [np.concatenate([small[:300], train], axis=1)], [small[:300], train]
    joined, apart = (fit_detector(each) for each in blocks)
    assert flagged(joined, np.concatenate([small[500:], other], axis=1)) < 0.1
    assert flagged(apart, np.concatenate([small[500:], other], axis=1)) == 1
    assert flagged(apart, np.concatenate([small[300:500], fresh], axis=1)) < 0.05


def test_another_distribution_is_flagged_and_the_training_distribution_is_not():
    detector = fit_detector([training_features(300)])
    assert flagged(detector, other_features(50)) == 1
    assert flagged(detector, training_features(5000, seed=1)) < 0.03
    assert np.median(detector.distance(training_features(500, seed=1))) == pytest.approx(1, abs=0.3)


def test_held_out_features_set_the_threshold_of_a_trained_backbone():
    """Such a backbone spreads new images wider than those that it was trained on."""
    noise = np.random.default_rng(3).normal(size=(200, WIDTH)) * 0.2
    train, held_out = training_features(200), training_features(200, seed=1) + noise
    by_training, by_held_out = fit_detector([train]), fit_detector([train], [held_out[:100]])
    assert flagged(by_training, held_out[100:]) > 0.5
    assert flagged(by_held_out, held_out[100:]) < 0.06
    assert by_held_out.n_held_out == 100


def test_copies_of_one_image_are_kept_in_one_part():
    copies = np.repeat(training_features(30), 4, axis=0)
    grouped = fit_detector([copies], groups=np.repeat(np.arange(30), 4))
    assert grouped.threshold > 1.2 * fit_detector([copies]).threshold
    assert fit_detector([copies], groups=np.zeros(120)).n_held_out == 120


@pytest.mark.slow
def test_a_detector_of_many_wide_features_is_small():
    detector = fit_detector([np.random.default_rng(0).random((2100, 600), np.float32)])
    assert sum(array.nbytes for array in detector.to_arrays().values()) < 200_000
    assert detector.n_held_out == 2000


@pytest.mark.parametrize("n", [FEWEST, 20, 50])
def test_few_training_images_cause_few_false_alarms(n):
    fresh = training_features(300, seed=500)
    assert (
        np.mean([flagged(fit_detector([training_features(n, seed=seed)], seed=seed), fresh) for seed in range(8)])
        < 0.04
    )


def test_the_threshold_of_many_distances_is_between_the_order_statistic_and_a_normal_tail():
    distances = np.random.default_rng(0).permutation(np.exp(0.3 * np.random.default_rng(1).normal(size=999)))
    order, logarithms = np.sort(distances)[989], np.log(distances)
    normal = np.exp(logarithms.mean() + norm.ppf(0.99) * logarithms.std())
    assert threshold_of(distances) == pytest.approx(np.sqrt(order * normal), rel=0.005)


def test_an_outlier_among_many_images_does_not_set_the_threshold():
    distances = np.exp(0.1 * np.random.default_rng(0).normal(size=150))
    assert threshold_of([*distances, 4.0]) < 0.6 * 4.0


def test_one_percent_of_new_distances_exceed_the_threshold_of_few():
    samples = np.exp(np.random.default_rng(0).normal(size=(2000, 21)) * 0.3)
    assert 0.001 < np.mean([sample[-1] > threshold_of(sample[:-1]) for sample in samples]) < 0.02


@settings(deadline=None, max_examples=40)
@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=98))
def test_the_threshold_of_few_distances_is_finite_and_at_least_the_median(distances):
    assert np.median(distances) <= threshold_of(distances) < np.inf


@settings(deadline=None, max_examples=40)
@given(st.floats(0.01, 100))
def test_a_common_factor_of_all_features_does_not_matter(factor):
    detector, features = fit_detector([training_features(50)]), training_features(5, seed=1)
    assert detector.distance(features * factor) == pytest.approx(detector.distance(features))


def test_constant_features_flag_whatever_differs():
    detector = fit_detector([np.ones((20, 8))])
    assert flagged(detector, np.ones((1, 8))) == 0
    assert flagged(detector, np.arange(8.0)[None]) == 1


def test_features_that_are_not_finite_have_no_distance_within_the_threshold():
    features = training_features(3, seed=1)
    features[1, 4], features[2, 0] = np.nan, np.inf
    assert np.isnan(fit_detector([training_features(100)]).distance(features)).tolist() == [False, True, True]


def test_no_features_have_no_distances():
    assert fit_detector([training_features(20)]).distance(np.empty((0, WIDTH))).shape == (0,)


def test_a_detector_is_repeatable_and_survives_the_round_trip_through_arrays():
    first, second = (fit_detector([training_features(100)], seed=3) for _ in range(2))
    again = Detector.from_arrays(first.to_arrays())
    for other in (second, again):
        assert np.array_equal(other.distance(other_features(5)), first.distance(other_features(5)))
        assert (other.threshold, other.n_held_out) == (first.threshold, first.n_held_out)


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays.clear(),
        lambda arrays: arrays.pop("axes"),
        lambda arrays: arrays.update(axes=arrays["axes"][:, 1:]),
        lambda arrays: arrays.update(mean=np.full_like(arrays["mean"], np.nan)),
        lambda arrays: arrays.update(mean=np.array(["a"] * WIDTH)),
        lambda arrays: arrays.update(variances=-arrays["variances"]),
        lambda arrays: arrays.update(numbers=np.array([0.0, 1.0, 5.0])),
        lambda arrays: arrays.update(widths=arrays["widths"] + 1),
        lambda arrays: arrays.update(widths=arrays["widths"] * 0.5),
        lambda arrays: arrays.update(noise=0 * arrays["noise"]),
        lambda arrays: arrays.update(noise=np.ones((2, 1))),
        lambda arrays: arrays.pop("widths"),
        lambda arrays: arrays.update(numbers=np.array([1.0])),
    ],
)
def test_arrays_of_something_else_are_refused(change):
    arrays = fit_detector([training_features(20)]).to_arrays()
    change(arrays)
    with pytest.raises(ProbeError, match=r"Expected a detector's .* Received: "):
        Detector.from_arrays(arrays)


@pytest.mark.parametrize(
    "features", [training_features(FEWEST - 1), np.ones(20), np.ones((20, 0)), np.where(np.eye(40), np.nan, 1.0)]
)
def test_too_few_features_or_unsound_ones_are_refused(features):
    with pytest.raises(ProbeError, match="Expected features of training images"):
        fit_detector([features])


@pytest.mark.parametrize("blocks", [[], [training_features(20), training_features(21)]])
def test_blocks_of_no_common_length_are_refused(blocks):
    with pytest.raises(ProbeError, match="of the same n"):
        fit_detector(blocks)


def test_features_of_another_width_are_refused():
    with pytest.raises(ProbeError, match=r"Expected features of shape \(n, 40\)"):
        fit_detector([training_features(20)]).distance(np.ones((3, 39)))
