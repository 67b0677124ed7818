"""Every kind of fault is found in a copy of a small data set, and none in the sound original, by the real command."""

import csv
import json

import pytest
from faulty import write_faulty, write_sound
from paths import ROOT

from recommender import recommend

PAGE = (ROOT / "docs" / "checks.md").read_text(encoding="utf-8")
NAMED = {
    "unreadable": "train/elder/text.jpg",
    "truncated": "train/elder/cut off.jpg",
    "empty": "train/elder/nothing.jpg",
    "bomb": "train/elder/bomb.png",
    "misnamed": "train/elder/misnamed.jpg",
    "duplicate": "train/elder/same.jpg",
    "near_duplicate": "train/elder/nearly.jpg",
    "conflict": "train/birch/conflict.jpg",
    "near_conflict": "train/birch/near conflict.jpg",
    "leak": "val/elder/leak.jpg",
    "near_leak": "test/elder/near leak.jpg",
    "blank": "train/elder/blank.jpg",
    "odd_size": "train/elder/large.jpg",
    "odd_aspect": "train/elder/wide.jpg",
    "rotated": "train/elder/lying.jpg",
}
NEEDS_WEIGHTS = {"label_error"}  # a network of random weights can't find it


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    return write_sound(tmp_path_factory.mktemp("checks") / "sound")


@pytest.fixture(scope="module")
def faulty(sound, tmp_path_factory):
    """The folder, and for each kind of finding the number of files planted."""
    return write_faulty(sound, tmp_path_factory.mktemp("checks") / "faulty")


def findings(invoke, data, *options):
    """kind -> finding."""
    done = invoke("check", data, "--json", *options)
    assert (done.returncode, done.stderr) == (0, "")
    return {finding["kind"]: finding for finding in json.loads(done.stdout)["findings"]}


@pytest.fixture(scope="module")
def found(faulty, invoke, tiny_file):
    """What `recommend check` finds, with a network of random weights."""
    return findings(invoke, faulty[0], "--backbone", tiny_file)


@pytest.mark.slow
def test_a_sound_data_set_has_no_finding(sound, invoke, tiny_file):
    assert set(findings(invoke, sound, "--backbone", tiny_file)) <= NEEDS_WEIGHTS


def test_every_planted_fault_is_found_and_nothing_else(faulty, found):
    assert set(found) | NEEDS_WEIGHTS == set(faulty[1])


def test_as_many_files_are_named_as_were_planted(faulty, found):
    expected = {kind: number for kind, number in faulty[1].items() if number is not None}
    assert {kind: found[kind]["n_files"] for kind in expected} == expected


@pytest.mark.parametrize(("kind", "name"), NAMED.items())
def test_the_planted_file_is_an_example(found, kind, name):
    assert any(name in example for example in found[kind]["examples"])


@pytest.mark.parametrize(
    ("kind", "given_away"), [("format", "aster"), ("size", "birch"), ("mode", "clover"), ("brightness", "daisy")]
)
def test_the_class_that_is_given_away_is_named(found, kind, given_away):
    assert f"{given_away!r} can be recognised by {kind} alone" in found[f"shortcut_{kind}"]["message"]


@pytest.mark.slow
def test_the_full_check_finds_what_the_sample_shows(faulty, found, invoke, tiny_file, monkeypatch, tmp_path):
    monkeypatch.setenv("NETGRAFT_DATA", str(tmp_path))
    full = findings(invoke, faulty[0], "--full", "--backbone", tiny_file)
    assert {kind: finding["n_files"] for kind, finding in full.items()} == {
        kind: finding["n_files"] for kind, finding in found.items()
    }


@pytest.mark.slow
def test_a_manifest_reports_missing_files_omitted_rows_and_split_groups(sound, invoke, tiny_file, tmp_path):
    rows = [("path", "label", "split", "group")]
    for path in sorted(sound.glob("*/*/*")):
        split, kind, name = path.parts[-3:]
        rows.append((path, kind, split, "field 1" if name == "00.jpg" and kind == "aster" else ""))
    rows += [("gone.jpg", "aster", "train", ""), ("a.jpg", "", "train", ""), ("b.jpg", "elder", "trial", "")]
    with (tmp_path / "list.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    done = invoke("check", tmp_path / "list.csv", "--json", "--backbone", tiny_file)
    found = [(finding["kind"], finding["n_files"]) for finding in json.loads(done.stdout)["findings"]]
    found = [finding for finding in found if finding[0] not in NEEDS_WEIGHTS]
    assert found == [("group_leak", 2), ("missing", 1), ("left_out", 1), ("left_out", 1)]


def test_the_page_names_files_and_reports_what_was_done_and_what_to_do(faulty, invoke, tiny_file):
    page = " ".join(invoke("check", faulty[0], "--backbone", tiny_file).stdout.split())
    assert page.startswith("faulty 169 train, 31 validation, 31 test images in 6 classes")
    assert "val/elder/leak.jpg" in page
    assert "Done: Left out of the expected accuracy." in page
    assert "You may: Remove them from the validation or test split." in page


@pytest.mark.slow
def test_every_run_reports_the_worst_finding_in_one_line(faulty, invoke, tiny_file):
    page = " ".join(invoke(faulty[0], "--backbone", tiny_file, "--max-images", "5000").stdout.split())
    assert "1 file is cut off before its end" in page


def test_the_documentation_has_an_example_of_each_kind(faulty):
    for kind in [*faulty[1], "missing", "left_out", "group_leak", "silent_class", "label_numbers", "similar_names"]:
        assert f"`{kind}`" in PAGE


@pytest.mark.slow
def test_copies_of_every_image_do_not_raise_the_expected_accuracy(sound, tmp_path, tiny_file):
    for path in sorted((sound / "train").glob("*/*")):
        (tmp_path / path.parent.name).mkdir(exist_ok=True)
        for name in (path.name, f"copy of {path.name}"):
            (tmp_path / path.parent.name / name).symlink_to(path)
    once, twice = (recommend(folder, backbone=tiny_file) for folder in (sound / "train", tmp_path))
    assert twice.expected_accuracy == once.expected_accuracy
    assert twice.measurements.size.n_images == once.measurements.size.n_images
    assert twice.measurements.size.n_repeats == once.measurements.size.n_images


@pytest.mark.slow
def test_with_the_default_network_the_wrong_label_is_found_and_a_sound_data_set_has_no_finding(sound, faulty, invoke):
    assert findings(invoke, sound, "--input-size", "96") == {}
    found = findings(invoke, faulty[0], "--input-size", "96")
    assert set(found) == set(faulty[1])
    assert any("train/daisy/labelled wrong.jpg" in example for example in found["label_error"]["examples"])
