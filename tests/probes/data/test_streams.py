"""A tf.data.Dataset, or a data set of tensorflow-datasets, read once into a sample."""

import tracemalloc
from collections import Counter

import numpy as np
import pytest
import tensorflow as tf
from pictures import write_images
from PIL import Image

from probes.data.sampling import Reservoir, quotas
from probes.data.sources import tf_dataset
from probes.data.sources.source import Options
from probes.data.sources.tf_dataset import _is_builder as is_builder
from probes.data.sources.tf_dataset import recognises as is_stream
from probes.errors import ProbeError

RNG = np.random.default_rng(0)
PIXELS = RNG.integers(0, 256, (12, 6, 8, 3), dtype=np.uint8)
LABELS = np.arange(12) % 3


def slices(images=PIXELS, labels=LABELS, *more):
    return tf.data.Dataset.from_tensor_slices((images, labels, *more))


def signature(image, label=()):
    return tf.TensorSpec(image, tf.uint8), tf.TensorSpec(label, tf.int64)


def index(train, max_images=100, seed=0, **options):
    return tf_dataset.index(train, Options(max_images=max_images, seed=seed, **options))


def refusal(train, **options):
    with pytest.raises(ProbeError) as caught:
        index(train, **options)
    message = str(caught.value)
    assert message.startswith("Expected ")
    assert "Received: " in message
    assert "\n" not in message
    return message


def contents(found, split="train"):
    """How often each class name comes with each image, and of which shape."""
    return Counter(
        (name, pixels.shape, pixels.tobytes())
        for name, files in zip(found.class_names, found.split(split), strict=True)
        for pixels in map(found.store.open, files)
    )


def given(images=PIXELS, labels=LABELS):
    return Counter((str(label), image.shape, image.tobytes()) for image, label in zip(images, labels, strict=True))


def test_the_store_gives_exactly_the_pixels_that_went_in():
    found = index(slices())
    assert (found.kind, found.class_names, found.class_counts, found.counts) == (
        "stream",
        ("0", "1", "2"),
        (4,) * 3,
        None,
    )
    assert contents(found) == given()


@pytest.mark.parametrize("size", [1, 5, 12])
@pytest.mark.parametrize("drop", [False, True])
def test_batches_are_told_from_their_shapes(size, drop):
    n = 12 // size * size if drop else 12
    assert contents(index(slices().batch(size, drop_remainder=drop))) == given(PIXELS[:n], LABELS[:n])


@pytest.mark.parametrize("batched", [False, True])
@pytest.mark.parametrize("shape", [(12, 6, 8), (12, 6, 8, 1), (12, 6, 8, 4), (12, 3, 8, 3), (12, 3, 8)])
@pytest.mark.parametrize("one_hot", [False, True])
def test_grey_and_colour_images_come_through(shape, batched, one_hot):
    pixels = RNG.integers(0, 256, shape, dtype=np.uint8)
    data = slices(pixels, np.eye(3)[LABELS] if one_hot else LABELS)
    assert contents(index(data.batch(4) if batched else data)) == given(pixels)


@pytest.mark.parametrize(
    "form",
    [
        lambda image, label: {"image": image, "label": label},
        lambda image, label: {"image": image, "label": label, "id": "7"},
        lambda image, label: {"images": image, "labels": label},
        lambda image, label: (image, label, 1.0),
        lambda image, label: ({"input_1": image}, label),
    ],
)
@pytest.mark.parametrize("batched", [False, True])
def test_elements_may_be_pairs_triples_or_dictionaries(form, batched):
    data = slices().map(form)
    assert contents(index(data.batch(5) if batched else data)) == given()


@pytest.mark.parametrize("batched", [False, True])
def test_elements_of_unknown_rank_are_looked_at(batched):
    def rows():
        yield from zip(PIXELS, LABELS, strict=True)

    data = tf.data.Dataset.from_generator(rows, (tf.uint8, tf.int64))
    assert data.element_spec[0].shape.rank is None
    assert contents(index(data.batch(5) if batched else data)) == given()


def test_images_may_be_of_different_sizes():
    images = [PIXELS[0], PIXELS[1][:3], PIXELS[2][:, :5]]
    data = tf.data.Dataset.from_generator(
        lambda: zip(images, range(3), strict=True), output_signature=signature((None, None, 3))
    )
    assert contents(index(data)) == given(images, range(3))
    assert contents(index(data.ragged_batch(2))) == given(images, range(3))


