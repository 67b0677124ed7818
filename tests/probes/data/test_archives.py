"""What is special about archives: the cache, names, links, damage and decompression bombs."""

import gzip
import os
import random
import struct
import tarfile
import zipfile
from collections import Counter

import pytest
from corrupt import corruptions
from data_forms import write_tar
from hypothesis import given, settings
from hypothesis import strategies as st
from indexes import attempt, left_out, refusal_of
from pictures import write_images

from probes.data import bounded_files
from probes.data.image_index import ImageIndex
from probes.data.sources import archive
from probes.data.sources.archive import recognises
from probes.data.sources.source import Options
from probes.errors import ProbeError

PICTURES = [f"{label}/{number}.jpg" for label in ("flower", "temple") for number in range(2)]


def index_archive(path):
    return archive.index(str(path), Options())


def write_zip(path, members, **options):
    with zipfile.ZipFile(path, "w", **options) as packed:
        for name, data in members:
            packed.writestr(name, data)
    return path


@pytest.fixture(params=[write_zip, write_tar], ids=["zip", "tar"])
def pack(request, tmp_path):
    def pack(*names):
        return request.param(tmp_path / "archive", [(name, name.encode()) for name in (*PICTURES, *names)])

    return pack


def names(index):
    return sorted(name for files in index.files for name in files)


def content(index, name):
    with index.store.open(name) as file:
        return file.read()


def refusal(path):
    return refusal_of(index_archive, path)


def test_it_is_unpacked_once_and_read_from_the_cache(pack, cache, monkeypatch):
    index = index_archive(path := pack())
    assert names(index) == PICTURES
    assert content(index, PICTURES[0]) == PICTURES[0].encode()
    monkeypatch.setattr(archive, "_members", None)
    assert index_archive(path).files == index.files
    assert len(list((cache / "unpacked").iterdir())) == 1


def test_an_archive_that_has_changed_is_unpacked_again(tmp_path):
    path = write_zip(tmp_path / "a.zip", [(name, b"old") for name in PICTURES])
    assert content(index_archive(path), PICTURES[0]) == b"old"
    write_zip(path, [(name, b"newer") for name in PICTURES])
    assert content(index_archive(path), PICTURES[0]) == b"newer"


def test_what_was_used_longest_ago_leaves_the_cache_first(tmp_path, monkeypatch):
    monkeypatch.setattr(bounded_files, "_folder_size", lambda _: 1 << 20)
    paths = [write_zip(tmp_path / f"{number}.zip", [(name, b"") for name in PICTURES]) for number in range(3)]
    folders = [index_archive(path).store.root.parent for path in paths[:2]]
    os.utime(folders[0], (1, 1))
    monkeypatch.setattr(bounded_files, "CACHE_BYTES", 2 << 20)
    folders.append(index_archive(paths[2]).store.root.parent)
    assert [folder.exists() for folder in folders] == [False, True, True]


