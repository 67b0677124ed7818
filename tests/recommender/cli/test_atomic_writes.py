"""A model is written whole or not at all."""

import pytest

from recommender import atomic_files as files
from recommender.errors import RecommendError


class HalfWritten:
    """A model whose saving fails half-way."""

    def __init__(self, error):
        self.error = error

    def save(self, path):
        path.write_bytes(b"half a model")
        raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("a bug"), OSError(28, "No space left on device")])
def test_an_older_model_survives_a_failed_write(tmp_path, error):
    older = {"model.keras": b"an older model", "model.json": b"{}"}
    for name, content in older.items():
        (tmp_path / name).write_bytes(content)
    with pytest.raises((KeyboardInterrupt, RuntimeError, RecommendError)):
        files.write_model(HalfWritten(error), {}, tmp_path / "model.keras")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == older


def test_a_full_disk_is_reported_with_what_was_to_be_written(tmp_path):
    error = OSError(28, "No space left on device")
    with pytest.raises(
        RecommendError, match=r"model\.keras'. Received: No space left on device. Nothing was written\."
    ):
        files.write_model(HalfWritten(error), {}, tmp_path / "model.keras")
