"""Class folders in a zip or tar archive, read in place."""

import bz2
import functools
import gzip
import io
import lzma
import os
import shutil
import struct
import tarfile
import tempfile
import warnings
import zipfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from corrupt import corruptions
from indexes import attempt, left_out, refusal_of, unreadable
from pictures import write_images
from PIL import Image

from probes.data.sources import bounded_files as spool
from probes.data.sources import zips
from probes.data.sources.archive import index_archive, is_archive
from probes.errors import ProbeError

FORMATS = ("zip", "tar", "gztar", "bztar", "xztar")
TWO = ("cat/1.jpg", "dog/1.jpg")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder "data" with six pictures of each of two classes."""
    return write_images(tmp_path_factory.mktemp("pictures") / "data", {"flower": 6, "temple": 6})


@pytest.fixture(scope="module", params=FORMATS)
def packed(request, pictures, tmp_path_factory):
    """The pictures in an archive of each format, as `zip -r data.zip data` packs them."""
    base = tmp_path_factory.mktemp("packed") / "data"
    return Path(shutil.make_archive(str(base), request.param, root_dir=pictures.parent, base_dir="data"))


def add_zip(path, *members):
    """Make a zip of (name or ZipInfo, bytes)."""
    with zipfile.ZipFile(path, "w") as archive, warnings.catch_warnings():
        warnings.simplefilter("ignore")  # zipfile warns of members of one name
        for name, content in members:
            archive.writestr(name, content)
    return path


def add_tar(path, *members, mode="w"):
    """Make a tar of (name or TarInfo, bytes)."""
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            info = name if isinstance(name, tarfile.TarInfo) else tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


@pytest.fixture(params=[add_zip, add_tar], ids=["zip", "tar"])
def pack(request, tmp_path):
    """Makes a zip or a tar: `pack("cat/1.jpg", "dog/1.jpg")`; each file holds its own name."""
    return lambda *names: request.param(tmp_path / "data.bin", *((name, name.encode()) for name in names))


def refusal(path):
    """The one line with which an archive is refused."""
    return refusal_of(index_archive, path)


# What archives hold


def test_an_archive_of_any_format_is_read_as_its_folder_is(packed, pictures):
    index = index_archive(packed)
    assert (index.kind, index.source) == ("archive", str(packed))
    assert (index.class_names, index.class_counts) == (("flower", "temple"), (6, 6))
    for name in (name for files in index.files for name in files):
        assert index.store.open(name).read() == (pictures / name).read_bytes()


def test_what_is_opened_is_a_picture_to_be_sought_in(packed):
    index = index_archive(packed)
    with index.store.open("flower/0000.jpg") as file, Image.open(file) as image:
        assert image.size == (64, 48)


def test_the_content_and_not_the_suffix_tells_the_format(packed, tmp_path):
    path = shutil.copy(packed, tmp_path / "pictures.dat")
    assert is_archive(path)
    assert index_archive(path).n_images == 12


def test_a_folder_or_a_picture_or_nothing_is_no_archive(pictures, tmp_path):
    plain = tmp_path / "notes.csv.gz"
    plain.write_bytes(gzip.compress(b"path,label\n" * 100))
    for path in (pictures, pictures / "flower" / "0000.jpg", tmp_path / "none.zip", plain):
        assert not is_archive(path)


def test_a_tar_that_ends_with_a_zip_is_a_tar(tmp_path):
    inner = add_zip(tmp_path / "inner.zip", ("a.txt", b"text")).read_bytes()
    path = add_tar(tmp_path / "data.tar", *((name, b"") for name in TWO), ("inner.zip", inner))
    assert index_archive(path).class_names == ("cat", "dog")


def test_splits_in_an_archive_are_splits(pack):
    index = index_archive(pack("train/cat/1.jpg", "train/dog/1.jpg", "val/cat/2.jpg"))
    assert (index.class_names, index.split_sizes()) == (("cat", "dog"), {"train": 2, "validation": 1})


@pytest.mark.parametrize("wrapper", ["data", "./data", "home/me/data", "."])
def test_folders_that_wrap_all_others_count_for_nothing(pack, wrapper):
    index = index_archive(pack(*(f"{wrapper}/{name}" for name in TWO), f"{wrapper}/README.md", "LICENSE"))
    assert (index.class_names, index.files) == (("cat", "dog"), (("cat/1.jpg",), ("dog/1.jpg",)))
    assert index.store.open("cat/1.jpg").read() == f"{wrapper}/cat/1.jpg".encode()


def test_a_folder_that_wraps_splits_counts_for_nothing(pack):
    index = index_archive(pack("data/train/cat/1.jpg", "data/train/dog/1.jpg", "data/docs/a.txt"))
    assert index.class_names == ("cat", "dog")


def test_one_of_several_top_folders_wraps_nothing(pack):
    index = index_archive(pack("cat/front/1.jpg", "cat/back/1.jpg", "dog/1.jpg"))
    assert (index.class_names, index.class_counts) == (("cat", "dog"), (2, 1))


def test_a_single_class_is_refused(pack):
    assert "single class 'cat'" in refusal(pack("cat/1.jpg", "cat/2.jpg"))


def test_a_class_folder_without_pictures_is_noted(tmp_path):
    index = index_archive(add_zip(tmp_path / "data.zip", *((name, b"") for name in (*TWO, "fish/", "notes/a.txt"))))
    assert (index.empty, index.ignored) == (("fish", "notes"), {".txt": 1})


def test_hidden_members_and_what_macos_adds_are_passed_over_in_silence(pack):
    index = index_archive(pack(*TWO, ".git/1.jpg", "cat/._1.jpg", "__MACOSX/cat/._1.jpg", "__MACOSX/cat/1.jpg"))
    assert (index.class_names, index.n_images, index.left_out) == (("cat", "dog"), 2, ())


def test_of_members_of_one_name_the_last_counts(tmp_path):
    members = (("cat/1.jpg", b"old"), ("dog/1.jpg", b""), ("./cat/1.jpg", b"new"))
    for path in (add_zip(tmp_path / "data.zip", *members), add_tar(tmp_path / "data.tar", *members)):
        index = index_archive(path)
        assert index.store.open("cat/1.jpg").read() == b"new"
        assert left_out(index) == {"members replaced by a later one of the same name": 1}


def test_links_are_not_followed(tmp_path):
    links = []
    for name, kind in (("cat/2.jpg", tarfile.SYMTYPE), ("cat/3.jpg", tarfile.LNKTYPE), ("cat/4.jpg", tarfile.FIFOTYPE)):
        links.append(tarfile.TarInfo(name))
        links[-1].type, links[-1].linkname = kind, "/etc/passwd"
    link = zipfile.ZipInfo("cat/2.jpg")
    link.external_attr = 0o120777 << 16
    tar = add_tar(tmp_path / "data.tar", *((name, b"") for name in (*TWO, *links)))
    packed = add_zip(tmp_path / "data.zip", *((name, b"") for name in TWO), (link, b"/etc/passwd"))
    for path, n in ((tar, 3), (packed, 1)):
        index = index_archive(path)
        assert (index.n_images, left_out(index)) == (2, {"links and special files in the archive": n})


# Names


@pytest.mark.parametrize(
    "name", ["../cat/2.jpg", "/cat/2.jpg", "cat/../../2.jpg", "C:/cat/2.jpg", "c:2.jpg", "cat\\..\\..\\2.jpg"]
)
def test_members_whose_path_leaves_the_archive_are_left_out(pack, name):
    index = index_archive(pack(*TWO, name))
    assert (index.n_images, left_out(index)) == (2, {"members whose path leaves the archive": 1})


def test_an_archive_of_absolute_paths_is_refused_with_the_reason(pack):
    assert "members whose path leaves the archive: 2" in refusal(pack("/data/cat/1.jpg", "/data/dog/1.jpg"))


def test_a_name_that_is_no_member_opens_nothing(pack):
    assert unreadable(index_archive(pack(*TWO)), "../cat/1.jpg") == "not in the archive"


def test_backslashes_of_old_windows_tools_part_folders(tmp_path):
    members = [zipfile.ZipInfo("x") for _ in range(3)]
    for info, name in zip(members, ("data\\cat\\1.jpg", "data\\dog\\1.jpg", "..\\..\\cat\\1.jpg"), strict=True):
        info.filename, info.create_system = name, 0
    index = index_archive(add_zip(tmp_path / "data.zip", *((info, info.filename.encode()) for info in members)))
    assert (index.class_names, left_out(index)) == (("cat", "dog"), {"members whose path leaves the archive": 1})
    assert index.store.open("cat/1.jpg").read() == b"data\\cat\\1.jpg"


def recoded(path, old, new):
    """Give the members of a zip names in other bytes of the same length, without saying which encoding they are in."""
    packed = path.read_bytes().replace(old, new)
    for signature, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        for at in [at for at in range(len(packed)) if packed.startswith(signature, at)]:
            packed = packed[: at + flags] + b"\0\0" + packed[at + flags + 2 :]
    path.write_bytes(packed)
    return path


def test_names_in_utf8_are_read_even_where_a_zip_does_not_say_so(tmp_path):
    path = add_zip(tmp_path / "data.zip", ("café/1.jpg", b"1"), ("dog/1.jpg", b""))
    index = index_archive(recoded(path, b"", b""))
    assert index.class_names == ("café", "dog")
    assert index.store.open("café/1.jpg").read() == b"1"


def test_names_in_another_encoding_are_read_in_some_way(tmp_path):
    path = add_zip(tmp_path / "data.zip", ("xx猫/1.jpg", b"1"), ("dog/1.jpg", b""))
    index = index_archive(recoded(path, "xx猫".encode(), "猫xxx".encode("gbk")))
    assert (index.n_images, len(index.class_names)) == (2, 2)
    assert all(index.store.open(name) for files in index.files for name in files)


def test_names_in_a_tar_that_are_no_utf8_are_read_as_from_a_disk(tmp_path):
    index = index_archive(add_tar(tmp_path / "data.tar", (os.fsdecode(b"caf\xe9/1.jpg"), b"1"), ("dog/1.jpg", b"")))
    assert index.class_names == (os.fsdecode(b"caf\xe9"), "dog")


def test_very_long_names_are_read(pack):
    deep = "/".join(["deep"] * 200)
    index = index_archive(pack(f"cat/{deep}/{'long' * 50}.jpg", "dog/1.jpg"))
    assert index.store.open(index.files[0][0]).read().startswith(b"cat/deep")


# What can't be read


def test_files_that_are_no_archives_are_refused(tmp_path):
    noise = tmp_path / "noise.zip"
    noise.write_bytes(os.urandom(2000))
    empty = tmp_path / "empty.tar"
    empty.write_bytes(b"")
    foreign = tmp_path / "data.7z"
    foreign.write_bytes(b"7z\xbc\xaf\x27\x1c" + bytes(100))
    text = tmp_path / "notes.gz"
    text.write_bytes(gzip.compress(b"notes"))
    assert "neither" in refusal(noise)
    assert "an empty file" in refusal(empty)
    assert "7-Zip" in refusal(foreign)
    assert "holds no tar" in refusal(text)
    assert "no such file" in refusal(tmp_path / "none.zip")
    assert "no file" in refusal(tmp_path)
    assert "null" in refusal("data\0.zip")


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.zip")
    assert "no file" in refusal(tmp_path / "pipe.zip")
    assert not is_archive(tmp_path / "pipe.zip")


def test_a_file_without_permission_is_refused(forbid, pack):
    path = pack(*TWO)
    forbid(path)
    assert "Permission denied" in refusal(path)


def test_archives_without_members_are_refused(tmp_path):
    assert "no files" in refusal(add_zip(tmp_path / "data.zip"))
    assert "no files" in refusal(add_tar(tmp_path / "data.tar"))
    assert "no files" in refusal(add_tar(tmp_path / "data.tar.gz", mode="w:gz"))


def test_an_archive_that_is_cut_off_is_refused(packed, tmp_path):
    whole = packed.read_bytes()
    for share in (0.1, 0.4, 0.7):  # a tar ends with zeros that nobody misses
        path = tmp_path / packed.name
        path.write_bytes(whole[: int(share * len(whole))])
        assert "cut off" in refusal(path)


def test_a_broken_header_amid_a_tar_is_not_taken_for_its_end(tmp_path):
    path = add_tar(tmp_path / "data.tar", *((name, b"") for name in (*TWO, "fish/1.jpg")))
    broken = bytearray(path.read_bytes())
    broken[1024] ^= 1
    path.write_bytes(broken)
    assert "cut off or damaged" in refusal(path)


def test_a_tar_that_leads_back_to_its_own_beginning_is_refused(tmp_path):
    path = add_tar(tmp_path / "data.tar", *((name, b"") for name in TWO))
    looped = bytearray(path.read_bytes())
    header = looped[512:1024]
    header[124:136] = (-512).to_bytes(12, "big", signed=True)  # the size, in base 256
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    looped[512:1024] = header
    path.write_bytes(looped)
    assert "cut off or damaged" in refusal(path)


def test_a_tar_with_a_name_of_megabytes_is_refused(tmp_path):
    path = add_tar(tmp_path / "data.tar", (f"cat/{'long' * (1 << 19)}.jpg", b""), ("dog/1.jpg", b""))
    assert "cut off or damaged" in refusal(path)


def test_encrypted_members_are_unreadable(tmp_path):
    path = add_zip(tmp_path / "data.zip", *((name, b"secret") for name in TWO))
    locked = bytearray(path.read_bytes())
    for at in range(len(locked)):
        if locked.startswith(b"PK\x01\x02", at):
            locked[at + 8] |= 1
    path.write_bytes(locked)
    assert unreadable(index_archive(path), "cat/1.jpg") == "encrypted"


def patched(path, signature, offset, value):
    """Write a number into the header of a zip's first member."""
    packed = bytearray(path.read_bytes())
    at = packed.index(signature) + offset
    packed[at : at + len(value)] = value
    path.write_bytes(packed)
    return path


