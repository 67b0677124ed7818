"""Facts of all images of the data, read on a cluster, and what reads there."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from probes.data.image_index import Store
from probes.images.decode import UnreadableImage, quiet_decoders
from probes.images.image_facts import PictureFacts, inspect
from probes.images.inspect_all import Inspector
from recommender.cluster import session
from recommender.cluster.sample import LOST, anywhere, spread_over
from recommender.cluster.session import Cluster, Work
from recommender.pipeline.network_pass import Spread

_IMAGES = 1024  # of a unit at most
Item = tuple[int, str]  # place of an image in the list of all, and its name
Inspected = tuple[int, PictureFacts | UnreadableImage]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Inspect(Work):
    """Decodes the images of a unit; only their facts travel."""

    store: Store

    def compute(self, items: Sequence[Item]) -> list[Inspected]:
        """For each image its place, with its facts or why there are none."""
        names = [name for _, name in items]
        with quiet_decoders():
            return [(items[at][0], facts) for at, facts in inspect(self.store, names, range(len(items)))]

    def lost(self, item: Item) -> Inspected:
        return item[0], UnreadableImage(LOST)


def inspect_on(cluster: Cluster, store: Store, names: Sequence[str], places: Iterable[int]) -> Iterator[Inspected]:
    """The facts of images, or why there are none, unit by unit as these are done."""
    items = [(place, names[place]) for place in places]
    size = max(1, min(_IMAGES, -(-len(items) // (4 * cluster.n_cores))))
    units = [(start, items[start : start + size]) for start in range(0, len(items), size)]
    for _, found in cluster.run(Inspect(store=anywhere(store)), units):
        yield from found


def readers_on(address: str) -> tuple[Inspector, Spread]:
    """What inspects images, and what runs the network over them, on the cluster at an address."""
    cluster = session.connect(address)
    return partial(inspect_on, cluster), partial(spread_over, cluster)
