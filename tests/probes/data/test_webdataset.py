"""What is special about WebDataset tars: keys, labels, braces, ordinary tars, and damage."""

import gzip
import json
import struct
import tarfile

import pytest
from corrupt import corruptions
from data_forms import write_tar
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from indexes import attempt, left_out, refusal_of

from probes.data.image_index import ImageIndex
from probes.data.sources import shards, webdataset
from probes.data.sources.open import open_source
from probes.data.sources.source import Options
from probes.errors import ProbeError


def index_tar(path):
    return webdataset.index(str(path), Options())


def refusal(path):
    return refusal_of(index_tar, path)


TWO = {"a.jpg": b"A", "a.cls": b"ant", "b.jpg": b"BB", "b.cls": b"bee"}


@pytest.fixture
def write(tmp_path):
    def write(members, name="train.tar", mode="w"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        return write_tar(tmp_path / name, members.items(), mode)

    return write


def labelled(*labels):
    """Members of samples with these contents of a .json."""
    return {
        f"{number}.{kind}": content
        for number, label in enumerate(labels)
        for kind, content in (("jpg", b"picture"), ("json", json.dumps(label).encode()))
    }


def test_members_that_share_a_key_are_a_sample(write):
    members = {"x/1.a.jpg": b"A", "y/1.jpg": b"BB", "x/1.cls": b"ant\n", "y/1.CLS": b"bee", "1.txt": b"", "x/1": b""}
    index = index_tar(write(members))
    assert index.class_names == ("ant", "bee")
    assert index.files == (("train.tar/x/1.a.jpg",), ("train.tar/y/1.jpg",))
    assert index.store.open("train.tar/y/1.jpg").read() == b"BB"
    assert not index.left_out


def test_numbers_are_ordered_by_value_and_words_by_letters(write):
    assert index_tar(write(TWO | {"a.cls": b"10", "b.cls": b"9"})).numbers == (9, 10)
    assert index_tar(write(TWO | {"a.cls": b"10", "b.cls": b"9a"})).class_names == ("10", "9a")


def test_a_byte_order_mark_is_no_part_of_a_label(write):
    assert index_tar(write(TWO | {"a.cls": b"\xef\xbb\xbfant"})).class_names == ("ant", "bee")


@pytest.mark.parametrize("key", ["label", "class", "cls", "class_name", "category"])
def test_a_label_in_json_has_the_names_that_people_give_it(write, key):
    assert index_tar(write(labelled({key: "ant"}, {key: "bee", "other": []}))).class_names == ("ant", "bee")


def test_names_of_classes_stand_beside_numbers(write):
    labels = [{"label": 0, "class_name": "wasp"}, {"label": 1.0, "class_name": "ant"}]
    assert index_tar(write(labelled(*labels))).class_names == ("wasp", "ant")
    assert index_tar(write(labelled(*labels, {"label": 1, "class_name": "bee"}))).class_names == ("0", "1")


def test_a_cls_comes_before_a_json(write):
    assert index_tar(write(labelled({"label": 5}, {"label": 6}) | {"0.cls": b"7"})).class_names == ("6", "7")


def test_several_labels_an_image_are_refused(write):
    assert "keep one label" in refusal(write(labelled({"label": [0, 1]})))


def test_samples_that_can_not_be_used_are_counted_by_reason(write):
    more = {
        "c.cls": b"ant",
        "d.jpg": b"",
        "e.jpg": b"",
        "e.png": b"",
        "e.cls": b"bee",
        "f.jpg": b"",
        "f.json": b"{",
        "g.jpg": b"",
        "g.json": b"[" * 100_000,
        "h.jpg": b"",
        "h.cls": b"x" * 5000,
        ".i.jpg": b"",
        "j.mp4": b"",
    }
    assert left_out(index_tar(write(TWO | more))) == {
        "samples with several pictures": 1,
        "samples without a label": 4,
        "samples without a picture": 1,
    }


def test_links_are_no_pictures(write):
    path = write(TWO)
    with tarfile.open(path, "a") as archive:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE):
            link = tarfile.TarInfo(f"{ord(kind)}.jpg")
            link.type, link.linkname = kind, "a.jpg"
            archive.addfile(link)
    assert index_tar(path).n_images == 2


@pytest.mark.parametrize(
    "pattern", ["train-{00..02}.tar", "train-0{0,1,2}.tar", "{train,val}-{00..02}.tar", "*.*", "."]
)
def test_braces_and_patterns_name_shards(write, tmp_path, monkeypatch, pattern):
    for number in range(3):
        write(TWO, name=f"train-{number:02}.tar")
    monkeypatch.chdir(tmp_path)
    index = open_source(pattern)
    assert (index.kind, index.n_images) == ("webdataset", 6)
    assert left_out(index) == ({"shards missing from their set": 3} if "val" in pattern else {})


def test_a_file_whose_name_has_braces_is_a_file(write):
    assert open_source(write(TWO, name="{0..3}.tar")).n_images == 2


def test_a_tar_of_class_folders_is_an_archive(tmp_path, two_classes):
    for name, mode in (("data.tar", "w"), ("data.tgz", "w:gz")):
        with tarfile.open(tmp_path / name, mode) as archive:
            archive.add(two_classes, "data")
        assert open_source(tmp_path / name).kind == "archive"


