"""Images in memory and lists of paths, with labels beside them."""

import io
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from probes.data.labels import plain_labels
from probes.data.sources import arrays
from probes.data.sources.arrays import _are_paths as are_paths
from probes.data.sources.source import Options, sort_splits
from probes.errors import ProbeError
from probes.images.decode import UnreadableImage

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (6, 5, 7, 3), dtype=np.uint8)
LABELS = [0, 1, 0, 1, 0, 1]


def index_arrays(splits, **options):
    return arrays.index(splits, Options(**options))


def index_paths(splits, class_names=None):
    return arrays._index_paths(splits, class_names)


def opened(index, split="train"):
    """The pixels of a split's images in the order of their names."""
    return [index.store.open(name) for name in sorted(name for names in index.split(split) for name in names)]


def of_images(images, labels=None, **options):
    return index_arrays({"train": (images, LABELS[: len(images)] if labels is None else labels)}, **options)


def refusal(images, labels=None):
    with pytest.raises(ProbeError) as caught:
        of_images(images, LABELS if labels is None else labels)
    message = str(caught.value)
    assert message.startswith("Expected ")
    assert "Received: " in message
    assert "\n" not in message
    return message


def same(left, right):
    return len(left) == len(right) and all(
        a.dtype == b.dtype and np.array_equal(a, b) for a, b in zip(left, right, strict=True)
    )


def test_an_array_is_indexed_by_numbers_and_gives_back_its_pixels():
    index = of_images(PIXELS, class_names=["cat", "dog"])
    assert (index.kind, index.class_names, index.class_counts) == ("arrays", ("cat", "dog"), (3, 3))
    assert index.files[0] == ("image 0000000", "image 0000002", "image 0000004")
    assert same(opened(index), list(PIXELS))


@pytest.mark.parametrize("shape", [(6, 5, 4), (6, 5, 4, 1), (6, 5, 4, 3), (6, 5, 4, 4), (6, 3, 5, 3)])
def test_grey_and_colour_arrays_are_taken_as_they_are(shape):
    pixels = RNG.integers(0, 256, shape, dtype=np.uint8)
    assert same(opened(of_images(pixels)), list(pixels))


@pytest.mark.parametrize("dtype", ["int8", "uint16", "int32", "int64", "uint64"])
def test_whole_numbers_keep_their_values(dtype):
    pixels = RNG.integers(0, 128, (6, 5, 4), dtype=np.uint8)
    assert same(opened(of_images(pixels.astype(dtype))), list(pixels))


@pytest.mark.parametrize("dtype", ["uint8", "int8", "uint16", "int64"])
@pytest.mark.parametrize("wrap", [np.asarray, list])
def test_whole_numbers_up_to_one_are_black_and_white(dtype, wrap):
    pixels = RNG.integers(0, 2, (6, 5, 4)).astype(dtype)
    assert same(opened(of_images(wrap(pixels))), list(pixels.astype(np.uint8) * 255))


@pytest.mark.parametrize("dtype", ["uint8", "int64"])
@pytest.mark.parametrize("wrap", [np.asarray, list])
def test_whole_numbers_are_looked_at_to_the_last_before_they_are_scaled(dtype, wrap, monkeypatch):
    monkeypatch.setattr("probes.data.sources.arrays._CHUNK", 8)
    pixels = RNG.integers(0, 2, (6, 5, 4)).astype(dtype)
    pixels[5, 4, 3] = 2
    assert same(opened(of_images(wrap(pixels))), list(pixels.astype(np.uint8)))


def test_a_split_of_dark_whole_numbers_is_scaled_as_the_others_are():
    dark = np.ones((2, 2, 2), np.uint8)
    index = index_arrays({"train": (PIXELS, LABELS), "validation": (dark, [0, 1])})
    assert opened(index, "validation")[0].max() == 1


def test_truth_values_are_black_and_white():
    pixels = RNG.integers(0, 2, (6, 5, 4)).astype(bool)
    assert same(opened(of_images(pixels)), list(pixels.astype(np.uint8) * 255))


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("divisor", [255, 1])
def test_floating_point_pixels_come_back_exactly(dtype, divisor):
    floats = PIXELS.astype(dtype) / np.asarray(divisor, dtype)
    assert same(opened(of_images(floats)), list(PIXELS))


