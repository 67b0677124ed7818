"""From a folder to an index of labelled images and a sample of them."""

import os
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from probes.data.image_index import ImageIndex
from probes.data.sampling import draw_sample, quotas
from probes.data.sources.folder import FolderStore, index_folder
from probes.errors import ProbeError


@pytest.fixture
def tree(tmp_path):
    """Makes empty files, `tree("cat/1.jpg", "dog/1.jpg")`; the index opens none."""
    root = tmp_path / "data"
    root.mkdir()

    def tree(*names):
        for name in names:
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        return root

    return tree


def left_out(index):
    """Reason -> examples."""
    return {left.reason: left.examples for left in index.left_out}


@pytest.fixture
def refusal(tree):
    """Indexes a folder that must be refused, and returns the message."""

    def refusal(*names):
        with pytest.raises(ProbeError) as caught:
            index_folder(tree(*names))
        assert str(caught.value).isprintable()
        return str(caught.value)

    return refusal


def test_classes_are_the_sub_folders_sorted_by_name(tree):
    index = index_folder(tree("dog/1.jpg", "cat/1.jpg", "cat/0.jpg", "Bird/1.jpg"))
    assert index.class_names == ("Bird", "cat", "dog")
    assert index.files == (("Bird/1.jpg",), ("cat/0.jpg", "cat/1.jpg"), ("dog/1.jpg",))
    assert (index.class_counts, index.n_images) == ((1, 2, 1), 4)


def test_images_may_lie_at_any_depth_below_their_class(tree):
    index = index_folder(tree("cat/2019/may/1.jpg", "cat/0.jpg", "dog/1.jpg"))
    assert index.class_counts == (2, 1)
    assert "cat/2019/may/1.jpg" in index.files[0]


def test_hidden_files_and_folders_are_passed_over_in_silence(tree):
    visible = ("cat/1.jpg", "dog/1.jpg")
    index = index_folder(tree(*visible, ".git/1.jpg", ".DS_Store", "cat/.DS_Store", "cat/._1.jpg", "cat/.cache/2.jpg"))
    assert index.class_names == ("cat", "dog")
    assert index.class_counts == (1, 1)
    assert (index.ignored, index.empty) == ({}, ())


def test_files_that_are_no_images_are_counted_by_suffix(tree):
    index = index_folder(tree("cat/1.jpg", "dog/1.jpg", "cat/a.txt", "dog/b.TXT", "dog/deep/LICENSE", "dog/x.mp4"))
    assert index.ignored == {".mp4": 1, ".txt": 2, "no suffix": 1}
    assert index.class_counts == (1, 1)


def test_a_folder_without_images_is_no_class_but_is_noted(tree):
    root = tree("cat/1.jpg", "dog/1.jpg", "notes/a.txt")
    (root / "fish").mkdir()
    index = index_folder(root)
    assert index.class_names == ("cat", "dog")
    assert index.empty == ("fish", "notes")


def test_loose_files_beside_the_classes_do_no_harm(tree):
    assert index_folder(tree("cat/1.jpg", "dog/1.jpg", "logo.png", "README.md")).n_images == 2


@pytest.mark.parametrize("suffix", [".JPG", ".Jpeg", ".PNG", ".webp", ".TIF", ".gif", ".bmp", ".jp2", ".avif"])
def test_suffixes_count_in_any_case(tree, suffix):
    assert index_folder(tree(f"cat/1{suffix}", "dog/1.jpg")).class_counts == (1, 1)


@pytest.mark.parametrize(
    "name", ["two words", "it's", 'say "hi"', "new\nline", "猫", "кошка", "قطة", "🐈", "[red]cat", "-rf", "a,b;c"]
)
def test_any_name_can_be_a_class_and_a_file(tree, name):
    index = index_folder(tree(f"{name}/{name}.jpg", "dog/1.jpg"))
    assert dict(zip(index.class_names, index.files, strict=True))[name] == (f"{name}/{name}.jpg",)


@pytest.mark.skipif(sys.platform != "linux", reason="other file systems refuse names that are no Unicode")
def test_names_need_not_be_unicode(tree):
    name = os.fsdecode(b"caf\xe9")
    index = index_folder(tree(f"{name}/{name}.jpg", "dog/1.jpg"))
    assert (Path(index.source) / index.files[0][0]).exists()


def test_a_linked_class_folder_is_followed(tree, tmp_path):
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "1.jpg").touch()
    root = tree("dog/1.jpg")
    (root / "cat").symlink_to(elsewhere, target_is_directory=True)
    assert index_folder(root).files == (("cat/1.jpg",), ("dog/1.jpg",))


