"""From a table of paths and labels to an index of labelled images."""

import contextlib
import csv
import gzip
import io
import sys
from datetime import date

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.data.image_index import ImageIndex
from probes.data.sources import manifest
from probes.data.sources.folder import FolderStore
from probes.data.sources.source import Options
from probes.errors import ProbeError


def index_manifest(path, **options):
    return manifest.index(str(path), Options(**options))


TWO = "path,label\na.jpg,cat\nb.jpg,dog\n"


@pytest.fixture
def write(tmp_path):
    """Writes a manifest, `write("path,label\\n…")`, text in UTF-8 or bytes as they are."""

    def write(content, name="images.csv"):
        file = tmp_path / name
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
        return file

    return write


@pytest.fixture
def index(write):
    """Indexes a manifest of this content."""
    return lambda content, name="images.csv", **options: index_manifest(write(content, name), **options)


@pytest.fixture
def refusal(index):
    """Indexes a manifest that must be refused, and returns the message."""

    def refusal(content, name="images.csv", **options):
        with pytest.raises(ProbeError) as caught:
            index(content, name, **options)
        assert "\n" not in str(caught.value)
        return str(caught.value)

    return refusal


def parquet(**columns):
    """The bytes of a Parquet file."""
    pyarrow = pytest.importorskip("pyarrow")
    written = io.BytesIO()
    pytest.importorskip("pyarrow.parquet").write_table(pyarrow.table(columns), written)
    return written.getvalue()


def left_out(index):
    return {found.reason: found.examples for found in index.left_out}


def test_rows_become_images_of_classes(index, tmp_path):
    found = index("path,label\nb.jpg,dog\nz.jpg,cat\na.jpg,cat\n")
    assert (found.kind, found.source) == ("manifest", str(tmp_path / "images.csv"))
    assert found.class_names == ("cat", "dog")
    assert found.files == (("a.jpg", "z.jpg"), ("b.jpg",))
    assert (found.groups, found.weights, found.left_out) == ({}, {}, ())


def test_splits_groups_and_weights_are_read_where_there_are_such_columns(index):
    found = index(
        "weight,group,split,label,path\n"
        "2,p1,train,cat,a.jpg\n.5,p2,Training,dog,b.jpg\n1,p1,val,cat,c.jpg\n1e-3,p2,TEST,dog,d.jpg\n"
    )
    assert found.files == (("a.jpg",), ("b.jpg",))
    assert found.validation == (("c.jpg",), ())
    assert found.test == ((), ("d.jpg",))
    assert found.groups == {"a.jpg": "p1", "b.jpg": "p2", "c.jpg": "p1", "d.jpg": "p2"}
    assert found.weights == {"a.jpg": 2.0, "b.jpg": 0.5, "d.jpg": 0.001}


def test_empty_cells_mean_training_no_group_and_weight_one(index):
    found = index("path,label,split,group,weight\na.jpg,cat,,,\nb.jpg,dog, , ,\n")
    assert found.n_images == 2
    assert (found.groups, found.weights, found.left_out) == ({}, {}, ())


@pytest.mark.parametrize("name", ["images.csv", "images.tsv", "images.txt", "IMAGES.CSV"])
@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
def test_delimiters_and_line_endings_are_recognised(index, name, delimiter, ending):
    table = io.StringIO(newline="")
    csv.writer(table, delimiter=delimiter, lineterminator=ending).writerows(
        [("path", "label", "note"), ("a.jpg", "cat", "x,y;z\tend"), ("b.jpg", "dog", "two\nlines")]
    )
    assert index(table.getvalue(), name).files == (("a.jpg",), ("b.jpg",))


def test_a_byte_order_mark_is_no_part_of_the_header(index):
    assert index(TWO.encode("utf-8-sig")).class_names == ("cat", "dog")


def test_a_compressed_table_is_read(index):
    assert index(gzip.compress(TWO.encode()), "images.csv.gz").files == (("a.jpg",), ("b.jpg",))


def test_quoted_cells_hold_commas_quotes_and_new_lines(index):
    found = index('path,label\n"a,1.jpg","a ""big"" cat"\n"two\nlines.jpg", "dog"\n')
    assert dict(zip(found.class_names, found.files, strict=True)) == {
        'a "big" cat': ("a,1.jpg",),
        "dog": ("two\nlines.jpg",),
    }