def test_floating_point_pixels_are_rounded_to_the_nearest():
    pixels = np.zeros((2, 1, 3))
    pixels[0] = 0.4, 0.6, 200.7
    assert opened(of_images(pixels))[0].tolist() == [[0, 1, 201]]


def test_the_range_is_decided_over_all_images_rather_than_one_by_one():
    pixels = np.zeros((6, 2, 2), np.float32)
    pixels[0], pixels[5] = 1, 255  # the first alone could be white
    assert [image.max() for image in opened(of_images(pixels))] == [1, 0, 0, 0, 0, 255]


def test_the_range_is_looked_for_beyond_the_first_chunk(monkeypatch):
    monkeypatch.setattr("probes.data.sources.arrays._CHUNK", 8)
    pixels = np.zeros((6, 2, 2), np.float32)
    pixels[0], pixels[5] = 1, 255
    assert [image.max() for image in opened(of_images(pixels))] == [1, 0, 0, 0, 0, 255]


def test_a_resize_may_overshoot_by_a_rounding_error():
    pixels = np.full((6, 2, 2), np.nextafter(np.float32(1), np.float32(2)))
    assert opened(of_images(pixels))[0].tolist() == [[255, 255], [255, 255]]


@pytest.mark.parametrize(
    ("pixels", "told"),
    [
        (np.linspace(-1, 1, 24).reshape(6, 2, 2), "-1 to 1 (float64)"),
        (np.linspace(0, 300, 24).reshape(6, 2, 2), "0 to 300 (float64)"),
        (np.full((6, 2, 2), np.nan), "nan to nan (float64)"),
        (np.array([0, np.inf] * 12).reshape(6, 2, 2), "0 to inf (float64)"),
        (np.arange(24).reshape(6, 2, 2) * 100, "0 to 2300 (int64)"),
        (np.arange(24).reshape(6, 2, 2) - 1, "-1 to 22 (int64)"),
        (np.arange(24).reshape(6, 2, 2) + 233, "233 to 256 (int64)"),
    ],
)
def test_pixels_out_of_range_are_refused_with_the_range_they_lie_in(pixels, told):
    assert told in refusal(pixels)


def test_one_nan_among_many_pixels_is_noticed():
    pixels = np.zeros((6, 2, 2))
    pixels[3, 1, 1] = np.nan
    assert "nan" in refusal(pixels)


def test_splits_scaled_unlike_each_other_are_refused():
    with pytest.raises(ProbeError, match=r"train up to 1, validation up to 255\. Scale all splits in the same way"):
        index_arrays(
            {"train": (np.ones((6, 2, 2)), LABELS), "validation": (np.full((6, 2, 2), 255.0), LABELS)},
        )


@pytest.mark.parametrize("shape", [(6, 3, 32, 32), (6, 1, 28, 28), (6, 4, 5, 5)])
def test_channels_first_is_refused_with_what_to_do(shape):
    message = refusal(np.zeros(shape, np.uint8))
    assert f"an array of shape {shape}, channels first" in message
    assert "np.moveaxis" in message


def test_the_advice_for_channels_first_helps():
    given = np.moveaxis(PIXELS, -1, 1)
    refusal(given)
    assert same(opened(of_images(np.moveaxis(given, -3, -1))), list(PIXELS))


@pytest.mark.parametrize("shape", [(6,), (6, 784), (6, 5, 4, 2), (6, 5, 4, 3, 1), (6, 0, 4, 3), ()])
def test_other_shapes_are_refused(shape):
    assert "Expected images as an array of shape" in refusal(np.zeros(shape, np.uint8))


def test_flat_images_are_to_be_reshaped():
    assert "reshape" in refusal(np.zeros((6, 784), np.uint8))


@pytest.mark.parametrize(
    "images",
    [np.full((6, 2, 2), "a"), np.zeros((6, 2, 2), complex), np.full((6, 2, 2), None), object(), None, {"a": 1}, "x"],
)
def test_what_holds_no_numbers_is_refused(images):
    assert "Expected images" in refusal(images)


