"""The pieces of the charts: axes, escapes, projections, bins."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.fit.result import Predictions
from recommender.reports.html.embedding_map import MARKED, principal_components, style_of
from recommender.reports.html.health import _example
from recommender.reports.html.measured_charts import reference_sets
from recommender.reports.html.result_charts import confusion, worst_mistakes
from recommender.reports.html.svg import element, linear_axis, log_axis


def predictions(labels, predicted, confidence=None):
    labels, predicted = np.array(labels), np.array(predicted)
    files = tuple(f"{number}.jpg" for number in range(len(labels)))
    known = np.full(len(labels), 0.5) if confidence is None else np.array(confidence)
    return Predictions(files=files, labels=labels, predicted=predicted, confidence=known)


def test_text_and_attributes_are_escaped():
    drawn = element("text", "<b>&", class_='a"b', data_row=1, x=None)
    assert drawn == '<text class="a&#34;b" data-row="1">&lt;b&gt;&amp;</text>'
    assert element("g", element("path", d="M0,0")) == '<g><path d="M0,0"></path></g>'


@given(st.floats(-1e6, 1e6), st.floats(1e-3, 1e6))
def test_a_linear_axis_has_few_round_marks_inside(low, width):
    axis = linear_axis(low, low + width, "x")
    values = [value for value, _ in axis.ticks]
    assert 1 <= len(values) <= 6
    assert all(low - 1e-6 * width <= value <= low + (1 + 1e-6) * width for value in values)


def test_a_logarithmic_axis_has_a_mark_at_each_power_of_ten():
    axis = log_axis(30, 30_000, "images")
    assert [label for _, label in axis.ticks] == ["100", "1,000", "10,000"]
    assert axis.share(30) == 0
    assert axis.share(948.68) == pytest.approx(0.5, abs=1e-4)


def test_principal_components_are_those_of_the_singular_value_decomposition():
    values = np.random.default_rng(0).normal(size=(40, 7)) * np.arange(1, 8)
    places, variance = principal_components(values)
    centred = values - values.mean(0)
    left, sizes, _ = np.linalg.svd(centred, full_matrices=False)
    np.testing.assert_allclose(np.abs(places), np.abs(left[:, :2] * sizes[:2]), atol=1e-8)
    assert variance == pytest.approx((sizes[:2] ** 2).sum() / (sizes**2).sum())
    assert all(places[np.abs(places[:, column]).argmax(), column] > 0 for column in (0, 1))


def test_equal_images_all_lie_at_one_place():
    places, variance = principal_components(np.ones((3, 4)))
    assert not places.any()
    assert variance == 0


def test_classes_with_a_mark_have_different_ones():
    styles = {style_of(range(MARKED), label) for label in range(MARKED)}
    assert len(styles) == MARKED
    assert style_of(range(MARKED), MARKED) == ("rest", "circle")


def test_the_most_confused_pairs_come_first():
    found = confusion(predictions([0, 0, 0, 1, 1, 2], [1, 1, 0, 1, 2, 2]))
    assert found.counts == [[1, 2, 0], [0, 1, 1], [0, 0, 1]]
    assert found.pairs == [(0, 1, 2, 3), (1, 2, 1, 2)]
    assert not found.others


def test_the_surest_mistakes_are_the_worst():
    found = predictions([0, 1, 1], [1, 1, 0], [0.6, 0.9, 0.8])
    assert worst_mistakes(found, 5).tolist() == [2, 0]


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ("a.jpg", ("a.jpg",)),
        ("a.jpg: 'cat', looks like 'dog' (90% sure)", ("a.jpg",)),
        ("odd: name.jpg: 'cat', looks like 'dog' (90% sure)", ("odd: name.jpg",)),
        ("a.jpg (group 7)", ("a.jpg",)),
        ("a.jpg = b = c.jpg", ("a.jpg", "b", "c.jpg")),
        ("cat: 3", ()),
        ("a.jpg = unknown", ()),
    ],
)
def test_the_images_of_an_example_are_found(text, files):
    assert _example(text, {"a.jpg", "b", "c.jpg", "odd: name.jpg"}).files == files


def test_the_map_shows_the_sets_of_the_benchmarks():
    assert len({known.letter for known in reference_sets()}) == 13
    assert all(0 <= known.score <= 1 for known in reference_sets())