def test_members_packed_by_unknown_methods_are_unreadable(tmp_path):
    path = add_zip(tmp_path / "data.zip", *((name, b"picture") for name in TWO))
    index = index_archive(patched(path, b"PK\x01\x02", 10, struct.pack("<H", 9)))  # Deflate64, as Windows has it
    assert unreadable(index, "cat/1.jpg") == "packed by a method that can't be unpacked here (9)"
    assert index.store.open("dog/1.jpg").read() == b"picture"


@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_wrong_checksum_makes_a_member_unreadable_and_no_other(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "data.zip", "w", method) as archive:
        for name in TWO:
            archive.writestr(name, b"picture" * 100)
    index = index_archive(patched(tmp_path / "data.zip", b"PK\x01\x02", 16, b"\0\0\0\0"))
    assert unreadable(index, "cat/1.jpg") == "damaged in the archive"
    assert index.store.open("dog/1.jpg").read() == b"picture" * 100


# Bombs


@pytest.fixture
def small_limit(monkeypatch):
    """Files of more than 1,000 bytes count as too large."""
    monkeypatch.setattr(spool, "LARGEST_FILE", 1000)
    monkeypatch.setattr(zips, "LARGEST_FILE", 1000)


@pytest.mark.usefixtures("small_limit")
@pytest.mark.parametrize("method", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_member_that_unpacks_to_too_much_is_a_bomb(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "data.zip", "w", method) as archive:
        archive.writestr("cat/1.jpg", bytes(10_000_000))
        archive.writestr("dog/1.jpg", b"picture")
    index = index_archive(tmp_path / "data.zip")
    assert unreadable(index, "cat/1.jpg") == "unpacks to more than 512 MiB, a decompression bomb"
    assert index.store.open("dog/1.jpg").read() == b"picture"


@pytest.mark.usefixtures("small_limit")
@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_a_bomb_that_claims_to_be_small_is_not_believed(tmp_path, method):
    with zipfile.ZipFile(tmp_path / "data.zip", "w", method) as archive:
        archive.writestr("cat/1.jpg", bytes(10_000_000))
        archive.writestr("dog/1.jpg", b"picture")
    path = patched(tmp_path / "data.zip", b"PK\x01\x02", 24, struct.pack("<I", 10))
    reason = unreadable(index_archive(path), "cat/1.jpg")
    assert reason == "damaged in the archive" or "bomb" in reason
    index = index_archive(patched(path, b"PK\x01\x02", 16, struct.pack("<I", zlib.crc32(bytes(10)))))
    if method == zipfile.ZIP_BZIP2:
        assert "bomb" in unreadable(index, "cat/1.jpg")
    else:
        assert index.store.open("cat/1.jpg").read() == bytes(10)


def test_a_member_of_a_tar_that_is_too_large_is_not_read(tmp_path, monkeypatch):
    path = add_tar(tmp_path / "data.tar", ("cat/1.jpg", bytes(2000)), ("dog/1.jpg", b"picture"))
    monkeypatch.setattr("probes.data.sources.tars.LARGEST_FILE", 1000)
    assert unreadable(index_archive(path), "cat/1.jpg") == "larger than 512 MiB"


@pytest.fixture
def bomb(tmp_path, monkeypatch):
    """A packed tar that unpacks to 20 MB of zeros, by the function that packs; anything may unpack to 1 MB."""
    monkeypatch.setattr(spool, "_UNPACKED_BASE", 1 << 20)

    def bomb(compress):
        plain = io.BytesIO()
        with tarfile.open(fileobj=plain, mode="w") as archive:
            info = tarfile.TarInfo("cat/1.jpg")
            info.size = 20 << 20
            archive.addfile(info, io.BytesIO(bytes(info.size)))
        path = tmp_path / "bomb"
        path.write_bytes(compress(plain.getvalue()))
        return path

    return bomb


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress])
def test_a_packed_tar_that_unpacks_to_too_much_is_refused(bomb, compress):
    assert "a decompression bomb" in refusal(bomb(compress))


