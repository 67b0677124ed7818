"""A `tf.data.Dataset` of images and labels, read once, of which a sample is kept."""

import importlib
import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO, TypeVar

import numpy as np
import numpy.typing as npt

from probes.data.class_order import checked_names, outputs_of
from probes.data.image_index import TRAIN, Entry, ImageIndex, LeftOutCounter, index_entries
from probes.data.sources.arrays import image_name, sort_splits
from probes.data.sources.elements import EXPECTED, LABEL_KEYS, Keys, examples, read_elements, readable
from probes.data.sources.endless import Endless
from probes.data.sources.labels import named_outputs
from probes.data.sources.pixel_range import PixelRange, to_uint8, unit_kinds
from probes.data.sources.reservoir import Reservoir
from probes.errors import ProbeError
from probes.images.decode import unreadable

_INFINITE, _UNKNOWN = -1, -2  # what tf.data calls such cardinalities

Progress = Callable[[int, int], None]
T = TypeVar("T")


def is_stream(data: object) -> bool:
    """Whether it is a `tf.data.Dataset`; TensorFlow is not imported."""
    return any(
        kind.__name__ == "DatasetV2" and kind.__module__.startswith("tensorflow.") for kind in type(data).__mro__
    )


@dataclass(frozen=True, slots=True, eq=False)
class StreamStore:
    """The images kept of a stream: pixels, or the bytes of files.

    Attributes:
        images: by their names.
        unit: which kinds of pixels lie within 0 to 1, as from `unit_kinds`.
    """

    images: Mapping[str, Any] = field(repr=False)
    unit: str

    def open(self, name: str) -> BinaryIO | npt.NDArray[np.uint8]:
        image = self.images[name]
        return io.BytesIO(image) if isinstance(image, bytes) else to_uint8(image, self.unit)


def index_stream(
    splits: Mapping[str, Any],
    *,
    class_names: Sequence[str] | None = None,
    max_images: int,
    seed: int,
    progress: Progress | None = None,
    keys: Keys | None = None,
    source: str = "tf.data.Dataset",
) -> ImageIndex:
    """Read a stream of labelled images once, count them all and keep a sample.

    The sample depends on the images and the seed, not on the order in which they come. No more than twice `max_images`
    of a split are in memory. Images that repeat another of their class and split are left out.

    Args:
        splits: name -> `tf.data.Dataset`. Its elements are (image, label), (image, label, weight) or dictionaries with
            an image and a label, batched or not. An image is of shape (h, w) or (h, w, 1, 3 or 4), or the bytes of a
            file; a label is a whole number, a word or a one-hot row.
        class_names: of all classes: names of the labels 0, 1, …, or the labels themselves where these are words; by
            default those that the training split has as `class_names`.
        max_images: how many images of each split to keep where it has more than twice as many.
        seed: of the choice.
        progress: called with the number of elements read, and of all of them; 0 where that is unknown.
        keys: of the image and the label in a dictionary, where they are not called so.
        source: what the user named, for messages.

    Returns:
        The index. Its `counts` and `listed` tell how many different images there are, where not all are kept.

    Raises:
        ProbeError: the stream is endless, can't be read, or has no such elements or fewer than two classes.
    """
    known, others = sort_splits(splits)
    names = class_names if class_names is not None else getattr(known.get(TRAIN), "class_names", None)
    if names is not None:
        checked_names(names)  # before the stream is read
    left_out = LeftOutCounter()
    for name in others:
        left_out.add("splits that are neither train, validation nor test", name)
    lengths = {split: _cardinality(dataset) for split, dataset in known.items()}
    counting = _counting(list(lengths.values()), progress)
    ranges = {split: PixelRange() for split in known}
    samples = {split: Reservoir(max_images, seed) for split in known}
    widths: set[int] = set()
    for split, dataset in known.items():
        endless = Endless() if lengths[split] == _UNKNOWN else None
        elements = map(counting, read_elements(dataset, keys))
        for number, (image, label, weight) in enumerate(examples(elements, ranges[split], widths)):
            if names is not None and label == -1:
                left_out.add("images without a label", image_name(split, number))
                continue
            times = samples[split].offer(image, label, weight)
            if times > 1:
                left_out.add("images that repeat another of their class", image_name(split, number))
            if endless:
                endless.add(times)
    return _index(samples, unit_kinds(ranges), named_outputs(names, widths), left_out, source)


def _cardinality(dataset: Any) -> int:
    """How many elements there are, or one of `_INFINITE` and `_UNKNOWN`."""
    if not is_stream(dataset):
        raise ProbeError(f"{EXPECTED} Received: {type(dataset).__name__}. Leave that split out, or make it one.")
    n = int(dataset.cardinality())
    if n == _INFINITE:
        raise ProbeError(f"{EXPECTED} Received: one without an end. Give one pass over the images, as with `.take(n)`.")
    return n


