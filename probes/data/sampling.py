"""A stratified sample of an index, and one of a stream that does not depend on the order in which images come."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from probes.data.image_index import ByClass, ImageIndex
from probes.data.labels import Label, label_order

SPARE_FILES = 20  # how many more files of a class than its quota may be tried when some can't be read
_MOST_KNOWN = 10_000_000  # different images of a stream to recognise again, at about 100 bytes each


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """Which files of each class to look at."""

    quota: tuple[int, ...]  # how many readable images of each class are wanted
    candidates: ByClass  # in the order in which to try them; the first `quota` come first


def quotas(class_counts: tuple[int, ...], max_images: int) -> tuple[int, ...]:
    """Share `max_images` out among classes: two each where they have them, the rest in proportion by largest remainder.

    All are taken where they fit. Where not even two a class fit, the classes with most images get two each until
    nothing is left; two classes get at least one each.
    """
    counts = np.asarray(class_counts)
    if counts.sum() <= max_images:
        return class_counts
    base = np.minimum(counts, 2)
    if base.sum() > max_images:
        order = np.argsort(-counts, kind="stable")
        fits = np.cumsum(base[order]) <= max_images
        quota = np.zeros_like(counts)
        quota[order[fits]] = base[order[fits]]
        if fits.sum() < 2:  # a classifier needs two classes
            quota[order[:2]] = max_images - 1, 1
        return tuple(int(n) for n in quota)
    ideal = (counts - base) * (max_images - base.sum()) / (counts - base).sum()
    quota = base + np.floor(ideal).astype(int)
    for index in np.argsort(np.floor(ideal) - ideal, kind="stable")[: max_images - quota.sum()]:
        quota[index] += 1
    return tuple(int(n) for n in quota)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What is measured: training images, and held-out ones where the user has such a split."""

    train: Draw
    validation: Draw

    @property
    def n_wanted(self) -> int:
        return sum(self.train.quota) + sum(self.validation.quota)


def draw_splits(index: ImageIndex, max_images: int, seed: int) -> Sample:
    """Choose what is measured of an index: at most `max_images`, a quarter of them from the user's validation split."""
    n_validation = sum(len(names) for names in index.validation)
    held_out = min(n_validation, max(max_images - index.n_images, max_images // 4))
    train = draw_sample(index.files, max_images - held_out, seed, index.counts)
    if held_out < 2:
        return Sample(train=train, validation=draw_sample(((),) * len(index.files), 0, seed))
    return Sample(train=train, validation=draw_sample(index.validation, held_out, seed))


def draw_sample(files: ByClass, max_images: int, seed: int, counts: tuple[int, ...] | None = None) -> Draw:
    """Choose a stratified sample; the same for the same seed and the same file names.

    `counts` are the images of each class where `files` holds only some of them.
    """
    held = tuple(len(names) for names in files)
    quota = tuple(map(min, quotas(counts or held, max_images), held))
    candidates = []
    for label, (names, wanted) in enumerate(zip(files, quota, strict=True)):
        order = np.random.default_rng([seed, label]).permutation(len(names))
        tried = max(2 * wanted, wanted + SPARE_FILES) if wanted else 0
        candidates.append(tuple(names[index] for index in order[:tried]))
    return Draw(quota=quota, candidates=tuple(candidates))


class Kept(NamedTuple):
    """An image of the sample of a stream."""

    priority: int  # computed from the image's content and the seed; the lowest ones are kept
    digest: str  # of the content, in hex; the same for exact copies
    label: Label
    weight: float
    image: Any  # its pixels as they came, or the bytes of its file


def _order(one: Kept) -> tuple[int, str, str, float]:
    return one.priority, one.digest, str(one.label), one.weight


@dataclass(slots=True)
class Reservoir:
    """Counts the different images of a stream and keeps a sample of them.

    An image that comes again with the same label and weight is not counted, so that copies don't crowd out others.

    In memory are the images of lowest priority over all classes, and the two lowest of each class: in all no more than
    2 * `max_images`, or about one a class where those are more. Priorities do not depend on classes, so each class is
    kept in proportion, with nearly twice as many images as its share of the sample.
    """

    max_images: int
    seed: int
    counts: Counter[Label] = field(default_factory=Counter)  # of different images
    kept: list[Kept] = field(default_factory=list)
    _times: dict[int, int] = field(default_factory=dict)  # how often each image came, by a hash of it and its label
    _limit: int = 0  # from how many on to drop some, where classes are too many for twice `max_images`
    _bar: int | None = None  # the highest priority kept, apart from the two of each class; None before any was dropped
    _lowest: dict[Label, list[int]] = field(default_factory=dict)  # the two lowest priorities of each class

    def offer(self, image: Any, label: Label, weight: float = 1.0) -> int:
        """Count an image, an array or bytes, and keep a copy for now if it is new and its priority is low enough.

        Returns how often it has come so far, with this label and weight.
        """
        digest = _digest(image)
        known_by = hash((digest, str(label), weight))
        times = self._times.get(known_by, 0) + 1
        if times > 1 or len(self._times) < _MOST_KNOWN:
            self._times[known_by] = times
        if times > 1:
            return times
        key = str(self.seed).encode()[:64]
        priority = int.from_bytes(hashlib.blake2b(digest.encode(), digest_size=8, key=key).digest())
        self.counts[label] += 1
        lowest = self._lowest.setdefault(label, [])
        low = len(lowest) < 2 or priority <= lowest[1]
        if low:
            self._lowest[label] = sorted([*lowest, priority])[:2]
        if low or self._bar is None or priority <= self._bar:
            held = image if isinstance(image, bytes) else np.array(image)
            self.kept.append(Kept(priority, digest, label, weight, held))
            if len(self.kept) > max(2 * self.max_images, self._limit):
                self._trim()
        return times

    @property
    def dropped(self) -> bool:
        """Whether some images are not kept."""
        return self._bar is not None

    def result(self) -> list[Kept]:
        """All different images, if they were few; else of each class its share of `max_images`, and one at least."""
        if self.dropped:
            self._trim()
            labels = label_order(self.counts)
            shares = quotas(tuple(self.counts[label] for label in labels), self.max_images)
            left = {label: max(share, 1) for label, share in zip(labels, shares, strict=True)}
            self.kept = [one for one, rank in self._ranked() if rank < left[one.label]]
        return sorted(self.kept, key=lambda one: (one.digest, *_order(one)))

    def _ranked(self) -> list[tuple[Kept, int]]:
        """What is kept, by priority, each with the number of images of its class before it."""
        before: Counter[Label] = Counter()
        ranked = []
        for one in sorted(self.kept, key=_order):
            ranked.append((one, before[one.label]))
            before[one.label] += 1
        return ranked

    def _trim(self) -> None:
        """Keep 7/4 of `max_images`, so that not each new image needs a sort."""
        by_rank: tuple[list[Kept], list[Kept], list[Kept]] = ([], [], [])
        for one, rank in self._ranked():
            by_rank[min(rank, 2)].append(one)
        firsts, seconds, others = by_rank
        room = 2 * self.max_images - self.max_images // 4
        self.kept = [*firsts, *(seconds + others)[: max(0, room - len(firsts))]]
        self._limit = len(self.kept) + self.max_images // 4
        spare = len(self.kept) - len(firsts) - len(seconds)
        self._bar = others[spare - 1].priority if spare > 0 else -1


def _digest(image: Any) -> str:
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(image, bytes):
        digest.update(image)
    else:
        digest.update(f"{image.dtype} {image.shape}".encode())
        digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()
