"""A `tf.data.Dataset` or a builder of tensorflow-datasets: read once, and a sample is kept."""

import contextlib
import importlib
import io
import itertools
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from probes.data import elements
from probes.data.image_index import TRAIN, Entry, ImageIndex, LeftOutCounter, index_entries
from probes.data.labels import Label, checked_names, named_outputs, outputs_of
from probes.data.pixel_range import PixelRange, check_shape, to_uint8, unit_kinds
from probes.data.sampling import Reservoir
from probes.data.sources.source import Options, image_name, is_a, parts_of, sort_splits, splits_of
from probes.errors import ProbeError
from probes.images.decode import unreadable

_TAKE = "Give one pass over the images, as with `.take(n)`."
_INFINITE, _UNKNOWN = -1, -2  # cardinalities of tf.data
_PASSES = 10  # a stream of unknown length is endless if its images have come so many times each, on average
_AT_LEAST = 200  # images to read before that is decided
_MOST_UNKNOWN = 10_000_000  # images of a stream of unknown length


def recognises(data: Any) -> bool:
    parts = parts_of(data[0] if _has_info(data) else data)
    return _is_builder(data) or (bool(parts) and all(is_a(part, "tensorflow", "DatasetV2") for part in parts))


def index(data: Any, options: Options) -> ImageIndex:
    if _is_builder(data):
        return _index_builder(data, options)
    if _has_info(data):
        data, names = data[0], getattr(data[1].features.get("label"), "names", None)
        options = replace(options, class_names=options.class_names or names)
    return _index_stream(splits_of(data), options)


def _has_info(data: Any) -> bool:
    """Whether it is what `tfds.load(with_info=True)` returns."""
    return isinstance(data, tuple) and len(data) == 2 and hasattr(data[1], "features")


def _is_builder(data: object) -> bool:
    return is_a(data, "tensorflow_datasets", "DatasetBuilder")


@dataclass(frozen=True, slots=True, eq=False)
class StreamStore:
    """The images kept of a stream, by their names: pixels, or the bytes of files; `unit` is from `unit_kinds`."""

    images: Mapping[str, Any] = field(repr=False)
    unit: str

    def open(self, name: str) -> BinaryIO | npt.NDArray[np.uint8]:
        image = self.images[name]
        return io.BytesIO(image) if isinstance(image, bytes) else to_uint8(image, self.unit)


def _index_stream(
    splits: Mapping[str, Any], options: Options, *, keys: elements.Keys | None = None, source: str = "tf.data.Dataset"
) -> ImageIndex:
    """Read a stream of labelled images once, count them all and keep a sample.

    The sample depends on the images and the seed, not on the order in which they come. Images that repeat another of
    their class and split are left out. Elements are (image, label), (image, label, weight) or dictionaries, batched or
    not. An image is of shape (h, w) or (h, w, 1, 3 or 4), or the bytes of a file; a label is as in `plain_labels`.
    """
    names = options.class_names if options.class_names is not None else getattr(splits[TRAIN], "class_names", None)
    if names is not None:
        checked_names(names)  # before the stream is read
    left_out, widths = LeftOutCounter(), set[int]()
    ranges = {split: PixelRange() for split in splits}
    samples = {split: Reservoir(options.max_images, options.seed) for split in splits}
    for split, dataset in splits.items():
        length, new = int(dataset.cardinality()), 0
        if length == _INFINITE:
            raise ProbeError(f"{elements.EXPECTED} Received: one without an end. {_TAKE}")
        for number, (image, label, weight) in enumerate(_examples(dataset, keys, ranges[split], widths)):
            if names is not None and label == -1:
                left_out.add("images without a label", image_name(split, number))
                continue
            times = samples[split].offer(image, label, weight)
            new += times == 1
            if times > 1:
                left_out.add("images that repeat another of their class", image_name(split, number))
            if length == _UNKNOWN and (number >= max(_AT_LEAST, _PASSES * new) or number >= _MOST_UNKNOWN):
                raise ProbeError(
                    f"{elements.EXPECTED} Received: one of unknown length, and perhaps without an end: {number:,} "
                    f"images came, of which {new:,} differ. {_TAKE}"
                )
    return _index(samples, unit_kinds(ranges), named_outputs(names, widths), left_out, source)


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


