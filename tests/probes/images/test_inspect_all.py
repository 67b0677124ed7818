"""Inspection of every image, which can be interrupted and resumed."""

import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
from pictures import write_images

from probes.data.sources.folder import index_folder
from probes.data.sources.open import open_source
from probes.images import inspect_all
from probes.images.image_facts import inspect
from probes.images.inspect_all import Interrupted, inspect_everything


@pytest.fixture(autouse=True)
def journals(tmp_path, monkeypatch):
    """Where facts are kept until a run is complete."""
    monkeypatch.setenv("NETGRAFT_DATA", str(tmp_path / "own"))
    return tmp_path / "own" / "checks"


@pytest.fixture
def folder(tmp_path):
    return write_images(tmp_path / "data", {"flower": 20, "temple": 20}, size=(24, 16))


@pytest.fixture
def inspected(monkeypatch):
    """`inspected(stop_after)` interrupts the next run after that many images; returns the places that it inspects."""

    def watch(stop_after=None):
        places = []

        def counted(store, names, chosen):
            for number, found in enumerate(inspect(store, names, chosen)):
                if number == stop_after:
                    raise KeyboardInterrupt
                places.append(found[0])
                yield found

        monkeypatch.setattr(inspect_all, "inspect", counted)
        return places

    return watch


def test_every_image_of_every_split_is_inspected(journals, tmp_path):
    for split in ("train", "val", "test"):
        write_images(tmp_path / "data" / split, {"flower": 3, "temple": 2})
    (tmp_path / "data" / "test" / "flower" / "broken.jpg").write_bytes(b"no picture")
    seen = inspect_everything(index_folder(tmp_path / "data"))
    assert (seen.rows["place"] == np.arange(16)).all()
    assert np.bincount(seen.splits).tolist() == [5, 5, 6]
    assert seen.reasons == {"test/flower/broken.jpg": "not a picture in a known format"}
    assert not list(journals.iterdir())


def test_an_interrupted_run_is_resumed(journals, folder, inspected):
    index = index_folder(folder)
    whole = inspect_everything(index)
    first = inspected(stop_after=17)
    with pytest.raises(Interrupted, match=r"after 17 of 40 images. The same command resumes from there"):
        inspect_everything(index)
    second, reported = inspected(), []
    resumed = inspect_everything(index, lambda done, wanted: reported.append((done, wanted)))
    assert sorted(first + second) == list(range(40))
    assert reported == [(done, 40) for done in range(18, 41)]
    assert resumed.rows.tobytes() == whole.rows.tobytes()
    assert not list(journals.iterdir())


def interrupt(index, inspected, after=10):
    inspected(stop_after=after)
    with pytest.raises(Interrupted):
        inspect_everything(index)
    return inspected()


def test_a_torn_last_row_is_inspected_again(journals, folder, inspected):
    again = interrupt(index_folder(folder), inspected)
    [journal] = journals.iterdir()
    os.truncate(journal, journal.stat().st_size - 7)
    assert len(inspect_everything(index_folder(folder)).rows) == 40
    assert len(again) == 31


def test_a_file_that_was_changed_is_inspected_again(folder, inspected):
    index = index_folder(folder)
    again = interrupt(index, inspected)
    changed = folder / index.files[0][3]
    before = changed.stat()
    shutil.copyfile(folder / index.files[1][0], changed)
    os.utime(changed, ns=(before.st_atime_ns, before.st_mtime_ns))  # of another size, but the same time
    seen = inspect_everything(index)
    assert 3 in again
    assert len(again) == 31
    assert seen.rows["digest"][3].tobytes() == seen.rows["digest"][20].tobytes()


def test_the_journal_of_last_week_is_ignored(journals, folder, inspected):
    again = interrupt(index_folder(folder), inspected)
    [journal] = journals.iterdir()
    old = time.time() - 8 * 24 * 3600
    os.utime(journal, (old, old))
    inspect_everything(index_folder(folder))
    assert len(again) == 40


def test_an_archive_that_was_replaced_is_inspected_from_the_start(folder, tmp_path, inspected):
    archive = shutil.make_archive(str(tmp_path / "data"), "zip", folder)
    again = interrupt(open_source(archive), inspected)
    (folder / "flower" / "0000.jpg").write_bytes(b"no picture")
    shutil.make_archive(str(tmp_path / "data"), "zip", folder)
    inspect_everything(open_source(archive))
    assert len(again) == 40


def test_without_a_folder_to_write_to_the_inspection_works_and_keeps_nothing(folder, tmp_path, monkeypatch, inspected):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NETGRAFT_DATA", str(tmp_path / "file"))
    assert len(inspect_everything(index_folder(folder)).rows) == 40
    inspected(stop_after=10)
    with pytest.raises(Interrupted, match=r"^Interrupted. Nothing was written.$"):
        inspect_everything(index_folder(folder))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs the device of a full disk")
def test_a_full_disk_ends_the_journal_and_not_the_inspection(journals, folder, monkeypatch):
    opened = Path.open

    def open_full(self, *options, **more):
        return opened(Path("/dev/full"), "ab", 0) if self.suffix == ".rows" else opened(self, *options, **more)

    monkeypatch.setattr(Path, "open", open_full)
    assert len(inspect_everything(index_folder(folder)).rows) == 40
    assert not list(journals.iterdir())


def test_data_in_memory_are_inspected_from_the_start(inspected):
    rng = np.random.default_rng(0)
    first, other = (rng.integers(0, 255, (30, 16, 16), np.uint8) for _ in range(2))
    inspected(stop_after=20)
    with pytest.raises(Interrupted, match=r"^Interrupted. Nothing was written.$"):
        inspect_everything(open_source((first, [0, 1] * 15)))
    again = inspected()
    inspect_everything(open_source((other, [0, 1] * 15)))
    assert len(again) == 30
