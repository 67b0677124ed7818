"""Classes that are given away by how their pictures are stored: each kind is found, and none without cause."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pictures import photograph
from PIL import Image, ImageEnhance

from probes.data.sources.folder import index_folder
from probes.evaluation.intervals import accuracy_error
from probes.images.image_facts import RECORD, inspect, record
from probes.quality.shortcuts import (
    KINDS,
    LEAST_IMAGES,
    MOST_CLASSES,
    MOST_IMAGES,
    interval_accuracy,
    ranked,
    set_accuracy,
    shortcuts,
)

CLASSES = ("ants", "bees", "wasps")


def read(folder):
    """The facts of a folder's pictures, and their labels."""
    names = sorted(str(file.relative_to(folder)) for file in folder.glob("*/*"))
    store = index_folder(folder).store
    rows = np.concatenate([record(place, facts) for place, facts in inspect(store, names, range(len(names)))])
    return rows, np.array([CLASSES.index(name.split("/")[0]) for name in names])


@pytest.fixture
def folder(tmp_path):
    """Three classes of crops of one and the same photograph, of which none can be told from the others."""
    rng = np.random.default_rng(0)
    for name in CLASSES:
        (tmp_path / name).mkdir()
        for number in range(15):
            size = tuple(int(side) for side in rng.integers((400, 290), (440, 320)))
            photograph(rng, size).save(tmp_path / name / f"{number:02}.jpg")
    return tmp_path


def spoil(folder, name, change, suffix=".jpg"):
    """Change all pictures of a class."""
    for file in sorted((folder / name).iterdir()):
        with Image.open(file) as picture:
            changed = change(picture.copy())
        file.unlink()
        changed.save(file.with_suffix(suffix))


SPOILT = {
    "format": ((lambda picture: picture), ".png", "PNG in 100% of 'bees', JPEG in 100% of the others"),
    "size": (
        (lambda picture: picture.resize((300, 200))),
        ".jpg",
        "300 x 200 px in 100% of 'bees', in 0% of the others",
    ),
    "mode": ((lambda picture: picture.convert("L")), ".jpg", "grey in 100% of 'bees', colour in 100% of the others"),
    "brightness": ((lambda picture: ImageEnhance.Brightness(picture).enhance(0.6)), ".jpg", "mean brightness"),
}


def test_pictures_of_the_same_origin_have_no_shortcut(folder):
    assert shortcuts(*read(folder), CLASSES) == ()


@pytest.mark.parametrize("kind", KINDS)
def test_a_planted_shortcut_is_found_and_nothing_else(folder, kind):
    change, suffix, words = SPOILT[kind]
    spoil(folder, "bees", change, suffix)
    (found,) = shortcuts(*read(folder), CLASSES)
    assert (found.kind, CLASSES[found.label]) == (kind, "bees")
    assert found.accuracy > 0.95
    assert found.words.startswith(words)


def facts(n, **given):
    """Facts of photographs that differ in size and brightness, but not by class."""
    rng = np.random.default_rng(0)
    rows = np.zeros(n, RECORD)
    rows["failure"] = -1
    rows["format"], rows["mode"] = b"JPEG", b"RGB"
    rows["width"], rows["height"] = rng.integers(200, 800, (n, 2)).T
    rows["brightness"] = rng.normal(120, 25, n)
    for name, values in given.items():
        rows[name] = values
    return rows


def sizes(width, height):
    return {"width": width, "height": height}


def labels_of(*counts):
    return np.repeat(np.arange(len(counts)), counts)


def two_sides(rows):
    """Whether rows of (value, side) are of both sides."""
    return len({side for _, side in rows}) == 2


def names(n):
    return [f"class {number}" for number in range(n)]


def test_the_accuracy_is_balanced_and_its_error_that_of_both_sides():
    labels = labels_of(10, 40)
    (found,) = shortcuts(facts(50, format=["PNG"] * 10 + ["JPEG"] * 40), labels, names(2))
    assert found.accuracy == 1.0
    errors = accuracy_error(np.ones(10, bool)), accuracy_error(np.ones(40, bool))
    assert found.standard_error == pytest.approx(np.hypot(*errors) / 2)


def test_a_share_of_the_class_counts_as_half_of_its_accuracy():
    labels = labels_of(100, 900)
    (found,) = shortcuts(facts(1000, format=["PNG"] * 80 + ["JPEG"] * 920), labels, names(2))
    assert found.accuracy == pytest.approx((0.8 + 1.0) / 2)
    assert found.words == "PNG in 80% of 'class 0', JPEG in 100% of the others"


def test_of_two_classes_the_smaller_is_reported():
    found = shortcuts(facts(60, format=["PNG"] * 40 + ["JPEG"] * 20), labels_of(40, 20), names(2))
    assert [shortcut.label for shortcut in found] == [1]


def test_the_clearest_comes_first():
    formats = ["PNG"] * 90 + ["JPEG"] * 210
    brightness = np.concatenate([np.random.default_rng(0).normal(120, 10, 200), np.full(100, 20.0)])
    found = shortcuts(facts(300, format=formats, brightness=brightness), labels_of(100, 100, 100), names(3))
    assert [(shortcut.kind, shortcut.label) for shortcut in found] == [("brightness", 2), ("format", 0)]


def test_sizes_that_vary_are_described_by_their_range():
    rng = np.random.default_rng(0)
    sides = np.concatenate([rng.integers(*limits, 60) for limits in ((50, 90), (100, 140), (150, 190))])
    found = shortcuts(facts(180, **sizes(sides, sides)), labels_of(60, 60, 60), names(3))
    words = {shortcut.label: shortcut.words for shortcut in found}
    assert all(words[label].endswith(f"px wide in 80% of 'class {label}', in 0% of the others") for label in (0, 1))


