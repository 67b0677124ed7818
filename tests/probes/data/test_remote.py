"""What is special about remote places, all of which fsspec opens."""

import sys

import fsspec
import pytest
from data_forms import upload
from indexes import refusal_of

from probes.data.sources import remote
from probes.data.sources.folder import FolderStore, index_folder, index_pictures
from probes.data.sources.open import open_source
from probes.data.sources.remote import is_remote
from probes.errors import ProbeError
from probes.images.decode import UnreadableImage


def test_urls_are_remote_and_paths_are_not():
    assert all(map(is_remote, ("gs://bucket/data", "s3://b", "http://host/x", "memory://x", "hf://datasets/x")))
    assert not any(map(is_remote, ("data", "/data", "C://data", "c:\\data", "a b://c", "://x", "data/x://y/..")))


def test_depths_other_files_hidden_names_and_empty_folders_are_as_on_a_disk(tmp_path):
    names = ("ant/0.jpg", "ant/deep/1.jpg", "bee/2.JPG", "bee/notes.txt", ".git/x.jpg", "bee/.x.jpg", "loose.jpg")
    for name in names:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "empty").mkdir()
    url = upload(dict.fromkeys(names, b"x"), "memory://as-on-a-disk")
    fsspec.filesystem("memory").mkdir("/as-on-a-disk/empty")
    here, there = index_folder(tmp_path), open_source(url)
    for part in ("files", "class_names", "ignored", "empty", "left_out"):
        assert getattr(here, part) == getattr(there, part)
    assert index_pictures(url).n_images == 4


def test_what_can_not_be_read_is_refused():
    for url in ("memory://nothing/here", "memory://nothing.zip", "memory://nothing.csv", "memory://nothing.tfrecord"):
        assert url in refusal_of(open_source, url)
    assert "Protocol not known: nosuch" in refusal_of(open_source, "nosuch://bucket/data")


@pytest.mark.parametrize(
    ("url", "extra"), [("s3://b/data", "s3"), ("gs://b/data", "gs"), ("az://b/data.csv", "az"), ("gcs://b/a.zip", "gs")]
)
def test_a_missing_package_is_named_with_what_to_install(monkeypatch, url, extra):
    for package in ("s3fs", "gcsfs", "adlfs"):
        monkeypatch.setitem(sys.modules, package, None)
    assert f"pip install 'netgraft[{extra}]'" in refusal_of(open_source, url)
    with pytest.raises(ProbeError, match="pip install"):
        FolderStore("").open(url)


def test_files_are_read_below_the_url_or_by_their_own_urls(monkeypatch):
    url = upload({"a/0.jpg": b"first", "b/1.jpg": b"second"}, "memory://store")
    store = FolderStore(url)
    assert store.open("a/0.jpg").read() == b"first"
    assert store.open(f"{url}/b/1.jpg").read() == b"second"
    with pytest.raises(OSError, match="gone"):
        store.open("a/gone.jpg")
    monkeypatch.setattr(remote, "LARGEST_FILE", 5)
    with pytest.raises(UnreadableImage, match="larger than"):
        store.open("b/1.jpg")


def test_a_file_system_that_fails_in_its_own_way_makes_images_unreadable(monkeypatch):
    class Failing:
        def size(self, _):
            raise RuntimeError("no connection")

    monkeypatch.setattr(remote, "file_system", lambda url: (Failing(), url))
    with pytest.raises(OSError, match="no connection"):
        FolderStore("memory://x").open("0.jpg")
