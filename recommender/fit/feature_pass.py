"""One pass over all images for training: what the frozen part puts out, what the prediction layer reads, and facts."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from builders.surgery.frozen_split import FrozenSplit
from builders.training.inputs import Pictures
from probes.data.image_index import ByClass, ImageIndex
from probes.data.sampling import Draw
from probes.images.decode import in_order, quiet_decoders
from probes.images.prepare import Prepared, Skipped, readable
from probes.network.features import Features, batches, features_of, with_constant_weights
from recommender.fit.feature_cache import MEMORY_LIMIT, FeatureCache, fits
from recommender.pipeline.reread_images import read_prepared

Progress = Callable[[int, int], None]
_WORKERS = 4


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Gathered:
    """What the pass brought, a row an image, in the order in which they were read.

    Attributes:
        features: facts of the images; `pooled` holds what the prediction layer reads under "head".
        inputs: what the model's tail reads: of each view an array of shape (n, ...), the plain one first; prepared
            pictures as whole numbers where it reads pictures. Empty where that would not fit into memory or disk.
        order: rows in an order that depends on the pictures' content alone, of shape (n,).
    """

    features: Features
    inputs: tuple[npt.NDArray[Any], ...]
    order: npt.NDArray[np.int64]


def everything(files: ByClass) -> Draw:
    """A draw of all images."""
    return Draw(quota=tuple(len(names) for names in files), candidates=files)


def gather(
    index: ImageIndex,
    frozen_split: FrozenSplit,
    *,
    mirrored: bool,
    keep_inputs: bool = True,
    directory: Path | None = None,
    progress: Progress | None = None,
) -> Gathered:
    """Read every training and validation image once, and run the network over it.

    Args:
        index: the images.
        frozen_split: the model; its frozen part is computed here.
        mirrored: whether to run the frozen part over the mirrored picture as well.
        keep_inputs: whether the tail's inputs are kept.
        directory: for what does not fit into memory.
        progress: called with images done and wanted.
    """
    skipped = Skipped()
    wanted = sum(len(names) for split in (index.files, index.validation) for names in split)
    run = _compiled(frozen_split)
    mirror = _compiled(frozen_split, head=False) if mirrored and not frozen_split.takes_pictures else None
    shape, dtype = _kept(frozen_split)
    n_views = 1 if mirror is None else 2
    keep = keep_inputs and fits((n_views * wanted, *shape), dtype, directory=directory)
    memory = MEMORY_LIMIT // n_views
    caches = [
        FeatureCache(wanted if keep else 0, shape, dtype, memory=memory, directory=directory) for _ in range(n_views)
    ]
    kept: list[Prepared] = []
    heads: list[npt.NDArray[np.float32]] = []
    with quiet_decoders():
        for batch in batches(_pictures(index, frozen_split, skipped)):
            pixels = np.stack([item.pixels for item in batch])
            joint, head = (x.numpy() for x in run(pixels))
            heads.append(head)
            if keep and frozen_split.takes_pictures:
                caches[0].add(np.clip(np.rint(pixels), 0, 255).astype(np.uint8))
            elif keep:
                caches[0].add(joint)
                if mirror is not None:
                    caches[1].add(mirror(pixels[:, :, ::-1])[0].numpy())
            kept.extend(replace(item, pixels=np.empty(0, np.float32)) for item in batch)
            if progress is not None:
                progress(len(kept), wanted)
    return _gathered(kept, heads, skipped, [cache.rows for cache in caches] if keep else [])


def _pictures(index: ImageIndex, frozen_split: FrozenSplit, skipped: Skipped) -> Iterator[Prepared]:
    for files, validation in ((index.files, False), (index.validation, True)):
        yield from readable(
            index, everything(files), frozen_split.size, frozen_split.channels, skipped, validation=validation
        )


def _kept(frozen_split: FrozenSplit) -> tuple[tuple[int, ...], Any]:
    shape = tuple(int(side) for side in frozen_split.tail.input_shape[1:])
    return shape, np.uint8 if frozen_split.takes_pictures else np.float32


def _compiled(frozen_split: FrozenSplit, *, head: bool = True) -> Callable[[Any], list[Any]]:
    """From prepared pictures to what the joint puts out and, unless `head` is false, what the prediction layer reads.

    Of pictures that are at hand, and of what a head would read that is not fitted anew, a single zero is put out.
    """
    from recommender.pipeline.probed_network import infer

    wanted = [] if frozen_split.takes_pictures else [frozen_split.split]
    wanted += [frozen_split.head_input] if head and frozen_split.head_input is not None else []

    def forward(pixels: Any) -> list[Any]:
        import tensorflow as tf

        found = frozen_split.graph.run(pixels, wanted, call=infer, start=frozen_split.entry)
        nothing = tf.zeros_like(pixels[:, :1, 0, 0])
        joint = nothing if frozen_split.takes_pictures else found[0]
        return [joint, found[-1] if head and frozen_split.head_input is not None else nothing]

    return with_constant_weights(forward, (frozen_split.size, frozen_split.size, frozen_split.channels))


def _gathered(kept: list[Prepared], heads: list[Any], skipped: Skipped, inputs: list[npt.NDArray[Any]]) -> Gathered:
    head = np.concatenate(heads) if heads else np.empty((0, 0), np.float32)
    features = features_of(kept, skipped, pooled={"head": head})
    order = sorted(range(len(kept)), key=lambda row: (features.facts[row].digest, features.labels[row]))
    return Gathered(features=features, inputs=tuple(inputs), order=np.array(order, np.int64))


class OnDemand:
    """Inputs that are read and computed anew each time, where keeping them would take too much room.

    Args:
        index: the images.
        files: their names, by row.
        frozen_split: the model whose tail reads them.
        mirror: whether left and right may change places.
        crop: whether a part may stand for the whole.
    """

    def __init__(
        self, index: ImageIndex, files: tuple[str, ...], frozen_split: FrozenSplit, *, mirror: bool, crop: bool
    ) -> None:
        self._index, self._files, self._parted = index, files, frozen_split
        self._mirror, self._crop = mirror, crop
        self._run = None if frozen_split.takes_pictures else _compiled(frozen_split)

    def plain(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        return self._through(self._read(rows))

    def varied(self, rows: npt.NDArray[np.int64], rng: np.random.Generator) -> npt.NDArray[np.float32]:
        pictures = Pictures(self._read(rows), mirror=self._mirror, crop=self._crop)
        return self._through(pictures.varied(np.arange(len(rows)), rng))

    def _through(self, pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
        return pixels if self._run is None else np.asarray(self._run(pixels)[0])

    def _read(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        return np.stack(list(in_order(self._picture, rows.tolist(), workers=_WORKERS, ahead=len(rows))))

    def _picture(self, row: int) -> npt.NDArray[np.float32]:
        _, pixels = read_prepared(self._index, self._files[row], self._parted.size, self._parted.channels)
        return np.asarray(np.clip(np.rint(pixels), 0, 255) if self._parted.takes_pictures else pixels, np.float32)
