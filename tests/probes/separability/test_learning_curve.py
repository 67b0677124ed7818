"""What more images would bring."""

import itertools

import numpy as np
import pytest
from sklearn.datasets import load_digits

from probes.data.splits import Rows, held_out_splits
from probes.separability.learning_curve import FRACTIONS, curve_of, doubling_gain, learning_curve, nested_parts
from probes.separability.linear_probe import accuracy_error, judge


@pytest.fixture(scope="module")
def digits():
    features, labels = load_digits(return_X_y=True)
    return features[:400], Rows.of(labels[:400])


@pytest.fixture(scope="module")
def curve(digits):
    return learning_curve([digits[0]], digits[1], seed=0)


def test_the_last_point_is_the_accuracy_of_the_linear_probe(digits, curve):
    judged = judge([digits[0]], digits[1], seed=0, balanced=False)
    assert curve.points[-1].accuracy == pytest.approx(judged.accuracy)
    assert curve.points[-1].n_images == 320


def test_the_last_point_is_that_of_a_weighted_balanced_linear_probe_in_blocks(digits):
    features, labels = digits[0], digits[1].labels
    counts = [5, 1, 1, 1, 1, 1, 1, 1, 1, 8]
    rows = Rows.of(labels, weights=np.where(np.arange(400) % 3, 1.0, 0.5))
    blocks = [features[:, :20], features[:, 20:]]
    found = learning_curve(blocks, rows, seed=1, balanced=True, class_counts=counts)
    judged = judge(blocks, rows, seed=1, balanced=True, class_counts=counts)
    assert found.points[-1].accuracy == pytest.approx(judged.accuracy)


def test_each_point_has_twice_the_images_of_the_one_before_and_they_help(curve):
    sizes = [point.n_images for point in curve.points]
    assert sizes == pytest.approx([40, 80, 160, 320], abs=6)
    accuracies = [point.accuracy for point in curve.points]
    assert accuracies == sorted(accuracies)
    assert curve.points[0].rise is None
    assert [point.rise for point in curve.points[1:]] == pytest.approx(np.diff(accuracies))


def test_what_is_foretold_lies_in_its_intervals_and_above_the_last_point(curve):
    last = curve.points[-1].accuracy
    assert last <= curve.doubled.accuracy <= 1
    assert curve.doubled.low < curve.doubled.accuracy < curve.doubled.high
    assert curve.gain[0] < curve.doubled.accuracy - last < curve.gain[1]
    assert last + curve.gain[1] <= 1


def test_the_gain_that_half_the_digits_foretell_is_found_with_all_of_them():
    features, labels = load_digits(return_X_y=True)
    held, foretold = [], []
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(labels))[:400]
        half, full = (Rows.of(labels[order[:n]]) for n in (200, 400))
        found = learning_curve([features[order[:200]]], half, seed=seed)
        true = judge([features[order]], full, seed=seed, balanced=False).accuracy
        held.append(found.doubled.low <= true <= found.doubled.high)
        foretold.append(found.doubled.accuracy - true)
    assert sum(held) >= 4
    assert np.mean(foretold) == pytest.approx(0.0, abs=0.02)


def test_the_error_of_a_rise_is_that_of_pairs():
    rng = np.random.default_rng(0)
    easy = rng.random(500)
    hits = np.array([easy < share for share in (0.6, 0.65, 0.7, 0.75)], float)
    points = curve_of(np.array([10.0, 20, 40, 80]), hits, np.ones(500), np.arange(500), 0).points
    for point, before, now in zip(points[1:], hits, hits[1:], strict=False):
        assert point.rise_error == pytest.approx((now - before).std() / np.sqrt(500), rel=0.1)
        assert point.rise_error < point.standard_error
        assert point.standard_error == pytest.approx(accuracy_error(now.astype(bool)), rel=0.1)


def test_copies_make_no_error_smaller():
    rng = np.random.default_rng(0)
    hits = (rng.random((4, 60)) < [[0.5], [0.6], [0.7], [0.8]]).astype(float)
    sizes, copies = np.array([10.0, 20, 40, 80]), np.repeat(np.arange(60), 5)
    alone = curve_of(sizes, hits, np.ones(60), np.arange(60), 0)
    grouped = curve_of(sizes, hits[:, copies], np.ones(300), copies, 0)
    assert grouped.points[-1].accuracy == pytest.approx(alone.points[-1].accuracy)
    assert grouped.points[-1].standard_error == pytest.approx(alone.points[-1].standard_error, rel=0.15)


