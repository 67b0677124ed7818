"""The same labelled pictures in every form in which people have them."""

import contextlib
import csv
import gzip
import io
import json
import shutil
import tarfile
import zipfile
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
from pictures import photograph
from PIL import Image

from probes.images.decode import read_picture

CLASSES = ("ant", "bee", "cat")


class Item(NamedTuple):
    """A picture's file, its class and its split."""

    path: Path
    label: str
    split: str = "train"


def pixels_of(index, name):
    """The decoded pixels of an image of an index."""
    image = index.store.open(name)
    with contextlib.nullcontext() if isinstance(image, np.ndarray) else image:
        return read_picture(image).rgb


def write_items(folder, counts, *, size=(32, 32)):
    """Write small pictures; `counts` is split -> pictures of each class."""
    rng, items = np.random.default_rng(0), []
    folder.mkdir(parents=True, exist_ok=True)
    for split, n in counts.items():
        for label in CLASSES:
            for number in range(n):
                path = folder / f"{split} {label} {number}.png"
                photograph(rng, size, CLASSES.index(label) % 2).save(path)
                items.append(Item(path, label, split))
    return items


def _splits(items):
    return {split: [item for item in items if item.split == split] for split in dict.fromkeys(i.split for i in items)}


def _relative(item, several):
    return f"{item.split}/{item.label}/{item.path.name}" if several else f"{item.label}/{item.path.name}"


def _tree(items):
    several = len(_splits(items)) > 1
    return {_relative(item, several): item.path for item in items}


def folder(items, where):
    """A folder of class folders, or of splits of such."""
    for name, path in _tree(items).items():
        (where / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, where / name)
    return where, {}


def _table(items, path, delimiter=",", header=("path", "label", "split")):
    rows = [(item.path, item.label, item.split) for item in items]
    with path.open("w", newline="") as file:
        csv.writer(file, delimiter=delimiter).writerows([header, *rows])
    return path


def csv_manifest(items, where):
    return _table(items, where / "list.csv"), {}


def tsv_manifest(items, where):
    columns = {"path": "file name", "label": "species", "split": "part"}
    return _table(items, where / "list.tsv", "\t", tuple(columns.values())), {"columns": columns}


def parquet_manifest(items, where):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    columns = {"path": [str(item.path) for item in items], "label": [item.label for item in items]}
    columns["split"] = [item.split for item in items]
    parquet.write_table(pyarrow.table(columns), where / "list.parquet")
    return where / "list.parquet", {}


def zip_archive(items, where):
    with zipfile.ZipFile(where / "data.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for name, path in _tree(items).items():
            archive.write(path, f"wrapper/{name}")
    return where / "data.zip", {}


def _tar(items, path, mode):
    with tarfile.open(path, mode) as archive:
        for name, file in _tree(items).items():
            archive.add(file, name)
    return path, {}


def tar_archive(items, where):
    return _tar(items, where / "data.tar", "w")


def tar_gz_archive(items, where):
    return _tar(items, where / "data.tar.gz", "w:gz")


def feature(value):
    """A feature of a tf.train.Example: bytes, integers, floats or words."""
    import tensorflow as tf

    values = [one.encode() if isinstance(one, str) else one for one in (value if isinstance(value, list) else [value])]
    if all(isinstance(one, bytes) for one in values):
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=values))
    if all(isinstance(one, int) for one in values):
        return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def write_shard(path, records, compression=""):
    """Write a TFRecord file; a record is bytes, or a dictionary of features."""
    import tensorflow as tf

    with tf.io.TFRecordWriter(str(path), compression) as writer:
        for record in records:
            if isinstance(record, dict):
                features = tf.train.Features(feature={key: feature(value) for key, value in record.items()})
                record = tf.train.Example(features=features).SerializeToString()
            writer.write(record)
    return path


def _records(items):
    names = sorted({item.label for item in items})
    return [
        {
            "image/encoded": item.path.read_bytes(),
            "image/class/label": names.index(item.label),
            "image/class/text": item.label,
        }
        for item in items
    ]


