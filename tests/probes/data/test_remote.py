"""Folders and files at URLs, on the file system in memory that TensorFlow carries."""

import gzip
import io
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import tensorflow as tf
from pictures import write_images
from PIL import Image

from probes.data.sources import bounded_files as spool
from probes.data.sources.archive import index_archive, is_archive
from probes.data.sources.open import open_source
from probes.data.sources.remote import RemoteStore, fetch, index_remote, is_remote, open_remote
from probes.errors import ProbeError
from probes.images.decode import UnreadableImage


@pytest.fixture
def upload(request):
    """Puts files at URLs below one of the test's own: `upload("cat/1.jpg", "dog/1.jpg")`; each holds its own name."""
    root = f"ram://{request.node.name.replace('[', '-').replace(']', '')}"

    def upload(*names, **contents):
        for name, content in {**{name: name.encode() for name in names}, **contents}.items():
            url = f"{root}/{name}"
            tf.io.gfile.makedirs(url.rpartition("/")[0])
            with tf.io.gfile.GFile(url, "wb") as file:
                file.write(content)
        return root

    return upload


def refusal(function, url):
    """The one line with which a URL is refused."""
    with pytest.raises(ProbeError) as caught:
        function(url)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_urls_are_remote_and_paths_are_not():
    assert all(map(is_remote, ("gs://bucket/data", "s3://a", "ram://a", "file:///a", "https://a.b/c.zip")))
    assert not any(map(is_remote, ("data", "/data", "C:\\data", "C://data", "data/a://b", "", "a:b")))


def test_a_remote_folder_is_read_as_one_on_a_disk_is(tmp_path):
    folder = write_images(tmp_path / "data", {"flower": 3, "temple": 3})
    for path in folder.rglob("*.jpg"):
        url = f"ram://pictures/{path.relative_to(folder)}"
        tf.io.gfile.makedirs(url.rpartition("/")[0])
        tf.io.gfile.copy(str(path), url)
    for url in ("ram://pictures", "ram://pictures/"):
        index = index_remote(url)
        assert (index.kind, index.source) == ("folder", url)
        assert (index.class_names, index.class_counts) == (("flower", "temple"), (3, 3))
        assert index.store.open("flower/0000.jpg").read() == (folder / "flower/0000.jpg").read_bytes()
    with index.store.open("flower/0000.jpg") as file, Image.open(file) as image:
        assert image.size == (64, 48)


def test_splits_depths_other_files_and_empty_folders_are_as_on_a_disk(upload):
    root = upload("train/cat/deep/1.jpg", "train/dog/1.jpg", "val/dog/1.jpg", "train/dog/a.txt", "README.md")
    tf.io.gfile.makedirs(f"{root}/train/fish")
    index = index_remote(root)
    assert (index.class_names, index.split_sizes()) == (("cat", "dog"), {"train": 2, "validation": 1})
    assert (index.empty, index.ignored) == (("fish",), {".txt": 1})
    assert index.store.open("train/cat/deep/1.jpg").read() == b"train/cat/deep/1.jpg"


@pytest.mark.parametrize("name", ["list.csv", "list.tsv.gz", "list.parquet"])
def test_a_remote_manifest_names_files_below_its_folder_and_urls(upload, tmp_path, name):
    far = f"{upload('far/2.jpg')}/far/2.jpg"
    rows = {"path": ["cat/1.jpg", far], "label": ["cat", "dog"]}
    if name.endswith("parquet"):
        table = pytest.importorskip("pyarrow").table(rows)
        pytest.importorskip("pyarrow.parquet").write_table(table, tmp_path / name)
        content = (tmp_path / name).read_bytes()
    else:
        lines = [tuple(rows), *zip(*rows.values(), strict=True)]
        content = "\n".join(("\t" if "tsv" in name else ",").join(line) for line in lines).encode()
    url = upload("data/cat/1.jpg", **{f"data/{name}": gzip.compress(content) if name.endswith("gz") else content})
    index = open_source(f"{url}/data/{name}")
    assert (index.kind, index.source, index.class_names) == ("manifest", f"{url}/data/{name}", ("cat", "dog"))
    assert index.store.open(index.files[0][0]).read() == b"data/cat/1.jpg"
    assert index.store.open(index.files[1][0]).read() == b"far/2.jpg"


def test_what_is_no_remote_manifest_is_refused_by_its_url(upload):
    root = upload(**{"a.csv": b"name,label", "b.csv": b"", "c.csv": b"\xff", "d.parquet": b"text"})
    for name in ("a.csv", "b.csv", "c.csv", "d.parquet", "none.csv"):
        assert f"Received: '{root}/{name}'" in refusal(open_source, f"{root}/{name}")