def test_of_an_animation_the_first_frame_counts():
    data = slices(np.stack([PIXELS, PIXELS[::-1]], axis=1))
    assert contents(index(data)) == given()


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (["a", "b", "c"] * 4, ("a", "b", "c")),
        (np.eye(3, dtype=np.float32)[LABELS], ("0", "1", "2")),
        (LABELS.astype(np.float32), ("0", "1", "2")),
        (LABELS[:, None], ("0", "1", "2")),
        (LABELS > 0, ("False", "True")),
    ],
)
@pytest.mark.parametrize("batched", [False, True])
def test_labels_may_be_numbers_words_or_one_hot_rows(labels, names, batched):
    data = slices(PIXELS, labels)
    assert index(data.batch(5) if batched else data).class_names == names


@pytest.mark.parametrize("batched", [False, True])
def test_several_labels_an_image_are_refused(batched):
    several = slices(PIXELS, np.ones((12, 3)))
    assert "Multi-label data are not supported" in refusal(several.batch(4) if batched else several)
    ragged = slices(PIXELS, tf.ragged.constant([[1], [1, 2], []] * 4))
    assert "multi-label data are not supported" in refusal(ragged.batch(4) if batched else ragged).lower()


def test_class_names_come_from_the_data_set_or_the_call():
    data = slices()
    data.class_names = ["x", "y", "z"]
    assert index(data).class_names == ("x", "y", "z")
    assert index(data, class_names=["p", "q", "r"]).class_names == ("p", "q", "r")
    assert index(data.prefetch(1)).class_names == ("0", "1", "2")


def test_no_label_is_minus_one_where_classes_have_names():
    labels = np.where(LABELS == 2, -1, LABELS)
    found = index({"train": slices(), "test": slices(PIXELS, labels)}, class_names=["x", "y", "z"])
    assert found.split_sizes() == {"train": 12, "test": 8}
    assert [(one.reason, one.n, one.examples[0]) for one in found.left_out] == [
        ("images without a label", 4, "test image 2")
    ]
    assert index(slices(PIXELS, np.where(LABELS > 0, 1, -1))).class_names == ("-1", "1")


@pytest.mark.parametrize("mode", ["int", "categorical", "binary"])
def test_image_dataset_from_directory_is_read_with_its_names(two_classes, mode):
    import keras

    data = keras.utils.image_dataset_from_directory(two_classes, label_mode=mode, image_size=(48, 64), verbose=False)
    found = index(data)
    assert (found.class_names, found.class_counts) == (("flower", "temple"), (8, 8))
    expected = {path.parent.name: np.asarray(Image.open(path)) for path in two_classes.rglob("0000.jpg")}
    for name, files in zip(found.class_names, found.files, strict=True):
        distances = [np.abs(found.store.open(file).astype(int) - expected[name]).max() for file in files]
        assert min(distances) <= 4  # the two decoders round differently


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64", "bfloat16"])
@pytest.mark.parametrize("divisor", [1, 255])
def test_floating_point_pixels_come_back_exactly(dtype, divisor):
    floats = tf.cast(PIXELS, dtype) / tf.cast(divisor, dtype)
    assert contents(index(slices(floats))) == given()


def test_the_range_is_decided_over_the_whole_stream_kept_or_not():
    pixels, labels = RNG.random((300, 2, 2)).astype(np.float32), np.arange(300) % 2
    found = index(slices(pixels, labels), max_images=5)
    kept = {image.tobytes() for image in found.store.images.values()}
    assert any(found.store.open(name).max() > 200 for name in found.files[0])
    pixels[next(n for n, image in enumerate(pixels) if image.tobytes() not in kept)] = 200
    again = index(slices(pixels, labels), max_images=5)
    quiet = [name for files in again.files for name in files if again.store.images[name].max() < 200]
    assert quiet
    assert all(again.store.open(name).max() <= 1 for name in quiet)


@pytest.mark.parametrize(
    "pixels",
    [PIXELS.astype(np.float32) / 127.5 - 1, PIXELS.astype(np.int32) * 9, np.full((12, 2, 2), np.nan)],
)
def test_pixels_out_of_range_are_refused(pixels):
    assert "Give the pixels as they were before any normalisation" in refusal(slices(pixels))


