"""Near duplicates: the same picture saved, sized, lit or cropped a little otherwise, found from short fingerprints.

A fingerprint has 64 bytes. 32 are the perceptual hash of 256 bits: the signs of the 16 x 16 lowest frequencies of the
picture's luma against their median, the 64 lowest ones first. The other 32 are the chroma of 4 x 4 cells, for shapes
that differ in nothing but colour. Pictures of one data set may all look alike: how near two have to be depends on how
near the set's pictures usually are.

Reference:
    Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010.
    Lowe, Distinctive Image Features from Scale-Invariant Keypoints, 2004, section 7.1: nearest against next-nearest.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import numpy.typing as npt

from probes.images.perceptual_hash import _BITS, _CELLS, _ORDER, HASH_BYTES, NO_HASH, Indices

# Figures: benchmarks/results/duplicates.jsonl. Most edits flip up to 20 bits, a crop of 2 % up to 40; pictures of
# different things differ by 60 to 128, yet handwritten ones of one digit by as few as 12.
_MOST_BITS = 40
_MOST_LOW_BITS = 6  # of the 64 lowest frequencies
_NEARER_THAN_USUAL = 0.4
_WITH_LOOK_ALIKE = 0.1  # share of pictures that have another one within the usual distance
_FEWEST_LOOK_ALIKES = 5  # fewer pairs say nothing of what is usual
_MOST_CHROMA = 0.6  # difference of chroma, as a share of it
_CHROMA_NOISE = 2  # of 255: what is rounded away in a cell
_COLOURLESS = 3  # of 255

_SAMPLE = 2048  # pictures whose pairs show what is usual
_BLOCK = 2**17  # pairs compared at once
_MOST_NEW = 2**20  # links that wait to be joined
_CROWDED = 64  # pairs a fingerprint from which all are first compared with one of their bucket
_WORTHWHILE = 0.9  # share of the pairs that may be left for it to be done again

Words = npt.NDArray[np.uint64]


_MIRRORED_BITS = np.packbits(_ORDER % 2 == 1)  # mirroring turns the sign of odd horizontal frequencies


@dataclass(frozen=True, slots=True, kw_only=True)
class _Table:
    """Fingerprints, taken apart.

    Attributes:
        words: all bits, of shape (n, 4); the first word holds the lowest.
        chroma: of shape (n, 32).
        limit: in how many bits near duplicates differ at most.
    """

    words: Words
    chroma: npt.NDArray[np.int8]
    limit: int

    def near(self, left: Indices, right: Indices) -> Indices:
        """Those of the pairs (left, right) that are near duplicates, of shape (2, pairs)."""
        low = np.bitwise_count(self.words[left, 0] ^ self.words[right, 0])
        pairs = np.stack([left, right])[:, low <= _MOST_LOW_BITS]
        bits = np.bitwise_count(self.words[pairs[0]] ^ self.words[pairs[1]]).sum(1, dtype=np.int64)
        pairs = pairs[:, bits <= self.limit]
        return pairs[:, self._like_coloured(*pairs)]

    def _like_coloured(self, left: Indices, right: Indices) -> npt.NDArray[np.bool_]:
        """Whether the chroma agrees; a picture without colour may be any picture's grey copy."""
        one, other = self.chroma[left].astype(np.int16), self.chroma[right].astype(np.int16)
        colourless = np.minimum(abs(one).max(1), abs(other).max(1)) <= _COLOURLESS
        strength = np.maximum(abs(one).mean(1), abs(other).mean(1)) + _CHROMA_NOISE
        return np.asarray(colourless | (abs(one - other).mean(1) <= _MOST_CHROMA * strength))