def _examples(
    dataset: Any, keys: elements.Keys | None, found: PixelRange, widths: set[int]
) -> Iterator[tuple[Any, Label, float]]:
    """Image, label and weight one by one; the first element decides whether the dataset is batched.

    The range of the pixels is added to `found`, the number of classes of one-hot labels to `widths`.
    """
    elements.parts(dataset.element_spec, keys)
    batched: bool | None = None
    shapes: set[tuple[int, ...]] = set()
    with _readable(0):
        stream = iter(dataset)
    for n_read in itertools.count():
        with _readable(n_read):
            element = next(stream, None)
        if element is None:
            return
        image, label, weight = elements.parts(element, keys)
        if batched is None:
            batched = elements.is_batch(tuple(image.shape), tuple(label.shape), image.dtype.name == "string")
        images = elements.images(image, batched)
        for one in images:
            if isinstance(one, bytes):
                continue
            if one.shape not in shapes:
                check_shape(one.shape)
                shapes.add(one.shape)
            found.add(one)
        labels = elements.labels(label, batched, len(images), widths)
        yield from zip(images, labels, elements.weights(weight, len(images)), strict=True)


@contextlib.contextmanager
def _readable(n_read: int) -> Iterator[None]:
    """Turn what the user's own pipeline raises after `n_read` elements into a `ProbeError`."""
    import tensorflow as tf

    try:
        yield
    except tf.errors.OpError as error:
        reason = re.sub(r"\{\{.*?\}\}", "", error.message).strip().split("\n")[0]
        raise ProbeError(
            f"Expected a tf.data.Dataset that can be read to its end. Received: {type(error).__name__} after "
            f"{n_read:,} elements: {reason:.200}. Correct its pipeline, or skip what fails with `.ignore_errors()`."
        ) from error


def _index_builder(builder: Any, options: Options) -> ImageIndex:
    """Read a data set of tensorflow-datasets that has been prepared; images stay the files they are."""
    features = dict(builder.info.features.items()) if hasattr(builder.info.features, "items") else {}
    names = {name: name for name in builder.info.splits or ()}
    known, left_out = sort_splits(names) if names else ({}, LeftOutCounter())
    supervised = builder.info.supervised_keys
    known_keys = supervised and len(supervised) == 2 and all(str(key) in features for key in supervised)
    if TRAIN not in known:
        raise ProbeError(
            f"Expected a prepared data set with a training split. Received: {builder.name!r} with the splits "
            f"{', '.join(names) or 'none'}. Call its `download_and_prepare()` first, or give "
            "{'train': builder.as_dataset(split=NAME)}."
        )
    image, label = keys = tuple(supervised) if known_keys else elements.usual_keys(features)
    tfds: Any = importlib.import_module("tensorflow_datasets")  # which has no types
    # Files stay as they are, unless the feature changes what it decodes.
    as_files = type(features[image]).__name__ == "Image" and "uint" in str(features[image].dtype)
    decoders = {image: tfds.decode.SkipDecoding()} if as_files else None
    config = tfds.ReadConfig(try_autocache=False)
    try:
        with _readable(0):
            splits = {
                split: builder.as_dataset(split=name, shuffle_files=False, decoders=decoders, read_config=config)
                for split, name in known.items()
            }
    except (AssertionError, ValueError, OSError) as error:
        raise ProbeError(
            f"Expected a data set that can be read. Received: {builder.name!r}: {unreadable(error)}. Call its "
            "`download_and_prepare()` first."
        ) from error
    if options.class_names is None:
        options = replace(options, class_names=getattr(features[label], "names", None))
    index = _index_stream(splits, options, keys=keys, source=f"tfds {builder.name}")
    return replace(index, left_out=left_out.result() + index.left_out)
