"""What every source of labelled pictures has to do, whatever their form; and the registry."""

import os
import pickle
import shutil
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import data_forms
import numpy as np
import pytest
from data_forms import CLASSES, FORMS, KINDS, Item, pixels_of, write_items

from probes.data.sampling import draw_splits
from probes.data.sources import open as registry
from probes.data.sources.open import open_source
from probes.errors import ProbeError
from probes.images.decode import UnreadableImage, read_picture

every_form = pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)


@pytest.fixture(scope="session")
def items(tmp_path_factory):
    return write_items(tmp_path_factory.mktemp("items"), {"train": 3, "validation": 2})


@pytest.fixture
def opened(tmp_path):
    def opened(form, items, **options):
        data, own = form(items, tmp_path)
        return open_source(data, **own, **options)

    return opened


def contents(index, split):
    """How often each (class, pixels) occurs in a split."""
    return Counter(
        (name, pixels_of(index, file).tobytes())
        for name, files in zip(index.class_names, index.split(split), strict=True)
        for file in files
    )


def expected(items, split):
    return Counter((item.label, read_picture(item.path).rgb.tobytes()) for item in items if item.split == split)


def refused(form, items, where):
    data, options = form(items, where)
    with pytest.raises(ProbeError) as caught:
        open_source(data, **options)
    assert "\n" not in str(caught.value)
    assert "Received: " in str(caught.value)
    return str(caught.value)


@every_form
def test_it_gives_the_classes_counts_and_pixels_of_the_training_images(form, items, opened):
    training = [item for item in items if item.split == "train"]
    index = opened(form, training)
    assert index.kind == KINDS[form]
    assert index.class_names == CLASSES
    assert index.class_counts == (3, 3, 3)
    assert index.split_sizes() == {"train": 9}
    assert not index.left_out
    assert contents(index, "train") == expected(items, "train")


@every_form
def test_it_keeps_the_users_splits(form, items, opened):
    index = opened(form, items)
    assert index.split_sizes() == {"train": 9, "validation": 6}
    assert contents(index, "train") == expected(items, "train")
    assert contents(index, "validation") == expected(items, "validation")


@every_form
def test_it_gives_the_same_sample_for_the_same_seed(form, items, tmp_path):
    data, options = form(items, tmp_path)
    first, second = (open_source(data, **options) for _ in range(2))
    assert first.files == second.files
    assert draw_splits(first, 6, 1) == draw_splits(second, 6, 1)


@every_form
def test_it_can_be_read_by_many_threads(form, items, opened):
    index = opened(form, items)
    names = [name for files in index.files for name in files] * 8
    with ThreadPoolExecutor(8) as pool:
        pixels = list(pool.map(lambda name: pixels_of(index, name).tobytes(), names))
    assert pixels == [pixels_of(index, name).tobytes() for name in names]


@pytest.mark.parametrize("form", data_forms.SHARDS, ids=lambda form: form.__name__)
def test_shards_can_be_read_from_another_process_and_folder(form, items, tmp_path, monkeypatch, cache):
    """As a worker of a cluster does, which gets the store, has an empty cache and works elsewhere."""
    monkeypatch.chdir(tmp_path)
    data, _ = form(items, tmp_path)
    index = open_source(data if "://" in str(data) else os.path.relpath(data))
    names = [name for files in index.files for name in files]
    pixels = [pixels_of(index, name) for name in names]
    monkeypatch.chdir("/")
    shutil.rmtree(cache)
    elsewhere = replace(index, store=pickle.loads(pickle.dumps(index.store)))
    assert all(map(np.array_equal, pixels, (pixels_of(elsewhere, name) for name in names)))


@every_form
def test_a_broken_image_concerns_no_other(form, items, opened, tmp_path_factory):
    if form in (data_forms.arrays, data_forms.unit_arrays, data_forms.tf_pixels, data_forms.pil_images):
        pytest.skip("its images are decoded before")
    where = tmp_path_factory.mktemp("broken")
    training = [
        Item(shutil.copyfile(item.path, where / item.path.name), *item[1:]) for item in items if item.split == "train"
    ]
    training[0].path.write_bytes(b"no picture at all")
    index = opened(form, training)
    assert index.class_counts == (3, 3, 3)
    good, bad = 0, 0
    for name in index.files[0]:
        try:
            pixels_of(index, name)
            good += 1
        except UnreadableImage:
            bad += 1
    assert (good, bad) == (2, 1)


