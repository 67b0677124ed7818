"""The pass over a sample on a cluster: its actors read the images and run the network."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from probes.data.image_index import Store
from probes.data.sources.folder import FolderStore
from probes.images.decode import UnreadableImage, quiet_decoders
from probes.images.prepare import Failed, Prepared, Reader, Wanted, read_here
from probes.network.features import Network, batches
from recommender.cluster.session import Cluster, Work

_IMAGES = 64  # of a unit
LOST = "the process that read it died"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ReadAndRun(Work):
    """Reads images, and runs the network over them where they were read: pixels never travel."""

    store: Store
    network: Network

    def compute(self, items: Sequence[Wanted]) -> list[Any]:
        """Prepared images with outputs in place of pixels, and failed ones."""
        network, results = self.network, []
        with quiet_decoders():
            for batch in batches(read_here(self.store, network.input_size, network.channels, items)):
                pixels = [item.pixels for item in batch if isinstance(item, Prepared)]
                rows = zip(*network.run(np.stack(pixels)), strict=True) if pixels else iter(())
                results += [_run(item, rows) if isinstance(item, Prepared) else item for item in batch]
        return results

    def lost(self, item: Wanted) -> Failed:
        return Failed(file=item.file, label=item.label, validation=item.validation, error=UnreadableImage(LOST))


def _run(item: Prepared, rows: Iterator[Any]) -> Prepared:
    return replace(item, pixels=np.empty(0, np.float32), outputs=next(rows))


def spread_over(cluster: Cluster, store: Store, network: Network) -> Reader:
    """A reader of images that runs the network on a cluster."""
    return partial(_read, cluster, ReadAndRun(store=anywhere(store), network=network))


def _read(cluster: Cluster, work: ReadAndRun, items: Sequence[Wanted]) -> Iterator[Prepared | Failed]:
    size = max(1, min(_IMAGES, -(-len(items) // (2 * cluster.n_cores))))
    units = [(start, list(items[start : start + size])) for start in range(0, len(items), size)]
    done: dict[int, Any] = {}
    expected = 0
    for number, results in cluster.run(work, units):
        done[number] = results
        while expected in done:
            yield from done.pop(expected)
            expected += size


def anywhere(store: Store) -> Store:
    """The same store, which does not depend on the working directory."""
    if isinstance(store, FolderStore) and isinstance(store.root, Path):
        return replace(store, root=store.root.absolute())
    return store
