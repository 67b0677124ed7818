"""What every candidate of a comparison reads: features of all cut points, prepared pictures, and one split."""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from probes.data.sampling import Sample, draw_splits
from probes.data.splits import Rows, balanced_weights
from probes.errors import ProbeError
from probes.images.decode import UnreadableImage, in_order, quiet_decoders, resize
from probes.images.image_facts import open_picture
from probes.images.prepare import Prepared, Skipped, readable
from probes.network.features import Features, run_over, with_constant_weights
from recommender.errors import RecommendError
from recommender.fit.feature_cache import MEMORY_LIMIT, FeatureCache, fits
from recommender.fit.feature_pass import everything
from recommender.fit.session import SOLVED_AT_ONCE
from recommender.fit.split import HeldOut, hold_out, rows_of_everything

if TYPE_CHECKING:
    from builders.surgery.frozen_split import FrozenSplit
    from builders.training.examples import Examples
    from builders.training.inputs import Inputs
    from recommender.pipeline.decision import Decision

PASS_SHARE = 0.2  # of the budget, for the pass
MOST_IMAGES = SOLVED_AT_ONCE * 5 // 4  # four fifths of which are learnt from
_MEMO_MEMORY = MEMORY_LIMIT // 8  # bytes for each frozen part's outputs; there are half a dozen and the pictures
_WORKERS = 4

Progress = Callable[[str, int, int], None]
Numbers = npt.NDArray[np.int64]


@dataclass(slots=True, kw_only=True, eq=False)
class Seen:
    """Images as the candidates see them, a row each.

    Attributes:
        features: pooled at every cut point.
        rows: as the splitter sees them.
        split: which are learnt from, and which judge: the same for all candidates.
        pictures: whole numbers of shape (n, size, size, channels); None where they were not kept.
        n_images: that there are, of which these may be a sample.
        seconds: that the network takes for these images.
    """

    features: Features
    rows: Rows
    split: HeldOut
    pictures: npt.NDArray[np.uint8] | None
    n_images: int
    seconds: float

    @property
    def is_sample(self) -> bool:
        skipped = len(self.features.skipped.failures) + len(self.features.skipped.copies)
        return len(self.rows) + skipped < self.n_images

    def examples(self, inputs: "Inputs", numbers: Numbers, *, balanced: bool) -> "Examples":
        """Some rows as a trainer takes them; weights have the mean 1."""
        from builders.training.examples import Examples

        labels, weights = self.rows.labels[numbers], self.rows.weights[numbers]
        if balanced:
            weights = balanced_weights(labels, weights)
        mean = weights.mean() if weights.any() else 1.0
        return Examples(inputs=inputs, rows=numbers, labels=labels, weights=weights / mean)


def see(found: "Decision", *, budget: float, seed: int, progress: Progress | None) -> Seen:
    """Read all images once, or as many as a fifth of the budget is enough for.

    What the recommendation measured is taken as it is where that is all, or as much as there is time for.

    Raises:
        RecommendError: no image can be held out.
    """
    measured, index = found.features, found.index
    wanted = sum(len(names) for split in (index.files, index.validation) for names in split)
    known = len(measured.files) + len(measured.skipped.failures) + len(measured.skipped.copies)
    rate = found.seconds.get("network", 0.0) / max(known, 1)
    most = min(int(PASS_SHARE * budget / rate), MOST_IMAGES) if rate else MOST_IMAGES
    began = time.perf_counter()
    if known >= wanted or most <= known:
        features, pictures, rows = measured, None, found.rows
    else:
        features, pictures = _pass(found, _drawn(found, most, wanted, seed), progress)
        rows = rows_of_everything(index, features, seed)
    order = sorted(range(len(rows)), key=lambda row: (features.facts[row].digest, features.labels[row]))
    split = hold_out(rows, np.array(order, np.int64), seed)
    if not len(split.held_out):
        raise RecommendError(
            "Expected images to judge by: two classes with two images each that are not alike. Received: fewer. "
            "Add images; nothing can be compared without."
        )
    taken = rate * len(measured.files) if pictures is None else time.perf_counter() - began
    return Seen(features=features, rows=rows, split=split, pictures=pictures, n_images=wanted, seconds=taken)


def _drawn(found: "Decision", most: int, wanted: int, seed: int) -> Sample:
    index = found.index
    if most < wanted:
        return draw_splits(index, most, seed)
    return Sample(train=everything(index.files), validation=everything(index.validation))


