"""What the objects show of themselves: in a line, as plain text, as a card, as a table, as figures."""

import re
import sys
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from recommender.comparison.compare import compare
from recommender.errors import RecommendError
from recommender.plots import confusion_figure, mistakes_figure
from recommender.rules.scenario import Scenario


@pytest.fixture(scope="module")
def comparison(tiny_found):
    return compare(tiny_found, budget=2.0)


@pytest.fixture(scope="module")
def result(tiny_found):
    return tiny_found.fit()


@pytest.fixture(scope="module")
def shown(tiny_found, comparison, result):
    parts = ("verdict", "plan", "measurements")
    return {"found": tiny_found, "comparison": comparison, "result": result} | {
        name: getattr(tiny_found, name) for name in parts
    }


@pytest.mark.parametrize("name", ["found", "comparison", "result", "verdict", "plan", "measurements"])
def test_an_object_shows_itself_in_one_short_line(shown, name):
    line = repr(shown[name])
    assert re.fullmatch(r"<[A-Z].{20,230}>", line)


@pytest.mark.parametrize("name", ["similarity", "separability"])
def test_no_measurement_lists_what_it_has_of_every_image(tiny_found, name):
    assert len(repr(getattr(tiny_found.measurements, name))) < 4000
    assert not re.search(r"(True, |False, |\d, ){9}", repr(getattr(tiny_found.measurements, name)))


def test_the_attributes_say_what_the_page_says(tiny_found):
    low, high = tiny_found.interval
    assert low < tiny_found.expected_accuracy < high
    assert tiny_found.confidence == tiny_found.verdict.confidence
    assert tiny_found.runner_up is tiny_found.verdict.runner_up
    assert tiny_found.megabytes == pytest.approx(4e-6 * sum(tiny_found.parameters))
    assert f"90 % interval {100 * low:.1f} to {100 * high:.1f} %" in " ".join(str(tiny_found).split())


def test_the_text_of_a_recommendation_fits_a_screen(tiny_found):
    lines = str(tiny_found).splitlines()
    assert len(lines) <= 24
    assert max(map(len, lines)) <= 80
    assert lines[0] == f"Scenario {tiny_found.scenario.id} {tiny_found.scenario.name}"


def test_the_measurements_print_as_a_table_of_the_cut_points(tiny_found):
    rows = str(tiny_found.measurements).splitlines()
    cuts = tiny_found.measurements.separability.per_cut
    assert [row.split()[0] for row in rows[-len(cuts) :]] == [cut.cut for cut in cuts]
    assert len({len(row) for row in rows[-len(cuts) :]}) == 1


def test_a_comparison_prints_its_verdict_and_a_line_for_each_row(comparison):
    text = str(comparison)
    assert " ".join(text.split()).startswith(comparison.sentence)
    assert all(text.count(row.label) for row in comparison.rows)


def test_a_comparison_becomes_a_table(comparison):
    frame = comparison.to_frame()
    assert list(frame["strategy"]) == [row.label for row in comparison.rows]
    assert (frame["low"] <= frame["accuracy"]).all()
    assert "advice" in frame["marks"][comparison.rows.index(comparison.recommended)]


def test_without_pandas_the_error_says_what_to_install(comparison, monkeypatch):
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(RecommendError, match="pip install pandas"):
        comparison.to_frame()


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.tags, self.text = [], ""

    def handle_starttag(self, tag, _attributes):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


def test_the_card_has_the_answer_and_needs_nothing_else(tiny_found):
    card = tiny_found._repr_html_()
    page = Tags()
    page.feed(card)
    assert f"Scenario {tiny_found.scenario.id} {tiny_found.scenario.name}" in page.text
    assert "90 % interval" in page.text
    assert set(page.tags) <= {"style", "div", "b", "p", "dl", "dt", "dd", "code", "br"}
    assert not re.search("https?://|url\\(|src=", card)


def test_names_are_escaped_in_the_card(tiny_found):
    size = replace(tiny_found.measurements.size, path="<script>alert(1)</script>")
    card = replace(tiny_found, measurements=replace(tiny_found.measurements, size=size))._repr_html_()
    assert "<script" not in card


def test_a_notebook_shows_each_figure(tiny_found, comparison, result):
    for figure in (
        tiny_found.plot_depth(),
        tiny_found.plot_map(),
        comparison.plot(),
        result.plot_confusion(),
        result.plot_mistakes(4),
    ):
        assert figure._repr_png_().startswith(b"\x89PNG")


def test_the_depth_figure_has_a_point_for_each_cut_point_and_marks_the_choice(tiny_found):
    above, below = tiny_found.plot_depth().axes
    line, chosen = above.get_lines()
    assert len(line.get_xdata()) == len(tiny_found.measurements.separability.per_cut)
    assert chosen.get_xdata()[0] == pytest.approx(100 * tiny_found.strategy.cut_depth)
    assert below.get_ylabel() == "drift"


def test_the_map_has_the_four_scenarios_and_the_images(tiny_found):
    (axes,) = tiny_found.plot_map().axes
    words = [text.get_text() for text in axes.texts]
    assert {f"{each.id} {each.name}" for each in Scenario} < set(words)
    measured = tiny_found.measurements
    assert axes.get_lines()[-1].get_xydata().tolist() == [[measured.size.n_images, measured.similarity.score]]


def test_many_classes_have_no_numbers_in_the_confusion_matrix():
    few, many = (confusion_figure([[1] * n for _ in range(n)], [f"{i}" for i in range(n)]) for n in (3, 41))
    assert [len(figure.axes[0].texts) for figure in (few, many)] == [9, 0]
    assert [label.get_text() for label in few.axes[0].get_xticklabels()] == ["'0'", "'1'", "'2'"]


def test_no_mistake_is_a_figure_without_pictures():
    assert not mistakes_figure([], [], "0 of 9 images classified wrong").axes


def test_without_matplotlib_the_error_says_what_to_install(tiny_found, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(RecommendError, match=r"netgraft\[plot\]"):
        tiny_found.plot_map()