def test_a_linked_image_is_followed_and_a_dangling_one_passed_over(tree):
    root = tree("cat/1.jpg", "dog/1.jpg")
    (root / "dog" / "2.jpg").symlink_to(root / "cat" / "1.jpg")
    (root / "dog" / "3.jpg").symlink_to(root / "gone.jpg")
    assert index_folder(root).class_counts == (1, 2)


def test_links_that_lead_nowhere_are_counted_where_they_are_called_like_images(tree):
    root = tree("cat/1.jpg", "dog/1.jpg")
    for name in ("cat/2.jpg", "cat/3.PNG", "cat/notes.txt", "fish"):
        (root / name).symlink_to(root / "gone")
    (root / "dog" / "itself.jpg").symlink_to(root / "dog" / "itself.jpg")
    index = index_folder(root)
    assert index.class_counts == (1, 1)
    assert left_out(index) == {"links that lead nowhere": ("cat/2.jpg", "cat/3.PNG", "dog/itself.jpg")}


def test_a_folder_of_nothing_but_links_that_lead_nowhere_is_refused_with_the_reason(tree, refusal):
    root = tree("cat/1.txt", "dog/1.txt")
    (root / "cat" / "1.jpg").symlink_to(root / "gone")
    assert "2 sub-folders and no image in them (2 .txt) (left out: links that lead nowhere: 1)" in refusal()


@pytest.mark.parametrize("target", [".", "..", "../../cat", "link"])
def test_a_link_back_to_where_it_comes_from_adds_nothing(tree, target):
    root = tree("cat/1.jpg", "cat/deep/2.jpg", "dog/1.jpg")
    (root / "cat" / "deep" / "link").symlink_to(target, target_is_directory=True)
    assert index_folder(root).files == (("cat/1.jpg", "cat/deep/2.jpg"), ("dog/1.jpg",))


def test_a_link_to_all_the_classes_is_no_class(tree):
    root = tree("cat/1.jpg", "dog/1.jpg")
    (root / "all").symlink_to(root, target_is_directory=True)
    assert index_folder(root).class_names == ("cat", "dog")


def test_two_folders_that_link_to_each_other_end(tree):
    root = tree("cat/1.jpg", "dog/1.jpg")
    (root / "cat" / "friend").symlink_to(root / "dog", target_is_directory=True)
    (root / "dog" / "friend").symlink_to(root / "cat", target_is_directory=True)
    assert index_folder(root).class_counts == (2, 2)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe_is_no_image(tree):
    root = tree("cat/1.jpg", "dog/1.jpg")
    os.mkfifo(root / "cat" / "2.jpg")
    assert index_folder(root).class_counts == (1, 1)


@pytest.mark.slow
def test_ten_thousand_classes_of_one_image_are_indexed(tmp_path):
    source = tmp_path / "source.jpg"
    source.touch()
    for number in range(10_000):
        folder = tmp_path / "data" / f"{number:05}"
        folder.mkdir(parents=True)
        (folder / "1.jpg").symlink_to(source)
    index = index_folder(tmp_path / "data")
    assert (len(index.class_names), index.n_images) == (10_000, 10_000)
    assert sum(draw_sample(index.files, 1000, seed=0).quota) == 1000


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(ProbeError, match="no such file or directory"):
        index_folder(tmp_path / "nowhere")


def test_a_file_is_refused(tmp_path):
    file = tmp_path / "cat.jpg"
    file.touch()
    with pytest.raises(ProbeError, match="a file"):
        index_folder(file)


def test_a_folder_that_may_not_be_listed_is_refused_by_its_name(tree, forbid):
    root = tree("cat/1.jpg", "dog/1.jpg")
    forbid(root / "dog")
    with pytest.raises(ProbeError, match="dog': permission denied"):
        index_folder(root)


def test_an_empty_folder_is_refused(refusal):
    assert "an empty folder. Move each class's images" in refusal()


def test_images_without_class_folders_are_refused_with_what_to_do(refusal):
    message = refusal("1.jpg", "2.png", "notes.txt")
    assert "2 images and no class folders" in message
    assert "into a sub-folder named after it" in message


def test_sub_folders_without_images_are_refused_with_what_they_hold(refusal):
    message = refusal("cat/1.txt", "dog/1.txt", "dog/2.heic")
    assert "2 sub-folders and no image in them (1 .heic, 2 .txt)" in message
    assert ".jpg" in message


def test_names_that_can_not_be_printed_are_escaped_in_refusals(refusal):
    assert r"(1 .\x1b[31mt\nxt)" in refusal("cat/1.\x1b[31mt\nxt")


def test_a_single_class_is_refused(refusal):
    message = refusal("cat/1.jpg", "cat/2.jpg")
    assert "the single class 'cat'" in message
    assert "at least two classes" in message


def test_a_single_folder_that_wraps_the_classes_is_refused_with_its_name(refusal, tree):
    assert f"recommend '{tree() / 'archive'}'" in refusal("archive/cat/1.jpg", "archive/dog/1.jpg")


