"""TFRecord files of labelled pictures."""

import gzip
import os
import struct
import tempfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
from corrupt import corruptions
from indexes import attempt, left_out, refusal_of, unreadable
from pictures import write_images
from PIL import Image

from probes.data.sources import tfrecord
from probes.data.sources.layout import is_shard
from probes.data.sources.open import open_source
from probes.data.sources.records import index_records
from probes.data.sources.tfrecord import crc32c
from probes.errors import ProbeError
from probes.images.decode import UnreadableImage


def feature(*values):
    """A feature of bytes, words, whole numbers or floating-point ones."""
    if values and isinstance(values[0], float):
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))
    if values and isinstance(values[0], int):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    plain = [value.encode() if isinstance(value, str) else value for value in values]
    return tf.train.Feature(bytes_list=tf.train.BytesList(value=plain))


def example(features):
    """A serialized tf.train.Example of name -> value or tuple of values."""
    told = {name: feature(*(value if isinstance(value, tuple) else (value,))) for name, value in features.items()}
    return tf.train.Example(features=tf.train.Features(feature=told)).SerializeToString()


def labelled(label, image=b"picture", **features):
    return {"image/encoded": image, "image/class/label": label, **features}


@pytest.fixture
def write(tmp_path):
    """Writes a shard below a folder: `write("train.tfrecord", labelled(1), labelled(2))`; of feature dictionaries."""

    def write(name, *features, compression=""):
        path = tmp_path / "data" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with tf.io.TFRecordWriter(str(path), tf.io.TFRecordOptions(compression)) as writer:
            for one in features:
                writer.write(example(one) if isinstance(one, dict) else one)
        return path

    return write


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Six pictures of each of two classes."""
    return write_images(tmp_path_factory.mktemp("pictures") / "data", {"flower": 6, "temple": 6})


@pytest.fixture(scope="module", params=["", "GZIP"], ids=["plain", "gzip"])
def shard(request, pictures, tmp_path_factory):
    """The pictures in one shard, classes in turn, labels 1 and 2, with the names of their classes."""
    path = tmp_path_factory.mktemp("records") / "pictures.tfrecord"
    with tf.io.TFRecordWriter(str(path), tf.io.TFRecordOptions(request.param)) as writer:
        for number in range(6):
            for label, name in enumerate(("flower", "temple"), start=1):
                picture = (pictures / name / f"{number:04}.jpg").read_bytes()
                writer.write(example(labelled(label, picture) | {"image/class/text": name}))
    return path


def refusal(paths):
    """The one line with which records are refused."""
    return refusal_of(index_records, paths)


# What records hold


def test_records_are_read_as_the_pictures_that_they_hold(shard, pictures):
    index = index_records(shard)
    assert (index.kind, index.source) == ("tfrecord", str(shard))
    assert (index.class_names, index.class_counts, index.left_out) == (("flower", "temple"), (6, 6), ())
    assert index.files[1][0] == "pictures.tfrecord#1"
    for name, files in zip(index.class_names, index.files, strict=True):
        found = {index.store.open(file).read() for file in files}
        assert found == {path.read_bytes() for path in (pictures / name).iterdir()}


def test_what_is_opened_is_a_picture_to_be_sought_in(shard):
    with index_records(shard).store.open("pictures.tfrecord#0") as file, Image.open(file) as image:
        assert image.size == (64, 48)


@pytest.mark.parametrize("image", ["image/encoded", "image", "image_raw"])
@pytest.mark.parametrize("label", ["image/class/label", "label", "class"])
def test_features_go_by_the_names_that_people_give_them(write, image, label):
    index = index_records(write("data.tfrecord", *({image: b"picture", label: n, "width": 3} for n in (0, 1, 1))))
    assert (index.class_names, index.class_counts) == (("0", "1"), (1, 2))
    assert index.store.open("data.tfrecord#0").read() == b"picture"


def test_numbers_are_sorted_by_value_and_words_by_letters(write):
    assert index_records(write("a.tfrecord", *map(labelled, (10, 9, -1)))).class_names == ("-1", "9", "10")
    assert index_records(write("b.tfrecord", *map(labelled, ("dog", "café", "ant")))).class_names == (
        "ant",
        "café",
        "dog",
    )
    assert index_records(write("c.tfrecord", *map(labelled, (2.0, 1.0)))).class_names == ("1", "2")


def test_the_name_of_a_class_alone_is_a_label(write):
    shard = write("data.tfrecord", *({"image/encoded": b"", "image/class/text": text} for text in ("dog", "cat")))
    assert index_records(shard).class_names == ("cat", "dog")


@pytest.mark.parametrize("texts", [("cat", "dog", "bird"), ("cat", "", "cat"), ("cat", "cat", "cat")])
def test_names_that_are_missing_or_disagree_name_no_classes(write, texts):
    told = zip((1, 2, 1), texts, strict=True)
    shard = write("data.tfrecord", *(labelled(label) | {"image/class/text": text} for label, text in told))
    assert index_records(shard).class_names == ("1", "2")


def test_plain_pixels_with_their_shape_are_pixels(write):
    pixels = np.arange(4 * 5 * 3, dtype=np.uint8).reshape(4, 5, 3)
    shape = {"height": 4, "width": 5, "depth": 3}
    features = ({"image_raw": pixels.tobytes(), "label": label, **shape} for label in (0, 1))
    opened = index_records(write("data.tfrecord", *features)).store.open("data.tfrecord#1")
    np.testing.assert_array_equal(opened, pixels)


def test_an_empty_picture_is_listed_and_opened_as_nothing(write):
    index = index_records(write("data.tfrecord", labelled(1), labelled(2, b"")))
    assert index.store.open("data.tfrecord#1").read() == b""


def test_records_without_a_label_or_a_picture_are_counted(write):
    good, unlabelled = (labelled(1), labelled(2)), {"image/encoded": b"picture", "image/class/label": ()}
    without = {"image/class/label": 1}
    index = index_records(write("data.tfrecord", *good, unlabelled, without, b"\xff no example", labelled(1)))
    assert index.files == (("data.tfrecord#0", "data.tfrecord#5"), ("data.tfrecord#1",))
    assert left_out(index) == {
        "records without a label": 1,
        "records without a picture": 1,
        "records that are no tf.train.Example": 1,
    }


def test_several_labels_an_image_are_refused(write):
    message = refusal(write("data.tfrecord", labelled(1), labelled((0, 1))))
    assert "2 values in 'image/class/label'" in message
    assert "Multi-label" in message


def test_missing_features_are_refused_with_those_that_are_there(write):
    message = refusal(write("data.tfrecord", {"x": b"", "y": 1, "z": 0.5, "label": 1}))
    assert "'label' (integers), 'x' (bytes), 'y' (integers), 'z' (floats)" in message
    assert "Expected a label" in refusal(write("data.tfrecord", {"image": b""}))
    assert "no features" in refusal(write("data.tfrecord", b""))
    assert "and 88 more" in refusal(write("data.tfrecord", {f"feature{n}": n for n in range(100)}))


def test_pictures_as_numbers_are_no_encoded_pictures(write):
    assert "'image' (floats)" in refusal(write("data.tfrecord", {"image": (0.5, 0.5), "label": 1}))


# Shards


def test_names_of_shards_are_known():
    known = (
        "a.tfrecord",
        "a.tfrecords",
        "a.tfrec",
        "a.tfrecord-00000-of-00010",
        "train-00000-of-01024",
        "a.tfrecord.gz",
        "A.TFRecord",
    )
    assert all(map(is_shard, known))
    assert not any(map(is_shard, ("a.jpg", "train-0000.txt", "tfrecord", "train-00000-of-01024.json")))


@pytest.fixture
def shards(write):
    """A folder of shards in two splits, and files beside them."""
    for split, n in (("train", 2), ("validation", 1)):
        for number in range(n):
            write(f"flowers-{split}.tfrecord-{number:05}-of-{n:05}", labelled(1), labelled(2))
    folder = write("flowers-test-00000-of-00001", labelled(1)).parent
    (folder / "dataset_info.json").write_text("{}")
    write(".hidden.tfrecord", labelled(3))
    return folder


def test_a_folder_of_shards_holds_the_splits_that_their_names_tell(shards):
    index = index_records(shards)
    assert index.split_sizes() == {"train": 4, "validation": 2, "test": 1}
    assert index.test[0] == ("flowers-test-00000-of-00001#0",)
    assert index.store.open("flowers-train.tfrecord-00001-of-00002#1").read() == b"picture"


def test_a_pattern_names_shards(shards):
    assert index_records(f"{shards}/*train*").n_images == 4
    assert (
        index_records([f"{shards}/*train*", f"{shards}/*train*", shards / "flowers-test-00000-of-00001"]).n_images == 4
    )
    assert "matches no file" in refusal(f"{shards}/*none*")


def test_a_file_whose_name_looks_like_a_pattern_is_a_file(write):
    assert index_records(write("[a]*.tfrecord", labelled(1), labelled(2))).n_images == 2


def test_folders_tell_the_split_where_files_do_not(write):
    write("train/0.tfrecord", labelled(1), labelled(2))
    folder = write("val/0.tfrecord", labelled(2, b"held out")).parent.parent
    index = index_records(folder)
    assert index.split_sizes() == {"train": 2, "validation": 1}
    assert index.store.open("val/0.tfrecord#0").read() == b"held out"


def test_the_last_word_of_a_name_tells_the_split(write):
    write("test_of_flowers-train.tfrecord", labelled(1), labelled(2))
    folder = write("test_of_flowers-val.tfrecord", labelled(1)).parent
    assert index_records(folder).split_sizes() == {"train": 2, "validation": 1}


def test_shards_of_a_single_split_are_for_training(shards):
    index = index_records(f"{shards}/*validation*")
    assert index.split_sizes() == {"train": 2}
    assert index.files[0] == ("flowers-validation.tfrecord-00000-of-00001#0",)


def test_shards_in_linked_folders_are_found(write, tmp_path):
    shard = write("elsewhere/a.tfrecord", labelled(1), labelled(2))
    (tmp_path / "linked").mkdir()
    (tmp_path / "linked" / "link").symlink_to(shard.parent, target_is_directory=True)
    assert index_records(tmp_path / "linked").n_images == 2


def test_a_folder_is_one_of_shards_where_no_image_lies_in_a_folder_of_it(write):
    for name in ("train/0.tfrec", "val/0.tfrec"):
        root = write(name, labelled(1), labelled(2)).parent.parent
    (root / "figure.png").touch()
    index = open_source(root)
    assert (index.kind, index.split_sizes()) == ("tfrecord", {"train": 2, "validation": 2})


def test_a_stray_shard_hides_no_images(pictures, write):
    root = write("data/cache.tfrecord", labelled(1), labelled(2)).parent
    for name in ("flower", "temple"):
        (root / name).symlink_to(pictures / name, target_is_directory=True)
    index = open_source(root)
    assert (index.kind, index.class_names, index.ignored) == ("folder", ("flower", "temple"), {".tfrecord": 1})


def test_before_tensorflow_is_imported_for_a_path_the_caller_is_told_once(pictures, write):
    told = []
    open_source(pictures, importing=lambda: told.append("folder"))
    assert told == []
    open_source(write("a.tfrec", labelled(1), labelled(2)), importing=lambda: told.append("shard"))
    assert told == ["shard"]
    with pytest.raises(ProbeError):
        open_source("ram://nowhere", importing=lambda: told.append("URL"))
    assert told == ["shard", "URL"]


def test_shards_that_a_set_lacks_are_counted(write):
    write("train-00001-of-00004", labelled(1), labelled(2))
    index = index_records(write("train-00003-of-00004", labelled(1)).parent)
    (missing,) = index.left_out
    assert (missing.n, missing.examples) == (2, ("train-00000-of-00004", "train-00002-of-00004"))


def test_shards_that_are_something_else_are_counted(write):
    folder = write("a.tfrecord", labelled(1), labelled(2)).parent
    (folder / "b.tfrecord").write_bytes(b"something else, long enough")
    write("c.tfrecord")
    assert left_out(index_records(folder)) == {"shards that are no TFRecord files": 1}


def test_what_holds_no_shards_is_refused(tmp_path, pictures):
    assert "holds none" in refusal(pictures)
    assert "no such file" in refusal(tmp_path / "none.tfrecord")
    assert "no TFRecord files" in refusal(pictures / "flower" / "0000.jpg")
    assert "no such file" in refusal("data\0")
    os.mkfifo(tmp_path / "pipe.tfrecord")
    assert "which is no file" in refusal(tmp_path / "pipe.tfrecord")


def test_shards_without_records_are_refused(write):
    assert "holds none" in refusal(write("data.tfrecord"))


def test_shards_can_be_remote(shards):
    folder = "ram://records"
    tf.io.gfile.makedirs(folder)
    for path in shards.iterdir():
        tf.io.gfile.copy(str(path), f"{folder}/{path.name}", overwrite=True)
    index = index_records(folder)
    assert index.split_sizes() == {"train": 4, "validation": 2, "test": 1}
    assert index.store.open("flowers-train.tfrecord-00001-of-00002#1").read() == b"picture"
    assert open_source(folder).split_sizes() == index.split_sizes()
    assert index_records(f"{folder}/*train*").n_images == 4
    assert "no such" in refusal("ram://none/a.tfrecord").lower()
    assert "matches no file" in refusal("ram://records/*none*")
    assert "not implemented" in refusal("nowhere://a.tfrecord")


# Damage


def flip(path, at):
    changed = bytearray(path.read_bytes())
    changed[at] ^= 1
    path.write_bytes(changed)


def cut(path, size):
    path.write_bytes(path.read_bytes()[:size])


@pytest.fixture
def four(write):
    """A shard of four records, and where each of them begins."""
    path = write("data.tfrecord", *map(labelled, (1, 2, 1, 2)))
    return path, [number * path.stat().st_size // 4 for number in range(4)]


def test_what_comes_before_a_broken_record_is_kept(four):
    path, starts = four
    flip(path, starts[2])
    index = index_records(path)
    assert index.class_counts == (1, 1)
    (found,) = index.left_out
    assert found.reason == "shards with records after a broken one"
    assert found.examples == ("data.tfrecord after 2 records",)


@pytest.mark.parametrize("more", [1, 11, 12, 20, -1])
def test_a_shard_that_is_cut_off_is_kept_up_to_there(four, more):
    path, starts = four
    cut(path, starts[3] + more if more > 0 else path.stat().st_size + more)
    index = index_records(path)
    assert (index.class_counts, left_out(index)) == ((2, 1), {"shards with records after a broken one": 1})


def test_a_shard_of_which_nothing_is_left_is_refused_with_the_reason(four):
    path, _ = four
    cut(path, 30)
    assert "shards with records after a broken one" in refusal(path)


def test_a_record_that_is_damaged_within_is_unreadable(four):
    path, starts = four
    flip(path, path.read_bytes().index(b"picture", starts[2]))
    index = index_records(path)
    assert index.n_images == 4
    assert unreadable(index, "data.tfrecord#2") == "damaged in the record: its checksum does not match"
    assert index.store.open("data.tfrecord#3").read() == b"picture"


def test_a_damaged_label_makes_no_class(write):
    path = write("data.tfrecord", *map(labelled, (1, 2, 1, 2)))
    packed = path.read_bytes()
    whole = example(labelled(1))
    changed = example(labelled(77))
    path.write_bytes(packed[: packed.rindex(whole)] + changed + packed[packed.rindex(whole) + len(whole) :])
    index = index_records(path)
    assert (index.class_names, left_out(index)) == (("1", "2"), {"records whose checksum does not match": 1})


def test_a_record_that_claims_to_be_huge_is_not_read(write):
    path = write("data.tfrecord", labelled(1), labelled(2))
    length = struct.pack("<Q", 1 << 60)
    crc = crc32c(length)
    with path.open("ab") as file:
        file.write(length + struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF))
    index = index_records(path)
    assert (index.n_images, left_out(index)) == (2, {"shards with records after a broken one": 1})


def test_a_record_that_is_too_large_is_passed_over(write, monkeypatch):
    path = write("data.tfrecord", labelled(1), labelled(1, bytes(5000)), labelled(2))
    monkeypatch.setattr(tfrecord, "LARGEST_FILE", 1000)
    index = index_records(path)
    assert index.files == (("data.tfrecord#0",), ("data.tfrecord#2",))
    assert left_out(index) == {"records larger than 512 MiB": 1}


def test_a_packed_shard_is_known_by_its_content_and_not_by_its_first_bytes(write):
    long = labelled(1, bytes(0x18B1F - len(example(labelled(1, bytes(0x18000)))) + 0x18000))
    path = write("data.tfrecord", long, labelled(2))
    assert path.read_bytes().startswith(b"\x1f\x8b")
    assert index_records(path).n_images == 2


def test_a_packed_shard_that_is_cut_off_is_kept_up_to_there(write):
    noise = np.random.default_rng(0)
    path = write("data.tfrecord", *(labelled(n % 2, noise.bytes(9000)) for n in range(9)), compression="GZIP")
    cut(path, path.stat().st_size // 2)
    index = index_records(path)
    assert 3 <= index.n_images <= 4
    assert left_out(index) == {"shards with records after a broken one": 1}
    assert len(index.store.open("data.tfrecord#2").read()) == 9000


def test_a_packed_shard_without_its_end_is_told(write):
    path = write("data.tfrecord", labelled(1), labelled(2), compression="GZIP")
    cut(path, path.stat().st_size - 8)  # gzip's own checksum
    index = index_records(path)
    assert (index.n_images, left_out(index)) == (2, {"shards with records after a broken one": 1})


def test_a_broken_packed_shard_harms_no_other(write):
    broken = write("0.tfrecord", labelled(1, b"first"), labelled(1), labelled(1))
    flip(broken, broken.stat().st_size // 3)
    broken.write_bytes(gzip.compress(broken.read_bytes()))
    index = index_records(write("1.tfrecord", labelled(2, b"second"), compression="GZIP").parent)
    assert index.files == (("0.tfrecord#0",), ("1.tfrecord#0",))
    assert index.store.open("0.tfrecord#0").read() == b"first"
    assert index.store.open("1.tfrecord#0").read() == b"second"


def test_packed_shards_leave_nothing_behind(write, tmp_path, monkeypatch):
    for number in range(3):
        folder = write(f"{number}.tfrecord", labelled(1, b"%d" % number), labelled(2), compression="GZIP").parent
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    index = index_records(folder)
    assert [index.store.open(f"{number}.tfrecord#0").read() for number in range(3)] == [b"0", b"1", b"2"]
    assert list((tmp_path / "temporary").iterdir()) == []


def test_records_that_are_none_open_nothing(shard):
    index = index_records(shard)
    for name in ("pictures.tfrecord#12", "pictures.tfrecord#-1", "pictures.tfrecord", "other.tfrecord#0"):
        assert unreadable(index, name) == "no such record"


def test_a_shard_that_has_gone_opens_nothing(write):
    path = write("data.tfrecord", labelled(1), labelled(2))
    index = index_records(path)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        index.store.open("data.tfrecord#0")


def test_a_shard_that_can_not_be_read_is_refused(write, forbid):
    path = write("data.tfrecord", labelled(1), labelled(2))
    forbid(path)
    assert "permission denied" in refusal(path)


def test_threads_read_at_once(shard):
    index = index_records(shard)
    names = [name for files in index.files for name in files] * 30
    alone = {name: index.store.open(name).read() for name in names}
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda name: index.store.open(name).read(), names))
    assert found == [alone[name] for name in names]


def test_damage_ends_in_an_index_or_a_refusal_and_never_in_anything_else(shard, tmp_path):
    path = tmp_path / "data.tfrecord"
    outcomes = []
    for bad in corruptions(shard.read_bytes(), 60):
        path.write_bytes(bad)
        index = attempt(index_records, path)
        outcomes.append(index)
        if not isinstance(index, ProbeError):
            outcomes += [attempt(index.store.open, name) for files in index.files for name in files]
    refused = [str(outcome) for outcome in outcomes if isinstance(outcome, ProbeError)]
    assert 5 < len(refused) < 60
    assert not any("\n" in message for message in refused)
    assert any(isinstance(outcome, UnreadableImage) for outcome in outcomes)


@pytest.mark.parametrize("size", [0, 1, 8, 63, 64, 1023, 1024, 1025, 5000, 3_000_000])
def test_checksums_are_those_that_tensorflow_writes(tmp_path, size):
    data = np.random.default_rng(size).bytes(size)
    with tf.io.TFRecordWriter(str(tmp_path / "a")) as writer:
        writer.write(data)
    with (tmp_path / "a").open("rb") as file:
        (record,) = tfrecord.read_records(file, 0, size + 16)
    assert record.data == data
    assert tfrecord.is_whole(data, record.checksum)


def test_the_checksum_of_the_standard_is_met():
    assert crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C


def test_no_more_than_names_labels_and_places_is_kept(write):
    index = index_records(write("data.tfrecord", *(labelled(n % 2, bytes(10_000)) for n in range(20))))
    (kept,) = index.store.shards.values()
    assert (len(kept.offsets), len(kept.sizes)) == (20, 20)
    assert kept.offsets.itemsize + kept.sizes.itemsize == 16
