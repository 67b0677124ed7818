"""The registry of sources. A new form of data is one new module and one line in `SOURCES`."""

import os
import stat
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from probes.data.image_index import ImageIndex
from probes.data.sources import archive, arrays, folder, huggingface, manifest, tf_dataset, tfrecord
from probes.data.sources.source import Options, Source, parts_of, splits_of
from probes.errors import ProbeError

SOURCES: tuple[Source, ...] = (  # the first that recognises the data reads them
    huggingface,
    tf_dataset,
    arrays,
    manifest,
    tfrecord,
    archive,
    folder,
)


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
        max_images: how many images of a stream to keep as a sample.
        seed: of that sample.
        importing: called before TensorFlow is imported to read a path.

    Returns:
        The index.

    Raises:
        ProbeError: the data are of no known form, can't be read, or do not hold at least two classes of images.
    """
    is_path = isinstance(data, (str, os.PathLike))
    data = os.fsdecode(data) if is_path else data
    if is_path and class_names is not None:
        raise ProbeError(f"Expected `class_names` with data in memory only. Received: it with {data!r}. Leave it out.")
    if columns and not is_path:
        raise ProbeError("Expected `columns` with a manifest only. Received: it with data in memory. Leave it out.")
    source = next((source for source in SOURCES if source.recognises(data)), None)
    if source is None:
        raise _unknown_path(data) if is_path else _unknown_object(data)
    if columns and source is not manifest:
        raise ProbeError(f"Expected --column with a manifest only. Received: it with {data!r}. Leave it out.")
    options = Options(columns=columns or {}, class_names=class_names, max_images=max_images, seed=seed)
    return source.index(data, options if importing is None else replace(options, importing=importing))


def _unknown_path(path: str) -> ProbeError:
    what = "a file of another kind"
    try:
        if stat.S_ISREG(os.stat(path).st_mode):
            Path(path).open("rb").close()
    except FileNotFoundError:
        what = "no such file or folder"
    except (OSError, ValueError) as error:
        what = (getattr(error, "strerror", None) or str(error)).lower()
    return ProbeError(
        "Expected a folder of class folders, a manifest (.csv, .tsv, .parquet), a zip or tar archive, or TFRecord "
        f"shards. Received: {path!r}, {what}."
    )


def _unknown_object(data: Any) -> ProbeError:
    if isinstance(data, Mapping):
        splits_of(data)
    part = next((part for part in parts_of(data) if not arrays.recognises(part)), data)
    several = isinstance(part, (tuple, list))
    count = f" of {len(part)}" if several else ""
    advice = " For a validation split pass {'train': (x, y), 'validation': (x, y)}." if several else ""
    return ProbeError(
        "Expected a path, (images, labels), (paths, labels), a tf.data.Dataset, or a data set of tensorflow-datasets "
        f"or Hugging Face. Received: a {type(part).__name__}{count}.{advice}"
    )