def test_splits_scaled_unlike_each_other_are_refused():
    scaled = slices(PIXELS.astype(np.float32) / 255)
    assert "Scale all splits in the same way" in refusal({"train": scaled, "test": slices(PIXELS.astype(np.float32))})


@pytest.mark.parametrize("batched", [False, True])
def test_channels_first_is_refused(batched):
    data = slices(np.moveaxis(PIXELS, -1, 1))
    assert "channels first" in refusal(data.batch(4) if batched else data)


def test_other_shapes_are_refused():
    assert "of shape (8,)" in refusal(slices(PIXELS[:, 0, :, 0]))
    assert "of shape (6, 8, 2)" in refusal(slices(PIXELS[..., :2]))


@pytest.mark.parametrize("batched", [False, True])
def test_encoded_images_stay_the_files_they_are(two_classes, batched):
    paths = sorted(two_classes.rglob("*.jpg"))
    data = slices([path.read_bytes() for path in paths], [path.parent.name for path in paths])
    found = index(data.batch(5) if batched else data)
    for name, files in zip(found.class_names, found.files, strict=True):
        kept = sorted(found.store.open(file).read() for file in files)
        assert kept == sorted(path.read_bytes() for path in paths if path.parent.name == name)


def test_weights_are_kept():
    found = index(slices(PIXELS, LABELS, np.arange(12) / 4))
    weights = {found.store.open(name).tobytes(): weight for name, weight in found.weights.items()}
    assert weights == {image.tobytes(): n / 4 for n, image in enumerate(PIXELS) if n != 4}
    assert "as weight" in refusal(slices(PIXELS, LABELS, np.full(12, -1.0)))
    assert "as weight" in refusal(slices(PIXELS, LABELS, np.ones((12, 2))))


def test_exact_copies_within_a_class_count_once_and_are_told():
    found = index(slices(np.concatenate([PIXELS, PIXELS[:2]]), [*LABELS, *LABELS[:2]]))
    assert found.class_counts == (4, 4, 4)
    assert [(one.reason, one.n, one.examples) for one in found.left_out] == [
        ("images that repeat another of their class", 2, ("image 12", "image 13"))
    ]


def test_exact_copies_in_two_classes_or_of_two_weights_stay_two_images():
    found = index(slices(np.concatenate([PIXELS, PIXELS[:2]]), [*LABELS, 1, 2]))
    assert (found.class_counts, found.left_out) == ((4, 5, 5), ())
    assert sum(name.endswith(" copy 2") for files in found.files for name in files) == 2
    weighted = index(slices(np.concatenate([PIXELS, PIXELS[:1]]), [*LABELS, 0], [1.0] * 12 + [2.0]))
    assert weighted.class_counts == (5, 4, 4)


def test_a_repeated_stream_gives_the_sample_of_one_pass():
    images, labels = many(120, (0.5, 0.5))
    for max_images in (40, 100):
        once, thrice = (index(data, max_images) for data in (slices(images, labels), slices(images, labels).repeat(3)))
        assert (thrice.class_counts, thrice.files) == ((60, 60), once.files)
        assert thrice.left_out[0].n == 240


def test_whole_numbers_up_to_one_are_black_and_white():
    pixels = RNG.integers(0, 2, PIXELS.shape, dtype=np.uint8)
    assert contents(index(slices(pixels))) == given(pixels * 255)
    pixels[-1, -1, -1] = 2
    assert contents(index(slices(pixels))) == given(pixels)


@pytest.mark.parametrize("batched", [False, True])
def test_one_hot_rows_keep_an_output_for_each_number(batched):
    data = slices(PIXELS, np.eye(5, dtype=np.float32)[LABELS + 1])
    found = index(data.batch(5) if batched else data, max_images=5)
    assert found.class_names == ("0", "1", "2", "3", "4")
    assert found.counts == (0, 4, 4, 4, 0)
    assert (found.silent, found.numbers) == (("0", "4"), ())


def test_counts_follow_the_order_of_the_class_names():
    words = np.array(["a", "b", "a"])[LABELS]
    found = index(slices(PIXELS, words), max_images=5, class_names=["b", "c", "a"])
    assert (found.class_names, found.counts, found.silent) == (("b", "c", "a"), (4, 0, 8), ("c",))