def test_an_interrupted_run_leaves_nothing_in_the_cache(pack, cache, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    path = pack()
    monkeypatch.setattr(archive, "_unpack_member", interrupt)
    with pytest.raises(KeyboardInterrupt):
        index_archive(path)
    assert not list((cache / "unpacked").iterdir())


def test_a_cache_that_can_not_be_written_to_is_refused(pack, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NETGRAFT_CACHE", str(tmp_path / "file"))
    assert "NETGRAFT_CACHE" in refusal(pack())


def test_a_cache_that_is_only_read_serves_what_it_holds(pack, monkeypatch):
    path = pack()
    first = names(index_archive(path))
    monkeypatch.setattr("probes.data.bounded_files.os.utime", lambda _: (_ for _ in ()).throw(PermissionError))
    assert names(index_archive(path)) == first


def test_a_full_disk_is_refused(pack, monkeypatch):
    monkeypatch.setattr(bounded_files.shutil, "disk_usage", lambda _: type("Usage", (), {"free": 1 << 20}))
    assert "no more than 1 GiB free" in refusal(pack())


def test_the_content_and_not_the_suffix_decides(pack, tmp_path):
    path = pack()
    assert recognises(str(path))
    assert names(index_archive(path.rename(tmp_path / "odd.txt"))) == PICTURES


def test_a_tar_that_ends_with_a_zip_is_a_tar(tmp_path):
    inner = write_zip(tmp_path / "inner.zip", [("x/y.jpg", b"z")]).read_bytes()
    path = write_tar(tmp_path / "a", [*((name, b"") for name in PICTURES), ("inner.zip", inner)])
    assert names(index_archive(path)) == PICTURES


def test_hidden_members_are_ignored_and_other_files_are_counted(pack):
    index = index_archive(
        pack("__MACOSX/flower/0.jpg", "flower/.hidden.jpg", ".git/x.jpg", "flower/notes.txt", "gorse/")
    )
    assert names(index) == PICTURES
    assert index.ignored == {".txt": 1}
    assert not index.left_out


@pytest.mark.parametrize("wrapper", ["data/", "a/b/c/", "./data/"])
def test_folders_around_all_others_are_ignored(tmp_path, wrapper):
    path = write_zip(tmp_path / "a.zip", [(wrapper + name, b"") for name in PICTURES])
    assert names(index_archive(path)) == PICTURES


def test_members_with_windows_paths_are_left_out_by_that_reason(tmp_path):
    path = write_zip(tmp_path / "a.zip", [(name, b"") for name in (*PICTURES, "..\\x.jpg", "flower\\x.jpg")])
    assert left_out(index_archive(path)) == {"members with a backslash in their name": 2}


@settings(max_examples=30, deadline=None)
@given(outside=st.sampled_from(["/flower/x.jpg", "../x.jpg", "flower/../../x.jpg", "C:/flower/x.jpg"]))
def test_members_whose_path_leaves_the_archive_are_left_out(tmp_path_factory, outside):
    folder = tmp_path_factory.mktemp("outside")
    path = write_tar(folder / "a.tar", [(name, b"") for name in (*PICTURES, outside)])
    index = index_archive(path)
    assert left_out(index) == {"members whose path leaves the archive": 1}
    assert names(index) == PICTURES
    assert sorted(file.name for file in folder.iterdir()) == ["a.tar"]


def test_links_are_left_out(tmp_path):
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w") as packed:
        for name in PICTURES:
            packed.addfile(tarfile.TarInfo(name))
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE):
            info = tarfile.TarInfo(f"flower/{kind.decode()}.jpg")
            info.type, info.linkname = kind, "/etc/passwd"
            packed.addfile(info)
    index = index_archive(path)
    assert left_out(index) == {"links and special files in the archive": 3}
    assert names(index) == PICTURES


def test_of_members_of_one_name_the_last_counts(tmp_path):
    path = write_tar(tmp_path / "a.tar", [*((name, b"old") for name in PICTURES), (PICTURES[0], b"new")])
    index = index_archive(path)
    assert content(index, PICTURES[0]) == b"new"
    assert left_out(index) == {"members replaced by a later one of the same name": 1}


def test_names_that_no_disk_can_hold_are_left_out(pack):
    assert left_out(index_archive(pack(f"flower/{'x' * 300}.jpg", f"{PICTURES[0]}/below.jpg"))) == {
        "members with impossible names": 2
    }


def test_names_in_undeclared_utf8_are_read(tmp_path):
    data = write_zip(
        tmp_path / "a.zip", [(f"bl\u00fcte/{i}.jpg", b"") for i in range(2)] + [("x/y.jpg", b"")]
    ).read_bytes()
    for signature, at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        parts = data.split(signature)
        data = signature.join([parts[0], *(part[: at - 4] + b"\0\0" + part[at - 2 :] for part in parts[1:])])
    (tmp_path / "b.zip").write_bytes(data)
    assert index_archive(tmp_path / "b.zip").class_names == ("bl\u00fcte", "x")


def patched(path, signature, at, value):
    """A zip with a field of two bytes changed in its last member."""
    data = bytearray(path.read_bytes())
    place = data.rindex(signature) + at
    data[place : place + 2] = struct.pack("<H", value)
    path.write_bytes(data)
    return path


def test_encrypted_members_are_left_out(tmp_path):
    path = write_zip(tmp_path / "a.zip", [(name, b"") for name in (*PICTURES, "temple/2.jpg")])
    assert left_out(index_archive(patched(path, b"PK\x01\x02", 8, 1))) == {
        "members that are damaged or encrypted in the archive": 1
    }


def test_a_wrong_checksum_leaves_that_member_out(tmp_path):
    path = write_zip(tmp_path / "a.zip", [(name, b"sound") for name in PICTURES] + [("temple/2.jpg", b"damaged here")])
    path.write_bytes(path.read_bytes().replace(b"damaged here", b"damaged HERE"))
    index = index_archive(path)
    assert left_out(index) == {"members that are damaged or encrypted in the archive": 1}
    assert names(index) == PICTURES


def test_what_a_hostile_archive_could_fill_the_memory_with_is_not_read(tmp_path):
    path = write_zip(tmp_path / "a.zip", [(name, b"") for name in PICTURES])
    with zipfile.ZipFile(path, "a", zipfile.ZIP_BZIP2) as packed:
        packed.writestr("temple/2.jpg", bytes(1 << 20))
    assert left_out(index_archive(path)) == {"members of a zip that are packed by another method than deflate": 1}
    path = write_tar(tmp_path / "a.tar", [(name, b"") for name in (*PICTURES, "x" * (2 << 20))])
    assert "cut off or damaged" in refusal(path)


def test_a_member_that_is_too_large_is_left_out(pack, monkeypatch):
    monkeypatch.setattr(archive, "LARGEST_FILE", 20)
    assert left_out(index_archive(pack("flower/with a long name.jpg"))) == {"members larger than 512 MiB": 1}


@pytest.mark.parametrize("kind", ["zip", "tar.gz"])
def test_a_decompression_bomb_is_refused(tmp_path, cache, monkeypatch, kind):
    monkeypatch.setattr(bounded_files, "_UNPACKED_BASE", 1000)
    bomb = [(name, bytes(1 << 20)) for name in PICTURES]
    if kind == "zip":
        path = write_zip(tmp_path / "a.zip", bomb, compression=zipfile.ZIP_DEFLATED)
    else:
        path = write_tar(tmp_path / "a.tar.gz", bomb, "w:gz")
    assert "a decompression bomb" in refusal(path)
    assert not list((cache / "unpacked").iterdir())


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "which is none of these"),
        (b"neither", "which is none of these"),
        (gzip.compress(b"no tar", mtime=0), "which is none of these"),
        (b"PK\x03\x04" + bytes(100), "or is cut off"),
        (bytes(10240), "which holds no files"),
    ],
)
def test_files_that_are_no_archives_are_refused(tmp_path, data, reason):
    (tmp_path / "a.zip").write_bytes(data)
    assert reason in refusal(tmp_path / "a.zip")


