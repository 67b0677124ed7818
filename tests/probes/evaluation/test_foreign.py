"""The detector of foreign pictures, against a naive covariance, and its threshold."""

import numpy as np
import pytest

from probes.errors import ProbeError
from probes.evaluation.out_of_distribution import FEWEST, Detector, fit_detector, threshold_of


def cloud(n, d=40, *, seed=0, rank=5):
    """Features that vary in a few directions, and a little in all."""
    rng = np.random.default_rng(seed)
    directions = np.random.default_rng(99).normal(size=(rank, d))
    return 3 + rng.normal(size=(n, rank)) @ directions * 0.3 + rng.normal(size=(n, d)) * 0.05


def strangers(n, d=40):
    return 3 + np.random.default_rng(7).normal(size=(n, d)) * 0.6


def test_the_distance_is_that_of_the_covariance_written_out():
    train, others = cloud(11), np.concatenate([cloud(5, seed=1), strangers(5)])
    found = fit_detector(train)
    axes = found.axes.astype(float)
    x = train / np.linalg.norm(train, axis=1, keepdims=True)
    values, vectors = np.linalg.eigh(np.cov(x.T))
    values, vectors = values[::-1], vectors[:, ::-1]
    rank = len(axes)
    beside = np.eye(x.shape[1]) - vectors[:, :rank] @ vectors[:, :rank].T
    covariance = (vectors[:, :rank] * values[:rank]) @ vectors[:, :rank].T + values[rank:].mean() * beside
    away = others / np.linalg.norm(others, axis=1, keepdims=True) - x.mean(0)
    expected = np.sqrt(np.einsum("ij,jk,ik->i", away, np.linalg.inv(covariance), away) / x.shape[1])
    assert found.distance(others) == pytest.approx(expected, rel=0.01)  # axes in half precision


def test_strangers_are_flagged_and_pictures_like_the_training_pictures_are_not():
    found = fit_detector(cloud(300))
    assert found.is_foreign(strangers(50)).all()
    assert found.is_foreign(cloud(5000, seed=1)).mean() < 0.03
    assert np.median(found.distance(cloud(500, seed=1))) == pytest.approx(1, abs=0.3)


def test_brightness_of_all_features_alike_makes_no_stranger():
    found = fit_detector(cloud(100))
    others = cloud(20, seed=1)
    assert found.distance(others * 7) == pytest.approx(found.distance(others))


def test_images_of_a_trained_backbone_are_judged_by_held_out_ones():
    """It spreads what it was not trained on wider than what it was."""
    train, held_out = cloud(200), cloud(200, seed=1) + np.random.default_rng(3).normal(size=(200, 40)) * 0.1
    own, told = fit_detector(train), fit_detector(train, held_out[:100])
    assert own.is_foreign(held_out[100:]).mean() > 0.5
    assert told.is_foreign(held_out[100:]).mean() < 0.06
    assert told.n_held_out == 100


def test_copies_are_not_parted():
    once = cloud(30)
    copies = np.repeat(once, 4, axis=0)
    alone = fit_detector(copies)
    grouped = fit_detector(copies, groups=np.repeat(np.arange(30), 4))
    assert grouped.threshold > 1.2 * alone.threshold


def test_a_hundred_thousand_wide_features_are_a_small_detector():
    features = np.random.default_rng(0).random((3000, 2500), np.float32)
    found = fit_detector(np.broadcast_to(features, (3000, 2500)))
    assert sum(array.nbytes for array in found.to_arrays().values()) < 1_000_000
    assert found.n_held_out == 2000


@pytest.mark.parametrize("n", [FEWEST, 20, 50])
def test_few_images_flag_few_of_their_own_kind(n):
    alarms = [fit_detector(cloud(n, seed=seed), seed=seed).is_foreign(cloud(300, seed=500)).mean() for seed in range(8)]
    assert np.mean(alarms) < 0.03


def test_the_threshold_of_many_distances_is_the_conformal_order_statistic():
    distances = np.random.default_rng(0).permutation(np.arange(1.0, 1000.0))  # 999 of them
    assert threshold_of(distances) == 990
    assert threshold_of(distances[:99]) == distances[:99].max()
    assert threshold_of(distances, 0.1) == 900


def test_the_threshold_of_few_distances_lies_beyond_the_greatest():
    distances = np.exp(np.random.default_rng(0).normal(size=20) * 0.1)
    assert distances.max() < threshold_of(distances) < 2 * distances.max()


def test_the_threshold_of_few_distances_is_exceeded_as_rarely_as_it_says():
    rng = np.random.default_rng(0)
    drawn = np.exp(rng.normal(size=(2000, 21)) * 0.3)
    beyond = [row[-1] > threshold_of(row[:-1]) for row in drawn]
    assert 0.001 < np.mean(beyond) < 0.02


@pytest.mark.parametrize("distances", [[0.0], [2.0], [0.0] * 5, [3.0] * 5, [0.0, 1.0, 1.0]])
def test_odd_distances_still_give_a_threshold(distances):
    assert max(distances) <= threshold_of(distances) < 1e6


def test_constant_features_flag_all_that_differs():
    found = fit_detector(np.ones((20, 8)))
    assert found.is_foreign([np.ones(8), np.arange(8.0)]).tolist() == [False, True]


def test_features_that_are_not_finite_are_foreign():
    features = cloud(3, seed=1)
    features[1, 4], features[2, 0] = np.nan, np.inf
    assert fit_detector(cloud(100)).is_foreign(features).tolist() == [False, True, True]


def test_no_features_have_no_distances():
    assert fit_detector(cloud(20)).distance(np.empty((0, 40))).shape == (0,)


def test_the_same_seed_gives_the_same_detector():
    first, second = (fit_detector(cloud(100), seed=3).to_arrays() for _ in range(2))
    assert all(np.array_equal(first[name], second[name]) for name in first)


def test_a_detector_comes_back_from_its_arrays():
    found = fit_detector(cloud(100))
    again = Detector.from_arrays(found.to_arrays())
    assert np.array_equal(again.distance(strangers(5)), found.distance(strangers(5)))
    assert (again.threshold, again.n_held_out) == (found.threshold, found.n_held_out)


@pytest.mark.parametrize(
    "change",
    [
        lambda arrays: arrays.pop("axes"),
        lambda arrays: arrays.update(axes=arrays["axes"][:, 1:]),
        lambda arrays: arrays.update(mean=np.full_like(arrays["mean"], np.nan)),
        lambda arrays: arrays.update(mean=np.array(["a"] * 40)),
        lambda arrays: arrays.update(variances=-arrays["variances"]),
        lambda arrays: arrays.update(numbers=np.array([0.0, 1.0, 5.0])),
    ],
)
def test_arrays_of_something_else_are_refused(change):
    arrays = fit_detector(cloud(20)).to_arrays()
    change(arrays)
    with pytest.raises(ProbeError, match=r"Expected .*detector|Expected axes"):
        Detector.from_arrays(arrays)


@pytest.mark.parametrize(
    "features", [cloud(FEWEST - 1), np.ones(20), np.ones((20, 0)), np.where(np.eye(40), np.nan, 1.0)]
)
def test_too_few_features_or_odd_ones_are_refused(features):
    with pytest.raises(ProbeError, match="Expected features of training images"):
        fit_detector(features)


def test_features_of_another_width_are_refused():
    with pytest.raises(ProbeError, match=r"Expected features of shape \(n, 40\)"):
        fit_detector(cloud(20)).distance(np.ones((3, 39)))
