"""How images are split into training and held-out ones."""

import numpy as np
import pytest

from probes.data.splits import Rows, balanced_weights, groups_per_class, held_out_splits
from probes.evaluation.intervals import accuracy_error
from probes.separability.linear_probe import balanced_accuracy, class_shares, fit_linear_probe
from probes.separability.separability import measure_separability, neighbour_accuracy


def grouped(rng, n_images, n_classes, n_groups):
    groups = rng.integers(0, n_groups, n_images)
    return Rows.of(rng.integers(0, n_classes, n_images), groups)


def test_no_group_is_ever_parted():
    for seed in range(20):
        rows = grouped(np.random.default_rng(seed), 90, 3, 30)
        for train, held_out in held_out_splits(rows, seed=seed):
            assert not set(rows.groups[train]) & set(rows.groups[held_out])


def test_every_image_is_held_out_once():
    rows = grouped(np.random.default_rng(0), 90, 3, 30)
    held_out = np.concatenate([part for _, part in held_out_splits(rows, seed=0)])
    assert sorted(held_out) == list(range(90))


def test_folds_are_stratified():
    labels = np.repeat([0, 1, 2], [100, 50, 10])
    for _, held_out in held_out_splits(Rows.of(labels), seed=0):
        assert np.bincount(labels[held_out]).tolist() == [20, 10, 2]


def test_the_smallest_class_is_spread_over_the_folds():
    labels = np.repeat([0, 1], [200, 5])
    assert [int(labels[held_out].sum()) for _, held_out in held_out_splits(Rows.of(labels), seed=0)] == [1] * 5


def test_the_same_seed_gives_the_same_folds_and_another_seed_others():
    rows = grouped(np.random.default_rng(0), 90, 3, 30)
    first, again, other = (
        [held_out.tolist() for _, held_out in held_out_splits(rows, seed=seed)] for seed in (1, 1, 2)
    )
    assert first == again != other


def test_folds_do_not_depend_on_how_groups_are_numbered():
    rows = grouped(np.random.default_rng(0), 90, 3, 30)
    renamed = Rows.of(rows.labels, 1000 - rows.groups)
    for one, other in zip(held_out_splits(rows, seed=0), held_out_splits(renamed, seed=0), strict=True):
        assert one[1].tolist() == other[1].tolist()