def test_folders_that_wrap_the_classes_at_any_depth_are_refused_with_the_name_of_the_last(refusal, tree):
    deeper = refusal("archive/a b/cat/1.jpg", "archive/a b/cat/old/2.jpg", "archive/a b/dog/1.jpg", "loose.jpg")
    assert f"recommend '{tree() / 'archive' / 'a b'}'" in deeper


@pytest.mark.parametrize(
    "names", [("train", "val", "test"), ("Training", "VALID", "Testing"), ("train", "dev", "test")]
)
def test_splits_are_used_as_they_are(tree, names):
    index = index_folder(tree(*(f"{split}/{kind}/1.jpg" for split in names for kind in ("cat", "dog"))))
    train, validation, test = names
    assert index.class_names == ("cat", "dog")
    assert index.files == ((f"{train}/cat/1.jpg",), (f"{train}/dog/1.jpg",))
    assert index.validation == ((f"{validation}/cat/1.jpg",), (f"{validation}/dog/1.jpg",))
    assert index.test == ((f"{test}/cat/1.jpg",), (f"{test}/dog/1.jpg",))
    assert index.n_images == 2
    assert index.split_sizes() == {"train": 2, "validation": 2, "test": 2}


def test_a_training_split_alone_will_do(tree):
    index = index_folder(tree("train/cat/1.jpg", "train/dog/1.jpg"))
    assert index.split_sizes() == {"train": 2}


def test_images_of_a_split_that_have_no_class_are_left_out_and_said(tree):
    index = index_folder(tree("train/cat/1.jpg", "train/dog/1.jpg", "test/1.jpg", "test/2.jpg"))
    assert index.split_sizes() == {"train": 2}
    assert [(left.reason, left.n) for left in index.left_out] == [("images outside the class folders", 2)]


def test_validation_images_of_an_unknown_class_are_left_out_and_said(tree):
    index = index_folder(tree("train/cat/1.jpg", "train/dog/1.jpg", "val/cat/1.jpg", "val/emu/1.jpg"))
    assert index.validation == (("val/cat/1.jpg",), ())
    assert index.left_out[0].examples == ("val/emu/1.jpg (emu)",)


def test_held_out_images_without_training_images_are_refused(refusal):
    for names in (("val/cat/1.jpg",), ("test/cat/1.jpg", "test/dog/1.jpg", "val/dog/1.jpg")):
        assert "alone. Put training images into a split named 'train'." in refusal(*names)


def test_images_beside_the_splits_are_left_out_and_said(tree):
    index = index_folder(
        tree(*(f"{split}/{kind}/1.jpg" for split in ("train", "test", "predict") for kind in ("cat", "dog")))
    )
    assert index.class_names == ("cat", "dog")
    assert index.split_sizes() == {"train": 2, "test": 2}
    assert left_out(index) == {"images outside the splits": ("predict/cat/1.jpg", "predict/dog/1.jpg")}
    assert index.empty == ()


def test_a_class_folder_without_images_in_a_split_is_noted_unless_another_split_has_some(tree):
    root = tree("train/cat/1.jpg", "train/dog/1.jpg", "val/cat/1.jpg", "more/fish/1.txt")
    for name in ("train/emu", "val/dog", "more/owl"):
        (root / name).mkdir()
    assert index_folder(root).empty == ("emu",)


def test_classes_that_happen_to_be_called_like_splits_are_classes(tree):
    assert index_folder(tree("train/1.jpg", "bus/1.jpg")).class_names == ("bus", "train")
    assert index_folder(tree("test/1.jpg")).class_names == ("bus", "test", "train")


def test_classes_of_such_names_may_hold_sub_folders(tree):
    index = index_folder(tree("train/2019/1.jpg", "train/2020/1.jpg", "bus/2019/1.jpg", "car/2019/1.jpg"))
    assert (index.class_names, index.class_counts) == (("bus", "car", "train"), (1, 1, 2))
    assert index.left_out == ()


def test_a_held_out_split_that_is_not_in_classes_makes_the_training_split_no_class(tree):
    index = index_folder(tree("train/cat/1.jpg", "train/dog/1.jpg", "test/1.jpg", "sample/1.jpg"))
    assert index.class_names == ("cat", "dog")
    assert set(left_out(index)) == {"images outside the class folders", "images outside the splits"}


def test_tfrecord_files_beside_the_classes_are_counted(tree):
    index = index_folder(tree("cat/1.jpg", "dog/1.jpg", "cache.tfrecord", "cat/cache.tfrec"))
    assert index.ignored == {".tfrec": 1, ".tfrecord": 1}