@every_form
def test_a_single_class_is_refused(form, items, tmp_path):
    ants = [item for item in items if item.label == "ant" and item.split == "train"]
    assert "with the single class '" in refused(form, ants, tmp_path)


@every_form
def test_no_images_at_all_are_refused(form, tmp_path):
    if form in (data_forms.unit_arrays, data_forms.pil_images, data_forms.tfds_builder):
        pytest.skip("it can't be made")
    refused(form, [], tmp_path)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (3, "Received: a int"),
        (None, "Received: a NoneType"),
        ((np.zeros((2, 8, 8, 3)), [0, 1], [1, 1]), "Received: a tuple"),
        ({"train": (np.zeros((2, 8, 8)), [0, 1]), "trial": None}, "Received: the keys 'train', 'trial'"),
        ({"test": (np.zeros((2, 8, 8)), [0, 1])}, "with the split 'train'"),
        ({"val": None, "valid": None}, "each split once"),
        ({}, "Received: none"),
    ],
)
def test_objects_that_are_no_labelled_images_are_refused(data, message):
    with pytest.raises(ProbeError, match=message):
        open_source(data)


def test_paths_that_hold_no_labelled_images_are_refused(tmp_path, items, forbid):
    (tmp_path / "closed.jpg").touch()
    forbid(tmp_path / "closed.jpg")
    for path, reason in (
        (tmp_path / "missing", "no such file or folder"),
        (tmp_path / "train-*.txt.gzz", "no such file or folder"),
        (items[0].path, "a file of another kind"),
        (tmp_path / "closed.jpg", "permission denied"),
        ("\0", "not a possible name of a file"),
    ):
        with pytest.raises(ProbeError, match=reason):
            open_source(path)


def test_options_for_other_forms_are_refused(tmp_path, items):
    data, _ = data_forms.folder(items, tmp_path)
    with pytest.raises(ProbeError, match="--column with a manifest or images in Parquet only"):
        open_source(data, columns={"label": "kind"})
    with pytest.raises(ProbeError, match="with data in memory only"):
        open_source(data, class_names=["a", "b"])
    with pytest.raises(ProbeError, match="images in Parquet only"):
        open_source(([], []), columns={"label": "kind"})


def test_a_new_source_is_one_module_and_one_line(monkeypatch):
    class Listed:
        """A source as somebody may add it."""

        def recognises(self, data):
            return data == "my database"

        def index(self, data, options):
            return data, options.max_images

    monkeypatch.setattr(registry, "SOURCES", (*registry.SOURCES, Listed()))
    assert open_source("my database", max_images=7) == ("my database", 7)


@pytest.mark.slow
@every_form
def test_every_form_gives_the_recommendation_of_the_plain_folder(form, plain, listed, tmp_path):
    data, options = form(listed, tmp_path)
    assert not list(differences(answer(data, **options), plain))


@pytest.fixture(scope="module")
def listed(request, tmp_path_factory):
    """Real pictures of one size where the data sets are at hand, else made ones."""
    try:
        root = request.getfixturevalue("shared_datasets") / "cifar10"
    except pytest.skip.Exception:
        return write_items(tmp_path_factory.mktemp("items"), {"train": 15})
    names = dict(zip(CLASSES, ("airplane", "cat", "frog"), strict=True))
    return [Item(path, label) for label, name in names.items() for path in sorted((root / name).glob("*"))[:15]]


@pytest.fixture(scope="module")
def plain(listed, tmp_path_factory):
    data, _ = data_forms.folder(listed, tmp_path_factory.mktemp("plain"))
    return answer(data)


def answer(data, **options):
    """The recommendation, without the names of files and the seconds."""
    from recommender import recommend

    found = recommend(data, input_size=64, **options).to_dict()
    found["findings"] = sorted((finding["kind"], finding["n_files"]) for finding in found["findings"])
    for part in ("seconds", "warnings"):
        del found[part]
    del found["dataset"]["path"], found["dataset"]["kind"]
    return found


def differences(one, other, place=""):
    """Where plain data differ by more than float noise: linear algebra on several threads varies in the last digits."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        for key in one:
            yield from differences(one[key], other[key], f"{place}/{key}")
    elif isinstance(one, list | tuple) and isinstance(other, list | tuple) and len(one) == len(other):
        for number, pair in enumerate(zip(one, other, strict=True)):
            yield from differences(*pair, f"{place}[{number}]")
    elif one != (pytest.approx(other, rel=1e-5, abs=1e-7) if isinstance(other, float) else other):
        yield f"{place}: {one!r} and {other!r}"