def _pass(
    found: "Decision", sample: Sample, progress: Progress | None
) -> tuple[Features, npt.NDArray[np.uint8] | None]:
    """Run the network over the pictures, which are rounded to whole numbers and kept."""
    from recommender.pipeline.probed_network import probed_network

    network = probed_network(found.backbone, norms=())
    shape = (network.input_size, network.input_size, network.channels)
    keep = fits((sample.n_wanted, *shape), np.uint8)
    cache = FeatureCache(sample.n_wanted if keep else 0, shape, np.uint8)
    skipped = Skipped()

    def kept(pictures: Iterable[Prepared]) -> Iterator[Prepared]:
        for item in pictures:
            pixels = _whole(item.pixels)
            if keep:
                cache.add(pixels[None])
            item.pixels[...] = pixels
            yield item

    def pictures() -> Iterator[Prepared]:
        for draw, validation in ((sample.train, False), (sample.validation, True)):
            read = readable(found.index, draw, network.input_size, network.channels, skipped, validation=validation)
            yield from kept(read)

    told = (lambda done: progress("images", done, sample.n_wanted)) if progress else None
    with quiet_decoders():
        features = run_over(network, pictures(), skipped, told)
    return features, cache.rows if keep else None


def prepared(found: "Decision", seen: Seen, *, until: float, progress: Progress | None) -> npt.NDArray[np.uint8] | None:
    """The pictures, read now if they were not kept; None where there is no room, or no time until that moment.

    Raises:
        ProbeError: an image has changed since it was measured.
    """
    if seen.pictures is not None:
        return seen.pictures
    names, store = seen.features.files, found.index.store
    size, channels = found.backbone.input_size, found.backbone.channels
    shape = (size, size, channels)
    if not fits((len(names), *shape), np.uint8):
        return None
    cache = FeatureCache(len(names), shape, np.uint8)

    def read(name: str) -> npt.NDArray[np.uint8]:
        try:
            return _whole(np.asarray(resize(open_picture(store, name, channels).pixels, size)))
        except UnreadableImage as error:
            raise ProbeError(
                f"Expected the image {name!r} to stay as it was measured. Received: {error}. Start again."
            ) from error

    with quiet_decoders():
        for done, pixels in enumerate(in_order(read, names, workers=_WORKERS, ahead=32), start=1):
            cache.add(pixels[None])
            if time.perf_counter() > until:
                return None
            if progress is not None:
                progress("images", done, len(names))
    seen.pictures = cache.rows
    return seen.pictures


def _whole(pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.uint8]:
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


class Frozen:
    """What a frozen part puts out, computed from the pictures when it is first asked for, and kept.

    A short training sees few of the images: what it does not see is never computed.

    Args:
        pictures: of shape (n, size, size, channels).
        frozen_split: the model whose tail reads what its frozen part puts out.
        mirror: whether left and right may change places.

    Attributes:
        computed: images that went through the frozen part.
        seconds: that it took.
    """

    def __init__(self, pictures: npt.NDArray[np.uint8], frozen_split: "FrozenSplit", *, mirror: bool) -> None:
        self._pictures, self._views = pictures, 2 if mirror else 1
        self._run = _frozen_part(frozen_split)
        self._run(np.zeros((1, *pictures.shape[1:]), np.float32))  # the first time takes longer, which is not counted
        shape = tuple(int(side) for side in frozen_split.tail.input_shape[1:])
        capacity = self._views * len(pictures)
        self._keeps = fits((capacity, *shape), np.float32, memory=_MEMO_MEMORY)
        self._cache = FeatureCache(capacity if self._keeps else 0, shape, np.float32, memory=_MEMO_MEMORY)
        self._place = np.full(capacity, -1, np.int64)
        self._lock = threading.Lock()  # batches are made ahead while held-out images are looked at
        self.computed, self.seconds = 0, 0.0

    def plain(self, rows: Numbers) -> npt.NDArray[np.float32]:
        return self._of(rows, np.zeros(len(rows), np.int64))

    def varied(self, rows: Numbers, rng: np.random.Generator) -> npt.NDArray[np.float32]:
        return self._of(rows, rng.integers(self._views, size=len(rows)))

    def _of(self, rows: Numbers, views: Numbers) -> npt.NDArray[np.float32]:
        wanted = views * len(self._pictures) + rows
        with self._lock:
            if not self._keeps:
                return self._computed(wanted)
            missing = np.unique(wanted[self._place[wanted] < 0])
            if len(missing):
                first = len(self._cache.rows)
                self._cache.add(self._computed(missing))
                self._place[missing] = np.arange(first, first + len(missing))
            return np.asarray(self._cache.rows[self._place[wanted]])

    def _computed(self, wanted: Numbers) -> npt.NDArray[np.float32]:
        began = time.perf_counter()
        view, row = np.divmod(wanted, len(self._pictures))
        pixels = self._pictures[row].astype(np.float32)
        pixels[view == 1] = pixels[view == 1][:, :, ::-1]
        found = np.asarray(self._run(pixels)[0])
        self.computed += len(wanted)
        self.seconds += time.perf_counter() - began
        return found


def _frozen_part(frozen_split: "FrozenSplit") -> Callable[[Any], list[Any]]:
    from recommender.pipeline.probed_network import infer

    def forward(pixels: Any) -> list[Any]:
        return list(frozen_split.graph.run(pixels, [frozen_split.split], call=infer, start=frozen_split.entry))

    return with_constant_weights(forward, (frozen_split.size, frozen_split.size, frozen_split.channels))