@pytest.mark.parametrize("images", [[], (), np.zeros((0, 4, 4, 3)), np.array([])])
def test_no_images_are_refused(images):
    assert "no images in the train split" in refusal(images, [])


def test_a_list_may_hold_images_of_different_sizes_and_kinds():
    images = [
        PIXELS[0],
        PIXELS[1][:2],
        PIXELS[2][..., 0],
        PIXELS[3][..., :1].astype(np.int64),
        PIXELS[4] / 255,
        PIXELS[5].tolist(),
    ]
    expected = [PIXELS[0], PIXELS[1][:2], PIXELS[2][..., 0], PIXELS[3][..., :1], PIXELS[4], PIXELS[5]]
    assert same(opened(of_images(images)), expected)
    ragged = np.empty(6, object)
    ragged[:] = images
    assert same(opened(of_images(ragged)), expected)


def test_the_range_of_a_list_is_decided_over_all_its_images():
    images = [np.ones((2, 2)), np.full((3, 2), 255.0)]
    assert [image.max() for image in opened(of_images(images))] == [1, 255]


def test_an_image_of_a_list_that_has_another_shape_is_named():
    assert "image 2 of shape (5,)" in refusal([*PIXELS[:2], np.zeros(5), *PIXELS[3:]])
    assert "image 1 of shape (3, 8, 8), channels first" in refusal([PIXELS[0], np.zeros((3, 8, 8))], [0, 1])
    assert "Convert it to a NumPy array" in refusal([PIXELS[0], [[1, 2], [3]]], [0, 1])


def test_pil_images_give_the_pixels_they_show():
    colour, grey = Image.fromarray(PIXELS[0]), Image.fromarray(PIXELS[0][..., 0])
    clear = Image.fromarray(np.dstack([PIXELS[0], PIXELS[1][..., 0]]))
    palette = colour.quantize(8)
    bits = grey.point(lambda value: 255 * (value > 99)).convert("1")
    deep = Image.fromarray(PIXELS[0][..., 0].astype(np.uint16) * 257)
    wide = Image.fromarray(PIXELS[0][..., 0].astype(np.int32))
    given = [colour, grey, clear, palette, bits, deep, wide, grey.convert("LA"), colour.convert("CMYK")]
    expected = [
        colour,
        grey,
        clear,
        palette.convert("RGB"),
        bits.convert("L"),
        grey,
        grey,
        grey.convert("RGBA"),
        colour,
    ]
    index = of_images(given, [0, 1, 0, 1, 0, 1, 0, 1, 0])
    assert same(opened(index), [np.asarray(image) for image in expected])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_pil_images_are_turned_upright_by_exif(orientation):
    stored, file, exif = Image.fromarray(PIXELS[0]), io.BytesIO(), Image.Exif()
    exif[0x0112] = orientation
    stored.save(file, "PNG", exif=exif)
    with Image.open(file) as lying:
        upright = np.asarray(ImageOps.exif_transpose(lying))
        index = of_images([lying, PIXELS[0]])
        assert same([index.store.open("image 0000000")], [upright])
    assert (upright.shape[0] == 7) == (orientation >= 5)


def test_pil_images_may_be_opened_by_many_threads_at_once(tmp_path):
    Image.fromarray(np.tile(PIXELS[0], (60, 60, 1))).save(tmp_path / "a.png")
    with Image.open(tmp_path / "a.png") as lazy:
        index = of_images([lazy] * 8, [0, 1] * 4)
        names = [name for names in index.files for name in names]
        with ThreadPoolExecutor(8) as pool:
            assert same(list(pool.map(index.store.open, names)), [np.tile(PIXELS[0], (60, 60, 1))] * 8)


def test_a_broken_pil_image_is_unreadable_rather_than_an_error_of_the_whole():
    file = io.BytesIO()
    Image.fromarray(np.tile(PIXELS[0], (20, 20, 1))).save(file, "JPEG")
    with Image.open(io.BytesIO(file.getvalue()[:700])) as broken:
        index = of_images([broken, PIXELS[0]])
        with pytest.raises(UnreadableImage, match="truncated"):
            index.store.open("image 0000000")
    with pytest.raises(UnreadableImage, match="range is unknown"):
        of_images([Image.new("F", (2, 2)), PIXELS[0]]).store.open("image 0000000")


