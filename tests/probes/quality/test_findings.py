"""What is wrong or odd with data: each finding on rows made by hand, and none without cause."""

import numpy as np
import pytest
from probes.quality.classes import class_sizes, imbalance

from probes.data.image_index import SPLITS, Entry, index_entries
from probes.images.decode import UnreadableImage
from probes.images.facts_table import Inspection, records
from probes.images.image_facts import PictureFacts
from probes.quality.findings import failures, family, listing, oddities
from probes.quality.repeats import distinct_counts, find_repeats
from probes.quality.repeats import repeats as findings_of


def fingerprint(seed):
    return np.random.default_rng(seed).bytes(64)


def facts(seed=0, **given):
    """A photograph of its own."""
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


def seen(*pictures, labels=None, splits=None):
    """An inspection of pictures, all of one class in training unless told otherwise."""
    return Inspection(
        names=tuple(f"{place}.jpg" for place in range(len(pictures))),
        labels=np.array(labels or [0] * len(pictures)),
        splits=np.array([SPLITS.index(split) for split in splits or ["train"] * len(pictures)], np.int8),
        rows=records(enumerate(pictures)),
        reasons={
            f"{place}.jpg": str(picture) for place, picture in enumerate(pictures) if isinstance(picture, Exception)
        },
    )


@pytest.fixture(scope="module")
def index():
    """An index without groups."""
    return index_entries([Entry("a", "x"), Entry("b", "y")], None, source="data", kind="folder")


def repeats(inspected, listed):
    return findings_of(inspected, listed, find_repeats(inspected, listed))


def kinds(findings):
    return [finding.kind for finding in findings]


def test_different_pictures_raise_no_finding(index):
    inspected = seen(*(facts(seed) for seed in range(20)), labels=[0, 1] * 10, splits=["train"] * 15 + ["test"] * 5)
    assert kinds([*failures(inspected), *repeats(inspected, index), *oddities(inspected)]) == []


@pytest.mark.parametrize("kind", ["unreadable", "empty", "truncated", "bomb", "missing"])
def test_each_way_to_fail_is_a_finding_of_its_own(kind):
    [finding] = failures(seen(facts(), UnreadableImage("for a reason", kind), UnreadableImage("another", kind)))
    assert (finding.kind, finding.severity, finding.n_files) == (kind, "warning", 2)
    assert finding.examples == ("1.jpg", "2.jpg")
    assert finding.message.startswith("2 files")
    assert "'1.jpg': for a reason" in finding.message


def test_the_same_pixels_in_a_class_are_duplicates(index):
    [finding] = repeats(seen(facts(1), facts(2), facts(1), facts(1)), index)
    assert (finding.kind, finding.severity, finding.n_files) == ("duplicate", "warning", 2)
    assert finding.examples == ("0.jpg = 2.jpg = 3.jpg",)


def test_the_same_pixels_in_two_classes_are_a_conflict(index):
    [finding] = repeats(seen(facts(1), facts(2), facts(1), labels=[0, 0, 1]), index)
    assert (finding.kind, finding.severity, finding.n_files) == ("conflict", "error", 2)


@pytest.mark.parametrize("split", ["validation", "test"])
def test_the_same_pixels_in_two_splits_are_a_leak(index, split):
    [finding] = repeats(seen(facts(1), facts(2), facts(1), splits=["train", "train", split]), index)
    assert (finding.kind, finding.severity, finding.n_files) == ("leak", "error", 1)


def test_validation_and_test_may_share_pictures_without_a_leak_from_training(index):
    assert kinds(repeats(seen(facts(1), facts(2), facts(2), splits=["train", "validation", "test"]), index)) == []


def alike(seed):
    """The same look, other pixels."""
    return facts(seed, perceptual=fingerprint([999, 2]))


def test_pictures_that_look_the_same_are_near_duplicates(index):
    [finding] = repeats(seen(*(facts(seed) for seed in range(20)), alike(30), alike(31)), index)
    assert (finding.kind, finding.severity, finding.n_files) == ("near_duplicate", "warning", 1)


def test_pictures_that_look_the_same_in_two_classes_are_a_near_conflict(index):
    inspected = seen(*(facts(seed) for seed in range(20)), alike(30), alike(31), labels=[0] * 21 + [1])
    assert kinds(repeats(inspected, index)) == ["near_conflict"]


