"""Every form in which people have labelled images gives the recommendation that the plain folder gives."""

import csv
import shutil
import tarfile
import zipfile

import numpy as np
import pytest
from write_digits import write_digits

from probes.data.sources.open import open_source
from probes.errors import ProbeError
from probes.images.decode import read_picture
from recommender import recommend


@pytest.fixture(scope="module")
def folder(request, tmp_path_factory):
    """Ants and bees where the real data sets are at hand, else handwritten digits."""
    try:
        return request.getfixturevalue("shared_datasets") / "hymenoptera"
    except pytest.skip.Exception:
        return write_digits(tmp_path_factory.mktemp("digits"), 15)


@pytest.fixture(scope="module")
def listed(folder):
    """(path, class) of every image."""
    return [(path, path.parent.name) for path in sorted(folder.glob("*/*"))]


@pytest.fixture(scope="module")
def plain(folder):
    return answer(folder)


def answer(data, **arguments):
    """What is recommended, without what names the files and the seconds."""
    found = recommend(data, input_size=96, **arguments).to_dict()
    found["findings"] = sorted((finding["kind"], finding["n_files"]) for finding in found["findings"])
    for part in ("seconds", "warnings"):
        del found[part]
    del found["dataset"]["path"], found["dataset"]["kind"]
    return found


def write_table(path, listed, delimiter, header=("path", "label")):
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *listed])
    return path


def as_csv(listed, where):
    relative = [(f"images/{number}{path.suffix}", label) for number, (path, label) in enumerate(listed)]
    (where / "images").mkdir()
    for (name, _), (path, _) in zip(relative, listed, strict=True):
        shutil.copyfile(path, where / name)
    return write_table(where / "list.csv", relative, ","), {}


def as_tsv(listed, where):
    columns = {"path": "file name", "label": "species"}
    return write_table(where / "list.tsv", listed, "\t", ("file name", "species")), {"columns": columns}


def as_parquet(listed, where):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table({"path": [str(path) for path, _ in listed], "label": [label for _, label in listed]})
    parquet.write_table(table, where / "list.parquet")
    return where / "list.parquet", {}


def as_zip(listed, where):
    with zipfile.ZipFile(where / "data.zip", "w") as archive:
        for path, label in listed:
            archive.write(path, f"data/{label}/{path.name}")
    return where / "data.zip", {}


def as_tar(listed, where):
    with tarfile.open(where / "data.tar.gz", "w:gz", dereference=True) as archive:
        for path, label in listed:
            archive.add(path, f"{label}/{path.name}")
    return where / "data.tar.gz", {}


def as_shards(listed, where):
    import tensorflow as tf

    names = sorted({label for _, label in listed})
    for shard in range(2):
        with tf.io.TFRecordWriter(str(where / f"data-{shard:05}-of-00002")) as writer:
            for path, label in listed[shard::2]:
                features = {
                    "image/encoded": tf.train.Feature(bytes_list=tf.train.BytesList(value=[path.read_bytes()])),
                    "image/class/label": tf.train.Feature(int64_list=tf.train.Int64List(value=[names.index(label)])),
                    "image/class/text": tf.train.Feature(bytes_list=tf.train.BytesList(value=[label.encode()])),
                }
                example = tf.train.Example(features=tf.train.Features(feature=features))
                writer.write(example.SerializeToString())
    return where, {}


def as_remote(listed, where):
    import tensorflow as tf

    root = f"ram://{where.name}"
    for path, label in listed:
        tf.io.gfile.makedirs(f"{root}/{label}")
        with tf.io.gfile.GFile(f"{root}/{label}/{path.name}", "wb") as file:
            file.write(path.read_bytes())
    return root, {}


def pixels_and_labels(listed):
    names = sorted({label for _, label in listed})
    return [read_picture(path).pixels for path, _ in listed], [names.index(label) for _, label in listed], names


def as_arrays(listed, _where):
    pixels, labels, names = pixels_and_labels(listed)
    return (pixels, labels), {"class_names": names}