def near_duplicates(hashes: Sequence[bytes], *, mirrored: bool = False) -> list[tuple[int, int]]:
    """Pairs of pictures that are the same but for how they were saved, sized, lit or cropped by a hair.

    Two fingerprints are near if they differ in at most 6 of the 64 lowest frequencies' bits, in at most L bits in all
    and, unless one has no colour, by at most 0.6 of their chroma. L is 40, and less in a set of look-alikes: 0.4 of
    the distance within which one picture in ten has another, not counting pairs within 40 bits, which may be copies.

    Args:
        hashes: from `perceptual_hash`. Those that are `NO_HASH` are in no pair.
        mirrored: find mirror images too. It takes four times as long, and b and d, or left and right, become the same.

    Returns:
        Pairs (i, j) with i < j, sorted: as few as link all that chains of near pairs link, so n - 1 for n copies of
        one picture. What they link does not depend on the order of the pictures.

    Raises:
        ValueError: something is no fingerprint.
    """
    if any(len(one) != HASH_BYTES for one in hashes):
        raise ValueError(f"Expected fingerprints of {HASH_BYTES} bytes each, from `perceptual_hash`.")
    first: dict[bytes, int] = {}
    equal = [
        (known, index)
        for index, one in enumerate(hashes)
        if one != NO_HASH and (known := first.setdefault(one, index)) != index
    ]
    if len(first) < 2:
        return equal
    pictures = np.fromiter(first.values(), np.int64, len(first))
    links = pictures[_links(np.frombuffer(b"".join(first), np.uint8).reshape(-1, HASH_BYTES), mirrored)]
    return sorted([*equal, *((i, j) for i, j in np.sort(links, 1).tolist())])


def components(n: int, pairs: Sequence[tuple[int, int]]) -> npt.NDArray[np.intp]:
    """Groups of pictures that pairs link.

    Args:
        n: number of pictures.
        pairs: of their indices.

    Returns:
        Each picture's group, of shape (n,). Groups are numbered 0, 1, … by their first members.
    """
    from scipy.sparse import coo_array, csgraph

    ends = np.asarray(pairs, np.intp).reshape(-1, 2)
    graph = coo_array((np.ones(len(ends), bool), (ends[:, 0], ends[:, 1])), shape=(n, n))
    labels = csgraph.connected_components(graph, directed=False)[1]
    _, first, group = np.unique(labels, return_index=True, return_inverse=True)
    return np.asarray(np.argsort(np.argsort(first))[group], np.intp)


def _distance_limit(words: Words) -> int:
    """In how many bits near duplicates of this data set differ at most."""
    n = len(words)
    if n > _SAMPLE:  # chosen by what the fingerprints are, whatever their order
        mixed = (words * np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9, 1], np.uint64)).sum(1)
        words = words[np.argpartition(mixed, _SAMPLE)[:_SAMPLE]]
    m = len(words)
    counts = np.zeros(_BITS + 1, np.int64)
    for i in range(m - 1):
        distances = np.bitwise_count(words[i] ^ words[i + 1 :]).sum(1, dtype=np.int64)
        counts += np.bincount(distances, minlength=_BITS + 1)
    wanted = max(_WITH_LOOK_ALIKE * n, _FEWEST_LOOK_ALIKES) * (m * (m - 1)) / (n * (n - 1))
    within = np.cumsum(counts[_MOST_BITS + 1 :])
    usual = _MOST_BITS + 1 + int(np.searchsorted(within, max(wanted, 1.0)))
    return min(_MOST_BITS, int(_NEARER_THAN_USUAL * usual))


def _links(prints: npt.NDArray[np.uint8], mirrored: bool) -> Indices:
    """Near pairs of fingerprints that all differ, as few as link what all would, of shape (links, 2)."""
    n, n_bytes = len(prints), _BITS // 8
    limit = _distance_limit(np.ascontiguousarray(prints[:, :n_bytes]).view(np.uint64))
    if mirrored:
        cells = prints[:, n_bytes:].reshape(n, _CELLS, _CELLS, 2)[:, :, ::-1].reshape(n, -1)
        prints = np.concatenate([prints, np.hstack([prints[:, :n_bytes] ^ _MIRRORED_BITS, cells])])
    bits = np.ascontiguousarray(prints[:, :n_bytes])
    table = _Table(words=bits.view(np.uint64), chroma=prints[:, n_bytes:].view(np.int8), limit=limit)
    forest = _Forest(n)
    for one, other in combinations(range(8), 2):  # at most 6 flipped bits leave two of the eight bytes whole
        key = np.ascontiguousarray(bits[:, [one, other]]).view(np.uint16)[:, 0]
        buckets = _Buckets(key, forest.tree)
        crowd = np.inf
        while _CROWDED * len(key) < buckets.n_pairs < _WORTHWHILE * crowd:
            crowd = buckets.n_pairs
            forest.add(table.near(*buckets.spokes()) % n)
            forest.grow()
            buckets = _Buckets(key, forest.tree)
        seen = [byte for byte in range(other) if byte != one]  # pairs that agree in one of them had a key before
        for pairs in buckets.pairs(table.words[:, 0], seen):
            forest.add(table.near(*pairs) % n)
        forest.grow()
    return np.stack(np.divmod(forest.links, n), 1)


