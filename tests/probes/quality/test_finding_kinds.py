"""Each kind of finding on rows made by hand, and none without cause."""

from pathlib import Path

import numpy as np
import pytest

import probes.quality.checks
from probes.data.dataset_size import DatasetSize
from probes.data.image_index import SPLITS, Entry, index_entries
from probes.data.splits import Rows
from probes.images.decode import UnreadableImage
from probes.images.image_facts import FAILURES, Inspection, PictureFacts, record
from probes.quality.checked_data import CheckedData, InspectedData
from probes.quality.checks import classes, files, odd_pictures, repeats
from probes.quality.checks.registry import CHECKS, FILE_CHECKS, find_in_files
from probes.quality.findings import count, quoted
from probes.quality.repeats import distinct_counts, find_repeats, readable_counts


def fingerprint(seed):
    return np.random.default_rng(seed).bytes(64)


def facts(seed=0, **given):
    """A photograph that resembles no other."""
    plain = {
        "digest": np.random.default_rng([seed, 1]).bytes(16),
        "perceptual": fingerprint([seed, 2]),
        "format": "JPEG",
        "mode": "RGB",
        "size": (200, 150),
        "grey": False,
        "rotated": False,
        "misnamed": False,
        "brightness": 120.0,
        "contrast": 50.0,
    }
    return PictureFacts(**{**plain, **given})


def similar(seed):
    """One of several pictures with the same fingerprint and different pixels."""
    return facts(seed, perceptual=fingerprint([999, 2]))


def inspection(*pictures, labels=None, splits=None):
    """An inspection of pictures, by default of one class in training."""
    names = [f"{place}.jpg" for place in range(len(pictures))]
    return Inspection(
        names=tuple(names),
        labels=np.array(labels or [0] * len(pictures)),
        splits=np.array([SPLITS.index(split) for split in splits or ["train"] * len(pictures)], np.int8),
        rows=np.concatenate([record(place, picture) for place, picture in enumerate(pictures)]),
        reasons={name: str(one) for name, one in zip(names, pictures, strict=True) if isinstance(one, Exception)},
    )


TWO_CLASSES = index_entries([Entry("a", "x"), Entry("b", "y")], None, source="data", kind="folder")


def inspected(*pictures, index=TWO_CLASSES, **options):
    """The data that checks of files read."""
    seen = inspection(*pictures, **options)
    return InspectedData(index=index, seen=seen, repeats=find_repeats(seen, index))


def counted(counts, *, index=TWO_CLASSES, rows=None):
    """The data that checks of classes read: that many images of each class."""
    seen = inspection(facts())
    size = DatasetSize(
        path="data",
        kind="folder",
        splits={"train": sum(counts)},
        class_names=index.class_names,
        class_counts=counts,
        file_counts=counts,
        median_size_px=(200, 150),
        grey_share=0.0,
        n_sampled=1,
        n_checked=1,
        unsampled_classes=(),
        unreadable={},
        n_repeats=0,
        ignored={},
    )
    return CheckedData(
        index=index,
        seen=seen,
        repeats=find_repeats(seen, index),
        size=size,
        features=None,
        rows=rows,
        judged=None,
        notable_imbalance=3,
    )


def kinds(findings):
    return [finding.kind for finding in findings]


def test_every_module_of_the_checks_is_registered():
    modules = {path.stem for path in Path(probes.quality.checks.__file__).parent.glob("*.py")}
    assert {check.__module__.rpartition(".")[2] for check in CHECKS} == modules - {"__init__", "registry"}
    assert set(FILE_CHECKS) < set(CHECKS)


def test_different_pictures_have_no_finding():
    data = inspected(*(facts(seed) for seed in range(20)), labels=[0, 1] * 10, splits=["train"] * 15 + ["test"] * 5)
    checks = (files.unreadable, repeats.check, odd_pictures.check, files.omissions, classes.names)
    assert [finding for check in checks for finding in check(data)] == []


@pytest.mark.parametrize("kind", FAILURES)
def test_each_way_to_fail_is_a_finding(kind):
    data = inspected(facts(), UnreadableImage("for a reason", kind), UnreadableImage("another", kind))
    [finding] = find_in_files(data)
    assert (finding.kind, finding.severity, finding.n_files) == (kind, "warning", 2)
    assert finding.examples == ("1.jpg", "2.jpg")
    assert finding.message.startswith("2 files")
    assert "'1.jpg': for a reason" in finding.message


OTHERS = [facts(seed) for seed in range(20)]


