"""What is special about Parquet files with images: columns, class names, row groups, and damage."""

import pickle
import sys
from collections import Counter

import pytest
from corrupt import corruptions
from data_forms import write_pictures
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from indexes import attempt, left_out, refusal_of, unreadable
from pictures import write_images

from probes.data.image_index import ImageIndex
from probes.data.sampling import draw_splits
from probes.data.sources import parquet_images
from probes.data.sources.open import open_source
from probes.data.sources.source import Options
from probes.errors import ProbeError
from probes.images.inspect_all import inspect_everything
from probes.images.prepare import Skipped, median_short_side, readable

pa = pytest.importorskip("pyarrow")
pq = pytest.importorskip("pyarrow.parquet")


def index_pictures(path, **options):
    return parquet_images.index(str(path), Options(**options))


def refusal(path):
    return refusal_of(index_pictures, path)


@pytest.fixture
def write(tmp_path):
    """Writes a file of columns."""

    def write(name="train.parquet", **columns):
        pq.write_table(pa.table(columns), tmp_path / name)
        return tmp_path / name

    return write


@pytest.mark.parametrize("image", ["image", "img", "Image", "thing"])
@pytest.mark.parametrize("label", ["label", "Labels", "class", "category"])
def test_columns_have_the_names_that_people_give_them(write, image, label):
    index = open_source(write(**{"id": [7, 8], image: [b"a", b"b"], label: ["ant", "bee"]}))
    assert (index.kind, index.class_names) == ("parquet", ("ant", "bee"))
    assert index.files == (("train.parquet#0000000",), ("train.parquet#0000001",))
    assert index.store.open("train.parquet#0000001").read() == b"b"


ANY_TYPE = (
    pa.array(["a", "b"]).dictionary_encode(),
    pa.array(["a", "b"], pa.large_string()),
    pa.array([3, 4], pa.uint8()),
    pa.array([1.0, 2.0]),
    pa.array([True, False]),
)


@pytest.mark.parametrize("labels", ANY_TYPE, ids=lambda labels: str(labels.type))
def test_labels_are_numbers_or_words_of_any_type(write, labels):
    assert index_pictures(write(image=[b"a", b"b"], label=labels)).class_counts == (1, 1)


def test_the_user_may_name_the_columns(write):
    path = write(image=[b"a", b"b"], mask=[b"c", b"d"], coarse=[0, 0], fine=[1, 2])
    index = open_source(path, columns={"label": "fine", "image": "mask"})
    assert index.class_names == ("1", "2")
    assert index.store.open("train.parquet#0000000").read() == b"c"
    assert "Name it with `--column label=NAME`" in refusal(path)
    for columns in ({"label": "none"}, {"image": "fine", "label": "fine"}):
        with pytest.raises(ProbeError, match="with the columns 'image', 'mask', 'coarse', 'fine'"):
            index_pictures(path, columns=columns)
    with pytest.raises(ProbeError, match="Received: weight"):
        index_pictures(path, columns={"label": "fine", "weight": "coarse"})


def test_a_column_of_paths_that_the_user_names_makes_a_manifest(write):
    path = write(file=["a.jpg", "b.jpg"], label=[0, 1], digest=[b"a", b"b"])
    assert open_source(path, columns={"path": "file"}).kind == "manifest"


def test_the_metadata_of_hugging_face_name_the_classes(tmp_path):
    path = write_pictures(tmp_path / "a.parquet", [b"a", b"b", b"c"], [1, 0, -1], ["wasp", "ant", "bee"])
    index = index_pictures(path)
    assert (index.class_names, index.silent) == (("wasp", "ant", "bee"), ("bee",))
    assert left_out(index) == {"rows without a label": 1}
    write_pictures(tmp_path / "b.parquet", [b"a"], [0], ["wasp", "fly"])
    assert "the same classes in all files" in refusal(tmp_path)
    write_pictures(path, [b"a", b"b"], [0, 3], ["wasp", "ant", "bee"])
    assert "Received: the label 3" in refusal(path)


NESTED = b'{"info": {"features": {"other": {"names": [[1], {}]}}}}'
STRANGE = (b"{", b"[]", b'{"info": 3}', b'{"info": {"features": {"label": null}}}', b"[" * 100_000, NESTED)


@pytest.mark.parametrize("metadata", STRANGE, ids=range(len(STRANGE)))
def test_metadata_that_are_something_else_are_ignored(tmp_path, metadata):
    table = pa.table({"image": [b"a", b"b"], "label": [5, 6]}).replace_schema_metadata({"huggingface": metadata})
    pq.write_table(table, tmp_path / "a.parquet")
    assert index_pictures(tmp_path / "a.parquet").class_names == ("5", "6")


def test_what_is_null_is_left_out_or_unreadable(tmp_path):
    path = write_pictures(tmp_path / "a.parquet", [b"a", None, b"c"], [0, 1, None])
    index = index_pictures(path)
    assert left_out(index) == {"rows without a label": 1}
    assert unreadable(index, "a.parquet#0000001") == "no picture in this row"


def test_labels_that_are_no_classes_are_refused(write):
    assert "labels that are classes" in refusal(write(image=[b"a", b"b"], label=[0.5, 1.0]))
    assert "keep one label" in refusal(write(image=[b"a", b"b"], label=[[0], [1, 2]]))


def test_a_manifest_is_a_manifest(write, tmp_path):
    assert open_source(write(path=["a.png", "b.png"], label=[0, 1])).kind == "manifest"
    assert open_source(write(Path=["a.png", "b.png"], label=[0, 1], image=[b"a", b"b"])).kind == "manifest"
    write(path=["a.png", "b.png"], label=[0, 1])
    assert "as the image" in refusal(tmp_path)