def _counting(lengths: Sequence[int], progress: Progress | None) -> Callable[[T], T]:
    """Counts what passes through it for `progress`."""
    total = sum(lengths) if min(lengths) >= 0 else 0
    done = 0

    def count(element: T) -> T:
        nonlocal done
        done += 1
        if progress:
            progress(done, total)
        return element

    return count


def _index(
    samples: Mapping[str, Reservoir],
    unit: str,
    class_names: Sequence[str] | None,
    left_out: LeftOutCounter,
    source: str,
) -> ImageIndex:
    images: dict[str, Any] = {}
    entries: list[Entry] = []
    copies: Counter[str] = Counter()
    for split, sample in samples.items():
        for one in sample.result():
            name = image_name(split, one.digest[:12])
            copies[name] += 1
            if copies[name] > 1:
                name = f"{name} copy {copies[name]}"
            images[name] = one.image
            entries.append(Entry(name, one.label, split, weight=one.weight))
    index = index_entries(
        entries, StreamStore(images, unit), source=source, kind="stream", class_names=class_names, left_out=left_out
    )
    labels = outputs_of(samples[TRAIN].counts, class_names).labels
    counts = {split: [sample.counts[label] for label in labels] for split, sample in samples.items() if sample.dropped}
    return replace(
        index,
        counts=tuple(counts[TRAIN]) if TRAIN in counts else None,
        listed={split: sum(found) for split, found in counts.items()},
    )


def is_builder(data: object) -> bool:
    """Whether it is a builder of tensorflow-datasets, which is not imported."""
    return any(
        kind.__name__ == "DatasetBuilder" and kind.__module__.startswith("tensorflow_datasets.")
        for kind in type(data).__mro__
    )


def index_builder(
    builder: Any,
    *,
    class_names: Sequence[str] | None = None,
    max_images: int,
    seed: int,
    progress: Progress | None = None,
) -> ImageIndex:
    """Read a data set of tensorflow-datasets that has been prepared; images stay the files they are.

    Args:
        builder: a `tfds.core.DatasetBuilder`.
        class_names: as for `index_stream`; by default the builder's.
        max_images: as for `index_stream`.
        seed: as for `index_stream`.
        progress: as for `index_stream`.

    Raises:
        ProbeError: it is not prepared, does not tell which features are the image and its label, or see `index_stream`.
    """
    found = dict(builder.info.splits)
    if not found:
        raise ProbeError(
            f"Expected a data set that is prepared. Received: the builder {builder.name!r} without any split. Call its "
            "`download_and_prepare()` first."
        )
    features = dict(builder.info.features.items()) if hasattr(builder.info.features, "items") else {}
    keys = _keys(features, builder.info.supervised_keys)
    known, others = sort_splits({name: name for name in found})
    with readable(0):
        splits = {split: _open(builder, name, keys.image, features[keys.image]) for split, name in known.items()}
    return index_stream(
        {**splits, **others},
        class_names=class_names if class_names is not None else getattr(features[keys.label], "names", None),
        max_images=max_images,
        seed=seed,
        progress=progress,
        keys=keys,
        source=f"tfds {builder.name}",
    )


def _keys(features: Mapping[str, Any], supervised: Any) -> Keys:
    """Which features are the image and its label."""
    if supervised and len(supervised) == 2 and all(isinstance(key, str) and key in features for key in supervised):
        return Keys(*supervised)
    images = [key for key, feature in features.items() if type(feature).__name__ == "Image"]
    labels = [key for key, feature in features.items() if type(feature).__name__ == "ClassLabel"]
    labels = labels if len(labels) == 1 else [key for key in LABEL_KEYS if key in features]
    if len(images) != 1 or len(labels) != 1:
        told = ", ".join(f"{key} ({type(feature).__name__})" for key, feature in features.items())
        raise ProbeError(
            f"Expected one image and one label. Received: the features {told}. Give `builder.as_dataset()` with "
            "`.map(lambda row: (row[image], row[label]))` instead."
        )
    return Keys(images[0], labels[0])


def _open(builder: Any, split: str, image: str, feature: Any) -> Any:
    """A split as a stream, images as the bytes of their files, where these are not something else in disguise."""
    tfds: Any = importlib.import_module("tensorflow_datasets")  # which has no types
    as_files = type(feature).__name__ == "Image" and "uint" in str(feature.dtype)
    try:
        return builder.as_dataset(
            split=split,
            shuffle_files=False,
            decoders={image: tfds.decode.SkipDecoding()} if as_files else None,
            read_config=tfds.ReadConfig(try_autocache=False),
        )
    except (AssertionError, ValueError, OSError) as error:
        raise ProbeError(
            f"Expected a data set that can be read. Received: {builder.name!r}: {unreadable(error)}. Call its "
            "`download_and_prepare()` first."
        ) from error
