"""The learning curve, and its forecast for twice the images."""

import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.datasets import load_digits

from probes.data.splits import Rows, held_out_splits
from probes.evaluation.intervals import accuracy_error
from probes.separability.learning_curve import FRACTIONS, curve_of, doubling_gain, learning_curve, nested_parts
from probes.separability.linear_probe import judge


@pytest.fixture(scope="module")
def digits():
    features, labels = load_digits(n_class=4, return_X_y=True)
    return features[:240], Rows.of(labels[:240])


@pytest.fixture(scope="module")
def curve(digits):
    return learning_curve([digits[0]], digits[1], seed=0)


def test_the_last_point_is_the_accuracy_of_the_linear_probe(digits, curve):
    judged = judge([digits[0]], digits[1], seed=0, balanced=False)
    assert curve.points[-1].accuracy == pytest.approx(judged.accuracy)
    assert curve.points[-1].n_images == 192


def test_the_last_point_is_that_of_a_weighted_balanced_linear_probe_in_blocks(digits):
    features, labels = digits[0], digits[1].labels
    rows = Rows.of(labels, weights=np.where(np.arange(240) % 3, 1.0, 0.5))
    blocks = [features[:, :20], features[:, 20:]]
    found = learning_curve(blocks, rows, seed=1, balanced=True)
    judged = judge(blocks, rows, seed=1, balanced=True)
    assert found.points[-1].accuracy == pytest.approx(judged.accuracy)


def test_each_point_has_twice_the_images_of_the_one_before_and_they_help(curve):
    sizes = [point.n_images for point in curve.points]
    assert sizes == pytest.approx([24, 48, 96, 192], abs=6)
    accuracies = [point.accuracy for point in curve.points]
    assert accuracies == sorted(accuracies)


def test_the_forecast_lies_in_its_intervals_and_above_the_last_point(curve):
    last = curve.points[-1].accuracy
    assert last <= curve.doubled.accuracy <= 1
    assert curve.doubled.low < curve.doubled.accuracy < curve.doubled.high
    assert curve.gain[0] < curve.doubled.accuracy - last < curve.gain[1]
    assert last + curve.gain[1] <= 1


@pytest.mark.slow
def test_the_gain_forecast_from_half_the_digits_is_found_with_all_of_them():
    features, labels = load_digits(return_X_y=True)
    held, errors = [], []
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(labels))[:400]
        half, full = (Rows.of(labels[order[:n]]) for n in (200, 400))
        found = learning_curve([features[order[:200]]], half, seed=seed)
        true = judge([features[order]], full, seed=seed, balanced=False).accuracy
        held.append(found.doubled.low <= true <= found.doubled.high)
        errors.append(found.doubled.accuracy - true)
    assert sum(held) >= 4
    assert np.mean(errors) == pytest.approx(0.0, abs=0.02)


def test_the_error_of_a_point_is_that_of_an_accuracy():
    rng = np.random.default_rng(0)
    easy = rng.random(500)
    hits = np.array([easy < share for share in (0.6, 0.65, 0.7, 0.75)], float)
    points = curve_of(np.array([10.0, 20, 40, 80]), hits, np.arange(500), 0).points
    for point, right in zip(points, hits, strict=True):
        assert point.standard_error == pytest.approx(accuracy_error(right.astype(bool)), rel=0.1)


def test_copies_of_a_group_make_no_error_smaller():
    rng = np.random.default_rng(0)
    hits = (rng.random((4, 60)) < [[0.5], [0.6], [0.7], [0.8]]).astype(float)
    sizes, copies = np.array([10.0, 20, 40, 80]), np.repeat(np.arange(60), 5)
    alone = curve_of(sizes, hits, np.arange(60), 0)
    grouped = curve_of(sizes, hits[:, copies], copies, 0)
    assert grouped.points[-1].accuracy == pytest.approx(alone.points[-1].accuracy)
    assert grouped.points[-1].standard_error == pytest.approx(alone.points[-1].standard_error, rel=0.15)


