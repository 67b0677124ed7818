"""Linear classifiers on pooled features."""

import numpy as np
import pytest
from sklearn.datasets import load_digits
from sklearn.model_selection import cross_val_score

from probes.data.splits import Rows, held_out_splits
from probes.separability.classifier import ParetoScaler, cross_validate, fit_quietly, linear_classifier
from probes.separability.linear_probe import accuracy_error, fit_linear_probe
from probes.separability.separability import measure_separability, neighbour_accuracy


@pytest.fixture(scope="module")
def digits():
    features, labels = load_digits(return_X_y=True)
    return features[:300], labels[:300].astype(np.int64)


def softmax(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


def test_pareto_scaling_divides_by_the_root_of_the_deviation():
    values = np.random.default_rng(0).normal(size=(500, 3)) * [1.0, 4.0, 9.0]
    scaled = ParetoScaler().fit(values).transform(values)
    deviation = scaled.std(0) / np.sqrt(values.std(0))
    assert deviation == pytest.approx(np.full(3, deviation[0]))
    assert scaled.mean(0) == pytest.approx(np.zeros(3), abs=1e-12)
    assert (scaled**2).mean() == pytest.approx(1.0)


def test_constant_features_are_silenced():
    values = np.array([[1.0, 5.0], [2.0, 5.0]])
    assert (ParetoScaler().fit(values).transform(values)[:, 1] == 0).all()
    assert (ParetoScaler().fit(np.ones((3, 2))).transform(np.full((1, 2), 7.0)) == 0).all()


def test_blocks_weigh_the_same_whatever_their_scale():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(size=(400, 4)), 100 * rng.normal(size=(400, 2))], axis=1)
    scaled = ParetoScaler((4, 2)).fit(values).transform(values)
    assert (scaled[:, :4] ** 2).mean() == pytest.approx(0.5)
    assert (scaled[:, 4:] ** 2).mean() == pytest.approx(0.5)


def test_out_of_fold_accuracy_agrees_with_scikit_learn(digits):
    from sklearn.model_selection import StratifiedKFold

    features, labels = digits
    rows = Rows.of(labels)
    ours = cross_validate(features, rows, held_out_splits(rows, seed=3)).argmax(1) == labels
    splitter = StratifiedKFold(5, shuffle=True, random_state=3)
    theirs = cross_val_score(linear_classifier(240), features, labels, cv=splitter)
    assert ours.mean() == pytest.approx(theirs.mean(), abs=0.005)


def test_neighbour_accuracy_agrees_with_the_naive_loop(digits):
    features, labels = digits
    features, labels = features[:60], labels[:60]
    hits = 0
    for i, row in enumerate(features):
        cosines = [row @ other / np.linalg.norm(row) / np.linalg.norm(other) for other in features]
        cosines[i] = -2.0
        hits += labels[int(np.argmax(cosines))] == labels[i]
    assert neighbour_accuracy(features, Rows.of(labels)) == pytest.approx(hits / 60)


def test_the_standard_error_of_a_perfect_accuracy_is_not_zero():
    assert accuracy_error(np.ones(10, bool)) == pytest.approx(np.sqrt(11 / 12 * 1 / 12 / 12))
    assert accuracy_error(np.arange(10_000) % 2 == 0) == pytest.approx(0.005, rel=0.01)


@pytest.mark.parametrize("classes", [2, 5, 10])
def test_the_folded_classifier_gives_scikit_learns_probabilities(digits, classes):
    features, labels = digits
    chosen = labels < classes
    features, labels = features[chosen], labels[chosen]
    probe = fit_linear_probe([features[:, :20], features[:, 20:]], Rows.of(labels), classes, seed=0)
    expected = fit_quietly(linear_classifier(len(labels), (20, 44)), features, labels).predict_proba(features)
    assert softmax(features @ probe.kernel + probe.bias) == pytest.approx(expected, abs=1e-9)


def test_a_class_without_images_starts_near_zero(digits):
    features, labels = digits
    chosen = labels < 3
    probe = fit_linear_probe([features[chosen]], Rows.of(labels[chosen] * 2), 6, seed=0)  # classes 0, 2, 4 of 6
    given = softmax(features[chosen] @ probe.kernel + probe.bias)
    assert given[:, [1, 3, 5]].max() < 1e-4
    assert (given.argmax(1) == labels[chosen] * 2).mean() > 0.95


def test_two_images_in_a_class_are_enough(digits):
    features, labels = digits
    chosen = np.concatenate([np.flatnonzero(labels == label)[:2] for label in range(4)])
    found = measure_separability({"a": features[chosen]}, Rows.of(labels[chosen]), seed=0)
    assert (found.folds, found.n_images, found.n_classes) == (2, 8, 4)
    assert 0 <= found.per_cut[0].accuracy <= 1
    assert found.per_cut[0].standard_error > 0


def test_a_rare_class_does_not_cost_the_others_their_folds(digits):
    features, labels = digits
    chosen = np.concatenate([np.flatnonzero(labels == 0)[:2], np.flatnonzero(labels == 1), np.flatnonzero(labels == 2)])
    assert measure_separability({"a": features[chosen]}, Rows.of(labels[chosen]), seed=0).folds == 5


def test_single_images_are_left_out_and_said(digits):
    features, labels = digits
    chosen = np.concatenate([np.flatnonzero(labels == 0)[:1], np.flatnonzero(labels == 1), np.flatnonzero(labels == 2)])
    found = measure_separability({"a": features[chosen]}, Rows.of(labels[chosen]), seed=0)
    assert found.n_classes == 2
    assert "1 class with a single image was left out" in found.note


def test_nothing_to_cross_validate_is_skipped_with_the_reason():
    found = measure_separability({"a": np.eye(3)}, Rows.of(np.arange(3)), seed=0)
    assert found.per_cut == ()
    assert found.folds == 0
    assert "two classes of at least two images" in found.note


def test_many_classes_are_compared_on_some_of_them():
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(80), 2)
    found = measure_separability({"a": rng.normal(size=(160, 4)) + labels[:, None]}, Rows.of(labels), seed=0)
    assert found.n_classes == 50
    assert "50 of 80 classes" in found.note


def test_the_same_seed_gives_the_same_evidence(digits):
    features, labels = digits
    first = measure_separability({"a": features}, Rows.of(labels), seed=5)
    assert measure_separability({"a": features}, Rows.of(labels), seed=5) == first
