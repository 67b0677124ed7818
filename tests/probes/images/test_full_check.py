"""Looking at every image: a stream that can be interrupted and goes on where it stopped."""

import os
import shutil

import numpy as np
import pytest
from pictures import write_images

from probes.data.sources.folder import index_folder
from probes.data.sources.open import open_source
from probes.images import inspect_all as full_check
from probes.images.image_facts import inspect
from probes.images.inspect_all import Interrupted, inspect_everything


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Where what was found is kept until the end is reached."""
    monkeypatch.setenv("NETGRAFT_DATA", str(tmp_path / "own"))
    monkeypatch.setattr(full_check, "_FLUSH", 4)
    return tmp_path / "own" / "checks"


@pytest.fixture
def folder(tmp_path):
    return write_images(tmp_path / "data", {"flower": 20, "temple": 20})


def looked_at(monkeypatch, stop_after=None):
    """Counts the images that are opened; Ctrl-C comes after some of them."""
    places = []

    def counted(store, names, chosen):
        for number, found in enumerate(inspect(store, names, chosen)):
            if number == stop_after:
                raise KeyboardInterrupt
            places.append(found.place)
            yield found

    monkeypatch.setattr(full_check, "inspect", counted)
    return places


def test_every_image_of_every_split_is_looked_at(place, tmp_path):
    for split in ("train", "val", "test"):
        write_images(tmp_path / "data" / split, {"flower": 3, "temple": 2})
    (tmp_path / "data" / "test" / "flower" / "broken.jpg").write_bytes(b"no picture")
    seen = inspect_everything(index_folder(tmp_path / "data"))
    assert len(seen.rows) == 16
    assert (seen.rows["place"] == np.arange(16)).all()
    assert np.bincount(seen.splits).tolist() == [5, 5, 6]
    assert seen.reasons == {"test/flower/broken.jpg": "not a picture in a known format"}
    assert not list(place.iterdir())  # nothing stays behind


def test_an_interrupted_run_goes_on_where_it_stopped(place, folder, monkeypatch):
    index = index_folder(folder)
    whole = inspect_everything(index)
    first = looked_at(monkeypatch, stop_after=17)
    with pytest.raises(Interrupted, match=r"after 17 of 40 images. The same command goes on"):
        inspect_everything(index)
    second = looked_at(monkeypatch)
    resumed = inspect_everything(index)
    assert sorted(first + second) == list(range(40))
    assert resumed.rows.tobytes() == whole.rows.tobytes()
    assert not list(place.iterdir())


def test_a_torn_last_row_is_looked_at_again(place, folder, monkeypatch):
    index = index_folder(folder)
    looked_at(monkeypatch, stop_after=10)
    with pytest.raises(Interrupted):
        inspect_everything(index)
    [journal] = place.iterdir()
    os.truncate(journal, journal.stat().st_size - 7)
    second = looked_at(monkeypatch)
    assert len(inspect_everything(index).rows) == 40
    assert len(second) == 31


@pytest.mark.usefixtures("place")
def test_a_file_that_was_changed_is_looked_at_again(folder, monkeypatch):
    index = index_folder(folder)
    looked_at(monkeypatch, stop_after=10)
    with pytest.raises(Interrupted):
        inspect_everything(index)
    changed = folder / index.files[0][3]
    before = changed.stat()
    shutil.copyfile(folder / index.files[1][0], changed)
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))  # of another size, as old as before
    second = looked_at(monkeypatch)
    seen = inspect_everything(index)
    assert 3 in second
    assert len(second) == 31
    assert seen.rows["digest"][3].tobytes() == seen.rows["digest"][20].tobytes()


def test_without_a_place_to_write_nothing_is_kept_and_the_check_works(folder, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NETGRAFT_DATA", str(tmp_path / "file"))
    assert len(inspect_everything(index_folder(folder)).rows) == 40
    looked_at(monkeypatch, stop_after=10)
    with pytest.raises(Interrupted, match=r"^Interrupted. Nothing was written.$"):
        inspect_everything(index_folder(folder))


@pytest.mark.usefixtures("place")
def test_progress_is_told_from_where_it_goes_on(folder, monkeypatch):
    index = index_folder(folder)
    looked_at(monkeypatch, stop_after=38)
    with pytest.raises(Interrupted):
        inspect_everything(index)
    looked_at(monkeypatch)
    told = []
    inspect_everything(index, lambda done, wanted: told.append((done, wanted)))
    assert told == [(39, 40), (40, 40)]


@pytest.mark.usefixtures("place")
def test_data_in_memory_are_looked_at_from_the_start(monkeypatch):
    rng = np.random.default_rng(0)
    first, other = (rng.integers(0, 255, (30, 16, 16), np.uint8) for _ in range(2))
    labels = [0, 1] * 15
    looked_at(monkeypatch, stop_after=20)
    with pytest.raises(Interrupted, match=r"^Interrupted. Nothing was written.$"):
        inspect_everything(open_source((first, labels)))
    again = looked_at(monkeypatch)
    inspect_everything(open_source((other, labels)))
    assert len(again) == 30


@pytest.mark.usefixtures("place")
def test_an_archive_that_was_replaced_is_looked_at_from_the_start(folder, tmp_path, monkeypatch):
    archive = shutil.make_archive(str(tmp_path / "data"), "zip", folder)
    looked_at(monkeypatch, stop_after=20)
    with pytest.raises(Interrupted, match=r"goes on from there"):
        inspect_everything(open_source(archive))
    (folder / "flower" / "0000.jpg").write_bytes(b"no picture")
    shutil.make_archive(str(tmp_path / "data"), "zip", folder)
    again = looked_at(monkeypatch)
    inspect_everything(open_source(archive))
    assert len(again) == 40
