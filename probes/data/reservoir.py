"""A sample of a stream that does not depend on the order in which images come."""

import hashlib
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np

from probes.data.class_order import Label, label_order
from probes.data.sampling import quotas

_MOST_KNOWN = 10_000_000  # different images to recognise again, at about 100 bytes each


class Kept(NamedTuple):
    """An image of the sample.

    Attributes:
        priority: a number computed from the image's content and the seed; the lowest ones are kept.
        digest: of the content, in hex; the same for exact copies.
        label: its class.
        weight: of the image in what is fitted.
        image: its pixels as they came, or the bytes of its file.
    """

    priority: int
    digest: str
    label: Label
    weight: float
    image: Any

    @property
    def order(self) -> tuple[int, str, str, float]:
        """The sort key, which is the same for any order in which images come."""
        return self.priority, self.digest, str(self.label), self.weight


@dataclass(slots=True)
class Reservoir:
    """Counts the different images of a stream and keeps a sample of them.

    An image that comes again with the same label and weight is not counted, so that copies don't crowd out others.

    In memory are the images of lowest priority over all classes, and the two lowest of each class: in all no more than
    2 * `max_images`, or about one a class where those are more. Priorities do not depend on classes, so each class is
    kept in proportion, with nearly twice as many images as its share of the sample.

    Attributes:
        max_images: how many images the sample is to have.
        seed: of the choice.
        counts: label -> different images that came.
    """

    max_images: int
    seed: int
    counts: Counter[Label] = field(default_factory=Counter)
    _kept: list[Kept] = field(default_factory=list)
    _times: dict[int, int] = field(default_factory=dict)  # how often each image came, by a hash of it and its label
    _limit: int = 0  # from how many on to drop some, where classes are too many for twice `max_images`
    _bar: int | None = None  # the highest priority kept, apart from the two of each class; None before any was dropped
    _lowest: dict[Label, list[int]] = field(default_factory=dict)  # the two lowest priorities of each class

    def offer(self, image: Any, label: Label, weight: float = 1.0) -> int:
        """Count an image, and keep it for now if it is new and its priority is low enough.

        Args:
            image: an array, which is copied, or bytes.
            label: its class.
            weight: of the image in what is fitted.

        Returns:
            How often it has come so far, with this label and weight.
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
            self._kept.append(Kept(priority, digest, label, weight, held))
            if len(self._kept) > max(2 * self.max_images, self._limit):
                self._trim()
        return times

    @property
    def n_kept(self) -> int:
        """Images in memory."""
        return len(self._kept)

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
            self._kept = [one for one, rank in self._ranked() if rank < left[one.label]]
        return sorted(self._kept, key=lambda one: (one.digest, *one.order))

    def _ranked(self) -> list[tuple[Kept, int]]:
        """What is kept, by priority, each with the number of images of its class before it."""
        before: Counter[Label] = Counter()
        ranked = []
        for one in sorted(self._kept, key=lambda one: one.order):
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
        self._kept = [*firsts, *(seconds + others)[: max(0, room - len(firsts))]]
        self._limit = len(self._kept) + self.max_images // 4
        spare = len(self._kept) - len(firsts) - len(seconds)
        self._bar = others[spare - 1].priority if spare > 0 else -1


def _digest(image: Any) -> str:
    digest = hashlib.blake2b(digest_size=16)
    if isinstance(image, bytes):
        digest.update(image)
    else:
        digest.update(f"{image.dtype} {image.shape}".encode())
        digest.update(np.ascontiguousarray(image).data)
    return digest.hexdigest()