def test_class_names_are_checked_before_the_stream_is_read():
    def rows():
        raise RuntimeError("read")
        yield

    data = tf.data.Dataset.from_generator(rows, output_signature=signature((6, 8, 3)))
    assert "Received: 'x' twice" in refusal(data, class_names=["x", "y", "x"])
    assert "Received: str" in refusal(data, class_names="xy")


def test_the_same_image_in_two_splits_stays_two_images():
    found = index({"train": slices(), "val": slices(PIXELS[:3], LABELS[:3])})
    assert found.split_sizes() == {"train": 12, "validation": 3}
    assert contents(found, "validation") == given(PIXELS[:3], LABELS[:3])


def many(n=600, shares=(0.5, 0.3, 0.2)):
    """Small images of uneven classes, sorted by class."""
    labels = np.repeat(np.arange(len(shares)), [round(n * share) for share in shares])
    return RNG.integers(0, 256, (len(labels), 4, 4, 3), dtype=np.uint8), labels


def test_of_a_long_stream_a_stratified_sample_is_kept_and_all_are_counted():
    images, labels = many()
    found = index(slices(images, labels).batch(32), max_images=50)
    assert found.counts == found.class_counts == (300, 180, 120)
    assert found.n_images == 600
    assert tuple(map(len, found.files)) == quotas(found.counts, 50) == (24, 15, 11)
    assert not contents(found) - given(images, labels)


def test_held_out_splits_are_counted_beyond_the_sample():
    (images, labels), (others, answers) = many(), many(300, (0.5, 0.5))
    found = index({"train": slices(images, labels), "val": slices(others, answers), "test": slices()}, max_images=60)
    assert found.split_sizes() == {"train": 600, "validation": 300, "test": 12}
    assert found.listed == {"train": 600, "validation": 300}
    assert sum(map(len, found.validation)) == 60


def test_up_to_twice_the_sample_everything_is_kept():
    images, labels = many(100)
    found = index(slices(images, labels), max_images=50)
    assert found.counts is None
    assert contents(found) == given(images, labels)


@pytest.mark.slow
@pytest.mark.parametrize("max_images", [10, 50, 299, 300])
def test_the_sample_does_not_depend_on_the_order(max_images):
    images, labels = many()
    data = slices(images, labels)
    first = index(data, max_images)
    for other in (
        data.shuffle(600, seed=1).batch(7),
        data.shuffle(600, seed=2),
        slices(images[::-1], labels[::-1]),
        data.shuffle(64, seed=3).batch(600),
    ):
        again = index(other, max_images)
        assert (again.files, again.counts) == (first.files, first.counts)
        assert contents(again) == contents(first)


def test_the_sample_depends_on_the_seed():
    data = slices(*many())
    assert index(data, 50, seed=1).files != index(data, 50, seed=2).files


@pytest.mark.slow
def test_rare_classes_are_kept_wherever_they_come():
    images, labels = many(1000, (0.498, 0.5, 0.002))
    for order in (slice(None), slice(None, None, -1)):
        found = index(slices(images[order], labels[order]), max_images=20)
        assert found.counts == (498, 500, 2)
        assert len(found.files[2]) == 2


def test_more_classes_than_images_wanted_keep_one_image_each():
    images = RNG.integers(0, 256, (400, 2, 2), dtype=np.uint8)
    found = index(slices(images, np.arange(400) % 100).shuffle(400, seed=0), max_images=10)
    assert len(found.class_names) == len(found.counts) == len(found.files) == 100
    assert set(found.counts) == {4}
    assert {len(files) for files in found.files} == {1}


@pytest.mark.parametrize("max_images", [2, 3, 10, 100])
def test_no_more_than_twice_the_sample_is_ever_in_memory(max_images):
    reservoir = Reservoir(max_images, seed=0)
    most = 0
    for image, label in zip(*many(2000), strict=True):
        reservoir.offer(image, int(label))
        most = max(most, len(reservoir.kept))
    assert max_images < most <= 2 * max_images
    assert sum(reservoir.counts.values()) == 2000


