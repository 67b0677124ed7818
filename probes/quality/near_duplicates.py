"""Near duplicates: the same picture re-encoded, resized, brightened or cropped slightly, found from fingerprints.

Pictures of one data set may all look similar: how near two have to be depends on how near the set's pictures usually
are. Lowe, Distinctive Image Features from Scale-Invariant Keypoints, 2004, section 7.1: nearest against next-nearest.
"""

from collections.abc import Iterator, Sequence
from itertools import combinations

import numpy as np
import numpy.typing as npt
from scipy.sparse import coo_array, csgraph

from probes.data.groups import by_first_appearance
from probes.images.perceptual_hash import HASH_BYTES, LUMA_BYTES, NO_HASH

# Figures: benchmarks/results/duplicates.jsonl. Most edits flip up to 20 bits, a crop of 2 % up to 40; pictures of
# different things differ by 60 to 128, yet handwritten ones of one digit by as few as 12.
_MOST_BITS = 40
_MOST_LOW_BITS = 6  # of the 64 lowest frequencies
_NEARER_THAN_USUAL = 0.4
_WITH_LOOK_ALIKE = 0.1  # share of pictures that have another one within the usual distance
_FEWEST_LOOK_ALIKES = 5  # fewer pairs do not show what is usual
_MOST_CHROMA = 0.6  # difference of chroma, as a share of it
_CHROMA_NOISE = 2  # of 255: rounding in a cell
_COLOURLESS = 3  # of 255

_SAMPLE = 2048  # pictures whose pairs show what is usual
_BLOCK = 2**17  # pairs compared at once
_MOST_NEW = 2**20  # links that wait to be merged
_CROWDED = 64  # pairs a fingerprint from which all are first compared with one of their bucket
_WORTHWHILE = 0.9  # that is repeated while it leaves less than this share of the pairs

Indices = npt.NDArray[np.intp]
Words = npt.NDArray[np.uint64]


def near_duplicates(hashes: Sequence[bytes]) -> list[tuple[int, int]]:
    """Pairs (i, j), i < j, of pictures that differ only in how they were encoded, resized, lit or slightly cropped.

    Two fingerprints are near if they differ in at most 6 of the 64 lowest frequencies' bits, in at most L bits in all
    and, unless one has no colour, by at most 0.6 of their chroma. L is 40, and less in a set of look-alikes: 0.4 of
    the distance within which one picture in ten has another, not counting pairs within 40 bits, which may be copies.

    The result is sorted, and a minimal set with the same connected components as all near pairs: n - 1 pairs for n
    copies of one picture. The components do not depend on the order of the pictures. `NO_HASH` is in no pair.
    """
    first: dict[bytes, int] = {}
    equal = [
        (known, index)
        for index, one in enumerate(hashes)
        if one != NO_HASH and (known := first.setdefault(one, index)) != index
    ]
    if len(first) < 2:
        return equal
    pictures = np.fromiter(first.values(), np.int64, len(first))
    links = pictures[_links(np.frombuffer(b"".join(first), np.uint8).reshape(-1, HASH_BYTES))]
    return sorted([*equal, *((i, j) for i, j in np.sort(links, 1).tolist())])


def components(n: int, pairs: Sequence[tuple[int, int]]) -> npt.NDArray[np.int64]:
    """The connected components of n pictures under these pairs, of shape (n,), numbered by their first members."""
    left, right = np.asarray(pairs, np.intp).reshape(-1, 2).T
    graph = coo_array((np.ones(len(left), bool), (left, right)), shape=(n, n))
    return by_first_appearance(csgraph.connected_components(graph, directed=False)[1])


def _distance_limit(words: Words) -> int:
    """The number of bits in which near duplicates of this data set differ at most."""
    n, n_bits = len(words), 8 * LUMA_BYTES
    if n > _SAMPLE:  # chosen by the fingerprints themselves, so that their order does not matter
        mixed = (words * np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 1], np.uint64)).sum(1)
        words = words[np.argpartition(mixed, _SAMPLE)[:_SAMPLE]]
    m = len(words)
    counts = np.zeros(n_bits + 1, np.int64)
    for i in range(m - 1):
        distances = np.bitwise_count(words[i] ^ words[i + 1 :]).sum(1, dtype=np.int64)
        counts += np.bincount(distances, minlength=n_bits + 1)
    wanted = max(_WITH_LOOK_ALIKE * n, _FEWEST_LOOK_ALIKES) * (m * (m - 1)) / (n * (n - 1))
    within = np.cumsum(counts[_MOST_BITS + 1 :])
    usual = _MOST_BITS + 1 + int(np.searchsorted(within, max(wanted, 1.0)))
    return min(_MOST_BITS, int(_NEARER_THAN_USUAL * usual))


def _links(prints: npt.NDArray[np.uint8]) -> Indices:
    """Near pairs of distinct fingerprints, as few as connect what all near pairs connect, of shape (links, 2)."""
    bits = np.ascontiguousarray(prints[:, :LUMA_BYTES])
    table = _Table(bits.view(np.uint64), prints[:, LUMA_BYTES:].view(np.int8))
    forest = _Forest(len(prints))
    for pair in combinations(range(8), 2):  # at most 6 flipped bits leave two of the eight lowest bytes unchanged
        key = np.ascontiguousarray(bits[:, pair]).view(np.uint16)[:, 0]
        buckets = _Buckets(key, forest.tree)
        n_before = np.inf
        while _CROWDED * len(key) < buckets.n_pairs < _WORTHWHILE * n_before:
            n_before = buckets.n_pairs
            forest.add(table.near(*buckets.spokes()))
            forest.grow()
            buckets = _Buckets(key, forest.tree)
        compared = sorted({*range(pair[1])} - {pair[0]})  # pairs that agree in one of these bytes had an earlier key
        for left, right in buckets.pairs():
            forest.add(table.near(left, right, compared))
        forest.grow()
    return np.stack(np.divmod(forest.links, len(prints)), 1)


