"""Embeddings of all images of the data, as shards, and what the driver reads of them to split the images."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from probes.data.image_index import TEST, VALIDATION, EntryReader, ImageIndex, reading_order
from probes.images.decode import UnreadableImage
from probes.images.image_facts import PictureFacts
from probes.images.prepare import Failed, Prepared, Skipped, Wanted
from probes.network.features import Features, features_of
from recommender.cluster.sample import ReadAndRun
from recommender.cluster.shards import Shards

_KNOWN = ("path", "label", "validation", "facts", "error")


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Embed(ReadAndRun):
    """Reads the images of a unit, runs the network over them, and writes what a prediction layer reads as a shard."""

    shards: Shards
    levels: tuple[int, ...]  # of the network's cut points, those that the layer reads

    def keep(self, number: int, items: Sequence[Wanted], results: list[Any]) -> tuple[int, int]:
        """Write the shard; the number of images, and of those that could not be read."""
        import pyarrow as pa

        read = [item if isinstance(item, Prepared) else None for item in results]
        columns = {
            "path": [item.file for item in items],
            "label": [item.label for item in items],
            "validation": [item.validation for item in items],
            "group": pa.array([item.group for item in items], pa.string()),
            "weight": [item.weight for item in items],
            "facts": pa.array([item and msgspec.msgpack.encode(item.facts) for item in read], pa.binary()),
            "error": pa.array([getattr(item, "error", None) and str(item.error) for item in results], pa.string()),
            "embedding": pa.array([item and self._embedding(item) for item in read], pa.list_(pa.float32())),
        }
        self.shards.write(number, columns)
        return len(read), read.count(None)

    def _embedding(self, item: Prepared) -> Any:
        return np.concatenate([item.outputs[level] for level in self.levels])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EmbedRows(Embed):
    """The same for rows of a list that no machine holds."""

    entries: EntryReader

    def items(self, unit: tuple[int, int]) -> list[Wanted]:
        return [
            Wanted(int(entry.label), entry.name, entry.split == VALIDATION, entry.group, entry.weight)
            for entry in self.entries.read(*unit)
            if entry.split != TEST
        ]


def listed(shards: Shards, numbers: Sequence[int]) -> tuple[Features, list[tuple[int, int]]]:
    """The images in these shards as a pass reports them, without pooled features; the shard and row of each.

    Of equal pictures in a class and split the first counts.
    """
    kept: list[Prepared] = []
    places: list[tuple[int, int]] = []
    skipped, seen = Skipped(), set[tuple[bool, int, bytes]]()
    for number in numbers:
        table = shards.read(number, _KNOWN)
        columns = (table.column(name).to_pylist() for name in _KNOWN)
        for row, (file, label, validation, facts, error) in enumerate(zip(*columns, strict=True)):
            if error is not None:
                failure = Failed(file=file, label=label, validation=validation, error=UnreadableImage(error))
                skipped.failures.append(failure)
                continue
            known = msgspec.msgpack.decode(facts, type=PictureFacts)
            item = Prepared(
                pixels=np.empty(0, np.float32),
                label=label,
                file=file,
                size=known.size,
                grey=known.grey,
                validation=validation,
                facts=known,
            )
            if (key := (validation, label, known.digest)) in seen:
                skipped.copies.append(item)
                continue
            seen.add(key)
            kept.append(item)
            places.append((number, row))
    return features_of(kept, skipped, pooled={}), places


def everything(index: ImageIndex) -> list[Wanted]:
    """All training images and all of the validation split, class by class or as they are stored."""
    items = [
        Wanted(label, name, validation)
        for by_class, validation in ((index.files, False), (index.validation, True))
        for label, names in enumerate(by_class)
        for name in names
    ]
    return [items[number] for number in reading_order(index.store, [item.file for item in items])]
