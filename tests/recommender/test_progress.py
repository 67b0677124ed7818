"""The progress bar: what it shows on a terminal, and that it keeps silent elsewhere; and what cannot be imported."""

import sys
from types import SimpleNamespace

import pytest

from recommender.errors import RecommendError
from recommender.progress import import_tensorflow, no_progress, progress_bar, reported


class Terminal:
    """Standard error that is a terminal, kept in a file."""

    def __init__(self, path):
        self.file = path.open("w+")

    def isatty(self):
        return True

    def fileno(self):
        return self.file.fileno()

    def flush(self):
        self.file.flush()

    @property
    def written(self):
        self.file.seek(0)
        return self.file.read()


@pytest.fixture
def terminal(tmp_path, monkeypatch):
    found = Terminal(tmp_path / "stderr")
    monkeypatch.setattr("recommender.progress.sys", SimpleNamespace(stderr=found, stdout=found))
    monkeypatch.setenv("TERM", "xterm-256color")
    yield found
    found.file.close()


def test_the_bar_names_the_phase_and_how_much_of_it_is_done(terminal):
    with progress_bar(shown=True, first="Starting") as show:
        show("network", 30, 120)
    assert "Running the network over the images" in terminal.written
    assert "30 of 120" in terminal.written


def test_a_phase_of_one_step_shows_no_count(terminal):
    with progress_bar(shown=True) as show:
        show("loading", 0, 1)
    assert "Loading TensorFlow" in terminal.written
    assert " of 1" not in terminal.written


def test_a_callback_takes_the_place_of_the_bar(terminal):
    with reported(no_progress) as report:
        report("network", 1, 2)
    assert report is no_progress
    assert terminal.written == ""


def test_without_a_terminal_nothing_is_shown(capfd):
    with reported(None) as report:
        report("network", 1, 2)
    assert capfd.readouterr().err == ""


def test_a_tensorflow_that_can_not_be_imported_is_an_error_in_one_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorflow", None)
    with pytest.raises(RecommendError, match=r"^Expected TensorFlow.* can't be imported .*pip install[^\n]*$"):
        import_tensorflow()