@pytest.mark.parametrize("label", ["猫", "кошка", "قطة", "🐈", "-rf", "=1+1", "it's", "NA", "null", "3.5", "007"])
def test_any_word_can_be_a_class(index, label):
    found = index(f"path,label\n{label}.jpg,{label}\nb.jpg,dog\n")
    assert dict(zip(found.class_names, found.files, strict=True))[label] == (f"{label}.jpg",)


def test_blanks_around_labels_and_column_names_do_not_count(index):
    found = index(" path , Label\na.jpg, cat \nb.jpg,cat\nc.jpg,\tdog\n")
    assert found.class_names == ("cat", "dog")
    assert found.files[0] == ("a.jpg", "b.jpg")


def test_blank_lines_are_no_rows(index):
    found = index("\n\npath,label\n\na.jpg,cat\n\n\nb.jpg,dog\n\n")
    assert (found.n_images, found.left_out) == (2, ())


def test_whole_numbers_are_ordered_by_value(index):
    assert index("path,label\na.jpg,10\nb.jpg,2\nc.jpg, 0\nd.jpg,-1\n").class_names == ("-1", "0", "2", "10")


@pytest.mark.parametrize("odd", ["cat", "1.5", "01", "1_0", "٣", "+1", "9" * 5000])
def test_labels_are_words_unless_all_of_them_are_whole_numbers(index, odd):
    found = index(f"path,label\na.jpg,10\nb.jpg,2\nc.jpg,{odd}\n")
    assert found.class_names == tuple(sorted(("10", "2", odd)))


def test_the_label_of_a_row_that_is_left_out_does_not_turn_numbers_into_words(index):
    found = index("path,label\na.jpg,10\nb.jpg,2\n,total\n")
    assert found.class_names == ("2", "10")


def test_columns_of_other_names_are_found_as_told(index):
    told = {"path": "file name", "label": "Class", "split": "fold"}
    table = "File Name,class,fold,path\na.jpg,cat,train,x\nb.jpg,dog,train,y\nc.jpg,dog,val,z\n"
    found = index(table, columns=told)
    assert found.files == (("a.jpg",), ("b.jpg",))
    assert found.validation == ((), ("c.jpg",))


def test_a_column_of_the_exact_name_goes_before_one_in_another_case(index):
    assert index("Label,path,label\nx,a.jpg,cat\nx,b.jpg,dog\n").class_names == ("cat", "dog")


@pytest.mark.parametrize(
    ("content", "options", "said"),
    [
        ("file,label\na.jpg,cat\n", {}, ("'file', 'label'", "no column is named 'path'", "`--column path=NAME`.")),
        ("path,lable\na.jpg,cat\n", {}, ("'path', 'lable'", "`--column label=NAME`.")),
        ("a.jpg,cat\nb.jpg,dog\n", {}, ("'a.jpg', 'cat'", "no column is named 'path'", "`--column path=NAME`.")),
        (TWO, {"columns": {"label": "class"}}, ("no column is named 'class'", "`--column label=NAME`.")),
        (TWO, {"columns": {"split": "fold"}}, ("no column is named 'fold'", "`--column split=NAME`.")),
        (
            TWO,
            {"columns": {"lable": "label"}},
            ("no column of ours is 'lable'", "`--column label=NAME`."),
        ),
        ("path,label,label\na.jpg,cat,x\n", {}, ("2 columns are named 'label'", "`--column label=NAME`.")),
        ("path,LABEL,Label\na.jpg,cat,x\n", {}, ("2 columns are named 'label'", "`--column label=NAME`.")),
        ("path label\na.jpg cat\n", {}, ("'path label'", "no column is named 'path'")),
        (",,,\na.jpg,cat\n", {}, ("no column is named 'path'",)),
    ],
)
def test_a_missing_column_is_refused_with_those_found_and_how_to_name_it(refusal, content, options, said):
    message = refusal(content, **options)
    assert all(part in message for part in said)
    assert message.endswith("=NAME`.")


def test_of_many_columns_the_first_are_shown(refusal):
    message = refusal(",".join(f"pixel{number}" * 20 for number in range(784)) + "\n")
    assert "and 764 more" in message
    assert len(message) < 2500