def test_a_class_is_not_reported_because_another_one_is_given_away():
    formats = ["PNG"] * 30 + ["JPEG"] * 60
    (found,) = shortcuts(facts(90, format=formats), labels_of(30, 30, 30), names(3))
    assert found.label == 0


def test_the_last_class_left_is_not_reported():
    formats = ["PNG"] * 30 + ["JPEG"] * 30 + ["WEBP"] * 30
    found = shortcuts(facts(90, format=formats), labels_of(30, 30, 30), names(3))
    assert [shortcut.label for shortcut in found] == [0, 1]


def test_an_aspect_ratio_alone_is_a_shortcut():
    rng = np.random.default_rng(0)
    width = rng.integers(200, 1600, 200)
    height = np.where(np.arange(200) < 60, width * 3 // 4, width * 4 // 3)
    found = shortcuts(facts(200, **sizes(width, height)), labels_of(60, 140), names(2))
    assert [(shortcut.kind, shortcut.label) for shortcut in found] == [("size", 0)]


def test_colour_counts_by_the_pixels_and_not_by_the_mode_of_the_file():
    labels = labels_of(30, 30, 30)
    stored = ["L"] * 30 + ["RGB"] * 60
    (found,) = shortcuts(facts(90, grey=np.arange(90) < 30), labels, names(3))
    assert (found.kind, found.words) == ("mode", "grey in 100% of 'class 0', colour in 100% of the others")
    assert shortcuts(facts(90, mode=stored, grey=True), labels, names(3)) == ()


def test_less_ink_is_no_shortcut():
    rng = np.random.default_rng(0)
    brightness = np.concatenate([rng.normal(18, 4, 100), rng.normal(32, 9, 900)])
    assert shortcuts(facts(1000, brightness=brightness), labels_of(100, 900), names(2)) == ()


def test_too_few_images_have_no_shortcut():
    few = LEAST_IMAGES - 1
    formats = ["PNG"] * few + ["JPEG"] * 50
    assert shortcuts(facts(few + 50, format=formats), labels_of(few, 25, 25), names(3)) == ()
    assert shortcuts(facts(60, format=["PNG"] * 51 + ["JPEG"] * few), labels_of(51, few), names(2)) == ()


def test_images_of_a_single_group_have_no_shortcut():
    labels = labels_of(30, 60)
    spoilt = facts(90, format=["PNG"] * 30 + ["JPEG"] * 60)
    assert len(shortcuts(spoilt, labels, names(2))) == 1
    assert shortcuts(spoilt, labels, names(2), groups=np.maximum(np.arange(90) - 29, 0)) == ()


@pytest.mark.parametrize(("n", "n_classes"), [(0, 2), (1, 2), (2, 2), (40, 1), (2000, 1000)])
def test_data_that_show_nothing_have_no_shortcut(n, n_classes):
    assert shortcuts(facts(n), np.arange(n) % n_classes, names(n_classes)) == ()


@settings(deadline=None, max_examples=30)
@given(st.integers(30, 200), st.integers(0, 2**32))
def test_chance_is_no_shortcut(n, seed):
    rng = np.random.default_rng(seed)
    chance = facts(n, format=rng.choice([b"JPEG", b"PNG", b"WEBP"], n), grey=rng.random(n) < 0.5)
    assert shortcuts(chance, rng.integers(0, 4, n), names(4)) == ()


def test_the_order_of_the_pictures_does_not_matter(folder):
    spoil(folder, "bees", lambda picture: picture.resize((300, 200)), ".png")
    rows, labels = read(folder)
    order = np.random.default_rng(0).permutation(len(labels))
    found = shortcuts(rows, labels, CLASSES)
    assert len(found) == 2
    assert shortcuts(rows[order], labels[order], CLASSES) == found


def test_of_many_classes_the_clearest_are_reported():
    n_classes = 3 * MOST_CLASSES
    labels = labels_of(*[12] * n_classes)
    found = shortcuts(facts(len(labels), **sizes(100 + labels, 100 + labels)), labels, names(n_classes))
    assert len(found) == MOST_CLASSES


def test_of_many_pictures_a_part_is_used():
    n = 3 * MOST_IMAGES
    labels = labels_of(n // 3, n - n // 3)
    (found,) = shortcuts(facts(n, format=np.where(labels, "PNG", "JPEG")), labels, names(2))
    assert found.accuracy == 1.0
    assert found.standard_error > 1e-4  # of the part


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=25).filter(two_sides))
def test_the_best_interval_is_that_of_a_naive_search(rows):
    values, own = (np.array(column) for column in zip(*rows, strict=True))
    best = 0.5
    for low, high in itertools.combinations_with_replacement(np.arange(-0.5, 8), 2):
        inside = (values > low) & (values < high)
        accuracy = (inside[own].mean() + (~inside)[~own].mean()) / 2
        best = max(best, accuracy, 1 - accuracy)
    assert interval_accuracy(*ranked(values.astype(float)), own) == pytest.approx(best)


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), min_size=2, max_size=25).filter(two_sides))
def test_the_best_set_of_categories_is_that_of_a_naive_search(rows):
    words, own = (np.array(column) for column in zip(*rows, strict=True))
    best = max(
        (np.isin(words[own], chosen).mean() + (~np.isin(words[~own], chosen)).mean()) / 2
        for size in range(6)
        for chosen in itertools.combinations(range(5), size)
    )
    assert set_accuracy((words[:, None] == np.arange(5)).astype(float), own) == pytest.approx(best)