def test_pictures_that_look_the_same_in_two_splits_are_a_near_leak(index):
    inspected = seen(*(facts(seed) for seed in range(20)), alike(30), alike(31), splits=["train"] * 21 + ["validation"])
    assert kinds(repeats(inspected, index)) == ["near_leak"]


def test_a_group_in_two_splits_is_a_leak():
    entries = [
        Entry("0.jpg", "x", "train", "ann"),
        Entry("1.jpg", "y", "train", "ben"),
        Entry("2.jpg", "y", "test", "ann"),
    ]
    grouped = index_entries(entries, None, source="data", kind="manifest")
    [finding] = repeats(seen(facts(1), facts(2), facts(3), splits=["train", "train", "test"]), grouped)
    assert (finding.kind, finding.n_files, finding.examples) == ("group_leak", 1, ("2.jpg (group ann)",))


@pytest.mark.parametrize(
    ("kind", "odd"),
    [
        ("blank", {"contrast": 0.3}),
        ("misnamed", {"misnamed": True}),
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
    [finding] = oddities(seen(*(facts(seed) for seed in range(9)), facts(9, **odd)))
    assert (finding.kind, finding.n_files, finding.examples) == (kind, 1, ("9.jpg",))


def test_palettes_are_colour():
    assert family("P") == "colour" == family(b"RGB")


def test_few_images_and_single_ones_are_told_by_class():
    [finding] = class_sizes(("cat", "dog", "emu"), [12, 9, 1])
    assert (finding.kind, finding.examples) == ("small_class", ("emu: 1", "dog: 9"))
    assert "2 classes have fewer than 10 images: 'emu', 'dog'. 'emu': one image" in finding.message


def test_unbalanced_classes_are_told_with_both_ends():
    [finding] = imbalance(("cat", "dog"), [50, 500], notable=3)
    assert (finding.kind, finding.examples) == ("imbalance", ("cat: 50", "dog: 500"))
    assert "'dog', has 10 times" in finding.message


def test_balanced_classes_raise_no_finding():
    assert kinds(imbalance(("cat", "dog"), [50, 60], notable=3)) == []


def test_what_the_index_left_out_is_told():
    entries = [Entry("a", "x"), Entry("b", "y"), Entry("b", "y"), Entry("c", "z", "test")]
    listed = index_entries(entries, None, source="data", kind="manifest", ignored={".txt": 3})
    found = {finding.kind: finding for finding in listing(listed)}
    assert found["passed_over"].n_files == 3
    assert [finding.message for finding in listing(listed) if finding.kind == "left_out"] == [
        "Left out: test images of a class without training images (1), the first 'c (z)'.",
        "Left out: images listed more than once (1), the first 'b'.",
    ]


def test_every_finding_says_what_was_done_and_what_to_do(index):
    inspected = seen(
        facts(1), facts(1), facts(2, rotated=True, contrast=0), UnreadableImage("x"), facts(1), labels=[0, 0, 0, 0, 1]
    )
    for finding in [*failures(inspected), *repeats(inspected, index), *oddities(inspected)]:
        assert all(text.endswith((".", "!")) for text in (finding.message, finding.done, finding.advice))
        assert "\n" not in finding.message


def test_an_index_lists_no_image_twice():
    listed = index_entries([Entry("a", "x"), Entry("a", "x"), Entry("b", "y")], None, source="data", kind="manifest")
    assert listed.class_counts == (1, 1)


def test_copies_look_alikes_and_broken_files_are_not_counted():
    entries = [*(Entry(f"{n}.jpg", "x") for n in range(26)), Entry("other", "y")]
    listed = index_entries(entries, None, source="data", kind="folder")
    pictures = [
        *(facts(seed) for seed in range(20)),
        facts(1),
        facts(1),
        alike(30),
        alike(31),
        UnreadableImage("broken"),
    ]
    inspected = seen(*pictures)
    assert distinct_counts(listed, inspected, find_repeats(inspected, listed)) == (26 - 4, 1)
    held_out = seen(*pictures, splits=["train"] * 20 + ["validation"] * 5)
    assert distinct_counts(listed, held_out, find_repeats(held_out, listed)) == (26, 1)