class _Forest:
    """Links between pictures, no more than it takes to join what they join.

    Attributes:
        links: left * pictures + right of each.
        tree: the number of each picture's tree.
    """

    def __init__(self, pictures: int) -> None:
        self.links = np.empty(0, np.int64)
        self.tree = np.arange(pictures)
        self._new: list[npt.NDArray[np.int64]] = []
        self._n_new = 0

    def add(self, pairs: Indices) -> None:
        left, right = pairs
        apart = self.tree[left] != self.tree[right]
        self._new.append(left[apart].astype(np.int64) * len(self.tree) + right[apart])
        self._n_new += int(apart.sum())
        if self._n_new > _MOST_NEW:
            self.grow()

    def grow(self) -> None:
        """Join the trees that new links join."""
        if self._n_new:
            from scipy.sparse import coo_array, csgraph

            n = len(self.tree)
            links = np.unique(np.concatenate([self.links, *self._new]))
            graph = coo_array((np.ones(len(links)), np.divmod(links, n)), shape=(n, n)).tocsr()
            left, right = csgraph.minimum_spanning_tree(graph).nonzero()
            self.links = left.astype(np.int64) * n + right
            self.tree = csgraph.connected_components(graph, directed=False)[1].astype(np.intp)
        self._new, self._n_new = [], 0


class _Buckets:
    """Fingerprints with the same key, those of one tree side by side; `n_pairs` join different trees of a bucket."""

    def __init__(self, key: npt.NDArray[np.uint16], tree: Indices) -> None:
        tree = np.tile(tree, len(key) // len(tree))  # mirrored ones come second, in the same order
        by_tree = np.argsort(tree, kind="stable")
        self._order = order = by_tree[np.argsort(key[by_tree], kind="stable")]
        new_bucket = np.append(True, key[order[1:]] != key[order[:-1]])
        new_run = new_bucket | np.append(True, tree[order[1:]] != tree[order[:-1]])
        self._start, end = _run_bounds(new_bucket)
        self._size = end - self._start
        self._next_run = _run_bounds(new_run)[1]
        self._partners = end - self._next_run  # how many of its bucket come behind those of its tree
        self._total = np.concatenate([[0], np.cumsum(self._partners)])
        self.n_pairs = int(self._total[-1])

    def spokes(self) -> tuple[Indices, Indices]:
        """Pairs of each with one of its bucket, chosen at random."""
        draw = np.random.default_rng(len(self._order) + self.n_pairs).random(len(self._order))[self._start]
        hub = self._start + (draw * self._size).astype(np.intp)
        return self._order[hub], self._order

    def pairs(self, low: Words, seen: Sequence[int]) -> Iterator[tuple[Indices, Indices]]:
        """Pairs that join trees of a bucket and differ in few lowest bits but in each `seen` byte, in blocks."""
        low, total, begin = low[self._order], self._total, 0
        shift = self._next_run - total[:-1]  # from a pair's number to the position of its second member
        while total[begin] < total[-1]:
            stop = max(begin + 1, int(np.searchsorted(total, total[begin] + _BLOCK, side="right")) - 1)
            count = self._partners[begin:stop]
            right = np.arange(total[begin], total[stop]) + np.repeat(shift[begin:stop], count)
            differ = np.repeat(low[begin:stop], count) ^ low[right]
            maybe = np.flatnonzero(np.bitwise_count(differ) <= _MOST_LOW_BITS)
            maybe = maybe[differ[maybe, None].view(np.uint8)[:, seen].all(1)]
            left = begin + np.searchsorted(total[begin : stop + 1], total[begin] + maybe, side="right") - 1
            yield self._order[left], self._order[right[maybe]]
            begin = stop


def _run_bounds(first: npt.NDArray[np.bool_]) -> tuple[Indices, Indices]:
    """Where the run that each position is in begins and ends, given which positions are the first of one."""
    starts = np.flatnonzero(first)
    sizes = np.diff(starts, append=len(first))
    return np.repeat(starts, sizes), np.repeat(starts + sizes, sizes)
