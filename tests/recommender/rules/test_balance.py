"""How evenly images are spread over classes, and what follows from it."""

import numpy as np
import pytest

from recommender.rules import scenario_rule as rules
from recommender.rules.class_balance import class_weights, imbalance, small_class
from recommender.rules.scenario import Amount


def test_five_thousand_images_of_which_one_class_has_twelve_are_not_plentiful():
    counts = [554] * 9 + [12]
    assert rules.amount(sum(counts), small_class(counts)) is Amount.LIMITED
    assert rules.amount(sum(counts), small_class([500] * 9 + [20])) is Amount.PLENTIFUL


@pytest.mark.parametrize(("n_classes", "negligible"), [(2, 0), (50, 0), (51, 1), (101, 2), (1000, 19)])
def test_of_many_classes_a_few_may_be_small(n_classes, negligible):
    assert small_class([5] * negligible + [100] * (n_classes - negligible)) == 100
    assert small_class([5] * (negligible + 1) + [100] * (n_classes - negligible - 1)) == 5


def test_a_class_without_images_does_not_count():
    assert small_class([0, 30, 40]) == 30
    assert imbalance([0, 30, 60]) == 2
    assert class_weights([0, 10, 90]) == (1.0, 5.0, pytest.approx(100 / 180))


def test_class_weights_equal_scikit_learns():
    from sklearn.utils.class_weight import compute_class_weight

    labels = np.repeat([0, 1, 2], [10, 50, 90])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=labels)
    assert class_weights([10, 50, 90]) == pytest.approx(tuple(expected))


def test_balanced_classes_get_no_weights():
    assert class_weights([100, 40]) is None
    assert class_weights([120, 40]) is not None