def hand_out_one_by_one(counts, max_images):
    """Largest remainder by its definition: the next image goes to the class that lacks most of its exact share."""
    quota = [min(count, 2) for count in counts]
    rest = max_images - sum(quota)
    spare = sum(counts) - sum(quota)
    shares = [base + Fraction((count - base) * rest, spare) for base, count in zip(quota, counts, strict=True)]
    for _ in range(rest):
        lacks = [share - given for share, given in zip(shares, quota, strict=True)]
        quota[lacks.index(max(lacks))] += 1
    return quota, shares


def test_all_images_are_taken_where_they_fit():
    assert quotas((3, 1, 7), 11) == (3, 1, 7)
    assert quotas((3, 1, 7), 500) == (3, 1, 7)


def test_quotas_are_proportional():
    assert quotas((600, 300, 100), 100) == (59, 30, 11)  # two each, and 94 in proportion to 598 : 298 : 98


def test_a_rare_class_gets_two_images():
    assert quotas((100_000, 5, 2, 1), 100) == (95, 2, 2, 1)


@pytest.mark.slow
def test_quotas_equal_the_naive_loop():
    rng = np.random.default_rng(0)
    for _ in range(200):
        counts = tuple(int(n) for n in rng.integers(1, 200, size=rng.integers(2, 12)))
        least = sum(min(count, 2) for count in counts)
        max_images = int(rng.integers(least, max(least + 1, sum(counts))))
        quota = quotas(counts, max_images)
        if max_images >= sum(counts):
            assert quota == counts
            continue
        naive, shares = hand_out_one_by_one(counts, max_images)
        assert sum(quota) == max_images
        assert all(min(count, 2) <= taken <= count for taken, count in zip(quota, counts, strict=True))
        # Classes that lack the same may take the odd image in either order.
        gaps = [[n - share for n, share in zip(taken, shares, strict=True)] for taken in (quota, naive)]
        assert sorted(gaps[0]) == sorted(gaps[1])


@pytest.mark.parametrize("max_images", range(2, 13))
def test_quotas_never_exceed_what_is_allowed_and_always_span_two_classes(max_images):
    for counts in [(9, 9), (9, 1), (1, 1, 1), (5, 4, 3, 2, 1), (2,) * 20, (1,) * 20]:
        quota = quotas(counts, max_images)
        assert sum(quota) <= max_images
        assert sum(n > 0 for n in quota) >= 2
        assert all(taken <= count for taken, count in zip(quota, counts, strict=True))


def test_where_there_are_too_many_classes_the_largest_get_two_images_each():
    assert quotas((1, 5, 9, 5, 7), 6) == (0, 2, 2, 0, 2)
    assert quotas((9, 8, 7), 5) == (2, 2, 0)


def folder_of(*counts):
    return ImageIndex(
        source="data",
        kind="folder",
        store=FolderStore(Path("data")),
        class_names=tuple(str(label) for label in range(len(counts))),
        files=tuple(tuple(f"{label}/{n:05}.jpg" for n in range(count)) for label, count in enumerate(counts)),
    )


def test_the_same_seed_draws_the_same_sample_and_another_seed_another():
    folder = folder_of(500, 300)
    assert draw_sample(folder.files, 100, seed=3) == draw_sample(folder.files, 100, seed=3)
    assert draw_sample(folder.files, 100, seed=3).candidates != draw_sample(folder.files, 100, seed=4).candidates


def test_a_sample_does_not_depend_on_the_order_in_which_files_were_made(tmp_path):
    names = [f"{kind}/{number:02}.jpg" for kind in ("cat", "dog") for number in range(40)]
    draws = []
    for turn, order in enumerate((names, names[::-1])):
        root = tmp_path / str(turn)
        for name in order:
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).touch()
        draws.append(draw_sample(index_folder(root).files, 20, seed=0))
    assert draws[0] == draws[1]


def test_adding_a_class_leaves_the_draw_of_those_before_it_alone():
    two, three = (draw_sample(folder_of(*counts).files, 999, seed=0) for counts in [(50, 40), (50, 40, 9)])
    assert three.candidates[:2] == two.candidates


def test_a_sample_holds_spare_files_for_those_that_can_not_be_read():
    draw = draw_sample(folder_of(500, 300).files, 100, seed=0)
    for wanted, files in zip(draw.quota, draw.candidates, strict=True):
        assert len(files) > wanted
        assert len(set(files)) == len(files)


def test_all_images_are_candidates_where_they_fit():
    folder = folder_of(30, 20)
    draw = draw_sample(folder.files, 1000, seed=0)
    assert [sorted(files) for files in draw.candidates] == [list(files) for files in folder.files]


def test_a_class_without_room_in_the_sample_has_no_candidates():
    draw = draw_sample(folder_of(5, 9, 7).files, 4, seed=0)
    assert draw.quota == (0, 2, 2)
    assert draw.candidates[0] == ()