def test_rows_that_can_not_be_used_are_left_out_and_told_with_their_lines(index):
    found = index(
        'path,label,split,weight\n"a\n.jpg",cat,train,1\nb.jpg,dog,train,1\n'  # lines 2 and 3; line 4
        ",cat,train,1\nc.jpg, ,train,1\nd.jpg\ne.jpg,cat,holdout,1\nf.jpg,dog,val,1,x\ng.jpg,dog,val,1,\n"
        "h.jpg,cat,train,-1\ni.jpg,cat,train,nan\nj.jpg,cat,train,inf\nk.jpg,cat,train,heavy\nl.jpg,cat,train,0\n"
    )
    assert found.files == (("a\n.jpg", "l.jpg"), ("b.jpg",))
    assert found.validation == ((), ("g.jpg",))
    assert left_out(found) == {
        "rows without a path": ("line 5",),
        "rows without a label": ("line 6",),
        "rows with fewer cells than the header": ("line 7",),
        "rows whose split is not train, validation or test": ("line 8: 'holdout'",),
        "rows with more cells than the header": ("line 9",),
        "rows whose weight is not a number >= 0": (
            "line 11: '-1'",
            "line 12: 'nan'",
            "line 13: 'inf'",
            "line 14: 'heavy'",
        ),
    }


def test_a_refusal_for_want_of_classes_tells_what_was_left_out(refusal):
    assert "(left out: rows without a label: 2)" in refusal("path,label\na.jpg,\nb.jpg,\n")


def test_an_image_listed_twice_counts_once(index):
    found = index("path,label\na.jpg,cat\na.jpg,cat\nb.jpg,dog\n")
    assert found.class_counts == (1, 1)
    assert left_out(found) == {"images listed more than once": ("a.jpg",)}


@pytest.mark.parametrize(
    "labels",
    [
        ("cat|dog", "cat", "dog"),
        ("cat;dog", "dog", "bird"),
        ("cat, dog", "cat", "dog"),
        ("cat,dog", "cat", "bird"),
        ("Cardiomegaly|Effusion", "Effusion|Mass|Nodule", "No Finding", "Mass"),
    ],
)
def test_several_labels_in_a_cell_are_refused(refusal, labels):
    message = refusal("path,label\n" + "".join(f'{n}.jpg,"{label}"\n' for n, label in enumerate(labels)))
    assert "Multi-label data are not supported" in message
    assert any(f"labels like {label!r}" in message for label in labels)


@pytest.mark.parametrize(
    "labels",
    [
        ("salt, pepper", "cinnamon"),
        ("salt|pepper", "cinnamon;nutmeg", "dill, thyme"),
        ("cat|", "cat"),
        ("pepper, bell healthy", "pepper, bell spots", "tomato healthy"),
        ("great white shark, Carcharodon carcharias", "tiger shark, Galeocerdo cuvieri", "hammerhead"),
        ("missile", "projectile, missile", "jaguar, panther", "cougar, puma", "tench, Tinca tinca", "crane, bird"),
    ],
)
def test_names_of_classes_may_hold_such_characters(index, labels):
    found = index("path,label\n" + "".join(f'{n}.jpg,"{label}"\n' for n, label in enumerate(labels)))
    assert found.class_names == tuple(sorted(labels))


def test_measurements_are_no_classes(index, refusal):
    rows = [f"{n}.jpg,{n / 8}" for n in range(20)]
    assert "numbers like 0.0, most of them once" in refusal("path,label\n" + "\n".join(rows))
    grades = [f"{n}.jpg,{n % 4 / 2}" for n in range(20)]
    assert index("path,label\n" + "\n".join(grades)).class_names == ("0.0", "0.5", "1.0", "1.5")


