"""How evenly images are spread over classes, and what follows from it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.rules.class_balance import class_weights, imbalance, small_class


def test_of_few_classes_the_smallest_counts():
    assert small_class([554] * 9 + [12]) == 12


@pytest.mark.parametrize(("n_classes", "negligible"), [(2, 0), (50, 0), (51, 1), (101, 2), (1000, 19)])
def test_of_many_classes_a_few_may_be_small(n_classes, negligible):
    assert small_class([5] * negligible + [100] * (n_classes - negligible)) == 100
    assert small_class([5] * (negligible + 1) + [100] * (n_classes - negligible - 1)) == 5


def test_a_class_without_images_does_not_count():
    assert small_class([0, 30, 40]) == 30
    assert imbalance([0, 30, 60]) == 2
    assert class_weights([0, 10, 90]) == (1.0, 5.0, pytest.approx(100 / 180))


@given(st.lists(st.integers(1, 60), min_size=2, max_size=6))
def test_class_weights_equal_scikit_learns_where_classes_are_unbalanced(counts):
    from sklearn.utils.class_weight import compute_class_weight

    found = class_weights(counts)
    if max(counts) < 3 * min(counts):
        assert found is None
        return
    labels = np.repeat(np.arange(len(counts)), counts)
    assert found == pytest.approx(tuple(compute_class_weight("balanced", classes=np.arange(len(counts)), y=labels)))