def test_a_power_law_is_continued():
    sizes = np.array([50.0, 100, 200, 400])
    accuracies = 1 - 0.8 * sizes**-0.25
    assert doubling_gain(sizes, accuracies[None], 10**6)[0] == pytest.approx(0.8 * (400**-0.25 - 800**-0.25), rel=1e-3)


def test_a_curve_that_falls_foretells_no_loss_and_a_perfect_one_no_gain():
    sizes = np.array([50.0, 100, 200])
    assert doubling_gain(sizes, np.array([[0.9, 0.85, 0.8]]), 100)[0] == 0.0
    assert doubling_gain(sizes, np.array([[1.0, 1.0, 1.0]]), 100)[0] == 0.0


def test_an_accuracy_of_one_keeps_its_doubts():
    found = curve_of(np.array([50.0, 100, 200]), np.ones((3, 40)), np.ones(40), np.arange(40), 0)
    assert found.doubled.accuracy == found.doubled.high == 1.0
    assert 0.9 < found.doubled.low < 1.0
    assert found.points[-1].standard_error > 0


def test_parts_are_nested_stratified_and_disjoint_up_to_a_half():
    labels = np.repeat([0, 1, 2], [160, 80, 3])
    rows = Rows.of(labels)
    first, second = nested_parts(rows, np.arange(243), FRACTIONS, np.random.default_rng(0))
    for draw in (first, second):
        for small, large in itertools.pairwise(draw):
            assert set(small) < set(large)
        assert [np.bincount(labels[part]).tolist() for part in draw] == [
            [20, 10, 1],
            [40, 20, 1],
            [80, 40, 2],
            [160, 80, 3],
        ]
    assert not set(first[2][labels[first[2]] < 2]) & set(second[2])


def test_parts_keep_groups_whole():
    rows = Rows.of(np.repeat([0, 1], 60), np.repeat(np.arange(40), 3))
    for draw in nested_parts(rows, np.arange(120), FRACTIONS, np.random.default_rng(0)):
        for part in draw:
            assert (np.bincount(rows.groups[part], minlength=40) % 3 == 0).all()


def test_the_curve_does_not_depend_on_how_groups_are_numbered(digits):
    groups = np.arange(400) // 2
    one, other = (
        learning_curve([digits[0]], Rows.of(digits[1].labels, numbers), seed=0) for numbers in (groups, 500 - groups)
    )
    assert one == other


def test_the_users_own_validation_split_judges_every_point(digits):
    rows = Rows.of(digits[1].labels, validation=np.arange(400) >= 300)
    found = learning_curve([digits[0]], rows, seed=0)
    assert found.points[-1].n_images == 300
    assert found.points[-1].accuracy == pytest.approx(judge([digits[0]], rows, seed=0, balanced=False).accuracy)


def test_images_of_weight_zero_do_not_count(digits):
    rows = Rows.of(digits[1].labels, weights=np.repeat([1.0, 0.0], 200))
    found = learning_curve([digits[0]], rows, seed=0)
    assert [point.n_images for point in found.points[-2:]] == pytest.approx([80, 160], abs=6)


def test_too_few_images_have_no_curve_and_few_have_one_without_a_forecast(digits):
    def of(n_images):
        return learning_curve([digits[0][:n_images]], Rows.of(digits[1].labels[:n_images]), seed=0)

    assert of(20) is None
    assert of(60).doubled is of(60).gain is None
    assert len(of(60).points) == 2


def test_there_is_no_curve_where_nothing_can_be_held_out():
    assert held_out_splits(Rows.of([0, 1]), seed=0) == []
    assert learning_curve([np.eye(2)], Rows.of([0, 1]), seed=0) is None


def test_progress_counts_the_fits(digits):
    told = []
    learning_curve([digits[0]], digits[1], seed=0, progress=lambda done, wanted: told.append((done, wanted)))
    assert told == [(done, 35) for done in range(1, 36)]