def test_tensors_are_taken_as_arrays_are():
    tf = pytest.importorskip("tensorflow")
    assert same(opened(of_images(tf.constant(PIXELS), tf.constant(LABELS))), list(PIXELS))
    assert same(opened(of_images(tf.constant(PIXELS, tf.float32) / 255)), list(PIXELS))
    assert same(opened(of_images([tf.constant(image) for image in PIXELS])), list(PIXELS))
    halves = tf.constant(np.full((6, 2, 2), 0.5), tf.bfloat16)
    assert opened(of_images(halves))[0].tolist() == [[128, 128], [128, 128]]


def test_a_memory_map_stays_on_its_disk(tmp_path):
    np.save(tmp_path / "a.npy", PIXELS)
    pixels = np.load(tmp_path / "a.npy", mmap_mode="r")
    index = of_images(pixels)
    assert same(opened(index), list(PIXELS))


def test_an_hdf5_data_set_is_read_image_by_image(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "a.h5", "w") as file:
        index = of_images(file.create_dataset("x", data=PIXELS / 255), file.create_dataset("y", data=LABELS))
        assert same(opened(index), list(PIXELS))
    with pytest.raises(UnreadableImage):  # the file is closed by now
        index.store.open("image 0000000")


@pytest.mark.parametrize(
    ("labels", "plain"),
    [
        ([0, 1, 2], [0, 1, 2]),
        ((0, 1, 2), [0, 1, 2]),
        (["a", "b", "a"], ["a", "b", "a"]),
        ([True, False, True], [True, False, True]),
        ([np.int8(0), np.uint64(1), 2], [0, 1, 2]),
        ([np.str_("a"), "b", b"c"], ["a", "b", "c"]),
        ([0.0, 1.0, np.float32(2)], [0, 1, 2]),
        (np.array([0, 1, 2], np.uint8), [0, 1, 2]),
        (np.array([[0], [1], [2]]), [0, 1, 2]),
        ([[0], [1], [2]], [0, 1, 2]),
        (np.array([0.0, 1.0, 2.0], np.float32), [0, 1, 2]),
        (np.array(["a", "b", "a"]), ["a", "b", "a"]),
        (np.array([b"a", b"b", b"\xc3\xa4"]), ["a", "b", "ä"]),
        (np.array(["a", "b", "a"], object), ["a", "b", "a"]),
        (np.array([True, False, True]), [True, False, True]),
        (np.array([[0, 0, 1], [1, 0, 0], [0, 1, 0]]), [2, 0, 1]),
        (np.array([[0, 1], [1, 0], [0, 1]], bool), [1, 0, 1]),
        (np.eye(3, dtype=np.float32), [0, 1, 2]),
        ([[0, 1], [1, 0], [0, 1]], [1, 0, 1]),
        ([-1, 1, -1], [-1, 1, -1]),
    ],
)
def test_labels_come_out_as_plain_values(labels, plain):
    found = plain_labels(labels, 3)
    assert found == plain
    assert [type(label) for label in found] == [type(label) for label in plain]


def test_tensors_may_be_labels():
    tf = pytest.importorskip("tensorflow")
    assert plain_labels(tf.constant(["a", "b"]), 2) == ["a", "b"]
    assert plain_labels([tf.constant(1), tf.constant(0)], 2) == [1, 0]
    assert plain_labels(tf.one_hot([2, 0], 3), 2) == [2, 0]


