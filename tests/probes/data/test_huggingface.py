"""A data set of the library `datasets`, read row by row."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from pictures import write_images
from PIL import Image

from probes.data.sources import huggingface
from probes.data.sources.huggingface import recognises as is_huggingface
from probes.data.sources.source import Options
from probes.errors import ProbeError
from probes.images.decode import UnreadableImage


def index_huggingface(data, **options):
    return huggingface.index(data, Options(**options))


@pytest.fixture(scope="module")
def hf(tmp_path_factory):
    """The library, which keeps its files in a temporary folder and is silent."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HF_DATASETS_OFFLINE", "1")
        patch.setenv("HF_HUB_OFFLINE", "1")
        patch.setenv("HF_HOME", str(tmp_path_factory.mktemp("hf")))
        datasets = pytest.importorskip("datasets")
        datasets.disable_progress_bars()
        yield datasets
        datasets.enable_progress_bars()


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_images(root / "train", {"flower": 4, "temple": 4})
    write_images(root / "validation", {"flower": 2, "temple": 2}, seed=1)
    return root


@pytest.fixture(scope="module")
def paths(tree):
    return [str(path) for path in sorted((tree / "train").rglob("*.jpg"))]


@pytest.fixture
def make(hf, paths):
    """Makes a data set of the eight pictures and columns of labels, each as (values, feature)."""

    def make(images=None, **columns):
        features = {"image": hf.Image()} | {name: feature for name, (_, feature) in columns.items()}
        values = {"image": paths if images is None else images} | {name: found for name, (found, _) in columns.items()}
        return hf.Dataset.from_dict(values, features=hf.Features(features))

    return make


@pytest.fixture
def names(hf):
    return hf.ClassLabel(names=["flower", "temple"])


LABELS = [0, 0, 0, 0, 1, 1, 1, 1]


def refusal(data, **options):
    with pytest.raises(ProbeError) as caught:
        index_huggingface(data, **options)
    message = str(caught.value)
    assert message.startswith("Expected ")
    assert "Received: " in message
    assert "\n" not in message
    return message


def read(index, name):
    with index.store.open(name) as file:
        return file.read()


def bytes_of(paths):
    return [Path(path).read_bytes() for path in paths]


def test_a_class_label_gives_classes_and_their_names(make, names, paths):
    index = index_huggingface(make(label=(LABELS, names)))
    assert (index.kind, index.class_names, index.class_counts) == ("dataset", ("flower", "temple"), (4, 4))
    assert index.files[1] == tuple(f"image 000000{n}" for n in (4, 5, 6, 7))
    assert [read(index, name) for name in index.files[1]] == bytes_of(paths[4:])


def test_images_stored_in_the_data_set_come_as_the_bytes_that_went_in(make, names, paths):
    files = [{"bytes": content, "path": None} for content in bytes_of(paths)]
    index = index_huggingface(make(files, label=(LABELS, names)))
    assert [read(index, name) for name in index.files[0]] == bytes_of(paths[:4])


def test_pictures_and_arrays_come_back_pixel_by_pixel(make, names):
    pixels = np.random.default_rng(0).integers(0, 256, (8, 5, 7, 3), dtype=np.uint8)
    for images in ([Image.fromarray(image) for image in pixels], list(pixels)):
        index = index_huggingface(make(images, label=(LABELS, names)))
        shown = [np.asarray(Image.open(io.BytesIO(read(index, name)))) for name in index.files[0]]
        assert np.array_equal(shown, pixels[:4])


def test_an_image_folder_is_read_with_its_splits(hf, tree, tmp_path):
    data = hf.load_dataset("imagefolder", data_dir=str(tree), cache_dir=str(tmp_path))
    assert isinstance(data, hf.DatasetDict)
    index = index_huggingface(data)
    assert index.class_names == ("flower", "temple")
    assert index.split_sizes() == {"train": 8, "validation": 4}
    for split in ("train", "validation"):
        for name, files in zip(index.class_names, index.split(split), strict=True):
            expected = bytes_of((tree / split / name).iterdir())
            assert sorted(read(index, file) for file in files) == sorted(expected)


def test_a_data_set_on_a_disk_is_read_from_there(hf, make, names, paths, tmp_path):
    make(label=(LABELS, names)).save_to_disk(tmp_path / "saved")
    index = index_huggingface(hf.load_from_disk(str(tmp_path / "saved")))
    assert [read(index, name) for name in index.files[0]] == bytes_of(paths[:4])