def test_hidden_names_are_passed_over(upload):
    index = index_remote(upload("cat/1.jpg", "dog/1.jpg", ".git/1.jpg", "cat/.1.jpg"))
    assert (index.class_names, index.n_images) == (("cat", "dog"), 2)


def test_what_is_no_remote_folder_is_refused(upload):
    root = upload("cat/1.jpg")
    assert "single class 'cat'" in refusal(index_remote, root)
    assert "Expected a folder at a URL" in refusal(index_remote, f"{root}/cat/1.jpg")
    assert "Expected a folder at a URL" in refusal(index_remote, "ram://none")
    assert "Expected a folder at a URL" in refusal(index_remote, "nowhere://data")


def test_names_that_are_urls_are_themselves(upload):
    root = upload("cat/1.jpg")
    for store in (RemoteStore(""), RemoteStore("ram://elsewhere")):
        assert store.open(f"{root}/cat/1.jpg").read() == b"cat/1.jpg"


def test_what_can_not_be_opened_raises_an_os_error(upload):
    store = RemoteStore(upload("cat/1.jpg"))
    for name in ("cat/2.jpg", "ram://none/1.jpg"):
        with pytest.raises(FileNotFoundError):
            store.open(name)
    for name in ("cat", "nowhere://1.jpg", "https://example.com/1.jpg"):
        with pytest.raises(OSError, match=r"directory|not implemented"):
            store.open(name)


def test_a_remote_file_that_is_too_large_is_not_read(upload, monkeypatch):
    root = upload(**{"cat/1.jpg": bytes(3 << 20)})
    assert len(fetch(f"{root}/cat/1.jpg").read()) == 3 << 20
    monkeypatch.setattr(spool, "LARGEST_FILE", 1 << 20)
    with pytest.raises(UnreadableImage, match="larger than 512 MiB"):
        RemoteStore(root).open("cat/1.jpg")
    assert "larger than 512 MiB" in refusal(fetch, f"{root}/cat/1.jpg")


def test_a_remote_file_is_read_from_any_place(upload):
    root = upload(**{"a.bin": bytes(range(256)) * 10_000})
    with open_remote(f"{root}/a.bin") as file:
        assert file.seek(-256, io.SEEK_END) == 2_559_744
        assert file.read() == bytes(range(256))
        assert (file.seek(2_000_000), file.read(3)) == (2_000_000, bytes((128, 129, 130)))
        assert (file.seek(1, io.SEEK_CUR), file.read(1)) == (2_000_004, bytes((132,)))
        assert (file.seek(9_999_999), file.read(1)) == (9_999_999, b"")
        assert (file.seek(0), len(file.read())) == (0, 2_560_000)


def test_fetch_reads_a_small_file_whole_or_refuses(upload):
    root = upload("labels.csv")
    assert fetch(f"{root}/labels.csv").read() == b"labels.csv"
    assert "Expected a file at a URL" in refusal(fetch, f"{root}/none.csv")
    assert "Expected a file at a URL" in refusal(fetch, root)
    assert "download from elsewhere first" in refusal(fetch, "https://example.com/labels.csv")


@pytest.mark.parametrize("kind", ["zip", "tar", "gztar"])
def test_a_remote_archive_is_read(tmp_path, upload, kind):
    folder = write_images(tmp_path / "data", {"flower": 3, "temple": 3})
    path = Path(shutil.make_archive(str(tmp_path / "packed"), kind, root_dir=folder))
    url = f"{upload(**{path.name: path.read_bytes()})}/{path.name}"
    index = index_archive(url)
    assert is_archive(url)
    assert (index.source, index.class_names, index.class_counts) == (url, ("flower", "temple"), (3, 3))
    assert index.store.open("flower/0000.jpg").read() == (folder / "flower/0000.jpg").read_bytes()


def test_what_is_no_remote_archive_is_refused(upload):
    root = upload("data.zip")
    assert "neither" in refusal(index_archive, f"{root}/data.zip")
    assert "Expected an archive at a URL" in refusal(index_archive, f"{root}/none.zip")
    assert "Expected an archive at a URL" in refusal(index_archive, "nowhere://data.zip")


def test_threads_read_at_once(upload):
    names = [f"cat/{number}.jpg" for number in range(40)]
    store = RemoteStore(upload(*names))
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda name: store.open(name).read(), names * 5))
    assert found == [name.encode() for name in names * 5]


def test_tensorflow_is_not_loaded_to_tell_urls_from_paths(run_python):
    code = "import sys; from probes.data.sources.open import archive, records, remote; remote.is_remote('gs://a')"
    done = run_python(f"{code}; print('tensorflow' in sys.modules)")
    assert done.stdout.strip() == "False", done.stderr
