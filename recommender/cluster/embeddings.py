"""Embeddings of all images of the data, as shards, and what the driver reads of them to split the images."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec
import numpy as np

from probes.data.image_index import TEST, VALIDATION, Entry, EntryReader
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

    def keep(self, number: int, results: list[Any]) -> tuple[int, int]:
        """Write the shard; the number of images, and of those that could not be read."""
        self.shards.write(number, self._columns(results))
        return len(results), sum(not isinstance(item, Prepared) for item in results)

    def _columns(self, results: Sequence[Any]) -> dict[str, Any]:
        import pyarrow as pa

        read = [item if isinstance(item, Prepared) else None for item in results]
        return {
            "path": [item.file for item in results],
            "label": [item.label for item in results],
            "validation": [item.validation for item in results],
            "facts": pa.array([item and msgspec.msgpack.encode(item.facts) for item in read], pa.binary()),
            "error": pa.array([getattr(item, "error", None) and str(item.error) for item in results], pa.string()),
            "embedding": pa.array([item and self._embedding(item) for item in read], pa.list_(pa.float32())),
        }

    def _embedding(self, item: Prepared) -> Any:
        return np.concatenate([item.outputs[level] for level in self.levels])


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class EmbedRows(Embed):
    """The same for rows of a list that no machine holds; the shard has their groups and weights, too."""

    entries: EntryReader

    def items(self, unit: tuple[int, int]) -> list[Entry]:
        return [entry for entry in self.entries.read(*unit) if entry.split != TEST]

    def compute(self, items: Sequence[Any]) -> list[Any]:
        wanted = [Wanted(int(entry.label), entry.name, entry.split == VALIDATION) for entry in items]
        return list(zip(ReadAndRun.compute(self, wanted), items, strict=True))

    def lost(self, item: Any) -> Any:
        return ReadAndRun.lost(self, Wanted(int(item.label), item.name, item.split == VALIDATION)), item

    def keep(self, number: int, results: list[Any]) -> tuple[int, int]:
        found, entries = [item for item, _ in results], [entry for _, entry in results]
        more = {"group": [entry.group for entry in entries], "weight": [entry.weight for entry in entries]}
        self.shards.write(number, self._columns(found) | more)
        return len(found), sum(not isinstance(item, Prepared) for item in found)


@dataclass(slots=True)
class Listing:
    """All images in shards, without their embeddings."""

    kept: list[Prepared] = field(default_factory=list)  # the first of each picture in its class and split
    places: list[tuple[int, int]] = field(default_factory=list)  # of these: number of the shard, row in it
    skipped: Skipped = field(default_factory=Skipped)

    def add(self, shards: Shards, number: int, seen: set[tuple[bool, int, bytes]]) -> None:
        """Take the images of one shard; `seen` holds the pictures of the shards before it."""
        table = shards.read(number, _KNOWN)
        for row, (file, label, validation, facts, error) in enumerate(
            zip(*(table.column(name).to_pylist() for name in _KNOWN), strict=True)
        ):
            if error is not None:
                failure = Failed(file=file, label=label, validation=validation, error=UnreadableImage(error))
                self.skipped.failures.append(failure)
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
                self.skipped.copies.append(item)
                continue
            seen.add(key)
            self.kept.append(item)
            self.places.append((number, row))

    def features(self) -> Features:
        """The images as a pass reports them, without pooled features."""
        return features_of(self.kept, self.skipped, pooled={})


def listing_of(shards: Shards, numbers: Sequence[int]) -> Listing:
    """The images of these shards, in their order."""
    listing, seen = Listing(), set[tuple[bool, int, bytes]]()
    for number in numbers:
        listing.add(shards, number, seen)
    return listing


def wanted_images(by_class: Sequence[Sequence[str]], *, validation: bool) -> list[Wanted]:
    """All images of a split, class by class."""
    return [Wanted(label, name, validation) for label, names in enumerate(by_class) for name in names]
