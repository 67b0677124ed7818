"""Metrics against scikit-learn."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    confusion_matrix,
    log_loss,
    precision_recall_fscore_support,
)

from probes.errors import ProbeError
from probes.evaluation.evaluation import calibration_error, evaluate


@settings(deadline=None, max_examples=40)
@given(st.integers(1, 60), st.integers(2, 6), st.integers(0, 2**32))
def test_all_metrics_agree_with_scikit_learn(n, n_classes, seed):
    rng = np.random.default_rng(seed)
    probabilities = rng.dirichlet(np.ones(n_classes), n)
    labels, predicted = rng.integers(0, n_classes, n), probabilities.argmax(1)
    classes = np.arange(n_classes)
    found = evaluate(probabilities, labels)
    precision, recall, _, support = precision_recall_fscore_support(
        labels, predicted, labels=classes, zero_division=np.nan
    )
    present = classes[support > 0]
    assert found.n == n
    assert found.accuracy == pytest.approx(accuracy_score(labels, predicted))
    assert found.interval[0] - 1e-12 <= found.accuracy <= found.interval[1] + 1e-12
    assert found.balanced_accuracy == pytest.approx(np.mean(recall[present]))
    assert found.confusion.tolist() == confusion_matrix(labels, predicted, labels=classes).tolist()
    assert found.precision == pytest.approx(precision, nan_ok=True)
    assert found.recall == pytest.approx(recall, nan_ok=True)
    assert found.support.tolist() == support.tolist()
    assert found.log_loss == pytest.approx(log_loss(labels, probabilities, labels=classes))
    assert found.calibration_error == calibration_error(probabilities, labels)


def test_a_probability_of_zero_for_the_true_class_costs_a_finite_loss():
    assert np.isfinite(evaluate([[1.0, 0.0]], [1]).log_loss)


def test_groups_widen_the_interval_of_the_accuracy():
    rng = np.random.default_rng(0)
    probabilities, labels = np.repeat(rng.dirichlet([1, 1], 20), 10, axis=0), np.repeat(rng.integers(0, 2, 20), 10)
    alone, grouped = (evaluate(probabilities, labels, groups) for groups in (None, np.repeat(np.arange(20), 10)))
    assert np.diff(grouped.interval) > 2 * np.diff(alone.interval)


def test_probabilities_that_are_not_finite_are_refused_in_one_line():
    with pytest.raises(ProbeError, match=r"^Expected .+\. Received: .+\. .+\.$"):
        evaluate(np.full((2, 3), np.nan), [0, 1])