def test_columns_of_a_table_may_be_labels():
    pandas = pytest.importorskip("pandas")
    words = pandas.Series(["b", "a"], index=[7, 3])
    assert plain_labels(words, 2) == ["b", "a"]
    assert plain_labels(words.astype("category"), 2) == ["b", "a"]
    assert plain_labels(pandas.DataFrame({"y": [1, 0]}), 2) == [1, 0]
    with pytest.raises(ProbeError, match="Leave the images without a label out"):
        plain_labels(pandas.Series([1, None], dtype="Int64"), 2)


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        ([0, 1], "3 images and labels of shape (2,)"),
        (np.zeros(4, int), "3 images and labels of shape (4,)"),
        (np.array([[1, 1], [1, 0], [0, 1]]), "Multi-label data are not supported"),
        ([[0, 1], [2], [1]], "Multi-label data are not supported"),
        ([["a", "b"], ["a", "c"], ["b", "c"]], "Multi-label data are not supported"),
        (np.array([[0, 0], [1, 0], [0, 1]]), "the row [0, 0]"),
        (np.array([[0.5, 0.5], [1, 0], [0, 1]]), "the row [0.5, 0.5]"),
        ([0.5, 1, 2], "Received: 0.5"),
        ([0, None, 1], "Received: None. Leave the images without a label out"),
        ([0, float("nan"), 1], "Received: nan. Leave the images without a label out"),
        (["a", float("nan"), "b"], "Received: nan"),
        ([0, float("inf"), 1], "Received: inf"),
        ([0, "a", 1], "numbers and words, as 0 and 'a'"),
        ([0, {1}, 1], "Received: {1}"),
        ([0, 1j, 1], "Received: 1j"),
        (np.array(["2020-01-01"] * 3, "datetime64[D]"), "Received: datetime.date"),
        (np.zeros((3, 2, 2)), "of shape (3, 2, 2)"),
        ("abc", "labels of shape ()"),
        (None, "labels of shape ()"),
        ({0, 1, 2}, "labels of shape ()"),
    ],
)
def test_what_is_not_one_label_an_image_is_refused(labels, told):
    with pytest.raises(ProbeError) as caught:
        plain_labels(labels, 3)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_one_class_alone_is_refused():
    assert "single class '1'" in refusal(PIXELS, [1] * 6)


def test_labels_must_fit_the_class_names():
    with pytest.raises(ProbeError, match="numbers from 0 to 1"):
        of_images(PIXELS, [0, 1, 2] * 2, class_names=["cat", "dog"])


def test_labels_may_be_words_from_the_class_names_whose_order_wins():
    index = of_images(PIXELS, ["dog", "cat", "dog", "cat", "dog", "dog"], class_names=["dog", "cat", "owl"])
    assert (index.class_names, index.class_counts, index.silent) == (("dog", "cat", "owl"), (4, 2, 0), ("owl",))
    with pytest.raises(ProbeError, match="Received: the label 'elk'"):
        of_images(PIXELS, ["dog", "cat", "elk"] * 2, class_names=["dog", "cat", "owl"])


def test_one_hot_rows_keep_an_output_for_each_number():
    rows = np.eye(5)[[1, 3] * 3]
    for index in (of_images(PIXELS, rows), index_paths({"train": (list("abcdef"), rows)})):
        assert index.class_names == ("0", "1", "2", "3", "4")
        assert index.class_counts == (0, 3, 0, 3, 0)
        assert (index.silent, index.numbers) == (("0", "2", "4"), ())


def test_one_hot_rows_must_agree_with_the_class_names_and_with_each_other():
    rows = np.eye(5)[[1, 3] * 3]
    named = of_images(PIXELS, rows, class_names=list("abcde"))
    assert (named.class_names, named.silent) == (tuple("abcde"), ("a", "c", "e"))
    with pytest.raises(ProbeError, match="rows of 5 numbers and 2 names"):
        of_images(PIXELS, rows, class_names=["a", "b"])
    with pytest.raises(ProbeError, match="rows of 5 and 6 numbers"):
        index_arrays({"train": (PIXELS, rows), "test": (PIXELS[:1], np.eye(6)[:1])})


def test_splits_are_known_by_any_of_their_names():
    splits, left_out = sort_splits({"val": 1, "Training": 2, "extra": 3})
    assert splits == {"train": 2, "validation": 1}
    assert [(one.n, one.examples) for one in left_out.result()] == [(1, ("extra",))]
    for name, split in (("full", "train"), ("test", "test")):
        splits, left_out = sort_splits({name: 1})
        assert (splits, left_out.result()) == ({split: 1}, ())