def test_a_stream_of_batches_does_not_stay_in_memory():
    """A view of one image would hold its whole batch."""

    def batches():
        rng = np.random.default_rng(1)
        for _ in range(40):
            yield rng.integers(0, 256, (50, 32, 32, 3), dtype=np.uint8), np.arange(50) % 2

    data = tf.data.Dataset.from_generator(batches, output_signature=signature((None, 32, 32, 3), (None,)))
    found = index(data, max_images=10)
    assert all(image.base is None for image in found.store.images.values())
    tracemalloc.start()
    index(data, max_images=10)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 40 * 50 * 32 * 32 * 3 / 4


def test_the_shares_of_a_sample_hold_for_many_classes():
    """Classes fall short of their share by chance only, and by little."""
    images = RNG.integers(0, 256, (10_000, 2, 2), dtype=np.uint8)
    reservoir = Reservoir(400, seed=0)
    for image, label in zip(images, np.arange(10_000) % 20, strict=True):
        reservoir.offer(image, int(label))
    kept = Counter(one.label for one in reservoir.result())
    assert len(kept) == 20
    assert min(kept.values()) >= 18
    assert max(kept.values()) == 20


@pytest.mark.parametrize("form", [lambda data: data.repeat(), lambda data: data.batch(2).repeat().prefetch(1)])
def test_endless_streams_are_refused(form):
    assert ".take(n)" in refusal(form(slices()))


@pytest.mark.slow
@pytest.mark.parametrize("n", [10, 40, 100])
def test_a_generator_that_begins_anew_without_end_is_noticed(n):
    images, labels = many(n)

    def endless():
        while True:
            yield from zip(images, labels, strict=True)

    data = tf.data.Dataset.from_generator(endless, output_signature=signature((4, 4, 3)))
    assert "perhaps without an end" in refusal(data)
    assert index(data.take(n)).n_images == n


def test_a_generator_of_ever_new_images_is_noticed(monkeypatch):
    monkeypatch.setattr("probes.data.sources.tf_dataset._MOST_UNKNOWN", 500)
    images, labels = many(510)

    def rows():
        while True:
            yield RNG.integers(0, 256, (4, 4, 3), dtype=np.uint8), RNG.integers(2)

    data = tf.data.Dataset.from_generator(rows, output_signature=signature((4, 4, 3)))
    assert "500 images came" in refusal(data)
    assert index(slices(images, labels)).n_images == 510  # the length of which is known


def test_images_are_told_apart_even_beyond_those_known_again(monkeypatch):
    monkeypatch.setattr("probes.data.sampling._MOST_KNOWN", 6)
    found = index(slices().repeat(2))
    assert (found.n_images, found.left_out[0].n) == (18, 6)


def test_a_pipeline_that_fails_is_told_in_one_line():
    def fail(image, label):
        return tf.io.decode_jpeg(image), label

    assert "after 0 elements" in refusal(slices(["no jpeg"] * 4, [0, 1, 0, 1]).map(fail))

    def rows():
        yield PIXELS[0], 0
        raise ValueError("my own\nmistake")

    data = tf.data.Dataset.from_generator(rows, (tf.uint8, tf.int64))
    assert "after 1 elements: ValueError: my own" in refusal(data)


def test_a_stream_is_recognised_by_what_it_is():
    assert is_stream(slices())
    assert is_stream(slices().batch(2).prefetch(1).map(lambda *row: row))
    assert not any(is_stream(other) for other in (PIXELS, [slices()], "a", None, iter(slices())))


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    write_images(root / "train", {"flower": 8, "temple": 8})
    write_images(root / "test", {"flower": 2, "temple": 2}, seed=1)
    return root


@pytest.fixture(scope="module")
def tfds():
    pytest.importorskip("importlib_resources")  # tensorflow-datasets imports it when a builder is made
    return pytest.importorskip("tensorflow_datasets")


@pytest.fixture
def make_builder(tfds, tmp_path):
    """Makes a builder of the given features, from the examples of each split."""

    def make(features, examples, supervised=None):
        class Tiny(tfds.core.GeneratorBasedBuilder, skip_registration=True):
            VERSION = tfds.core.Version("1.0.0")

            def _info(self):
                return tfds.core.DatasetInfo(
                    builder=self, features=tfds.features.FeaturesDict(features), supervised_keys=supervised
                )

            def _split_generators(self, _manager):
                return {split: self._generate_examples(rows) for split, rows in examples.items()}

            def _generate_examples(self, rows):
                yield from enumerate(rows)

        return Tiny(data_dir=tmp_path / "tfds")

    return make


