"""Sums over shards of embeddings that add up to a classifier for each split, and what these say of held-out images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from hashlib import blake2b
from operator import add
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt

from probes.data.splits import FOLDS, Rows, balanced_weights
from probes.images.image_facts import PictureFacts
from probes.separability.discriminant import Classifier, Moments
from recommender.cluster.session import Work
from recommender.cluster.shards import Shards
from recommender.errors import RecommendError

NO_SPLIT = -1  # the split of an image on which every classifier is fitted


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Part:
    """What is known of the rows of a shard; arrays of shape (rows,)."""

    number: int
    labels: npt.NDArray[np.int64]
    weights: npt.NDArray[np.float64]  # 0 for images that are not fitted on
    splits: npt.NDArray[np.int64]  # the split whose classifier is not fitted on the image
    judged: npt.NDArray[np.bool_]

    def embeddings(self, shards: Shards, rows: npt.NDArray[np.bool_], width: int) -> npt.NDArray[np.float64]:
        """Of the rows of a mask, of shape (rows, width)."""
        import pyarrow as pa

        column = shards.read(self.number, ["embedding"]).column("embedding").filter(pa.array(rows)).combine_chunks()
        values: npt.NDArray[np.float64] = column.flatten().to_numpy().astype(np.float64)
        return values.reshape(-1, width)


class _OfShards(Work):
    def items(self, unit: Any) -> Sequence[Any]:
        return [unit]

    def lost(self, item: Any) -> Any:
        del item
        raise RecommendError(
            "Expected to read the embeddings in their shards. Received: a process that died at some, three times. Give "
            "the workers more memory."
        )

    def keep(self, number: int, items: Sequence[Any], results: list[Any]) -> Any:
        del number, items
        return results[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Hashed:
    """Splits by a hash of each image, or of its group: no machine has to know all images, and copies stay together."""

    seed: int
    folds: int  # 1 where the user's validation split judges
    judged: float  # share of the held-out images that judge

    def part(self, shards: Shards, number: int) -> tuple[Part, npt.NDArray[np.uint64], list[str]]:
        """What is known of the rows of a shard; their hashes and paths."""
        table = shards.read(number, ("path", "label", "validation", "facts", "group", "weight"))
        columns = {name: table.column(name).to_pylist() for name in table.column_names}
        pairs = zip(columns["facts"], columns["group"], strict=True)
        keys = np.array([self._key(facts, group) for facts, group in pairs], np.uint64)
        read = np.array([facts is not None for facts in columns["facts"]], bool)
        validation = np.array(columns["validation"], bool)
        splits = (keys % self.folds).astype(np.int64)
        chosen = (keys // np.uint64(FOLDS)) / (2.0**64 / FOLDS) < self.judged
        part = Part(
            number=number,
            labels=np.array(columns["label"], np.int64),
            weights=np.where(read & ~validation, columns["weight"], 0.0),
            splits=splits if self.folds > 1 else np.where(validation, 0, NO_SPLIT),
            judged=read & chosen & (validation == (self.folds == 1)),
        )
        return part, keys, columns["path"]

    def _key(self, facts: bytes | None, group: str | None) -> int:
        if facts is None:
            return 0
        known = group.encode() if group else msgspec.msgpack.decode(facts, type=PictureFacts).digest
        return int.from_bytes(blake2b(known, digest_size=8, key=str(self.seed).encode()).digest())


PARTS_GIVEN = Hashed(seed=0, folds=1, judged=1.0)  # where no part is a number


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Accumulate(_OfShards):
    """Adds up what the classifier of each split needs of some shards."""

    shards: Shards
    shift: npt.NDArray[np.float64]
    factors: npt.NDArray[np.float64]  # of the weights, of shape (splits, classes); the last split is all images
    hashed: Hashed = PARTS_GIVEN  # splits parts that come as the numbers of their shards

    def compute(self, items: Sequence[list[Part | int]]) -> list[list[Moments]]:
        return [[reduce(add, of_split) for of_split in zip(*map(self._moments, unit), strict=True)] for unit in items]

    def _moments(self, shard: Part | int) -> list[Moments]:
        part = shard if isinstance(shard, Part) else self.hashed.part(self.shards, shard)[0]
        used = part.weights > 0
        features = part.embeddings(self.shards, used, len(self.shift)) - self.shift
        labels, splits, weights = part.labels[used], part.splits[used], part.weights[used]
        indicators = np.eye(self.factors.shape[1])[labels]
        return [
            Moments.of(features, indicators, weights * factor[labels] * (splits != split), products=True)
            for split, factor in enumerate(self.factors)
        ]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judge(_OfShards):
    """Class probabilities of the images of a shard, by the classifier that was not fitted on them."""

    shards: Shards
    classifiers: tuple[Classifier, ...]
    hashed: Hashed = PARTS_GIVEN  # likewise; then results have labels, hashes and paths of the images, too

    def compute(self, items: Sequence[Part | int]) -> list[Any]:
        return [self._judged(shard) for shard in items]

    def _judged(self, shard: Part | int) -> Any:
        if isinstance(shard, Part):
            return self._probabilities(shard)
        part, keys, paths = self.hashed.part(self.shards, shard)
        files = [path for path, chosen in zip(paths, part.judged, strict=True) if chosen]
        return self._probabilities(part), part.labels[part.judged], keys[part.judged], files

    def _probabilities(self, part: Part) -> npt.NDArray[np.float64]:
        width, n_classes = self.classifiers[0].kernel.shape
        features, splits = part.embeddings(self.shards, part.judged, width), part.splits[part.judged]
        found = np.zeros((len(features), n_classes))
        for split in np.unique(splits):
            found[splits == split] = self.classifiers[split].probabilities(features[splits == split])
        return found


def places_of(places: Sequence[tuple[int, int]]) -> dict[int, npt.NDArray[np.int64]]:
    """For each shard the images that lie in it, in the order of its rows."""
    order = sorted(range(len(places)), key=places.__getitem__)
    found: dict[int, list[int]] = {}
    for image in order:
        found.setdefault(places[image][0], []).append(image)
    return {number: np.array(images, np.int64) for number, images in found.items()}


def parts_of(
    rows: Rows,
    places: Sequence[tuple[int, int]],
    n_of: Mapping[int, int],
    splits: npt.NDArray[np.int64],
    judged: npt.NDArray[np.bool_],
) -> list[Part]:
    """What is known of the rows of each shard; those of copies and of broken images have no weight."""
    parts = []
    for number, images in places_of(places).items():
        at = np.array([places[image][1] for image in images])
        part = Part(
            number=number,
            labels=np.zeros(n_of[number], np.int64),
            weights=np.zeros(n_of[number]),
            splits=np.full(n_of[number], NO_SPLIT),
            judged=np.zeros(n_of[number], bool),
        )
        part.labels[at], part.splits[at], part.judged[at] = rows.labels[images], splits[images], judged[images]
        part.weights[at] = np.where(rows.training[images], rows.weights[images], 0.0)
        parts.append(part)
    return parts


def factors_of(
    rows: Rows, splits: npt.NDArray[np.int64], n_splits: int, n_classes: int, *, balanced: bool
) -> npt.NDArray[np.float64]:
    """What the weights of each class are multiplied by for each split's classifier: then their mean is 1."""
    factors = np.zeros((n_splits + 1, n_classes))
    for split in range(n_splits + 1):
        fitted = rows.training & (rows.weights > 0) & (splits != split)
        labels, weights = rows.labels[fitted], rows.weights[fitted]
        used = balanced_weights(labels, weights) if balanced else weights
        factors[split, labels] = used / weights * len(used) / used.sum()
    return factors