def as_paths(listed, _where):
    return ([path for path, _ in listed], [label for _, label in listed]), {}


def as_stream(listed, _where):
    import tensorflow as tf

    pixels, labels, names = pixels_and_labels(listed)
    signature = (tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((), tf.int64))
    stream = tf.data.Dataset.from_generator(lambda: zip(pixels, labels, strict=True), output_signature=signature)
    return stream.shuffle(50), {"class_names": names}


def as_builder(listed, where):
    tfds = pytest.importorskip("tensorflow_datasets")
    for path, label in listed:
        (where / "train" / label).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, where / "train" / label / path.name)
    return tfds.ImageFolder(str(where)), {}


def as_huggingface(listed, _where):
    datasets = pytest.importorskip("datasets")
    names = sorted({label for _, label in listed})
    columns = {
        "image": [str(path) for path, _ in listed],
        "label": [names.index(label) for _, label in listed],
    }
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=names))
    return datasets.Dataset.from_dict(columns, features=features), {}


FORMS = [
    as_csv,
    as_tsv,
    as_parquet,
    as_zip,
    as_tar,
    as_shards,
    as_remote,
    as_arrays,
    as_paths,
    as_stream,
    as_builder,
    as_huggingface,
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_every_form_gives_the_recommendation_of_the_plain_folder(form, listed, plain, tmp_path):
    data, arguments = form(listed, tmp_path)
    assert answer(data, **arguments) == plain


def test_the_users_split_is_measured_on(listed, tmp_path):
    for number, (path, label) in enumerate(listed):
        split = "val" if number % 4 == 0 else "train"
        (tmp_path / split / label).mkdir(parents=True, exist_ok=True)
        (tmp_path / split / label / path.name).symlink_to(path)
    found = recommend(tmp_path, input_size=96)
    assert found.to_dict()["accuracy_from"] == "validation"
    assert found.measurements.n_held_out == -(-len(listed) // 4)
    assert found.measurements.size.n_images == len(listed) - found.measurements.n_held_out
    assert "of your validation split" in " ".join(found.reasons)


def test_a_manifest_keeps_groups_on_one_side(listed, tmp_path):
    rows = [(path, label, f"{label} {number // 3}") for number, (path, label) in enumerate(listed)]
    manifest = write_table(tmp_path / "list.csv", rows, ",", ("path", "label", "group"))
    assert len(set(open_source(manifest).groups.values())) == len({group for *_, group in rows})


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (3, "Received: a int"),
        ((np.zeros((2, 8, 8, 3)), [0, 1], [1, 1]), "Received: a tuple of 3. For a validation split pass {'train': "),
        ({"train": (np.zeros((2, 8, 8)), [0, 1]), "trial": None}, "Received: the keys 'train', 'trial'"),
        ({"test": (np.zeros((2, 8, 8)), [0, 1])}, "with the split 'train'. Received: test"),
        ((np.zeros((3, 8, 8)), [[1, 0], [1, 1], [0, 1]]), "ulti-label"),
    ],
)
def test_objects_that_are_no_labelled_images_are_refused(data, message):
    with pytest.raises(ProbeError, match=message):
        open_source(data)


@pytest.mark.parametrize("column", ["pandas", "numpy"])
def test_paths_may_be_a_column_of_a_table(listed, column):
    paths, labels = [str(path) for path, _ in listed], [label for _, label in listed]
    make = np.array if column == "numpy" else pytest.importorskip("pandas").Series
    index = open_source((make(paths), make(labels)))
    assert (index.kind, index.n_images) == ("paths", len(listed))


def test_options_for_other_forms_are_refused(folder):
    with pytest.raises(ProbeError, match="--column with a manifest only"):
        open_source(folder, columns={"label": "kind"})
    with pytest.raises(ProbeError, match="with data in memory only"):
        open_source(folder, class_names=["a", "b"])


def test_a_pattern_that_names_nothing_is_refused(tmp_path):
    with pytest.raises(ProbeError, match="which matches no file"):
        open_source(tmp_path / "train-*.tfrecord")