def test_what_can_not_be_opened_is_refused(tmp_path, pack, forbid):
    assert "no such file" in refusal(tmp_path / "gone.zip")
    os.mkfifo(tmp_path / "pipe.zip")
    assert "not a regular file" in refusal(tmp_path / "pipe.zip")
    forbid(path := pack())
    assert "permission denied" in refusal(path)


@pytest.mark.parametrize("mode", ["zip", "w", "w:gz", "w:bz2", "w:xz"])
def test_an_archive_that_is_cut_off_is_refused(tmp_path, mode):
    members = [(name, random.Random(name).randbytes(20_000)) for name in PICTURES]
    path = write_zip(tmp_path / "a", members) if mode == "zip" else write_tar(tmp_path / "a", members, mode)
    path.write_bytes(path.read_bytes()[:50_000])
    assert "cut off" in refusal(path)


def test_a_broken_header_inside_a_tar_is_not_taken_for_its_end(tmp_path):
    path = write_tar(tmp_path / "a.tar", [(name, b"") for name in PICTURES])
    data = bytearray(path.read_bytes())
    data[2 * 512 : 2 * 512 + 8] = b"\xff" * 8
    path.write_bytes(data)
    assert "cut off or damaged" in refusal(path)


def test_a_tar_that_leads_back_to_its_beginning_is_refused(tmp_path):
    info = tarfile.TarInfo("flower/0.jpg")
    info.size = -1024
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    (tmp_path / "a.tar").write_bytes(bytes(block) * 3)
    assert "cut off or damaged" in refusal(tmp_path / "a.tar")


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["zip", "w", "w:gz"])
def test_damage_ends_in_an_index_or_a_refusal(tmp_path, mode):
    root = write_images(tmp_path / "root", {"flower": 3, "temple": 3}, size=(16, 16))
    members = [(path.relative_to(root).as_posix(), path.read_bytes()) for path in sorted(root.glob("*/*"))]
    path = write_zip(tmp_path / "a", members) if mode == "zip" else write_tar(tmp_path / "a", members, mode)
    outcomes = Counter()
    for number, data in enumerate(corruptions(path.read_bytes(), 150)):
        damaged = tmp_path / f"{number}.damaged"
        damaged.write_bytes(data)
        outcomes[type(attempt(index_archive, damaged))] += 1
    assert set(outcomes) == {ImageIndex, ProbeError}
