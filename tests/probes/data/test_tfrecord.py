"""What is special about TFRecord files: features, shards, splits and damage."""

import gzip
import struct

import fsspec
import numpy as np
import pytest
from corrupt import corruptions
from data_forms import write_shard
from indexes import attempt, left_out, refusal_of, unreadable

from probes.data.image_index import ImageIndex
from probes.data.sources import tfrecord
from probes.data.sources.folder import is_shard
from probes.data.sources.open import open_source
from probes.data.sources.source import Options
from probes.errors import ProbeError


def index_records(path):
    return tfrecord.index(str(path), Options())


def labelled(label, image=b"picture", **features):
    return {"image/encoded": image, "image/class/label": label, **features}


@pytest.fixture
def write(tmp_path):
    def write(*records, name="train.tfrecord", compression=""):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        return write_shard(tmp_path / name, records, compression)

    return write


def refusal(path):
    return refusal_of(index_records, path)


@pytest.mark.parametrize("image", ["image/encoded", "image", "image_raw", "image/raw", "encoded"])
@pytest.mark.parametrize("label", ["image/class/label", "label", "class", "image/class", "image/label"])
def test_features_have_the_names_that_people_give_them(write, image, label):
    index = index_records(write({image: b"a", label: 0}, {image: b"b", label: 1}))
    assert index.files == (("train.tfrecord#0",), ("train.tfrecord#1",))
    assert index.store.open("train.tfrecord#1").read() == b"b"


def test_numbers_are_ordered_by_value_and_words_by_letters(write):
    index = index_records(write(labelled(10), labelled(9), labelled(-1)))
    assert (index.class_names, index.numbers) == (("-1", "9", "10"), (-1, 9, 10))
    assert index_records(write(labelled("b"), labelled("a"))).class_names == ("a", "b")
    assert index_records(write(labelled(2.0), labelled(1.0))).class_names == ("1", "2")


@pytest.mark.parametrize(
    ("texts", "names"), [("ant bee ant", ("ant", "bee")), ("ant ant ant", ("0", "1")), ("ant bee cat", ("0", "1"))]
)
def test_texts_name_the_classes_where_each_has_a_name_of_its_own(write, texts, names):
    records = [labelled(number % 2, **{"image/class/text": text}) for number, text in enumerate(texts.split())]
    assert index_records(write(*records)).class_names == names


def test_plain_pixels_with_their_shape_are_pixels(write):
    pixels = np.arange(24, dtype=np.uint8).reshape(2, 4, 3)
    shape = {"height": 2, "width": 4, "depth": 3}
    index = index_records(write(labelled(0, pixels.tobytes(), **shape), labelled(1, b"", **shape)))
    assert np.array_equal(index.store.open("train.tfrecord#0"), pixels)
    assert index.store.open("train.tfrecord#1").read() == b""


def test_records_that_can_not_be_used_are_counted_by_reason(write):
    bad = [{"image/encoded": b"x"}, {"image/class/label": 1}, labelled(0.5), b"\xff\xff\xff"]
    assert left_out(index_records(write(labelled(0), labelled(1), *bad))) == {
        "records without a label": 1,
        "records without a picture": 1,
        "records whose label is no whole number": 1,
        "records that are no tf.train.Example": 1,
    }


def test_several_labels_an_image_are_refused(write):
    assert "2 values in 'image/class/label'" in refusal(write(labelled(0), labelled([0, 1])))


def test_missing_features_are_refused_with_those_that_are_there(write):
    assert "'image', 'size'" in refusal(write({"image": b"x", "size": 3}))
    assert "an encoded picture" in refusal(write({"image": [1, 2], "label": 1}))


def test_names_of_shards_are_recognised():
    for name in ("a.tfrecord", "A.TFREC", "a.tfrecords.gz", "train-00000-of-00010", "a.tfrecord-00000-of-00010"):
        assert is_shard(name)
    for name in ("a.jpg", "tfrecord", "train-1-of-2", "a.tfrecord.txt"):
        assert not is_shard(name)


@pytest.mark.parametrize(
    ("names", "sizes"),
    [
        (("train.tfrecord", "val.tfrecord", "test.tfrecord"), {"train": 2, "validation": 2, "test": 2}),
        (("train/a.tfrecord", "dev/a.tfrecord"), {"train": 2, "validation": 2}),
        (("train_validation.tfrecord", "valid_test_train.tfrecord"), {"train": 2, "validation": 2}),
        (("test-a.tfrecord", "test-b.tfrecord"), {"train": 4}),
        (("a.tfrecord", "b.tfrecord"), {"train": 4}),
    ],
)
def test_names_of_files_and_folders_say_the_split(write, tmp_path, names, sizes):
    for name in names:
        write(labelled(0), labelled(1), name=name)
    assert open_source(tmp_path).split_sizes() == sizes
    assert open_source(tmp_path / "**" / "*.tfrecord").split_sizes() == sizes


