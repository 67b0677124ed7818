"""The index made of labelled images: which outputs a model has for them, and what is left out."""

import pytest

from probes.data.image_index import Entry, index_entries
from probes.errors import ProbeError


def indexed(labels, held_out=(), **options):
    entries = [Entry(f"{number}", label) for number, label in enumerate(labels)]
    entries += [Entry(f"v{number}", label, "validation") for number, label in enumerate(held_out)]
    return index_entries(entries, None, source="data", kind="arrays", **options)


def test_each_class_name_has_an_output_whether_it_has_images_or_not():
    index = indexed([0, 2, 0], class_names=["a", "b", "c", "d"])
    assert index.class_names == ("a", "b", "c", "d")
    assert index.files == (("0", "2"), (), ("1",), ())
    assert index.validation == index.test == ((), (), (), ())
    assert index.silent == ("b", "d")
    assert index.class_counts == (2, 0, 1, 0)


def test_held_out_images_of_a_class_without_training_images_are_left_out():
    index = indexed([0, 2, 0], [1, 2, 7], class_names=["a", "b", "c"])
    assert index.validation == ((), (), ("v1",))
    assert [(one.reason, one.examples) for one in index.left_out] == [
        ("validation images of a class without training images", ("v0 (1)", "v2 (7)"))
    ]


@pytest.mark.parametrize("names", [["a", "b"], None])
def test_two_classes_with_images_are_needed_whatever_the_names(names):
    with pytest.raises(ProbeError, match="single class '1'"):
        indexed([1, 1], class_names=names)


@pytest.mark.parametrize(
    ("labels", "names", "files"),
    [
        (["b", "a", "b"], ["b", "a"], (("0", "2"), ("1",))),
        (["b", "a", "b"], ["c", "b", "a"], ((), ("0", "2"), ("1",))),
        (["1", "0", "1"], ["1", "0"], (("0", "2"), ("1",))),
        ([True, False, True], ["no", "yes"], (("1",), ("0", "2"))),
    ],
)
def test_labels_are_the_names_or_their_numbers(labels, names, files):
    index = indexed(labels, class_names=names)
    assert (index.class_names, index.files) == (tuple(names), files)


@pytest.mark.parametrize(
    ("labels", "names", "told"),
    [
        ([0, 1, 2], ["a", "b"], "Received: the label 2"),
        ([-1, 1, 0], ["a", "b"], "Received: the label -1"),
        (["a", "c"], ["a", "b"], "Received: the label 'c'"),
        ([0, 1], ["a", "b", "a"], "Received: 'a' twice"),
        ([0, 1], [1, "1"], "Received: '1' twice"),
        ([0, 1], "ab", "Received: str"),
        ([0, 1], 2, "Received: int"),
    ],
)
def test_names_that_do_not_fit_the_labels_are_refused(labels, names, told):
    with pytest.raises(ProbeError, match="Expected") as caught:
        indexed(labels, class_names=names)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("labels", "numbers"),
    [
        ([1, 2, 3], (1, 2, 3)),
        ([2, 0], (0, 2)),
        ([-1, 1], (-1, 1)),
        ([1, 0, 2], ()),
        (["1", "2"], ()),
        ([True, False], ()),
    ],
)
def test_numbers_other_than_those_of_the_outputs_are_told(labels, numbers):
    index = indexed(labels)
    assert index.numbers == numbers
    assert index.silent == ()
    assert len(index.class_names) == len(labels)


def test_numbers_with_names_are_the_outputs():
    assert indexed([1, 2], class_names=["a", "b", "c"]).numbers == ()