def test_rows_that_were_shuffled_selected_or_formatted_are_the_ones_indexed(hf, make, names, paths):
    data = make(label=(LABELS, names), origin=(paths, hf.Value("string"))).shuffle(seed=3).select(range(2, 8))
    origins = data["origin"][:]
    assert origins != sorted(origins)
    for shown in (data, data.with_format("numpy"), data.with_transform(lambda rows: {"label": rows["label"]})):
        index = index_huggingface(shown)
        numbers = {name: int(name.split()[-1]) for files in index.files for name in files}
        assert sorted(numbers.values()) == list(range(6))
        for name, number in numbers.items():
            assert read(index, name) == Path(origins[number]).read_bytes()


def test_no_image_is_touched_to_make_the_index(make, names):
    index = index_huggingface(make(["nowhere.jpg"] * 8, label=(LABELS, names)))
    assert index.n_images == 8
    with pytest.raises(FileNotFoundError):
        index.store.open("image 0000000")


def test_classes_without_images_keep_their_output(hf, make):
    index = index_huggingface(make(label=([0] * 4 + [2] * 4, hf.ClassLabel(names=["flower", "pond", "temple"]))))
    assert (index.class_names, index.class_counts) == (("flower", "pond", "temple"), (4, 0, 4))
    assert index.silent == ("pond",)
    numbers = index_huggingface(make(label=([1] * 4 + [2] * 4, hf.Value("int64"))))
    assert (numbers.class_names, numbers.numbers) == (("1", "2"), (1, 2))


@pytest.mark.parametrize("column", ["label", "labels", "class"])
def test_a_column_called_so_gives_the_labels(hf, make, column):
    words = index_huggingface(make(**{column: (["a"] * 4 + ["b"] * 4, hf.Value("string"))}))
    assert words.class_names == ("a", "b")
    numbers = index_huggingface(make(**{column: (LABELS, hf.Value("int8"))}), class_names=["x", "y"])
    assert numbers.class_names == ("x", "y")
    truths = index_huggingface(make(**{column: ([n > 0 for n in LABELS], hf.Value("bool"))}))
    assert truths.class_names == ("False", "True")


def test_a_class_label_may_be_called_anything(hf, make, names):
    index = index_huggingface(make(kind=(LABELS, names), note=(["n"] * 8, hf.Value("string"))))
    assert index.class_names == ("flower", "temple")


def test_of_several_columns_the_class_label_called_label_is_meant(hf, make, names):
    other = hf.ClassLabel(names=["x", "y"])
    assert index_huggingface(make(coarse=(LABELS, other), label=(LABELS, names))).class_names == ("flower", "temple")


def test_several_columns_of_labels_are_refused_and_listed(hf, make, names):
    other = hf.ClassLabel(names=["x", "y"])
    message = refusal(make(fine_label=(LABELS, names), coarse_label=(LABELS, other)))
    assert "Received: fine_label, coarse_label of labels" in message
    assert "select_columns" in message
    assert "kind, label of labels" in refusal(make(kind=(LABELS, names), label=(["a"] * 8, hf.Value("string"))))


def test_the_advice_for_several_columns_helps(hf, make, names):
    data = make(fine_label=(LABELS, names), coarse_label=(LABELS, hf.ClassLabel(names=["x", "y"])))
    assert index_huggingface(data.select_columns(["image", "coarse_label"])).class_names == ("x", "y")
    other = make(kind=(["a"] * 4 + ["b"] * 4, hf.Value("string")))
    assert "rename_column" in refusal(other)
    assert index_huggingface(other.rename_column("kind", "label")).class_names == ("a", "b")


def test_several_columns_of_images_or_none_are_refused(hf, make, names, paths):
    message = refusal(make(label=(LABELS, names), mask=(paths, hf.Image())))
    assert "image, mask of images among the columns image (Image), label (ClassLabel), mask (Image)" in message
    text = hf.Dataset.from_dict({"image": paths, "label": LABELS})
    assert "cast_column" in refusal(text)
    assert index_huggingface(text.cast_column("image", hf.Image())).n_images == 8


def test_several_labels_an_image_are_refused(hf, make, names):
    for feature in (hf.Sequence(hf.Value("int64")), hf.List(names), hf.Sequence(hf.Value("int64"), length=2)):
        for column in ("label", "labels"):
            assert "Multi-label data are not supported" in refusal(make(**{column: ([[0, 1]] * 8, feature)}))
    assert "Multi-label data are not supported" in refusal(make(kinds=([[0, 1]] * 8, hf.List(names))))


def test_labels_of_other_types_are_refused(hf, make):
    assert "label (dict)" in refusal(make(label=([{"a": 1}] * 8, {"a": hf.Value("int64")})))
    assert "Received: 0.5" in refusal(make(label=([0.5] * 8, hf.Value("float32"))))