def test_copies_do_not_move_the_folds():
    rows = Rows.of(np.random.default_rng(0).integers(0, 3, 60))
    doubled = Rows.of(np.repeat(rows.labels, 2), np.repeat(rows.groups, 2))
    for one, other in zip(held_out_splits(rows, seed=0), held_out_splits(doubled, seed=0), strict=True):
        assert sorted(set(other[1] // 2)) == one[1].tolist()


def test_a_class_of_one_group_can_not_be_parted():
    assert held_out_splits(Rows.of([0, 0, 1, 1], [0, 0, 1, 1]), seed=0) == []


def test_the_users_validation_split_takes_the_place_of_folds():
    rows = Rows.of([0, 1, 0, 1, 0], validation=[False, False, False, True, True])
    [(train, held_out)] = held_out_splits(rows, seed=0)
    assert (train.tolist(), held_out.tolist()) == ([0, 1, 2], [3, 4])


def test_leaked_validation_images_judge_nothing():
    validation = [False] * 3 + [True] * 4
    rows = Rows.of([0, 1, 0, 1, 0, 1, 0], [0, 1, 2, 1, 3, 4, 5], validation, barred=[False] * 6 + [True])
    assert rows.leaked.tolist() == [False] * 3 + [True, False, False, True]
    assert held_out_splits(rows, seed=0)[0][1].tolist() == [4, 5]


@pytest.mark.parametrize("held_out", [[0], [0, 0, 0], [0, 1]])
def test_a_validation_split_of_too_few_classes_gives_way_to_folds(held_out):
    labels = [*range(5), *range(5), *range(5), *held_out]
    rows = Rows.of(labels, validation=np.arange(len(labels)) >= 15)
    assert not rows.held_out.any()
    assert len(held_out_splits(rows, seed=0)) == 3


def test_a_class_of_a_single_group_is_not_judged():
    rows = Rows.of([0] * 9 + [1] * 9 + [2] * 9, [*range(18), *[18] * 9])
    judged = np.concatenate([held_out for _, held_out in held_out_splits(rows, seed=0)])
    assert sorted(judged) == list(range(18))


def test_nothing_is_judged_where_only_one_class_could_be():
    assert held_out_splits(Rows.of([0] * 30 + [1]), seed=0) == []
    assert held_out_splits(Rows.of([0] * 30 + [1] * 30, [*range(30), *[30] * 30]), seed=0) == []


def test_where_all_validation_images_leak_folds_are_made():
    rows = Rows.of([0, 1] * 5, groups=[*range(8), 0, 1], validation=[False] * 8 + [True] * 2)
    splits = held_out_splits(rows, seed=0)
    assert len(splits) == 4
    assert all(not rows.validation[np.concatenate(pair)].any() for pair in splits)


def test_groups_are_counted_by_class():
    assert groups_per_class(Rows.of([0, 0, 0, 1, 1], [5, 5, 6, 7, 7])).tolist() == [2, 1]


def test_balanced_weights_equal_scikit_learns():
    from sklearn.utils.class_weight import compute_sample_weight

    labels = np.array([0, 0, 0, 0, 1, 2, 2])
    assert balanced_weights(labels, np.ones(7)) == pytest.approx(compute_sample_weight("balanced", labels))


def test_balanced_weights_keep_the_users_own_in_proportion():
    weights = balanced_weights(np.array([0, 0, 1]), np.array([1.0, 3.0, 1.0]))
    assert weights[1] == pytest.approx(3 * weights[0])
    assert weights[:2].sum() == pytest.approx(weights[2])
    assert balanced_weights(np.array([0, 0, 1]), np.array([1.0, 1.0, 0.0]))[2] == 0


def test_balanced_accuracy_equals_scikit_learns():
    from sklearn.metrics import balanced_accuracy_score

    rng = np.random.default_rng(0)
    labels, guesses = rng.integers(0, 3, 200), rng.integers(0, 3, 200)
    mean, error = balanced_accuracy(guesses == labels, labels)
    assert mean == pytest.approx(balanced_accuracy_score(labels, guesses))
    assert 0 < error < 0.1


@pytest.fixture(scope="module")
def noise():
    """Features that say nothing of the class: true accuracy is one half."""
    rng = np.random.default_rng(0)
    return rng.normal(size=(200, 150)), np.arange(200) % 2


@pytest.mark.slow
def test_copies_in_other_folds_would_make_noise_look_learnt_and_groups_prevent_it(noise):
    features, labels = noise
    twice, labels = np.repeat(features, 2, axis=0), np.repeat(labels, 2)
    loose = fit_linear_probe([twice], Rows.of(labels), 2, seed=0).judged.accuracy
    grouped = fit_linear_probe([twice], Rows.of(labels, np.repeat(np.arange(200), 2)), 2, seed=0).judged.accuracy
    assert loose > 0.65
    assert grouped < 0.6


def test_a_copy_is_not_the_nearest_neighbour(noise):
    features, labels = noise
    twice, labels = np.repeat(features, 2, axis=0), np.repeat(labels, 2)
    assert neighbour_accuracy(twice, Rows.of(labels)) == 1.0
    assert neighbour_accuracy(twice, Rows.of(labels, np.repeat(np.arange(200), 2))) < 0.6


def test_validation_images_are_not_fitted_on(noise):
    features, labels = noise
    validation = np.arange(200) >= 150
    probe = fit_linear_probe([features], Rows.of(labels, validation=validation), 2, seed=0)
    alone = fit_linear_probe([features[:150]], Rows.of(labels[:150]), 2, seed=0)
    assert probe.temperature * probe.kernel == pytest.approx(alone.temperature * alone.kernel)
    assert probe.judged.rows.tolist() == list(range(150, 200))


def test_cuts_are_compared_on_the_validation_images(noise):
    features, labels = noise
    found = measure_separability({"a": features}, Rows.of(labels, validation=np.arange(200) >= 150), seed=0)
    assert (found.folds, len(found.per_cut[0].correct)) == (0, 50)


@pytest.mark.slow
def test_weights_count_like_repeated_images(noise):
    features, labels = noise
    weights = np.where(np.arange(200) < 20, 3.0, 1.0)
    weighted = fit_linear_probe([features], Rows.of(labels, weights=weights), 2, seed=0)
    plain = fit_linear_probe([features], Rows.of(labels), 2, seed=0)
    kernels = [probe.temperature * probe.kernel for probe in (weighted, plain)]
    assert np.abs(kernels[0] - kernels[1]).max() > 0.01


@pytest.mark.slow
def test_the_scale_of_weights_changes_nothing(noise):
    features, labels = noise
    weights = 1.0 + np.arange(200) % 3
    for balanced in (False, True):
        one, other = (
            fit_linear_probe([features], Rows.of(labels, weights=scale * weights), 2, seed=0, balanced=balanced)
            for scale in (1.0, 1000.0)
        )
        assert one.kernel == pytest.approx(other.kernel)
        assert one.accuracy == other.accuracy


def test_parts_in_which_one_class_alone_has_weight_are_not_fitted(noise):
    features, labels = noise
    weights = np.where(labels == 0, 1.0, 0.0)
    weights[1] = 1.0  # a single image of class 1 counts
    judged = fit_linear_probe([features], Rows.of(labels, weights=weights), 2, seed=0).judged
    assert 1 not in judged.rows


def test_accuracy_is_that_of_the_data_and_not_of_a_sample_with_other_shares():
    labels = np.repeat([0, 1], [10, 10])
    correct = np.repeat([True, False], [10, 10])
    weights = class_shares(labels, [900, 100])
    assert weights.mean() == pytest.approx(1.0)
    assert np.average(correct, weights=weights) == pytest.approx(0.9)
    assert accuracy_error(correct, weights) > accuracy_error(np.arange(20) < 18)


def test_balancing_helps_the_rare_class():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1], [190, 10])
    features = rng.normal(size=(200, 5)) + labels[:, None]
    rows = Rows.of(labels)
    plain, balanced = (
        fit_linear_probe([features], rows, 2, seed=0, balanced=choice).judged for choice in (False, True)
    )
    assert balanced.balanced_accuracy > plain.balanced_accuracy + 0.05
