"""The input size by the images, and by evidence."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.rules import input_size_rule as rules
from recommender.rules import thresholds


@given(st.floats(1, 10_000), st.integers(32, 600))
def test_it_is_native_or_a_multiple_of_the_step_near_the_enlarged_images(side, native):
    size = rules.input_size(side, native)
    wanted = thresholds.INPUT_ENLARGEMENT * side
    if wanted >= native:
        assert size == native
    elif size != native:
        assert size % thresholds.INPUT_STEP == 0
        assert size == thresholds.SMALLEST_INPUT or abs(size - wanted) <= thresholds.INPUT_STEP / 2
    assert size <= native


@pytest.mark.parametrize(("side", "size"), [(8, 96), (28, 128), (32, 160), (40, 192), (60, 224), (3000, 224)])
def test_it_follows_the_images(side, size):
    assert rules.input_size(side, 224) == size


@given(st.sampled_from([96, 128, 160, 192, 224, 240, 260]), st.sampled_from([224, 240, 260]))
def test_few_sizes_are_tried_and_the_rules_own_is_one_of_them(prior, native):
    prior = min(prior, native)
    sizes = rules.sizes_to_try(prior, native)
    assert prior in sizes
    assert len(sizes) <= 3
    assert list(sizes) == sorted(set(sizes))
    assert min(prior, thresholds.SMALLEST_INPUT) <= sizes[0]
    assert sizes[-1] <= native


def right(share, n=300):
    return np.arange(n) < share * n


def chosen(shares, prior=160, sizes=(96, 160, 224), n=300):
    correct = [right(share, n) for share in shares]
    return rules.choose_input_size(prior, sizes, correct, [1.0, 2.0, 4.0])


def test_a_size_that_is_clearly_better_takes_the_rules_place():
    assert chosen([0.5, 0.7, 0.8]).size == 224
    assert chosen([0.8, 0.7, 0.5]).size == 96


def test_a_gain_within_its_errors_is_noise():
    assert chosen([0.7, 0.7, 0.7]).size == 160
    assert chosen([0.5, 0.7, 0.7 + 3 / 300]).size == 160  # 1.7 errors


def test_a_smaller_size_has_to_be_less_clearly_better():
    assert chosen([0.7 + 3 / 300, 0.7, 0.5]).size == 96
    assert chosen([0.7 - 1 / 300, 0.7, 0.5]).size == 160


def test_few_images_show_little():
    rng = np.random.default_rng(0)
    correct = [rng.random(30) < 0.8 for _ in range(3)]
    assert rules.choose_input_size(160, (96, 160, 224), correct, [1.0, 2.0, 4.0]).size == 160


def test_the_record_says_what_each_size_gives_and_costs():
    found = chosen([0.6, 0.7, 0.7])
    assert (found.prior, found.n_images) == (160, 300)
    assert [each.size for each in found.tried] == [96, 160, 224]
    assert [each.seconds for each in found.tried] == [1.0, 2.0, 4.0]
    assert found.tried[0].accuracy == pytest.approx(0.6)
    assert found.tried[0].gain == pytest.approx(-0.1)
    assert found.tried[1].gain == found.tried[1].gain_error == 0.0
    assert found.tried[0].gain_error == pytest.approx(np.sqrt(0.1 * 0.9 / 299), rel=1e-3)