def test_images_without_a_label_are_left_out(hf, make, names):
    index = index_huggingface(make(label=([0, -1, 0, None, 1, 1, 1, 1], names)))
    assert index.class_counts == (2, 4)
    assert [(one.reason, one.n, one.examples) for one in index.left_out] == [
        ("images without a label", 2, ("image 0000001", "image 0000003"))
    ]
    words = index_huggingface(make(label=(["a", None, "a", "a", "b", "b", "b", "b"], hf.Value("string"))))
    assert words.class_counts == (3, 4)


def test_minus_one_is_a_class_where_one_is_the_only_other(hf, make):
    index = index_huggingface(make(label=([-1] * 4 + [1] * 4, hf.Value("int64"))))
    assert index.class_names == ("-1", "1")
    assert index_huggingface(make(label=([-1, 0, 0, 0, 1, 1, 1, 1], hf.Value("int64")))).class_names == ("0", "1")


def test_an_unlabelled_test_split_is_left_out(hf, make, names):
    for test in (make(label=([-1] * 8, names)), make()):
        index = index_huggingface(hf.DatasetDict({"train": make(label=(LABELS, names)), "test": test}))
        assert index.split_sizes() == {"train": 8}
        assert (index.left_out[0].reason, index.left_out[0].n) == ("images without a label", 8)


def test_splits_are_known_by_their_names(hf, make, names):
    part = make(label=(LABELS, names))
    index = index_huggingface(hf.DatasetDict({"train": part, "valid": part.select([0, 7]), "unsupervised": part}))
    assert index.split_sizes() == {"train": 8, "validation": 2}
    assert index.validation == (("validation image 0000000",), ("validation image 0000001",))
    assert index.left_out[0].examples == ("unsupervised",)
    assert index_huggingface({"train": part, "test": part}).split_sizes() == {"train": 8, "test": 8}
    assert "a split named 'train'" in refusal(hf.DatasetDict({"test": part}))


def test_splits_with_other_classes_are_refused(hf, make, names):
    other = make(label=(LABELS, hf.ClassLabel(names=["temple", "flower"])))
    message = refusal(hf.DatasetDict({"train": make(label=(LABELS, names)), "test": other}))
    assert "train: flower, temple; test: temple, flower" in message


def test_streaming_is_refused_with_what_to_do(hf, tree, make, names, tmp_path):
    message = refusal(make(label=(LABELS, names)).to_iterable_dataset())
    assert "IterableDataset, which streams" in message
    assert "take" in message
    streaming = hf.load_dataset("imagefolder", data_dir=str(tree), cache_dir=str(tmp_path), streaming=True)
    assert "which streams" in refusal(streaming)


def test_the_advice_for_streaming_helps(hf, make, names):
    data = make(label=(LABELS, names)).to_iterable_dataset()
    index = index_huggingface(hf.Dataset.from_list(list(data.take(6)), features=data.features))
    assert index.class_counts == (4, 2)


def test_rows_without_an_image_and_remote_files_are_unreadable(make, names):
    files = [None, {"bytes": None, "path": "https://example.org/a.jpg"}, {"bytes": b"", "path": None}, *[None] * 5]
    index = index_huggingface(make(files, label=(LABELS, names)))
    with pytest.raises(UnreadableImage, match="no image in this row"):
        index.store.open("image 0000000")
    with pytest.raises(UnreadableImage, match="remote file"):
        index.store.open("image 0000001")
    assert read(index, "image 0000002") == b""


def test_many_threads_may_open_at_once(make, names, paths):
    files = [{"bytes": content, "path": None} for content in bytes_of(paths)]
    index = index_huggingface(make(files, label=(LABELS, names)))
    wanted = [name for names in index.files for name in names] * 40
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda name: read(index, name), wanted))
    assert found == bytes_of(paths) * 40


def test_an_empty_data_set_and_other_things_are_refused(make, names):
    assert "which holds none" in refusal(make(label=(LABELS, names)).select([]))
    assert "Expected" in refusal({})


def test_a_data_set_is_recognised_by_what_it_is(hf, make, names):
    part = make(label=(LABELS, names))
    assert is_huggingface(part)
    assert is_huggingface(hf.DatasetDict({"train": part}))
    assert is_huggingface(part.to_iterable_dataset())
    assert is_huggingface(hf.IterableDatasetDict({"train": part.to_iterable_dataset()}))
    assert not any(map(is_huggingface, [[part], part["label"], None, "data", hf]))