@pytest.mark.parametrize("kind", ["gztar", "bztar", "xztar"])
def test_a_full_disk_is_told(pictures, tmp_path, monkeypatch, kind):
    path = shutil.make_archive(str(tmp_path / "data"), kind, root_dir=pictures)
    monkeypatch.setattr(spool, "_SPARE_DISK", 1 << 60)
    assert "Expected room to unpack" in refusal(path)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a disk that is always full")
def test_a_disk_that_is_full_before_its_time_is_told(pictures, tmp_path, monkeypatch):
    path = shutil.make_archive(str(tmp_path / "data"), "gztar", root_dir=pictures)
    monkeypatch.setattr(tempfile, "TemporaryFile", functools.partial(Path("/dev/full").open, "r+b", buffering=0))
    assert "no space left on device" in refusal(path)


def test_a_missing_folder_for_temporary_files_is_told(pictures, tmp_path, monkeypatch):
    path = shutil.make_archive(str(tmp_path / "data"), "gztar", root_dir=pictures)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "none"))
    assert "Expected a place for a temporary file" in refusal(path)


# Use


def test_nothing_is_left_on_the_disk(packed, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    index = index_archive(packed)
    assert index.store.open("flower/0000.jpg").read()
    assert list(tmp_path.iterdir()) == []


def test_the_archive_is_closed_with_its_index(packed):
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("needs Linux")
    before = len(list(descriptors.iterdir()))
    index = index_archive(packed)
    assert len(list(descriptors.iterdir())) > before
    del index
    assert len(list(descriptors.iterdir())) == before


def test_threads_read_at_once(packed, pictures):
    index = index_archive(packed)
    names = [name for files in index.files for name in files] * 30
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda name: index.store.open(name).read(), names))
    assert found == [(pictures / name).read_bytes() for name in names]


def test_damage_ends_in_an_index_or_a_refusal_and_never_in_anything_else(packed, tmp_path):
    path = tmp_path / packed.name
    outcomes = []
    for bad in corruptions(packed.read_bytes(), 60):
        path.write_bytes(bad)
        index = attempt(index_archive, path)
        outcomes.append(index)
        if not isinstance(index, ProbeError):
            outcomes += [attempt(index.store.open, name) for files in index.files for name in files]
    refused = [str(outcome) for outcome in outcomes if isinstance(outcome, ProbeError)]
    assert 10 < len(refused) <= 60
    assert not any("\n" in message for message in refused)
