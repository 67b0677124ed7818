"""Names and durations become printable text."""

import os
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recommender.explanation.text import clean, duration, printable


@given(st.text(st.characters(exclude_categories=())))
def test_clean_text_has_no_control_characters_and_keeps_the_others(text):
    shown = clean(os.fsdecode(text.encode("utf-8", "replace")))
    assert not [char for char in shown if unicodedata.category(char)[0] == "C"]
    plain = [char for char in text if unicodedata.category(char)[0] != "C"]
    assert [char for char in shown if char in plain] or not plain
    assert clean(shown) == shown


@given(st.binary())
def test_any_name_of_a_file_becomes_valid_unicode(name):
    assert printable(os.fsdecode(name)).encode("utf-8").decode("utf-8") == printable(os.fsdecode(name))


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.034, "0.034 s"),
        (3.44, "3.4 s"),
        (95, "95 s"),
        (119, "119 s"),
        (120, "2 min"),
        (3600, "60 min"),
        (5400, "1.5 h"),
        (36000, "10.0 h"),
    ],
)
def test_a_duration_has_the_unit_that_suits_it(seconds, shown):
    assert duration(seconds) == shown