def _shards(items):
    """The shards of a data set, two a split: split, number, items."""
    for split, some in (_splits(items) or {"train": []}).items():
        yield from ((split, number, some[number::2]) for number in range(2))


def tfrecord(items, where, compression=""):
    for split, shard, some in _shards(items):
        write_shard(where / f"{split}-{shard:05}-of-00002.tfrecord", _records(some), compression)
    return where, {}


def packed_tfrecord(items, where):
    return tfrecord(items, where, "GZIP")


def write_tar(path, members, mode="w"):
    """Write a tar of members, (name, bytes) each."""
    with tarfile.open(path, mode) as archive:
        for name, content in members:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            archive.addfile(info, io.BytesIO(content))
    return path


def webdataset(items, where, suffix=".tar", mode="w"):
    for split, shard, some in _shards(items):
        members = [
            (f"./{number:06}.{kind}", content)
            for number, item in enumerate(some)
            for kind, content in (("png", item.path.read_bytes()), ("cls", item.label.encode()))
        ]
        write_tar(where / f"{split}-{shard:04}{suffix}", members, mode)
    return where, {}


def packed_webdataset(items, where):
    webdataset(items, where, ".tar.gz", "w:gz")
    return f"{where}/*.tar.gz", {}


def write_pictures(path, pictures, labels, classes=None, **options):
    """Write a Parquet file of pictures, bytes, and labels, as Hugging Face does; `classes` names numbers."""
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    structs = [None if picture is None else {"bytes": picture, "path": None} for picture in pictures]
    kind = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    table = pa.table({"image": pa.array(structs, kind), "label": labels})
    if classes:
        features = {"image": {"_type": "Image"}, "label": {"names": list(classes), "_type": "ClassLabel"}}
        table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    parquet.write_table(table, path, **options)
    return path


def parquet_images(items, where):
    names = sorted({item.label for item in items}) or ["ant", "bee"]
    for split, shard, some in _shards(items):
        path = where / f"{split}-{shard:05}-of-00002.parquet"
        pictures, labels = [item.path.read_bytes() for item in some], [names.index(item.label) for item in some]
        write_pictures(path, pictures, labels, names, row_group_size=2)
    return where, {}


def upload(files, root):
    """Write files, name -> bytes, below a memory:// URL."""
    import fsspec

    system = fsspec.filesystem("memory")
    for name, data in files.items():
        system.pipe_file(f"{root.removeprefix('memory:/')}/{name}", data)
    return root


def _upload_folder(where):
    root = f"memory://{where.name}"
    upload({path.relative_to(where).as_posix(): path.read_bytes() for path in where.rglob("*") if path.is_file()}, root)
    return root


def remote_folder(items, where):
    folder(items, where / "pictures")
    return f"{_upload_folder(where)}/pictures", {}


def remote_manifest(items, where):
    root = upload({item.path.name: item.path.read_bytes() for item in items}, f"memory://{where.name}")
    rows = [
        (item.path.name if number % 2 else f"{root}/{item.path.name}", *item[1:]) for number, item in enumerate(items)
    ]
    text = io.StringIO()
    csv.writer(text).writerows([("path", "label", "split"), *rows])
    upload({"list.csv.gz": gzip.compress(text.getvalue().encode())}, root)
    return f"{root}/list.csv.gz", {}


def remote_archive(items, where):
    zip_archive(items, where)
    return f"{_upload_folder(where)}/data.zip", {}


def remote_tfrecord(items, where):
    tfrecord(items, where)
    return _upload_folder(where), {}


def remote_webdataset(items, where):
    webdataset(items, where)
    root = _upload_folder(where)
    several = len(_splits(items)) > 1
    return f"{root}/{'{train,validation}' if several else 'train'}-{{0000..0001}}.tar", {}


def remote_parquet_images(items, where):
    parquet_images(items, where)
    return _upload_folder(where), {}