def test_a_tar_of_class_folders_with_notes_in_json_is_an_archive(write):
    notes = {"cat/0.jpg": b"A", "cat/0.json": b'{"category": "pet"}', "dog/0.jpg": b"B", "dog/0.json": b'{"label": 1}'}
    assert open_source(write(notes)).class_names == ("cat", "dog")


@pytest.mark.parametrize(("name", "mode"), [("data.tar", "w"), ("data.tgz", "w:gz")])
def test_a_tar_that_begins_with_samples_is_a_webdataset(write, name, mode):
    assert open_source(write(TWO, name, mode)).kind == "webdataset"


def test_whether_a_tar_begins_with_samples_is_decided_by_few_members(write, monkeypatch):
    path = write({f"{number}.jpg": b"" for number in range(100)} | TWO)
    assert not webdataset.recognises(str(path))
    monkeypatch.setattr(webdataset, "_PEEKED", 150)
    assert webdataset.recognises(str(path))
    monkeypatch.setattr(webdataset, "_PEEKED_BYTES", 1000)
    assert not webdataset.recognises(str(path))


def test_images_in_class_folders_come_before_tars(write, tmp_path, two_classes):
    write(TWO)
    (tmp_path / "classes").symlink_to(two_classes)
    with pytest.raises(ProbeError, match="single class 'classes'"):
        open_source(tmp_path)


@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_a_shard_that_is_cut_off_is_kept_up_to_there(write, tmp_path, mode):
    whole = write(TWO, "whole.tar").read_bytes()
    cut = whole[: 2 * 1024 + 512 + 1]  # in the second picture
    (tmp_path / "cut.tar").write_bytes(cut if mode == "w" else gzip.compress(cut))
    index = index_tar(tmp_path)
    assert index.class_counts == (2, 1)
    assert left_out(index) == {"shards with samples after a broken one": 1}


def test_files_that_are_no_tars_are_counted(write, tmp_path):
    write(TWO)
    (tmp_path / "empty.tar").touch()
    (tmp_path / "text.tar").write_bytes(b"something else altogether")
    assert left_out(index_tar(tmp_path)) == {"shards that are no tar files": 2}


def hostile(size, kind=b"0", name=b"c.jpg"):
    """A header of a member that is said to be of a size."""
    header = bytearray(tarfile.TarInfo(name.decode()).tobuf())
    header[156:157] = kind
    header[124:136] = struct.pack(">Bxxxq", 0x80 if size >= 0 else 0xFF, size)
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    return bytes(header)


HOSTILE = (hostile(-512), hostile(1 << 62), hostile(1 << 40, b"x"), hostile(1 << 40, b"L"), hostile(512, b"x") * 3000)


@pytest.mark.parametrize("header", HOSTILE, ids=range(len(HOSTILE)))
def test_a_header_that_leads_back_or_is_huge_ends_the_shard(write, header):
    path = write(TWO)
    content = path.read_bytes()
    path.write_bytes(content[: 4 * 1024] + header + content[4 * 1024 :])
    index = index_tar(path)
    assert index.n_images == 2
    assert left_out(index) == {"shards with samples after a broken one": 1}


def test_a_picture_of_an_impossible_size_is_left_out(write, monkeypatch):
    monkeypatch.setattr(webdataset, "LARGEST_FILE", 10)
    index = index_tar(write(TWO | {"c.jpg": b"x" * 11, "c.cls": b"ant"}))
    assert index.n_images == 2
    assert sum(left_out(index).values()) == 1


def test_names_of_classes_are_read_without_unpacking(write, cache):
    index_tar(write(TWO))
    assert not list(cache.iterdir())


def test_a_remote_shard_is_read_in_place_where_there_is_no_copy(write, monkeypatch):
    index = index_tar(f"file://{write(TWO)}")
    file = index.store.shards["train.tar"].file
    file.path.unlink()
    monkeypatch.setattr(shards, "_local_copy", None)
    assert index.store.open("train.tar/b.jpg").read() == b"BB"


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    cut=st.integers(0, 8 * 512),
    flips=st.lists(st.tuples(st.integers(0, 8 * 512 - 1), st.integers(0, 255)), max_size=8),
)
def test_whatever_is_damaged_ends_in_an_index_or_a_refusal(write, cut, flips):
    path = write(TWO | {"c.jpg": b"C", "c.cls": b"ant"})
    data = bytearray(path.read_bytes())
    for place, value in flips:
        data[place] = value
    path.write_bytes(data[: cut or None])
    found = attempt(index_tar, path)
    assert isinstance(found, ImageIndex | ProbeError)
    if isinstance(found, ImageIndex):
        for name in (name for files in found.files for name in files):
            found.store.open(name).read()


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["w", "w:gz"])
def test_damage_ends_in_an_index_or_a_refusal(write, tmp_path, mode):
    content = write({f"{number}.{kind}": f"{number % 2}".encode() for number in range(9) for kind in ("jpg", "cls")},
                    "train.tar", mode).read_bytes()  # fmt: skip
    outcomes = set()
    for data in corruptions(content, 100):
        (tmp_path / "train.tar").write_bytes(data)
        outcomes.add(type(attempt(index_tar, tmp_path / "train.tar")))
    assert outcomes == {ImageIndex, ProbeError}
