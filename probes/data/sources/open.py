"""Sources: one module for each form in which people have labelled images; all of them end in an `ImageIndex`."""

import glob
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from probes.data.image_index import SPLITS, TRAIN, ImageIndex, split_name
from probes.errors import ProbeError

_MANIFEST = (".csv", ".tsv", ".txt", ".parquet", ".pq", ".csv.gz", ".tsv.gz")
_ARCHIVE = (".zip", ".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz")
_FORMS = "a folder of class folders, a manifest (.csv, .tsv, .parquet), a zip or tar archive, or TFRecord shards"


def open_source(
    data: Any,
    *,
    columns: Mapping[str, str] | None = None,
    class_names: Sequence[str] | None = None,
    max_images: int = 1000,
    seed: int = 0,
    importing: Callable[[], None] | None = None,
) -> ImageIndex:
    """Make the index of labelled images in any form.

    Args:
        data: see `recommender.recommend`.
        columns: our names of a manifest's columns -> the file's.
        class_names: names of the labels 0, 1, … where these are numbers.
        max_images: how many images of a stream to keep a sample for.
        seed: of that sample.
        importing: called once before TensorFlow is imported to read a path.

    Returns:
        The index.

    Raises:
        ProbeError: the data are of no known form, or can't be read, or are not at least two classes of images.
    """
    if isinstance(data, (str, os.PathLike)):
        path = os.fsdecode(data)
        if class_names is not None:
            raise ProbeError(f"Expected `class_names` with data in memory only. Received: it with {path!r}.")
        return _open_path(path, columns, importing)
    if columns:
        raise ProbeError("Expected `columns` with a manifest only. Received: it with data in memory.")
    return _open_object(data, class_names, max_images, seed)


def _open_path(path: str, columns: Mapping[str, str] | None, importing: Callable[[], None] | None) -> ImageIndex:
    from probes.data.sources.layout import is_shard
    from probes.data.sources.remote import is_remote

    remote, name = is_remote(path), os.path.basename(path).lower()
    if not remote and os.path.isdir(path):
        form = "records" if _is_folder_of_shards(path) else "folder"
    elif name.endswith(_MANIFEST):
        form = "manifest"
    elif name.endswith(_ARCHIVE):
        form = "archive"
    elif is_shard(name):
        form = "records"
    else:
        form = "folder" if remote else _form_by_content(path)
    if columns and form != "manifest":
        raise ProbeError(f"Expected --column with a manifest only. Received: it with {path!r}.")
    if importing and (remote or form == "records"):
        importing()
    return _INDEXERS[form](path, columns)


def _form_by_content(path: str) -> str:
    from probes.data.sources.archive import is_archive

    if not os.path.lexists(path) and glob.has_magic(path) and glob.glob(path):
        return "records"
    if not os.path.lexists(path):
        raise ProbeError(f"Expected {_FORMS}. Received: {path!r}, no such file or folder.")
    try:
        known = is_archive(path)
    except OSError as error:
        raise ProbeError(f"Expected to read {path!r}. Received: {error.strerror}.") from error
    if known:
        return "archive"
    raise ProbeError(f"Expected {_FORMS}. Received: {path!r}, a file of another kind.")


def _is_folder_of_shards(folder: str) -> bool:
    """Whether a folder is one of TFRecord files; one that can't be listed is told of by whoever lists it next."""
    from probes.data.sources.folder import files_below
    from probes.data.sources.layout import holds_shards_alone

    try:
        return holds_shards_alone(files_below(folder))
    except OSError:
        return False


def _folder(path: str, _columns: Mapping[str, str] | None) -> ImageIndex:
    from probes.data.sources.folder import index_folder
    from probes.data.sources.remote import index_remote, is_remote

    return index_remote(path) if is_remote(path) else index_folder(path)


def _manifest(path: str, columns: Mapping[str, str] | None) -> ImageIndex:
    from probes.data.sources.manifest import index_manifest
    from probes.data.sources.remote import RemoteStore

    return index_manifest(path, columns=columns, remote=RemoteStore(""))


def _archive(path: str, _columns: Mapping[str, str] | None) -> ImageIndex:
    from probes.data.sources.archive import index_archive

    return index_archive(path)


def _records(path: str, _columns: Mapping[str, str] | None) -> ImageIndex:
    from probes.data.sources.records import index_records

    return index_records(path)


_INDEXERS: dict[str, Callable[[str, Mapping[str, str] | None], ImageIndex]] = {
    "folder": _folder,
    "manifest": _manifest,
    "archive": _archive,
    "records": _records,
}


def _open_object(data: Any, class_names: Sequence[str] | None, max_images: int, seed: int) -> ImageIndex:
    from probes.data.sources.huggingface import index_huggingface, is_huggingface
    from probes.data.sources.tf_dataset import index_builder, index_stream, is_builder, is_stream

    if isinstance(data, tuple) and len(data) == 2 and hasattr(data[1], "features"):  # tfds.load(with_info=True)
        data, class_names = data[0], class_names or getattr(data[1].features.get("label"), "names", None)
    if is_huggingface(data):
        return index_huggingface(data, class_names=class_names)
    if is_builder(data):
        return index_builder(data, class_names=class_names, max_images=max_images, seed=seed)
    splits = _by_split(data) if isinstance(data, Mapping) else {TRAIN: data}
    parts = list(splits.values())
    if all(is_huggingface(part) for part in parts):
        return index_huggingface(splits, class_names=class_names)
    if all(is_stream(part) for part in parts):
        return index_stream(splits, class_names=class_names, max_images=max_images, seed=seed)
    pairs = {name: _pair(part) for name, part in splits.items()}
    from probes.data.sources.arrays import are_paths, index_arrays, index_paths

    if all(are_paths(images) for images, _ in pairs.values()):
        return index_paths(pairs, class_names=class_names)
    return index_arrays(pairs, class_names=class_names)


def _by_split(data: Mapping[Any, Any]) -> dict[str, Any]:
    splits: dict[str, Any] = {}
    for key, part in data.items():
        name = split_name(str(key))
        if name is None or name in splits:
            raise ProbeError(
                f"Expected a dict by split, each of {', '.join(SPLITS)} once. Received: the keys "
                f"{', '.join(repr(str(other)) for other in data)}."
            )
        splits[name] = part
    if TRAIN not in splits:
        raise ProbeError(f"Expected a dict with the split 'train'. Received: {', '.join(splits) or 'an empty one'}.")
    return splits


def _pair(data: Any) -> tuple[Any, Any]:
    if isinstance(data, (tuple, list)) and len(data) == 2:
        return data[0], data[1]
    several = isinstance(data, (tuple, list))
    advice = " For a validation split pass {'train': (x, y), 'validation': (x, y)}." if several else ""
    raise ProbeError(
        "Expected a path, (images, labels), (paths, labels), a tf.data.Dataset, or a data set of tensorflow-datasets "
        f"or Hugging Face. Received: {_kind_of(data)}.{advice}"
    )


def _kind_of(data: Any) -> str:
    count = f" of {len(data)}" if isinstance(data, (tuple, list)) else ""
    return f"a {type(data).__name__}{count}"