class _Table:
    """Fingerprints as words of bits, of shape (n, 4), the first one with the lowest frequencies, and chroma (n, 32)."""

    def __init__(self, words: Words, chroma: npt.NDArray[np.int8]) -> None:
        self._words, self._chroma, self._limit = words, chroma, _distance_limit(words)

    def near(self, left: Indices, right: Indices, compared: Sequence[int] = ()) -> Indices:
        """Those of the pairs (left, right) that are near duplicates and differ in these bytes, of shape (2, pairs)."""
        low = self._words[left, 0] ^ self._words[right, 0]
        few = np.flatnonzero(np.bitwise_count(low) <= _MOST_LOW_BITS)
        few = few[low[few, None].view(np.uint8)[:, list(compared)].all(1)]
        pairs = np.stack([left[few], right[few]])
        bits = np.bitwise_count(self._words[pairs[0]] ^ self._words[pairs[1]]).sum(1, dtype=np.int64)
        pairs = pairs[:, bits <= self._limit]
        return pairs[:, self._chroma_agrees(*pairs)]

    def _chroma_agrees(self, left: Indices, right: Indices) -> npt.NDArray[np.bool_]:
        """A picture without colour agrees with any: it may be its grey copy."""
        one, other = self._chroma[left].astype(np.int16), self._chroma[right].astype(np.int16)
        colourless = np.minimum(abs(one).max(1), abs(other).max(1)) <= _COLOURLESS
        strength = np.maximum(abs(one).mean(1), abs(other).mean(1)) + _CHROMA_NOISE
        return np.asarray(colourless | (abs(one - other).mean(1) <= _MOST_CHROMA * strength))


class _Forest:
    """A minimal set of links between n pictures."""

    def __init__(self, n: int) -> None:
        self.links = np.empty(0, np.int64)  # left * n + right
        self.tree = np.arange(n)  # number of each picture's tree
        self._new: list[npt.NDArray[np.int64]] = []

    def add(self, pairs: Indices) -> None:
        left, right = pairs[:, self.tree[pairs[0]] != self.tree[pairs[1]]]
        self._new.append(left.astype(np.int64) * len(self.tree) + right)
        if sum(map(len, self._new)) > _MOST_NEW:
            self.grow()

    def grow(self) -> None:
        """Merge the trees that new links connect."""
        n, links = len(self.tree), np.unique(np.concatenate([self.links, *self._new]))
        if len(links) > len(self.links):
            graph = coo_array((np.ones(len(links)), np.divmod(links, n)), shape=(n, n)).tocsr()
            left, right = csgraph.minimum_spanning_tree(graph).nonzero()
            self.links = left.astype(np.int64) * n + right
            self.tree = csgraph.connected_components(graph, directed=False)[1].astype(np.intp)
        self._new = []


class _Buckets:
    """Fingerprints sorted by key, then by tree; `n_pairs` pairs have the same key and different trees."""

    def __init__(self, key: npt.NDArray[np.uint16], tree: Indices) -> None:
        self._order = order = np.lexsort((tree, key))
        new_bucket = np.append(True, key[order[1:]] != key[order[:-1]])
        new_run = new_bucket | np.append(True, tree[order[1:]] != tree[order[:-1]])
        self._start, self._end = _run_bounds(new_bucket)
        self._next_run = _run_bounds(new_run)[1]
        self._total = np.append(0, np.cumsum(self._end - self._next_run))  # partners: of the bucket, in later runs
        self.n_pairs = int(self._total[-1])

    def spokes(self) -> tuple[Indices, Indices]:
        """Pairs of each with one of its bucket, chosen at random."""
        draw = np.random.default_rng(len(self._order) + self.n_pairs).random(len(self._order))[self._start]
        hub = self._start + (draw * (self._end - self._start)).astype(np.intp)
        return self._order[hub], self._order

    def pairs(self) -> Iterator[tuple[Indices, Indices]]:
        """All pairs with the same key and different trees, in blocks."""
        total, begin = self._total, 0
        shift = self._next_run - total[:-1]  # from a pair's number to the position of its second member
        while total[begin] < total[-1]:
            stop = max(begin + 1, int(np.searchsorted(total, total[begin] + _BLOCK, side="right")) - 1)
            left = np.repeat(np.arange(begin, stop), np.diff(total[begin : stop + 1]))
            right = np.arange(total[begin], total[stop]) + shift[left]
            yield self._order[left], self._order[right]
            begin = stop


def _run_bounds(first: npt.NDArray[np.bool_]) -> tuple[Indices, Indices]:
    """Begin and end of the run around each position, given which positions begin a run."""
    starts = np.flatnonzero(first)
    sizes = np.diff(starts, append=len(first))
    return np.repeat(starts, sizes), np.repeat(starts + sizes, sizes)
