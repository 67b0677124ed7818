"""A stratified sample of the names of a long list, read once, in memory that does not grow with the list."""

import hashlib
import heapq
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from probes.data.image_index import SPLITS, Entry
from probes.data.labels import Label
from probes.data.sampling import SPARE_FILES, quotas

_ROOM = 4  # times the images that are measured: twice each class's share, and as much again for chance
_FEWEST = 2 + SPARE_FILES  # entries of each class and split that are kept in any case

Kept = tuple[int, int, Entry]  # priority, place in the list, entry


@dataclass(slots=True)
class NameSample:
    """Counts the entries of a list and keeps those of lowest priority, over all and of each class.

    Priorities come from the names and the seed alone: the sample does not depend on the order of the list.
    """

    max_images: int
    seed: int
    counts: Counter[tuple[str, Label]] = field(default_factory=Counter)  # of entries by split and label
    _lowest: list[Kept] = field(default_factory=list)
    _bar: int = 1 << 64  # no entry of a higher priority is among the lowest
    _of_class: dict[tuple[str, Label], list[Kept]] = field(default_factory=dict)  # heaps, priorities negated

    def add(self, entries: Iterable[Entry]) -> None:
        """Count entries, and keep some."""
        key, most = str(self.seed).encode()[:64], 2 * _ROOM * self.max_images
        for entry in entries:
            digest = hashlib.blake2b(entry.name.encode("utf-8", "surrogatepass"), digest_size=8, key=key)
            priority, kind = int.from_bytes(digest.digest()), (entry.split, entry.label)
            place = self.counts[kind]
            self.counts[kind] = place + 1
            few = self._of_class.setdefault(kind, [])
            if len(few) < _FEWEST:
                heapq.heappush(few, (-priority, place, entry))
            elif -few[0][0] > priority:
                heapq.heapreplace(few, (-priority, place, entry))
            if priority <= self._bar:
                self._lowest.append((priority, place, entry))
                if len(self._lowest) > most:
                    self._trim()

    def _trim(self) -> None:
        self._lowest.sort(key=_order)
        if len(self._lowest) > _ROOM * self.max_images:
            del self._lowest[_ROOM * self.max_images :]
            self._bar = self._lowest[-1][0]

    def entries(self) -> list[Entry]:
        """Of each class in each split twice its share of `max_images`, or a few more than its share."""
        self._trim()
        kept = {entry.name: (priority, place, entry) for priority, place, entry in self._lowest}
        for few in self._of_class.values():
            kept |= {entry.name: (-priority, place, entry) for priority, place, entry in few}
        wanted: dict[tuple[str, Label], int] = {}
        for split in SPLITS:
            kinds = [kind for kind in self.counts if kind[0] == split]
            shares = quotas(tuple(self.counts[kind] for kind in kinds), self.max_images) if kinds else ()
            wanted |= {kind: max(2 * n, n + SPARE_FILES) for kind, n in zip(kinds, shares, strict=True)}
        found = []
        for _, _, entry in sorted(kept.values(), key=_order):
            kind = entry.split, entry.label
            wanted[kind] -= 1
            if wanted[kind] >= 0:
                found.append(entry)
        return found


def _order(one: Kept) -> tuple[int, str]:
    return one[0], one[2].name
