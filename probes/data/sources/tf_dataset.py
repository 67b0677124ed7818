"""A `tf.data.Dataset` or a builder of tensorflow-datasets: read once, and a sample is kept."""

import importlib
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from probes.data.class_order import checked_names, outputs_of
from probes.data.image_index import TRAIN, Entry, ImageIndex, LeftOutCounter, index_entries
from probes.data.labels import named_outputs
from probes.data.pixel_range import PixelRange, to_uint8, unit_kinds
from probes.data.reservoir import Reservoir
from probes.data.sources.elements import EXPECTED, LABEL_KEYS, Keys, examples, readable
from probes.data.sources.source import Options, image_name, parts_of, sort_splits, splits_of
from probes.errors import ProbeError
from probes.images.decode import unreadable

_INFINITE, _UNKNOWN = -1, -2  # cardinalities of tf.data
_PASSES = 10  # a stream of unknown length is endless if each image seen so far has come so many times
_AT_LEAST = 200  # images to read before that is decided
_MOST_UNKNOWN = 10_000_000  # images of a stream of unknown length, if each of them is new


def recognises(data: Any) -> bool:
    parts = parts_of(data[0] if _has_info(data) else data)
    return is_builder(data) or (bool(parts) and all(_is_stream(part) for part in parts))


def index(data: Any, options: Options) -> ImageIndex:
    if is_builder(data):
        return index_builder(data, options)
    if _has_info(data):
        data, names = data[0], getattr(data[1].features.get("label"), "names", None)
        options = replace(options, class_names=options.class_names or names)
    return index_stream(splits_of(data), options)


def _has_info(data: Any) -> bool:
    """Whether it is what `tfds.load(with_info=True)` returns."""
    return isinstance(data, tuple) and len(data) == 2 and hasattr(data[1], "features")


def _is_stream(data: object) -> bool:
    return _is_a(data, "DatasetV2", "tensorflow.")


def is_builder(data: object) -> bool:
    """Whether it is a builder of tensorflow-datasets, which is not imported."""
    return _is_a(data, "DatasetBuilder", "tensorflow_datasets.")


def _is_a(data: object, name: str, package: str) -> bool:
    return any(kind.__name__ == name and kind.__module__.startswith(package) for kind in type(data).__mro__)


@dataclass(frozen=True, slots=True, eq=False)
class StreamStore:
    """The images kept of a stream: pixels, or the bytes of files.

    Attributes:
        images: by their names.
        unit: which kinds of pixels lie within 0 to 1, from `unit_kinds`.
    """

    images: Mapping[str, Any] = field(repr=False)
    unit: str

    def open(self, name: str) -> BinaryIO | npt.NDArray[np.uint8]:
        image = self.images[name]
        return io.BytesIO(image) if isinstance(image, bytes) else to_uint8(image, self.unit)


def index_stream(
    splits: Mapping[str, Any], options: Options, *, keys: Keys | None = None, source: str = "tf.data.Dataset"
) -> ImageIndex:
    """Read a stream of labelled images once, count them all and keep a sample.

    The sample depends on the images and the seed, not on the order in which they come. No more than twice
    `options.max_images` of a split are in memory. Images that repeat another of their class and split are left out.

    Args:
        splits: of `SPLITS`, each a `tf.data.Dataset`. Its elements are (image, label), (image, label, weight) or
            dictionaries with an image and a label, batched or not. An image is of shape (h, w) or (h, w, 1, 3 or 4), or
            the bytes of a file; a label is a whole number, a word or a one-hot row.
        options: names of the classes, by default those that the training split has as `class_names`; the sample.
        keys: of the image and the label in a dictionary, where they do not have the usual names.
        source: what the user named, for messages.

    Returns:
        The index. Its `counts` and `listed` are the numbers of different images, where not all are kept.

    Raises:
        ProbeError: the stream is endless, can't be read, or has no such elements or fewer than two classes.
    """
    names = options.class_names if options.class_names is not None else getattr(splits[TRAIN], "class_names", None)
    if names is not None:
        checked_names(names)  # before the stream is read
    left_out, widths = LeftOutCounter(), set[int]()
    ranges = {split: PixelRange() for split in splits}
    samples = {split: Reservoir(options.max_images, options.seed) for split in splits}
    lengths = {split: _cardinality(dataset) for split, dataset in splits.items()}
    for split, dataset in splits.items():
        endless = _Endless() if lengths[split] == _UNKNOWN else None
        for number, (image, label, weight) in enumerate(examples(dataset, keys, ranges[split], widths)):
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
    n = int(dataset.cardinality())
    if n == _INFINITE:
        raise ProbeError(f"{EXPECTED} Received: one without an end. Give one pass over the images, as with `.take(n)`.")
    return n