def _pairs(items, convert, names=None):
    names = names or sorted({item.label for item in items})
    pairs = {
        split: ([convert(item.path) for item in some], [names.index(item.label) for item in some])
        for split, some in _splits(items).items()
    } or {"train": ([], [])}
    return pairs, {"class_names": names}


def _pixels(path):
    return read_picture(path).rgb


def arrays(items, _where):
    pairs, options = _pairs(items, _pixels)
    pairs = {split: (np.stack(images) if images else np.zeros((0, 8, 8, 3)), y) for split, (images, y) in pairs.items()}
    return (pairs if len(pairs) > 1 else next(iter(pairs.values()))), options


def unit_arrays(items, _where):
    pairs, options = _pairs(items, lambda path: _pixels(path).astype(np.float32) / 255)
    return pairs, options


def pil_images(items, _where):
    return _pairs(items, lambda path: Image.open(io.BytesIO(path.read_bytes())))


def paths(items, _where):
    pairs = {split: ([i.path for i in some], [i.label for i in some]) for split, some in _splits(items).items()}
    return pairs or {"train": ([], [])}, {}


def tf_pixels(items, _where):
    import tensorflow as tf

    pairs, options = _pairs(items, _pixels)
    signature = (tf.TensorSpec((None, None, 3), tf.uint8), tf.TensorSpec((), tf.int64))
    streams = {
        split: tf.data.Dataset.from_generator(lambda pair=pair: zip(*pair, strict=True), output_signature=signature)
        for split, pair in pairs.items()
    }
    return streams, options


def tf_files(items, _where):
    import tensorflow as tf

    pairs, options = _pairs(items, Path.read_bytes)
    make = tf.data.Dataset.from_tensor_slices
    streams = {
        split: make({"image": tf.constant(images, tf.string), "label": tf.constant(labels, tf.int64)}).batch(2)
        for split, (images, labels) in pairs.items()
    }
    return streams, options


def tfds_builder(items, where):
    tfds = pytest.importorskip("tensorflow_datasets")
    for item in items:
        below = where / item.split / item.label
        below.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(item.path, below / item.path.name)
    return tfds.ImageFolder(str(where)), {}


def huggingface(items, _where):
    datasets = pytest.importorskip("datasets")
    names = sorted({item.label for item in items}) or ["ant", "bee"]
    features = datasets.Features(image=datasets.Image(), label=datasets.ClassLabel(names=names))
    parts = {
        split: datasets.Dataset.from_dict(
            {"image": [str(item.path) for item in some], "label": [names.index(item.label) for item in some]},
            features=features,
        )
        for split, some in (_splits(items) or {"train": []}).items()
    }
    return datasets.DatasetDict(parts), {}


FOLDERS = (folder, remote_folder)
MANIFESTS = (csv_manifest, tsv_manifest, parquet_manifest, remote_manifest)
ARCHIVES = (zip_archive, tar_archive, tar_gz_archive, remote_archive)
RECORDS = (tfrecord, packed_tfrecord, remote_tfrecord)
TARS = (webdataset, packed_webdataset, remote_webdataset)
PARQUETS = (parquet_images, remote_parquet_images)
SHARDS = (*RECORDS, *TARS, *PARQUETS)
PIXELS = (arrays, unit_arrays, pil_images)
STREAMS = (tf_pixels, tf_files, tfds_builder)
FORMS = (*FOLDERS, *MANIFESTS, *ARCHIVES, *SHARDS, *PIXELS, paths, *STREAMS, huggingface)
KINDS = {
    **dict.fromkeys(FOLDERS, "folder"),
    **dict.fromkeys(MANIFESTS, "manifest"),
    **dict.fromkeys(ARCHIVES, "archive"),
    **dict.fromkeys(RECORDS, "tfrecord"),
    **dict.fromkeys(TARS, "webdataset"),
    **dict.fromkeys(PARQUETS, "parquet"),
    **dict.fromkeys(PIXELS, "arrays"),
    paths: "paths",
    **dict.fromkeys(STREAMS, "stream"),
    huggingface: "dataset",
}
