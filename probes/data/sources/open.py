"""The registry of sources. A new form of data is one new module and one line in `SOURCES`."""

import os
from collections.abc import Mapping
from typing import Any

from probes.data.image_index import ImageIndex
from probes.data.sources import (
    archive,
    arrays,
    folder,
    huggingface,
    manifest,
    parquet_images,
    tf_dataset,
    tfrecord,
    webdataset,
)
from probes.data.sources.folder import open_regular
from probes.data.sources.source import Options, Source, parts_of, splits_of
from probes.errors import ProbeError

SOURCES: tuple[Source, ...] = (  # the first that recognises the data reads them
    huggingface,
    tf_dataset,
    arrays,
    parquet_images,
    manifest,
    webdataset,
    tfrecord,
    archive,
    folder,
)


def open_source(data: Any, **options: Any) -> ImageIndex:
    """Make the index of labelled images in any form that `recommender.recommend` takes; options as in `Options`."""
    how = Options(**options)
    is_path = isinstance(data, (str, os.PathLike))
    data = os.fsdecode(data) if is_path else data
    if is_path and how.class_names is not None:
        raise ProbeError(f"Expected `class_names` with data in memory only. Received: it with {data!r}. Leave it out.")
    source = next((source for source in SOURCES if source.recognises(data)), None)
    if source is parquet_images and "path" in how.columns:
        source = manifest
    if how.columns and source not in (manifest, parquet_images):
        given = repr(data) if is_path else "data in memory"
        raise ProbeError(
            f"Expected --column with a manifest or images in Parquet only. Received: it with {given}. Leave it out."
        )
    if source is None:
        raise _unknown_path(data) if is_path else _unknown_object(data)
    return source.index(data, how)


def _unknown_path(path: str) -> ProbeError:
    found = "a file of another kind"
    try:
        open_regular(path).close()
    except FileNotFoundError:
        found = "no such file or folder"
    except OSError as error:
        found = (error.strerror or str(error)).lower()
    return ProbeError(
        "Expected a folder of class folders, a manifest (.csv, .tsv, .parquet), a zip or tar archive, or TFRecord, "
        f"WebDataset or Parquet shards with images. Received: {path!r}, {found}. Check its name and permissions."
    )


def _unknown_object(data: Any) -> ProbeError:
    if isinstance(data, Mapping):
        splits_of(data)
    part = next((part for part in parts_of(data) if not arrays.recognises(part)), data)
    return ProbeError(
        "Expected a path, (images, labels), (paths, labels), a tf.data.Dataset, or a data set of tensorflow-datasets "
        f"or Hugging Face; for a validation split {{'train': (x, y), 'validation': (x, y)}}. Received: a "
        f"{type(part).__name__}."
    )