@given(st.floats(0.1, 0.9), st.floats(0.02, 1.0))
def test_a_power_law_is_continued(level, power):
    sizes = np.array([50.0, 100, 200, 400])
    accuracies = 1 - level * sizes**-power
    expected = level * (400**-power - 800**-power)
    assert doubling_gain(sizes, accuracies[None], 10**9)[0] == pytest.approx(expected, rel=1e-3, abs=1e-6)


def test_a_falling_curve_forecasts_no_loss_and_a_perfect_one_no_gain():
    sizes = np.array([50.0, 100, 200])
    assert doubling_gain(sizes, np.array([[0.9, 0.85, 0.8]]), 100)[0] == 0.0
    assert doubling_gain(sizes, np.array([[1.0, 1.0, 1.0]]), 100)[0] == 0.0


def test_an_accuracy_of_one_has_an_error():
    found = curve_of(np.array([50.0, 100, 200]), np.ones((3, 40)), np.arange(40), 0)
    assert found.doubled.accuracy == found.doubled.high == 1.0
    assert 0.9 < found.doubled.low < 1.0
    assert found.points[-1].standard_error > 0


@given(st.lists(st.integers(1, 40), min_size=2, max_size=5), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_parts_are_nested_stratified_whole_in_groups_and_disjoint_up_to_a_half(groups_per_class, copies, seed):
    labels = np.repeat(np.arange(len(groups_per_class)), groups_per_class)
    groups = np.repeat(np.arange(len(labels)), copies)
    rows = Rows.of(np.repeat(labels, copies), groups)
    first, second = nested_parts(rows, np.arange(len(rows)), FRACTIONS, np.random.default_rng(seed))
    for draw in (first, second):
        for small, large in itertools.pairwise(draw):
            assert set(small) <= set(large)
        for fraction, part in zip(FRACTIONS, draw, strict=True):
            wanted = np.ceil(fraction * np.array(groups_per_class))
            assert (np.bincount(rows.labels[part], minlength=len(wanted)) == copies * wanted).all()
            assert (np.bincount(groups[part]) % copies == 0).all()
    shared = set(first[2]) & set(second[2])
    assert all(len({groups[row] for row in shared if rows.labels[row] == label}) <= 1 for label in set(labels))


@pytest.mark.slow
def test_the_curve_does_not_depend_on_how_groups_are_numbered(digits):
    groups = np.arange(240) // 2
    one, other = (
        learning_curve([digits[0]], Rows.of(digits[1].labels, numbers), seed=0) for numbers in (groups, 500 - groups)
    )
    assert one == other


def test_the_users_own_validation_split_judges_every_point(digits):
    rows = Rows.of(digits[1].labels, validation=np.arange(240) >= 180)
    found = learning_curve([digits[0]], rows, seed=0)
    assert found.points[-1].n_images == 180
    assert found.points[-1].accuracy == pytest.approx(judge([digits[0]], rows, seed=0, balanced=False).accuracy)


@pytest.mark.slow
def test_images_of_weight_zero_do_not_count(digits):
    rows = Rows.of(digits[1].labels, weights=np.repeat([1.0, 0.0], 120))
    found = learning_curve([digits[0]], rows, seed=0)
    assert [point.n_images for point in found.points[-2:]] == pytest.approx([48, 96], abs=6)


def test_too_few_images_have_no_curve_and_few_have_one_without_a_forecast(digits):
    def of(n_images):
        return learning_curve([digits[0][:n_images]], Rows.of(digits[1].labels[:n_images]), seed=0)

    few = of(24)
    assert of(10) is None
    assert few.doubled is few.gain is None
    assert len(few.points) == 2


def test_there_is_no_curve_where_nothing_can_be_held_out():
    assert held_out_splits(Rows.of([0, 1]), seed=0) == []
    assert learning_curve([np.eye(2)], Rows.of([0, 1]), seed=0) is None
