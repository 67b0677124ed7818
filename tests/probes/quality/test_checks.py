"""Every kind of fault is found in a copy of a small data set, and none in the sound original. The real command."""

import csv
import json

import pytest
from faulty import write_faulty, write_sound
from paths import ROOT

from recommender import recommend

PAGE = (ROOT / "docs" / "checks.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return write_sound(tmp_path_factory.mktemp("checks") / "sound")


@pytest.fixture(scope="module")
def faulty(sound, tmp_path_factory):
    return write_faulty(sound, tmp_path_factory.mktemp("checks") / "faulty")


@pytest.fixture(scope="module")
def found(faulty, invoke):
    """kind -> finding, by `recommend check`."""
    done = invoke("check", faulty[0], "--json", "--input-size", "96")
    assert (done.returncode, done.stderr) == (0, "")
    return {finding["kind"]: finding for finding in json.loads(done.stdout)["findings"]}


def test_a_sound_data_set_raises_no_alarm(sound, invoke):
    done = invoke("check", sound, "--json", "--input-size", "96")
    assert json.loads(done.stdout)["findings"] == []


def test_every_planted_fault_is_found_and_nothing_else(faulty, found):
    _, planted = faulty
    assert sorted(found) == sorted(planted)


def test_as_many_files_are_named_as_were_planted(faulty, found):
    _, planted = faulty
    counted = {kind: number for kind, number in planted.items() if number is not None}
    assert {kind: found[kind]["n_files"] for kind in counted} == counted


@pytest.mark.parametrize(
    ("kind", "named"),
    [
        ("unreadable", "train/elder/text.jpg"),
        ("truncated", "train/elder/cut off.jpg"),
        ("empty", "train/elder/nothing.jpg"),
        ("bomb", "train/elder/bomb.png"),
        ("misnamed", "train/elder/misnamed.jpg"),
        ("duplicate", "train/elder/same.jpg"),
        ("near_duplicate", "train/elder/nearly.jpg"),
        ("conflict", "train/birch/conflict.jpg"),
        ("near_conflict", "train/birch/near conflict.jpg"),
        ("leak", "val/elder/leak.jpg"),
        ("near_leak", "test/elder/near leak.jpg"),
        ("blank", "train/elder/blank.jpg"),
        ("odd_size", "train/elder/large.jpg"),
        ("odd_aspect", "train/elder/wide.jpg"),
        ("rotated", "train/elder/lying.jpg"),
        ("label_error", "train/daisy/labelled wrong.jpg"),
    ],
)
def test_the_planted_file_is_named(found, kind, named):
    assert any(named in example for example in found[kind]["examples"])


@pytest.mark.parametrize(
    ("kind", "given_away"), [("format", "aster"), ("size", "birch"), ("mode", "clover"), ("brightness", "daisy")]
)
def test_the_class_that_is_given_away_is_named(found, kind, given_away):
    assert f"{given_away!r} can be told by {kind} alone" in found[f"shortcut_{kind}"]["message"]


def test_the_full_check_finds_what_the_sample_shows(faulty, found, invoke, monkeypatch, tmp_path):
    monkeypatch.setenv("NETGRAFT_DATA", str(tmp_path))
    done = invoke("check", faulty[0], "--full", "--json", "--input-size", "96")
    full = {finding["kind"]: finding for finding in json.loads(done.stdout)["findings"]}
    assert {kind: finding["n_files"] for kind, finding in full.items()} == {
        kind: finding["n_files"] for kind, finding in found.items()
    }


def test_a_manifest_tells_of_missing_files_odd_rows_and_parted_groups(sound, invoke, tmp_path):
    rows = [("path", "label", "split", "group")]
    for path in sorted(sound.glob("*/*/*")):
        split, kind, name = path.parts[-3:]
        rows.append((path, kind, split, "field 1" if name == "00.jpg" and kind == "aster" else ""))
    rows += [("gone.jpg", "aster", "train", ""), ("a.jpg", "", "train", ""), ("b.jpg", "elder", "trial", "")]
    with (tmp_path / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    done = invoke("check", tmp_path / "list.csv", "--json", "--input-size", "96")
    found = [(finding["kind"], finding["n_files"]) for finding in json.loads(done.stdout)["findings"]]
    assert found == [("group_leak", 2), ("missing", 1), ("left_out", 1), ("left_out", 1)]


def test_the_page_of_the_check_names_files_and_says_what_was_done_and_what_to_do(faulty, invoke):
    done = invoke("check", faulty[0], "--input-size", "96")
    page = " ".join(done.stdout.split())
    assert page.startswith("faulty 169 train, 31 validation, 31 test images in 6 classes")
    assert "val/elder/leak.jpg" in page
    assert "Done: Left out of the expected accuracy." in page
    assert "You may: Remove them from the validation or test split." in page


def test_the_short_form_is_in_every_run(faulty, found, invoke):
    done = invoke(faulty[0], "--input-size", "96", "--max-images", "5000")
    page = " ".join(done.stdout.split())
    assert "1 file is cut off before its end" in page
    assert found["truncated"]["message"][:30] in page


def test_the_page_of_the_documentation_has_an_example_of_each(faulty):
    for kind in [*faulty[1], "missing", "left_out", "group_leak", "silent_class", "label_numbers", "similar_names"]:
        assert f"`{kind}`" in PAGE


def test_a_copy_of_every_image_does_not_raise_the_expected_accuracy(sound, tmp_path):
    for path in sorted((sound / "train").glob("*/*")):
        (tmp_path / path.parent.name).mkdir(exist_ok=True)
        for name in (path.name, f"copy of {path.name}"):
            (tmp_path / path.parent.name / name).symlink_to(path)
    once, twice = (recommend(folder, input_size=96) for folder in (sound / "train", tmp_path))
    assert twice.expected_accuracy == once.expected_accuracy
    assert twice.measurements.size.n_images == once.measurements.size.n_images
    assert twice.measurements.size.n_repeats == once.measurements.size.n_images