def test_a_file_whose_name_is_a_pattern_is_a_file(write):
    assert index_records(write(labelled(0), labelled(1), name="train[1].tfrecord")).n_images == 2


def test_images_in_a_folder_come_before_shards(write, tmp_path, two_classes):
    write(labelled(0), labelled(1))
    assert open_source(tmp_path).kind == "tfrecord"
    (tmp_path / "classes").symlink_to(two_classes)
    with pytest.raises(ProbeError, match="single class 'classes'"):
        open_source(tmp_path)


def test_before_tensorflow_is_imported_the_caller_is_notified(write, two_classes):
    calls = []
    open_source(write(labelled(0), labelled(1)), importing=lambda: calls.append(1))
    open_source(two_classes, importing=lambda: calls.append(2))
    assert calls == [1]


def test_shards_that_a_set_lacks_are_counted(write, tmp_path):
    for number in (0, 2):
        write(labelled(0), labelled(1), name=f"train-{number:05}-of-00004")
    assert left_out(index_records(tmp_path)) == {"shards missing from their set": 2}


def test_what_holds_no_shards_is_refused(tmp_path, forbid, write):
    assert "holds or matches no such file" in refusal(tmp_path)
    assert "matches no such file" in refusal(tmp_path / "*.tfrecord")
    assert "matches no such file" in refusal(tmp_path / "gone.tfrecord")
    assert "holds none" in refusal(write())
    forbid(path := write(labelled(0)))
    assert "permission denied" in refusal(path)


def test_a_remote_pattern_names_shards(write, tmp_path):
    for name in ("a-train.tfrecord", "a-val.tfrecord", "b-train.tfrecord"):
        write(labelled(0), labelled(1), name=name)
    fsspec.filesystem("memory").put(f"{tmp_path}/", "/pattern/", recursive=True)
    assert open_source("memory://pattern/a-*.tfrecord").split_sizes() == {"train": 2, "validation": 2}


def four(write, **options):
    return write(*(labelled(number % 2, bytes([number])) for number in range(4)), **options)


@pytest.mark.parametrize(("place", "kept"), [(0, 0), (8, 0), (-10, 3), (100, 1)])
def test_what_comes_before_a_damaged_record_is_kept(write, place, kept):
    path = write(labelled(0), *[labelled(number % 2, bytes([number])) for number in range(3)])
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)
    if kept < 2:
        assert "left out: shards" in refusal(path) or kept
    else:
        assert left_out(index_records(path)) == {"shards with records after a broken one": 1}
        assert index_records(path).n_images == kept


@pytest.mark.parametrize("removed", [1, 5, 17])
def test_a_shard_that_is_cut_off_is_kept_up_to_there(write, removed):
    path = four(write)
    path.write_bytes(path.read_bytes()[:-removed])
    index = index_records(path)
    assert index.n_images == 3
    assert left_out(index) == {"shards with records after a broken one": 1}


def test_a_length_that_is_larger_than_the_file_is_not_believed(write):
    path = four(write)
    header = struct.pack("<Q", 1 << 40)
    write_shard(path.with_name("one"), [header])
    crc = path.with_name("one").read_bytes()[12 + 8 :]  # the checksum of these eight bytes
    path.write_bytes(path.read_bytes() + header + crc + b"x" * 100)
    assert index_records(path).n_images == 4


def test_files_that_are_something_else_are_counted(write, tmp_path):
    four(write)
    (tmp_path / "other.tfrecord").write_bytes(b"something else altogether")
    assert left_out(index_records(tmp_path)) == {"shards that are no TFRecord files": 1}


def test_a_packed_shard_that_is_cut_off_is_kept_up_to_there(write):
    path = four(write, compression="GZIP")
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 0)[:-30])
    index = index_records(path)
    assert index.n_images == 3
    assert left_out(index) == {"shards with records after a broken one": 1}


def test_a_record_that_has_changed_since_is_unreadable(write):
    path = four(write)
    index = index_records(path)
    path.write_bytes(b"\xff" * path.stat().st_size)
    assert unreadable(index, "train.tfrecord#0") == "records that are no tf.train.Example"
    path.unlink()
    with pytest.raises(OSError, match="No such file"):
        index.store.open("train.tfrecord#0")


@pytest.mark.slow
@pytest.mark.parametrize("compression", ["", "GZIP"])
def test_damage_ends_in_an_index_or_a_refusal(write, compression):
    path = four(write, compression=compression)
    outcomes = set()
    for data in corruptions(path.read_bytes(), 100):
        path.write_bytes(data)
        outcomes.add(type(attempt(index_records, path)))
    assert outcomes == {ImageIndex, ProbeError}
