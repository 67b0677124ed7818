"""Arrays in memory or in a file, pictures that are read again, and cached outputs of a frozen part."""

import numpy as np
import pytest
from pictures import write_images
from tiny import SIZE
from training import FREEZE, classifier, frozen_outputs, pixels

from builders.surgery.frozen_split import split_frozen
from probes.data.sources.open import open_source
from probes.errors import ProbeError
from recommender.fit.images import run_pass, whole_sample
from recommender.fit.inputs import FrozenFeatures, StoredPictures, allocate, frozen_function, whole_numbers


@pytest.mark.parametrize("memory", [0, 1 << 20])
def test_an_array_holds_what_is_written_in_memory_or_in_a_file(tmp_path, memory, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    array = allocate((50, 3), np.float32, memory=memory)
    assert isinstance(array, np.memmap) == (memory == 0)
    rows = np.arange(150, dtype=np.float32).reshape(50, 3)
    array[:] = rows
    np.testing.assert_array_equal(array, rows)
    assert not list(tmp_path.iterdir())  # the file has no name any more


def test_no_array_is_allocated_that_is_too_large_for_the_disk():
    assert allocate((1 << 30, 1 << 30), np.uint8) is None


@pytest.fixture(scope="module")
def frozen_model():
    model = classifier(FREEZE)
    expected = [frozen_outputs(model, views) for views in (pixels(), pixels()[:, :, ::-1])]
    return split_frozen(model), np.stack(expected)


@pytest.mark.parametrize("keep", [True, False])
def test_frozen_outputs_are_those_of_the_network_for_each_view(frozen_model, keep):
    split, expected = frozen_model
    features = FrozenFeatures(split, pixels(), n=40, mirror=True, keep=keep)
    rows = np.array([5, 2, 5, 39])
    np.testing.assert_allclose(features.plain(rows), expected[0, rows], atol=1e-4)
    views = np.random.default_rng(3).integers(2, size=4)
    varied = features.varied(rows, np.random.default_rng(3))
    np.testing.assert_allclose(varied, expected[views, rows], atol=1e-4)


def test_an_output_is_computed_once_and_only_when_it_is_read(frozen_model):
    split, expected = frozen_model
    features = FrozenFeatures(split, pixels(), n=40, mirror=True)
    first = features.plain(np.array([5, 2, 5]))
    assert features.computed == 2
    np.testing.assert_array_equal(features.plain(np.array([5, 2, 5])), first)
    assert features.computed == 2
    features.put(np.array([7, 8]), expected[0, :2], pixels()[7:9].astype(np.float32))
    np.testing.assert_array_equal(features.plain(np.array([8])), expected[0, 1:2])
    for seed in range(6):
        features.varied(np.array([7]), np.random.default_rng(seed))
    assert features.computed == 2


def test_no_nodes_give_no_outputs(frozen_model):
    assert frozen_function(frozen_model[0], [])(np.zeros((1, SIZE, SIZE, 3), np.float32)) == []


def test_a_pass_reads_every_image_once_and_pictures_can_be_read_again(tmp_path):
    folder = write_images(tmp_path / "two", {"flower": 5, "temple": 20})
    index = open_source(folder)
    kept = np.empty((25, SIZE, SIZE, 3), np.uint8)
    progress = []

    def compute(rows, pictures):
        kept[rows] = whole_numbers(pictures)
        return {"mean": pictures.mean((1, 2))}

    features = run_pass(index, whole_sample(index), SIZE, 3, compute, lambda *at: progress.append(at))
    assert progress[-1] == (25, 25)
    assert sorted(features.files) == sorted(name for names in index.files for name in names)
    stored = StoredPictures(index, features.files, SIZE, 3, rounded=True)
    rows = np.array([24, 3, 3])
    np.testing.assert_array_equal(stored[rows], kept[rows])
    plain = StoredPictures(index, features.files, SIZE, 3, rounded=False)[rows]
    np.testing.assert_allclose(plain.mean((1, 2)), features.pooled["mean"][rows], atol=1e-3)
    next(folder.rglob("*.jpg")).write_bytes(b"no picture")
    with pytest.raises(ProbeError, match="stay as it was measured"):
        stored[np.arange(25)]