@pytest.mark.parametrize(
    ("pictures", "labels", "splits", "kind", "severity", "n_files", "examples"),
    [
        ([facts(1), facts(2), facts(1), facts(1)], None, None, "duplicate", "warning", 2, ["0.jpg = 2.jpg = 3.jpg"]),
        ([facts(1), facts(2), facts(1)], [0, 0, 1], None, "conflict", "error", 2, ["0.jpg = 2.jpg"]),
        *(
            ([facts(1), facts(2), facts(1)], None, ["train", "train", split], "leak", "error", 1, ["0.jpg = 2.jpg"])
            for split in ("validation", "test")
        ),
        ([*OTHERS, similar(30), similar(31)], None, None, "near_duplicate", "warning", 1, ["20.jpg = 21.jpg"]),
        ([*OTHERS, similar(30), similar(31)], [0] * 21 + [1], None, "near_conflict", "warning", 2, ["20.jpg = 21.jpg"]),
        (
            [*OTHERS, similar(30), similar(31)],
            None,
            ["train"] * 21 + ["validation"],
            "near_leak",
            "error",
            1,
            ["20.jpg = 21.jpg"],
        ),
    ],
)
def test_each_kind_of_repeat_is_found_alone(pictures, labels, splits, kind, severity, n_files, examples):
    [finding] = repeats.check(inspected(*pictures, labels=labels, splits=splits))
    assert (finding.kind, finding.severity, finding.n_files) == (kind, severity, n_files)
    assert finding.examples == tuple(examples)


def test_pictures_shared_by_validation_and_test_are_no_leak():
    data = inspected(facts(1), facts(2), facts(2), splits=["train", "validation", "test"])
    assert kinds(repeats.check(data)) == []


def test_blank_copies_are_copies_though_they_have_no_hash():
    blank = facts(1, perceptual=bytes(64))
    assert kinds(repeats.check(inspected(blank, blank, facts(2)))) == ["duplicate"]


def test_a_group_in_two_splits_is_a_leak():
    entries = [
        Entry("0.jpg", "x", "train", "ann"),
        Entry("1.jpg", "y", "train", "ben"),
        Entry("2.jpg", "y", "test", "ann"),
    ]
    index = index_entries(entries, None, source="data", kind="manifest")
    data = inspected(facts(1), facts(2), facts(3), splits=["train", "train", "test"], index=index)
    [finding] = repeats.check(data)
    assert (finding.kind, finding.n_files, finding.examples) == ("group_leak", 1, ("2.jpg (group ann)",))
    assert data.repeats.together.tolist() == [0, 1, 0]
    assert data.repeats.leaked.tolist() == [False, False, True]


@pytest.mark.parametrize(
    ("kind", "odd"),
    [
        ("blank", {"contrast": 0.3}),
        ("misnamed", {"misnamed": True}),
        ("mixed_modes", {"mode": "I;16"}),
        ("rotated", {"rotated": True}),
        ("odd_size", {"size": (20, 15)}),
        ("odd_size", {"size": (2000, 1500)}),
        ("odd_aspect", {"size": (600, 150)}),
        ("odd_aspect", {"size": (150, 600)}),
        ("mixed_modes", {"mode": "L"}),
        ("mixed_modes", {"mode": "RGBA"}),
        ("mixed_modes", {"mode": "CMYK"}),
    ],
)
def test_each_oddity_is_found_alone(kind, odd):
    [finding] = odd_pictures.check(inspected(*(facts(seed) for seed in range(9)), facts(9, **odd)))
    assert (finding.kind, finding.n_files, finding.examples) == (kind, 1, ("9.jpg",))
    assert finding.severity == ("warning" if kind == "blank" else "note")


def test_pictures_of_12_bits_in_16_are_found():
    dark = [facts(seed, mode="I;16", brightness=7.0, contrast=3.0) for seed in range(4)]
    [finding] = odd_pictures.check(inspected(*dark))
    assert (finding.kind, finding.n_files, finding.severity) == ("unused_bits", 4, "warning")


def test_palettes_count_as_colour():
    assert kinds(odd_pictures.check(inspected(facts(1), facts(2, mode="P")))) == []


def test_the_oddest_size_comes_first():
    odd = (facts(9, size=(20, 15)), facts(10, size=(4, 3)))
    [finding] = odd_pictures.check(inspected(*(facts(seed) for seed in range(9)), *odd))
    assert finding.examples == ("10.jpg", "9.jpg")


CATS = index_entries([Entry(name, name) for name in ("cat", "dog", "emu")], None, source="data", kind="folder")


