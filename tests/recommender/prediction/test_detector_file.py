"""Detectors come back from their files, and nothing else does."""

import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from probes.evaluation.out_of_distribution import fit_detector
from recommender.errors import RecommendError
from recommender.prediction.detector_file import load_detector, write_detector


@pytest.fixture
def path(tmp_path):
    """A detector of 7 features."""
    write_detector(tmp_path / "m.features.npz", fit_detector([np.random.default_rng(0).random((20, 7))]))
    return tmp_path / "m.features.npz"


def test_a_detector_comes_back_from_its_file(tmp_path):
    features = np.random.default_rng(0).random((30, 9))
    detector = fit_detector([features])
    write_detector(tmp_path / "m.features.npz", detector)
    loaded = load_detector(tmp_path / "m.features.npz")
    assert np.array_equal(loaded.distance(features), detector.distance(features))
    assert loaded.threshold == detector.threshold


def test_files_of_older_versions_still_load():
    detector = load_detector(Path(__file__).with_name("older.features.npz"))
    distances = detector.distance(np.array([[0.5, 0.5, 0.5], [9, 0, 9]], np.float32))
    assert distances == pytest.approx([0.67451051, 1.37290989], rel=1e-3)
    assert detector.threshold == pytest.approx(3.47160433)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=50)
@given(data=st.data())
def test_a_damaged_file_is_refused_in_one_line_or_still_a_detector(path, data):
    whole = path.read_bytes()
    start = data.draw(st.integers(0, len(whole) - 1))
    end = data.draw(st.integers(start, len(whole)))
    damaged = path.with_name("damaged.npz")
    damaged.write_bytes(whole[:start] + data.draw(st.binary(max_size=4)) + whole[end:])
    try:
        found = load_detector(damaged)
    except RecommendError as error:
        found = error
    if isinstance(found, RecommendError):
        assert re.fullmatch(r"Expected '.*damaged.npz' to be a detector of out-of-distribution .*", str(found))
    else:
        assert len(found.mean) == 7


@pytest.mark.parametrize("content", [{"other": np.ones(3)}, {"mean": np.array([print], dtype=object)}])
def test_other_arrays_and_pickles_are_refused(content, path):
    np.savez(path, **content)
    with pytest.raises(RecommendError, match="Build the model again, or remove the file"):
        load_detector(path)