def test_names_of_files_say_the_split(tmp_path):
    for name in ("train-00000-of-00002", "train-00001-of-00002", "validation-00000-of-00001", "test-00000-of-00002"):
        write_pictures(tmp_path / f"{name}.parquet", [b"a", b"b"], [0, 1])
    for data in (tmp_path, tmp_path / "*.parquet"):
        assert open_source(data).split_sizes() == {"train": 4, "validation": 2, "test": 2}
    assert open_source(tmp_path / "train-*.parquet").split_sizes() == {"train": 4}
    assert left_out(open_source(tmp_path)) == {"shards missing from their set": 1}


def test_files_without_labels_and_damaged_ones_are_counted(write, tmp_path):
    write("train.parquet", image=[b"a", b"b"], label=[0, 1])
    write("test.parquet", image=[b"a", b"b"])
    (tmp_path / "cut.parquet").write_bytes((tmp_path / "train.parquet").read_bytes()[:-9])
    assert left_out(index_pictures(tmp_path)) == {
        "files without a column of images and one of labels": 1,
        "files that are damaged": 1,
    }


def test_without_pyarrow_the_user_learns_what_to_install(tmp_path, monkeypatch):
    path = write_pictures(tmp_path / "a.parquet", [b"a", b"b"], [0, 1])
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    for data in (path, tmp_path, tmp_path / "*.parquet"):
        with pytest.raises(ProbeError, match=r"pip install 'netgraft\[parquet\]'"):
            open_source(data)


@pytest.fixture
def groups(tmp_path, monkeypatch):
    """An index of 40 pictures in 8 row groups, in random order, and how often each group was read."""
    files = sorted(write_images(tmp_path / "images", {"a": 20, "b": 20}).rglob("*.jpg"))
    mixed = [files[number * 7 % 40] for number in range(40)]
    write_pictures(tmp_path / "train.parquet", [file.read_bytes() for file in mixed],
                   [file.parent.name for file in mixed], row_group_size=5)  # fmt: skip
    read, reads = parquet_images._read_group, Counter()

    def counted(table, group):
        reads[group] += 1
        return read(table, group)

    monkeypatch.setattr(parquet_images, "_read_group", counted)
    monkeypatch.setattr(parquet_images, "_KEPT_BYTES", 0)
    return index_pictures(tmp_path / "train.parquet"), reads


def test_a_sample_hardly_reads_a_row_group_twice(groups):
    """A thread may come back to a group that the others have left; in random order 30 images take over 20 reads."""
    index, reads = groups
    assert len(list(readable(index, draw_splits(index, 30, 0).train, 32, 3, Skipped()))) == 30
    assert len(reads) == 8
    assert reads.total() <= 14
    reads.clear()
    median_short_side(index, draw_splits(index, 30, 0).train)
    assert reads.total() <= 14


def test_a_full_check_hardly_reads_a_row_group_twice(groups):
    index, reads = groups
    assert len(inspect_everything(index).read) == 40
    assert len(reads) == 8
    assert reads.total() <= 14


def test_row_groups_in_memory_are_bounded_and_stay_where_they_are(groups):
    index, _ = groups
    for name in (name for files in index.files for name in files):
        index.store.open(name)
    assert len(index.store._groups) == 2
    assert not pickle.loads(pickle.dumps(index.store))._groups


def test_row_groups_that_are_too_large_are_left_out(tmp_path, monkeypatch):
    path = write_pictures(tmp_path / "a.parquet", [b"a", b"b", b"c" * 5000, b"d"], [0, 1, 0, 1], row_group_size=2)
    index = index_pictures(path)
    monkeypatch.setattr(parquet_images, "LARGEST_FILE", 1000)
    assert unreadable(index, "a.parquet#0000002").startswith("a row group larger than")
    (found,) = index_pictures(path).left_out
    assert found.reason.startswith("row groups larger than")
    assert found.examples == ("a.parquet group 1",)


def test_a_file_that_has_changed_since_is_unreadable(tmp_path):
    path = write_pictures(tmp_path / "a.parquet", [b"a", b"b"], [0, 1])
    index = index_pictures(path)
    write_pictures(path, [b"a"], [0])
    with pytest.raises(OSError, match="index"):
        index.store.open("a.parquet#0000001")
    path.unlink()
    with pytest.raises(OSError, match="No such file"):
        pickle.loads(pickle.dumps(index.store)).open("a.parquet#0000001")


def opened(path):
    """What comes of a file: an index whose images can be opened or are unreadable, or a refusal."""
    found = attempt(index_pictures, path)
    if isinstance(found, ImageIndex):
        for name in (name for files in found.files for name in files):
            attempt(found.store.open, name)
    return type(found)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_whatever_is_damaged_ends_in_an_index_or_a_refusal(tmp_path, data):
    path = write_pictures(tmp_path / "a.parquet", [b"a", b"b", b"c"], [0, 1, 0], ["ant", "bee"], row_group_size=2)
    content = bytearray(path.read_bytes())
    places = st.integers(0, len(content) - 1)
    for place, value in data.draw(st.lists(st.tuples(places, st.integers(0, 255)), max_size=6)):
        content[place] = value
    path.write_bytes(content[: data.draw(places) or None] if data.draw(st.booleans()) else content)
    assert opened(path) in (ImageIndex, ProbeError)


@pytest.mark.slow
def test_damage_ends_in_an_index_or_a_refusal(tmp_path):
    path = write_pictures(tmp_path / "a.parquet", [bytes([n]) * 90 for n in range(30)], [0, 1] * 15, row_group_size=7)
    outcomes = set()
    for content in corruptions(path.read_bytes(), 200):
        path.write_bytes(content)
        outcomes.add(opened(path))
    assert outcomes == {ImageIndex, ProbeError}
