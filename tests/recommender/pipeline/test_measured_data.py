"""Whole runs of a tiny network on data that are hard to measure correctly."""

import csv

import numpy as np
import pytest
from pictures import write_images
from PIL import Image

from probes.errors import BrokenData, ProbeError
from recommender import recommend


@pytest.fixture(scope="module")
def pixels():
    """Sixty pictures of 32 px, of two classes that do not differ."""
    return np.random.default_rng(0).integers(0, 255, (60, 32, 32, 3), np.uint8)


@pytest.fixture(scope="module")
def run(tiny_file):
    return lambda data, **arguments: recommend(data, backbone=tiny_file, **arguments)


def kinds(found):
    return {finding.kind: finding for finding in found.findings}


@pytest.mark.slow
def test_a_class_that_can_not_be_judged_gives_no_accuracy(pixels, run):
    found = run((pixels[:31], [0] * 30 + [1]))
    assert found.expected_accuracy is None
    assert "can't be measured" in " ".join(found.reasons)


def test_a_class_of_one_group_gives_no_accuracy(tmp_path, run):
    write_images(tmp_path, {"flower": 12, "temple": 12})
    with (tmp_path / "list.csv").open("w", newline="") as file:
        rows = [(f"flower/{n:04}.jpg", "flower", f"f{n}") for n in range(12)]
        rows += [(f"temple/{n:04}.jpg", "temple", "one") for n in range(12)]
        csv.writer(file).writerows([("path", "label", "group"), *rows])
    assert run(tmp_path / "list.csv").expected_accuracy is None


def test_the_full_check_leaves_leaks_outside_the_sample_out_of_the_accuracy(pixels, run):
    labels = [0, 1] * 30
    found = run({"train": (pixels, labels), "val": (pixels[10:50], labels[10:50])}, max_images=24, check="full")
    assert kinds(found)["leak"].n_files == 40
    assert kinds(found)["leak"].done == "Left out of the expected accuracy."
    assert kinds(found)["validation"].done == "Accuracy is cross-validated in training instead."
    assert found.measurements.n_held_out == 0


def test_the_group_of_a_copy_that_was_not_measured_counts(pixels, tmp_path, run):
    rows = [("path", "label", "split", "group")]
    for number, picture in enumerate(pixels[:40]):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
        split = "val" if number >= 30 else "train"
        rows.append((f"{number}.png", "ab"[number % 2], split, "x" if number in (30, 31) else ""))
    Image.fromarray(pixels[5]).save(tmp_path / "copy of 5.png")
    rows.append(("copy of 5.png", "b", "train", "x"))
    with (tmp_path / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    found = run(tmp_path / "list.csv")
    assert kinds(found)["group_leak"].n_files == 2
    assert found.measurements.n_held_out == 8


@pytest.mark.slow
def test_a_validation_split_of_one_class_gives_way_to_cross_validation(pixels, run):
    labels = [0, 1] * 30
    found = run({"train": (pixels[:50], labels[:50]), "val": (pixels[50:], [0] * 10)})
    assert found.to_dict()["accuracy_from"] == "cross-validation"
    assert "of 1 of 2 classes no image" in kinds(found)["validation"].message


@pytest.mark.slow
def test_class_weights_count_files_and_the_size_counts_distinct_images(pixels, run):
    copies = np.concatenate([np.repeat(pixels[:1], 20, axis=0), pixels[1:21]])
    found = run((copies, [0] * 20 + [1] * 20))
    assert found.class_weight is None
    assert found.measurements.size.class_counts == (1, 20)
    assert found.measurements.size.file_counts == (20, 20)


def test_weights_of_zero_everywhere_are_refused(tmp_path, run):
    write_images(tmp_path, {"flower": 3, "temple": 3})
    rows = [(f"{kind}/{n:04}.jpg", kind, 0) for kind in ("flower", "temple") for n in range(3)]
    with (tmp_path / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("path", "label", "weight"), *rows])
    with pytest.raises(ProbeError, match="weights above 0 in at least two classes"):
        run(tmp_path / "list.csv")


@pytest.mark.slow
def test_accuracy_is_that_of_the_data_where_the_sample_has_other_shares(tmp_path):
    write_images(tmp_path, {"temple": 120})
    for number in range(10):
        write_images(tmp_path / "parts", {f"{number}": 2}, seed=number)
        (tmp_path / "parts" / f"{number}").rename(tmp_path / f"rare {number}")
    (tmp_path / "parts").rmdir()
    found = recommend(tmp_path, input_size=96, max_images=30)
    judged = found.probe.judged
    labels, right = found.rows.labels[judged.rows], np.array(judged.correct)
    temple = np.bincount(labels).argmax()
    assert judged.accuracy == pytest.approx(
        (120 * right[labels == temple].mean() + 20 * right[labels != temple].mean()) / 140
    )
    assert judged.accuracy != pytest.approx(right.mean(), abs=0.05)


def test_broken_files_are_reported_even_if_nothing_can_be_measured(tmp_path, invoke, run, tiny_file):
    write_images(tmp_path / "data", {"flower": 3, "temple": 3})
    for path in (tmp_path / "data" / "temple").iterdir():
        path.write_bytes(b"no picture")
    with pytest.raises(BrokenData) as caught:
        run(tmp_path / "data", check="sample")
    assert [(finding.kind, finding.n_files) for finding in caught.value.findings] == [("unreadable", 3)]
    done = invoke("check", tmp_path / "data", "--backbone", tiny_file)
    assert done.returncode == 1
    assert "3 files can't be read as images" in done.stdout
    assert done.stderr.startswith("Error: Expected the class 'temple' to hold a readable image.")


@pytest.mark.slow
def test_classes_that_are_spelt_in_two_ways_are_reported(pixels, run):
    found = run((pixels[:40], ["Cat", "cat", "dog", "cow"] * 10))
    assert kinds(found)["similar_names"].examples == ("Cat = cat",)


def test_a_named_class_without_images_keeps_its_output(pixels, run):
    found = run((pixels[:40], [0, 2] * 20), class_names=["ant", "bee", "cat"])
    assert found.measurements.size.class_names == ("ant", "bee", "cat")
    assert found.probe.kernel.shape[1] == 3
    assert kinds(found)["silent_class"].examples == ("bee",)
    assert found.build().output_shape == (None, 3)


@pytest.mark.slow
def test_numbers_that_are_not_those_of_the_outputs_are_reported(pixels, run):
    found = run((pixels[:40], [1, 3] * 20))
    assert kinds(found)["label_numbers"].examples == ("label 1 is output 0", "label 3 is output 1")