def test_small_classes_are_reported_with_the_smallest_first():
    [finding] = classes.small(counted((12, 9, 1), index=CATS))
    assert (finding.kind, finding.n_files, finding.examples) == ("small_class", 10, ("emu: 1", "dog: 9"))
    assert "2 classes have fewer than 10 images: 'emu', 'dog'. 'emu': one image" in finding.message
    assert kinds(classes.small(counted((12, 10, 0), index=CATS))) == []


def test_imbalance_is_reported_with_the_largest_and_the_smallest_class():
    [finding] = classes.imbalance(counted((50, 500)))
    assert (finding.kind, finding.examples) == ("imbalance", ("x: 50", "y: 500"))
    assert "'y', has 10 times" in finding.message
    assert kinds(classes.imbalance(counted((50, 149)))) == []


def test_classes_without_images_odd_numbers_and_several_spellings_are_reported():
    entries = [Entry("0", 1), Entry("1", 3)]
    numbered = index_entries(entries, None, source="data", kind="manifest")
    [finding] = classes.names(inspected(facts(), index=numbered))
    assert (finding.kind, finding.examples) == ("label_numbers", ("label 1 is output 0", "label 3 is output 1"))
    spelt = index_entries([Entry("0", "wild_Cat"), Entry("1", "wild cat")], None, source="data", kind="folder")
    [finding] = classes.names(inspected(facts(), index=spelt))
    assert (finding.kind, finding.examples) == ("similar_names", ("wild cat = wild_Cat",))


@pytest.mark.parametrize(
    ("held_out", "examples", "done"),
    [(["x"], ("y",), "cross-validated"), (["x", "y"], (), None), ([], (), None)],
)
def test_a_validation_split_without_some_class_is_reported(held_out, examples, done):
    entries = [*(Entry(f"{label}{n}", label) for n in range(4) for label in ("x", "y"))]
    entries += [Entry(f"held out {label}", label, "validation") for label in held_out]
    index = index_entries(entries, None, source="data", kind="folder")
    labels = [0, 1] * 4 + [("x", "y").index(label) for label in held_out]
    rows = Rows.of(labels, validation=[False] * 8 + [True] * len(held_out))
    found = list(classes.validation(counted((4, 4), index=index, rows=rows)))
    assert [finding.examples for finding in found] == ([examples] if done else [])
    assert all(done in finding.done for finding in found)


def test_what_the_index_omits_is_reported():
    entries = [Entry("a", "x"), Entry("b", "y"), Entry("b", "y"), Entry("c", "z", "test")]
    index = index_entries(entries, None, source="data", kind="manifest", ignored={".txt": 3})
    found = list(files.omissions(inspected(facts(), index=index)))
    assert [finding.message for finding in found if finding.kind == "left_out"] == [
        "Left out: test images of a class without training images (1), the first 'c (z)'.",
        "Left out: images listed more than once (1), the first 'b'.",
    ]
    assert [finding.n_files for finding in found if finding.kind == "passed_over"] == [3]


def test_every_finding_is_one_line_that_reports_what_was_done_and_what_to_do():
    pictures = facts(1), facts(1), facts(2, rotated=True, contrast=0), UnreadableImage("x"), facts(1)
    data = inspected(*pictures, labels=[0, 0, 0, 0, 1])
    found = [finding for check in (files.unreadable, repeats.check, odd_pictures.check) for finding in check(data)]
    assert len(found) >= 5
    for finding in found:
        assert all(text.endswith(".") for text in (finding.message, finding.done, finding.advice))
        assert "\n" not in finding.message


def test_copies_near_duplicates_and_unreadable_files_are_not_counted():
    entries = [*(Entry(f"{n}.jpg", "x") for n in range(26)), Entry("other", "y")]
    index = index_entries(entries, None, source="data", kind="folder")
    pictures = [*OTHERS, facts(1), facts(1), similar(30), similar(31), UnreadableImage("broken")]
    seen = inspection(*pictures)
    assert readable_counts(index, seen) == (25, 1)
    assert distinct_counts(index, seen, find_repeats(seen, index)) == (26 - 4, 1)
    held_out = inspection(*pictures, splits=["train"] * 20 + ["validation"] * 5)
    assert distinct_counts(index, held_out, find_repeats(held_out, index)) == (26, 1)


def test_numbers_and_names_are_written_out():
    assert (count(1, "file"), count(2, "file"), count(1000, "class", "classes")) == (
        "1 file",
        "2 files",
        "1,000 classes",
    )
    assert (quoted(["a", "b"]), quoted("abcde")) == ("'a', 'b'", "'a', 'b', 'c' and 2 more")