@dataclass(slots=True)
class _Endless:
    """Notices that a stream of unknown length is endless.

    Attributes:
        n: images that came.
        rare: different images that have come fewer than `_PASSES` times.
    """

    n: int = 0
    rare: int = 0

    def add(self, times: int) -> None:
        """Count an image that has come `times` times so far."""
        self.n += 1
        self.rare += (times == 1) - (times == _PASSES)
        received = ""
        if self.n >= _AT_LEAST and not self.rare:
            received = f"one that repeats itself without end: of {self.n:,} images each came {_PASSES} times or more"
        elif self.n > _MOST_UNKNOWN:
            received = f"one of unknown length with more than {_MOST_UNKNOWN:,} images, perhaps without an end"
        if received:
            raise ProbeError(f"{EXPECTED} Received: {received}. Give one pass over the images, as with `.take(n)`.")


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


def index_builder(builder: Any, options: Options) -> ImageIndex:
    """Read a data set of tensorflow-datasets that has been prepared; images stay the files they are.

    Args:
        builder: a `tfds.core.DatasetBuilder`.
        options: as for `index_stream`; by default the builder's class names.

    Raises:
        ProbeError: it is not prepared, its image or label is ambiguous, or see `index_stream`.
    """
    if not builder.info.splits:
        raise ProbeError(
            f"Expected a data set that is prepared. Received: the builder {builder.name!r} without any split. Call its "
            "`download_and_prepare()` first."
        )
    features = dict(builder.info.features.items()) if hasattr(builder.info.features, "items") else {}
    keys = _keys(features, builder.info.supervised_keys)
    known, others = sort_splits({name: name for name in builder.info.splits})
    with readable(0):
        splits = {split: _open(builder, name, keys.image, features[keys.image]) for split, name in known.items()}
    if options.class_names is None:
        options = replace(options, class_names=getattr(features[keys.label], "names", None))
    index = index_stream(splits, options, keys=keys, source=f"tfds {builder.name}")
    left_out = LeftOutCounter()
    for name in others:
        left_out.add("splits that are neither train, validation nor test", name)
    return replace(index, left_out=left_out.result() + index.left_out)


def _keys(features: Mapping[str, Any], supervised: Any) -> Keys:
    """Which features are the image and its label."""
    if supervised and len(supervised) == 2 and all(isinstance(key, str) and key in features for key in supervised):
        return Keys(*supervised)
    images = [key for key, feature in features.items() if type(feature).__name__ == "Image"]
    labels = [key for key, feature in features.items() if type(feature).__name__ == "ClassLabel"]
    labels = labels if len(labels) == 1 else [key for key in LABEL_KEYS if key in features]
    if len(images) != 1 or len(labels) != 1:
        given = ", ".join(f"{key} ({type(feature).__name__})" for key, feature in features.items())
        raise ProbeError(
            f"Expected one image and one label. Received: the features {given}. Give `builder.as_dataset()` with "
            "`.map(lambda row: (row[image], row[label]))` instead."
        )
    return Keys(images[0], labels[0])


def _open(builder: Any, split: str, image: str, feature: Any) -> Any:
    """A split as a stream; images as the bytes of their files, unless the feature changes what it decodes."""
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
