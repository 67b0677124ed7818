"""Arrays in memory or in a file, pictures that are read again, and cached outputs of a frozen part."""

import numpy as np
import pytest
from pictures import write_images
from tiny import SIZE
from training import FREEZE, classifier, frozen_outputs, pixels

from builders.surgery.frozen_split import split_frozen
from builders.training.data import augmented
from probes.data.sources.open import open_source
from probes.errors import ProbeError
from recommender.fit.images import run_pass, whole_sample
from recommender.fit.inputs import FrozenFeatures, StoredPictures, allocate, frozen_function, whole_numbers
from recommender.fit.plan import VIEWS


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
    return split_frozen(model), lambda pictures: frozen_outputs(model, pictures)


@pytest.mark.parametrize("keep", [True, False])
def test_frozen_outputs_are_those_of_the_network_for_each_view(frozen_model, keep):
    split, expected = frozen_model
    features = FrozenFeatures(split, pixels(), n=40, augmentation=("mirror", "shift"), seed=7, keep=keep)
    rows = np.array([5, 2, 5, 39])
    np.testing.assert_allclose(features.plain(rows), expected(pixels())[rows], atol=1e-4)
    views = np.random.default_rng(3).integers(VIEWS, size=4)
    changed = [
        augmented(pixels()[row][None], ("mirror", "shift"), np.random.default_rng([7, view, row]))[0]
        if view
        else pixels()[row].astype(np.float32)
        for view, row in zip(views, rows, strict=True)
    ]
    varied = features.varied(rows, np.random.default_rng(3))
    np.testing.assert_allclose(varied, expected(np.stack(changed)), atol=1e-4)


def test_an_output_is_computed_once_and_only_when_it_is_read(frozen_model):
    split, expected = frozen_model
    wanted, read = expected(pixels()), []

    class Pixels:
        def __getitem__(self, rows):
            read.extend(rows.tolist())
            return pixels()[rows]

    features = FrozenFeatures(split, Pixels(), n=40, augmentation=(), seed=0)
    first = features.plain(np.array([5, 2, 5]))
    assert sorted(read) == [2, 5]
    np.testing.assert_array_equal(features.plain(np.array([5, 2, 5])), first)
    features.put(0, np.array([7, 8]), [wanted[:2]])
    np.testing.assert_array_equal(features.varied(np.array([8]), np.random.default_rng(0)), wanted[1:2])
    assert sorted(read) == [2, 5]


def test_there_are_as_many_views_as_there_is_memory_for(frozen_model):
    split, expected = frozen_model
    size = expected(pixels()).nbytes
    for memory, views in ((100 * size, VIEWS), (5 * size, 5), (0, 2)):
        features = FrozenFeatures(split, pixels(), n=40, augmentation=("shift",), seed=0, memory=memory)
        assert features.values[0].shape[:2] == (views, 40)


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