@pytest.mark.parametrize("names", [("val", "validation"), ("a", "b"), ()])
def test_splits_without_a_meaning_or_with_two_are_refused(names):
    with pytest.raises(ProbeError, match="Expected"):
        sort_splits(dict.fromkeys(names, 1))


def test_paths_are_names_and_give_the_files(two_classes):
    paths = sorted(two_classes.rglob("*.jpg"))
    index = index_paths({"train": (paths, [path.parent.name for path in paths])})
    assert (index.kind, index.class_names, index.class_counts) == ("paths", ("flower", "temple"), (8, 8))
    assert index.files[0] == tuple(str(path) for path in paths[:8])
    with index.store.open(str(paths[3])) as file:
        assert file.read() == paths[3].read_bytes()


def test_relative_paths_start_from_where_the_call_was_made(two_classes, monkeypatch, tmp_path):
    monkeypatch.chdir(two_classes)
    index = index_paths({"train": (["flower/0000.jpg", Path("temple/0000.jpg")], ["f", "t"])})
    monkeypatch.chdir(tmp_path)
    with index.store.open("temple/0000.jpg") as file:
        assert file.read() == (two_classes / "temple/0000.jpg").read_bytes()


@pytest.mark.parametrize("wrap", [np.array, tuple, lambda paths: np.array(paths, object)])
def test_paths_may_come_in_any_sequence(wrap):
    index = index_paths({"train": (wrap(["a.jpg", "b.jpg"]), [0, 1]), "test": (wrap([b"c.jpg"]), [1])})
    assert (index.files, index.test) == ((("a.jpg",), ("b.jpg",)), ((), ("c.jpg",)))


def test_a_path_that_leads_nowhere_is_an_error_of_that_image_alone():
    index = index_paths({"train": (["nowhere.jpg", "b.jpg"], [0, 1])})
    with pytest.raises(FileNotFoundError):
        index.store.open("nowhere.jpg")


def test_paths_listed_twice_are_counted():
    index = index_paths({"train": (["a.jpg", "b.jpg", "a.jpg"], [0, 1, 0])})
    assert index.class_counts == (1, 1)
    assert index.left_out[0].n == 1


@pytest.mark.parametrize("paths", [[1, 2], [None, "a"], ["", "a"], ["a\0b", "c"], [PIXELS[0], PIXELS[1]]])
def test_what_is_no_path_is_refused(paths):
    with pytest.raises(ProbeError, match="Expected paths of images"):
        index_paths({"train": (paths, [0, 1])})


def test_a_tensor_without_values_is_neither_images_nor_paths():
    keras = pytest.importorskip("keras")
    placeholder = keras.KerasTensor((6, 5, 7, 3))
    assert "Convert it to a NumPy array" in refusal(placeholder)
    assert not are_paths(placeholder)


def test_columns_of_a_table_may_be_paths_or_images():
    pandas = pytest.importorskip("pandas")
    paths = pandas.Series(["a.jpg", "b.jpg"], index=[7, 3])
    assert are_paths(paths)
    assert index_paths({"train": (paths, [0, 1])}).files == (("a.jpg",), ("b.jpg",))
    assert are_paths(paths.map(Path))
    assert index_paths({"train": (paths.map(Path), [0, 1])}).files == (("a.jpg",), ("b.jpg",))
    images = pandas.Series([Image.fromarray(image) for image in PIXELS], index=range(5, -1, -1))
    assert not are_paths(images)
    assert same(opened(of_images(images)), list(PIXELS))


@pytest.mark.parametrize("first", ["a", Path("a"), np.str_("a")])
def test_paths_are_told_by_the_first_of_them(first):
    assert all(are_paths(paths) for paths in ([first, 1], (first,), np.array([first]), np.array([first], object)))


@pytest.mark.parametrize(
    "other", [[], (), PIXELS, PIXELS[0, 0, :, 0], [PIXELS[0]], "a", b"a", None, {"a"}, np.array([])]
)
def test_other_things_are_no_paths(other):
    assert not are_paths(other)
