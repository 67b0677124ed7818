"""Linear classifiers on pooled features."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_predict
from sklearn.pipeline import make_pipeline

from probes.data.splits import Rows, held_out_splits
from probes.separability.linear_probe import (
    PENALTY,
    ParetoScaler,
    accuracy_error,
    cross_validate,
    fit_linear_probe,
    fit_rows,
)
from probes.separability.separability import measure_separability, neighbour_accuracy


@pytest.fixture(scope="module")
def digits():
    features, labels = load_digits(return_X_y=True)
    return features[:200], labels[:200].astype(np.int64)


def softmax(logits):
    powers = np.exp(logits - logits.max(1, keepdims=True))
    return powers / powers.sum(1, keepdims=True)


@settings(max_examples=30)
@given(arrays(np.float64, 4, elements=st.floats(0.1, 50)), st.integers(0, 2**32 - 1))
def test_pareto_scaling_divides_by_the_root_of_the_deviation(scales, seed):
    values = np.random.default_rng(seed).normal(size=(500, 4)) * scales
    scaled = ParetoScaler().fit(values).transform(values)
    deviation = scaled.std(0) / np.sqrt(values.std(0))
    assert deviation == pytest.approx(np.full(4, deviation[0]))
    assert scaled.mean(0) == pytest.approx(np.zeros(4), abs=1e-12)
    assert (scaled**2).mean() == pytest.approx(1.0)


def test_constant_features_become_zero():
    values = np.array([[1.0, 5.0], [2.0, 5.0]])
    assert (ParetoScaler().fit(values).transform(values)[:, 1] == 0).all()
    assert (ParetoScaler().fit(np.ones((3, 2))).transform(np.full((1, 2), 7.0)) == 0).all()


def test_blocks_weigh_the_same_whatever_their_scale():
    rng = np.random.default_rng(0)
    values = np.concatenate([rng.normal(size=(400, 4)), 100 * rng.normal(size=(400, 2))], axis=1)
    scaled = ParetoScaler((4, 2)).fit(values).transform(values)
    assert (scaled[:, :4] ** 2).mean() == pytest.approx(0.5)
    assert (scaled[:, 4:] ** 2).mean() == pytest.approx(0.5)


def test_out_of_fold_probabilities_are_those_of_scikit_learn(digits):
    features, labels = digits
    rows = Rows.of(labels)
    splits = held_out_splits(rows, seed=3)
    ours = cross_validate(features, rows, splits)
    classifier = make_pipeline(ParetoScaler(), LogisticRegression(C=1 / (PENALTY * 160), max_iter=300, tol=1e-3))
    theirs = cross_val_predict(classifier, features, labels, cv=splits, method="predict_proba")
    assert ours == pytest.approx(theirs, abs=5e-3)  # ours has the penalty of each fold's own size


@given(
    arrays(np.int64, (9, 3), elements=st.integers(-4, 4)),
    arrays(np.int64, 9, elements=st.integers(0, 2)),
    arrays(np.int64, 9, elements=st.integers(0, 4)),
)
def test_neighbour_accuracy_agrees_with_the_naive_loop_over_other_groups(points, labels, groups):
    points[:, 0] = 5  # no point is 0
    groups[0], groups[1] = 0, 1  # every point has one of another group
    points = points + np.random.default_rng(0).normal(0, 1e-3, points.shape)  # no two are equally near
    rows = Rows.of(np.unique(labels, return_inverse=True)[1], groups)
    hits = []
    for i, x in enumerate(points):
        others = [j for j in range(9) if groups[j] != groups[i]]
        nearest = max(others, key=lambda j: x @ points[j] / np.linalg.norm(x) / np.linalg.norm(points[j]))
        hits.append(labels[nearest] == labels[i])
    assert neighbour_accuracy(points, rows) == pytest.approx(np.mean(hits))


@given(arrays(np.bool_, st.integers(1, 60)), st.floats(0.1, 9))
def test_the_standard_error_of_an_accuracy_is_never_zero_and_equal_weights_change_nothing(correct, weight):
    error = accuracy_error(correct)
    assert 0 < error <= 0.5
    assert accuracy_error(correct, np.full(len(correct), weight)) == pytest.approx(error)
    assert accuracy_error(~correct) == pytest.approx(error)


def test_the_standard_error_of_a_perfect_accuracy_is_not_zero():
    assert accuracy_error(np.ones(10, bool)) == pytest.approx(np.sqrt(11 / 12 * 1 / 12 / 12))
    assert accuracy_error(np.arange(10_000) % 2 == 0) == pytest.approx(0.005, rel=0.01)


@pytest.mark.parametrize("classes", [2, 5, 10])
def test_the_folded_classifier_gives_scikit_learns_probabilities(digits, classes):
    features, labels = digits
    chosen = labels < classes
    features, labels = features[chosen], labels[chosen]
    rows = Rows.of(labels)
    probe = fit_linear_probe([features[:, :20], features[:, 20:]], rows, classes, seed=0)
    expected = fit_rows(features, rows, np.arange(len(rows)), widths=(20, 44)).predict_proba(features)
    logits = probe.temperature * (features @ probe.kernel + probe.bias)
    assert softmax(logits) == pytest.approx(expected, abs=1e-9)


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


def test_classes_of_a_single_image_are_left_out_and_reported(digits):
    features, labels = digits
    chosen = np.concatenate([np.flatnonzero(labels == 0)[:1], np.flatnonzero(labels == 1), np.flatnonzero(labels == 2)])
    found = measure_separability({"a": features[chosen]}, Rows.of(labels[chosen]), seed=0)
    assert found.n_classes == 2
    assert found.note == "left out: 1 of 3 classes, with a single image or group of images"


def test_data_without_two_classes_of_two_images_have_no_evidence_and_the_reason():
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