def of_builder(builder, max_images=100, **options):
    return tf_dataset.index(builder, Options(max_images=max_images, **options))


def test_an_image_folder_of_tfds_gives_its_own_files(tfds, tree):
    builder = tfds.ImageFolder(str(tree))
    found = of_builder(builder)
    assert found.class_names == ("flower", "temple")
    assert found.split_sizes() == {"train": 16, "test": 4}
    for split in ("train", "test"):
        for name, files in zip(found.class_names, found.split(split), strict=True):
            kept = sorted(found.store.open(file).read() for file in files)
            assert kept == sorted(path.read_bytes() for path in (tree / split / name).iterdir())


def test_what_tfds_load_returns_is_a_stream_for_each_split(tfds, tree):
    builder = tfds.ImageFolder(str(tree))
    for supervised in (False, True):
        splits = builder.as_dataset(as_supervised=supervised)
        assert all(map(is_stream, splits.values()))
        found = index(splits, class_names=builder.info.features["label"].names)
        assert (found.class_names, found.split_sizes()) == (("flower", "temple"), {"train": 16, "test": 4})


def test_a_prepared_builder_gives_files_names_and_splits(tfds, tree, make_builder):
    def rows(split, label=None):
        return [
            {"picture": path, "kind": label or path.parent.name, "note": "a"}
            for path in sorted((tree / split).rglob("*.jpg"))
        ]

    builder = make_builder(
        {
            "picture": tfds.features.Image(),
            "kind": tfds.features.ClassLabel(names=["flower", "temple", "pond"]),
            "note": tfds.features.Text(),
        },
        {"train": rows("train"), "extra": rows("test"), "test": rows("test", -1)},
        ("picture", "kind"),
    )
    with pytest.raises(ProbeError, match=r"download_and_prepare"):
        of_builder(builder)
    builder.download_and_prepare()
    found = of_builder(builder)
    assert (found.class_names, found.class_counts) == (("flower", "temple", "pond"), (8, 8, 0))
    assert found.silent == ("pond",)
    assert {one.reason: one.n for one in found.left_out} == {
        "splits that are neither train, validation nor test": 1,
        "images without a label": 4,
    }
    files = {found.store.open(name).read() for name in found.files[0]}
    assert files == {path.read_bytes() for path in (tree / "train" / "flower").iterdir()}


def test_floating_point_images_of_a_builder_are_decoded_by_it(tfds, make_builder):
    images = PIXELS[..., :1].astype(np.float32) / 255
    builder = make_builder(
        {
            "image": tfds.features.Image(shape=(6, 8, 1), dtype=np.float32),
            "label": tfds.features.ClassLabel(num_classes=3),
        },
        {"train": [{"image": image, "label": int(label)} for image, label in zip(images, LABELS, strict=True)]},
        ("image", "label"),
    )
    builder.download_and_prepare()
    assert contents(of_builder(builder)) == given(PIXELS[..., :1])


def test_a_builder_with_several_images_or_labels_is_refused(tfds, make_builder):
    builder = make_builder(
        {"a": tfds.features.Image(), "b": tfds.features.Image(), "label": tfds.features.ClassLabel(num_classes=3)},
        {"train": [{"a": PIXELS[0], "b": PIXELS[1], "label": 0}]},
    )
    builder.download_and_prepare()
    with pytest.raises(ProbeError, match="the keys 'a', 'b', 'label'"):
        of_builder(builder)


def test_a_builder_without_a_training_split_is_refused_with_its_splits(tfds, make_builder):
    features = {"image": tfds.features.Image(), "label": tfds.features.ClassLabel(num_classes=3)}
    builder = make_builder(features, {"test": [{"image": PIXELS[0], "label": 0}]})
    builder.download_and_prepare()
    with pytest.raises(ProbeError, match="with the splits test"):
        of_builder(builder)


def test_a_builder_is_recognised_by_what_it_is(tfds, tree):
    assert is_builder(tfds.ImageFolder(str(tree)))
    assert not any(is_builder(other) for other in (slices(), str(tree), None, tfds, tfds.ImageFolder))