def test_images_listed_under_several_labels_are_refused(refusal):
    assert "'a.jpg' under 'cat' and 'dog'" in refusal("path,label\na.jpg,cat\na.jpg,dog\nb.jpg,dog\n")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "an empty file"),
        ("\n\n", "an empty file"),
        ("\ufeff", "an empty file"),
        ("path,label\n", "holds none"),
        ("path,label\na.jpg,cat\n", "the single class 'cat'"),
        ("path,label,split\na.jpg,cat,val\nb.jpg,dog,val\n", "the split validation alone"),
        ("path,label\na.jpg,café\n".encode("latin-1"), "Save it as UTF-8"),
        (TWO.encode("utf-16"), "Save it as UTF-8"),
        (TWO + '"c.jpg,cat\nd.jpg,dog\n', "a row in line 4 that can't be read"),
        (TWO + '"c".jpg,cat\n', "a row in line 4 that can't be read"),
        (TWO + "c.jpg," + "x" * 200_000 + "\n", "a row in line 4 that can't be read: field larger than"),
        (TWO + "c.jpg,cat" + "," * (1 << 20) + "\n", "a line of over 1,048,576 characters"),
        (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "Save it as UTF-8"),
    ],
)
def test_what_is_no_table_is_refused_with_why(refusal, content, said):
    assert said in refusal(content)


@pytest.mark.parametrize(
    "content",
    [TWO.encode(), gzip.compress(TWO.encode(), mtime=0)[:-12], b"\x1f\x8b\x08\x00rubbish....."],
    ids=["plain", "cut off", "rubbish"],
)
def test_a_broken_compressed_table_is_refused(refusal, content):
    assert "whether it is whole" in refusal(content, "images.csv.gz")


@pytest.mark.parametrize("name", ["images.csv", "images.csv.gz", "images.parquet"])
def test_a_manifest_that_may_not_be_read_is_refused(write, forbid, name):
    file = write(TWO, name)
    forbid(file)
    with pytest.raises(ProbeError, match="permission denied"):
        index_manifest(file)


def test_parquet_columns_are_read(index):
    found = index(
        parquet(
            other=[[1], [2], [3], [4]],
            weight=[1, 3, None, 0],
            label=["dog", "cat", "dog", "cat"],
            path=["b.jpg", "a.jpg", "c.jpg", "d.jpg"],
            split=["train", None, "val", "test"],
            group=[1, 2, None, 2],
        ),
        "images.parquet",
    )
    assert found.files == (("a.jpg",), ("b.jpg",))
    assert (found.validation, found.test) == (((), ("c.jpg",)), (("d.jpg",), ()))
    assert found.groups == {"a.jpg": "2", "b.jpg": "1", "d.jpg": "2"}
    assert found.weights == {"a.jpg": 3.0, "d.jpg": 0.0}


@pytest.mark.parametrize(
    ("labels", "class_names"),
    [
        (["10", "2", "x"], ("10", "2", "x")),
        (["10", "2", "0"], ("0", "10", "2")),
        ([10, 2, 0], ("0", "2", "10")),
        (np.array([10, 2, 0], np.uint8), ("0", "2", "10")),
        ([10.0, 2.0, 0.0], ("0", "2", "10")),
        ([True, False, True], ("False", "True")),
    ],
)
def test_the_types_of_parquet_labels_count(index, labels, class_names):
    assert index(parquet(path=["a.jpg", "b.jpg", "c.jpg"], label=labels), "images.pq").class_names == class_names


def test_parquet_categories_are_words(index):
    categories = pytest.importorskip("pyarrow").array(["dog", "cat", "dog"]).dictionary_encode()
    found = index(parquet(path=["a.jpg", "b.jpg", "c.jpg"], label=categories), "images.parquet")
    assert found.class_names == ("cat", "dog")


def test_what_is_null_in_parquet_is_missing(index):
    found = index(
        parquet(path=["a.jpg", None, "c.jpg", "d.jpg", "e.jpg"], label=[1.0, 2.0, None, float("nan"), 2.0]),
        "images.parquet",
    )
    assert found.class_names == ("1", "2")
    assert left_out(found) == {"rows without a path": ("row 2",), "rows without a label": ("row 3", "row 4")}


def test_rows_of_a_long_parquet_file_are_counted_through(index):
    n = 100_000
    found = index(
        parquet(path=[f"{number}.jpg" for number in range(n)], label=[*[0, 1] * (n // 2 - 1), 0, None]),
        "images.parquet",
    )
    assert found.n_images == n - 1
    assert left_out(found) == {"rows without a label": (f"row {n}",)}


@pytest.mark.parametrize(
    ("columns", "said"),
    [
        ({"path": ["a"], "label": [["cat", "dog"]]}, "Multi-label data are not supported"),
        ({"path": ["a", "b"], "label": ["cat|dog", "cat"]}, "Multi-label data are not supported"),
        ({"path": [{"bytes": b"x", "path": "a"}], "label": ["cat"]}, "the path {'bytes': b'x', 'path': 'a'}"),
        ({"path": [b"a"], "label": ["cat"]}, "in row 1. Write a path for each image."),
        ({"path": [1], "label": ["cat"]}, "the path 1 "),
        ({"path": ["a"], "label": [date(2020, 1, 1)]}, "the label datetime.date(2020, 1, 1)"),
        ({"path": ["a", "b"], "label": [0.5, 1.0]}, "the label 0.5"),
        ({"path": ["a", "b"], "label": [float("inf"), 1.0]}, "the label inf"),
        ({"path": [], "label": []}, "holds none"),
        ({"image": ["a"], "label": [1]}, "no column is named 'path'"),
    ],
)
def test_parquet_columns_of_other_types_are_refused(refusal, columns, said):
    assert said in refusal(parquet(**columns), "images.parquet")


@pytest.mark.parametrize("content", [b"", TWO.encode(), b"PAR1" + b"\xff" * 40 + b"PAR1"])
def test_what_is_no_parquet_file_is_refused(refusal, content):
    pytest.importorskip("pyarrow")
    assert "whether it is whole" in refusal(content, "images.parquet")


def test_without_pyarrow_it_is_told_how_to_install_it(refusal, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    assert "`pip install 'netgraft[parquet]'`" in refusal(b"PAR1", "images.parquet")


@pytest.mark.parametrize("name", ["gone.jpg", "folder", "a\0b.jpg", "x" * 5000, "\udfff.jpg", "file.jpg/inside.jpg"])
def test_a_path_that_can_not_be_opened_is_an_unreadable_image(tmp_path, name):
    (tmp_path / "folder").mkdir()
    (tmp_path / "file.jpg").touch()
    with pytest.raises(OSError):  # noqa: PT011
        FolderStore(tmp_path).open(name)


CELLS = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1, max_size=12)


@settings(max_examples=60, deadline=None)
@given(rows=st.dictionaries(CELLS.map(str.strip).filter(bool), st.sampled_from(("a b", "ä,ö", 'say "hi"', "0x1"))))
def test_any_paths_and_labels_come_back_from_a_table(tmp_path_factory, rows):
    rows = {**rows, "first.jpg": "a b", "second.jpg": "ä,ö"}
    path = tmp_path_factory.mktemp("table") / "list.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "label"), *rows.items()])
    index = index_manifest(path)
    found = {name: label for label, names in zip(index.class_names, index.files, strict=True) for name in names}
    assert found == rows


@settings(max_examples=40, deadline=None)
@given(content=st.binary(max_size=200) | st.text(max_size=200).map(lambda text: f"path,label\n{text}".encode()))
@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv.gz", "a.parquet"])
def test_any_bytes_end_in_an_index_or_a_refusal_of_one_line(tmp_path_factory, name, content):
    path = tmp_path_factory.mktemp("bytes") / name
    path.write_bytes(content)
    with contextlib.suppress(ProbeError):
        assert isinstance(index_manifest(path), ImageIndex)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(data=st.data())
@pytest.mark.parametrize("name", ["a.csv", "a.csv.gz", "a.parquet"])
def test_damage_ends_in_an_index_or_a_refusal(tmp_path_factory, name, data):
    rows = [(f"{n}.jpg", ("cat", "dog", "salt, pepper")[n % 3], ("train", "val", "")[n % 3]) for n in range(40)]
    table = io.StringIO()
    csv.writer(table).writerows([("path", "label", "split"), *rows])
    content = table.getvalue().encode()
    content = gzip.compress(content, mtime=0) if name.endswith(".gz") else content
    if name.endswith(".parquet"):
        content = parquet(**dict(zip(("path", "label", "split"), map(list, zip(*rows, strict=True)), strict=True)))
    damaged = bytearray(content)
    for place in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=6)):
        damaged[place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.mktemp("damaged") / name
    path.write_bytes(bytes(damaged))
    with contextlib.suppress(ProbeError):
        assert isinstance(index_manifest(path), ImageIndex)
