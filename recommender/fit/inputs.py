"""What a training reads: stored pictures, and the outputs of a frozen part of the network, computed once."""

import math
import shutil
import tempfile
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from builders.surgery.frozen_split import FrozenSplit
from builders.training.data import FloatArray, Outputs, augmented
from probes.data.image_index import ImageIndex
from probes.images.decode import in_order
from probes.network.readout import with_constant_weights
from recommender.fit.images import Numbers
from recommender.fit.plan import VIEWS
from recommender.pipeline.reread_images import read_prepared

MEMORY_LIMIT = 2 << 30  # bytes of an array in memory
DISK_SHARE = 0.5  # of the free disk space that an array may take


def allocate(shape: Sequence[int], dtype: Any, *, memory: int = MEMORY_LIMIT) -> npt.NDArray[Any] | None:
    """An uninitialised array, in memory up to that many bytes, above that memory-mapped from a temporary file.

    None if the disk is too small for it.
    """
    size = math.prod(shape) * np.dtype(dtype).itemsize
    if size <= memory:
        return np.empty(shape, dtype)
    if size > DISK_SHARE * shutil.disk_usage(tempfile.gettempdir()).free:
        return None
    with tempfile.TemporaryFile() as file:  # the mapping keeps the deleted file open
        return np.memmap(file, dtype, "w+", shape=tuple(shape))


def whole_numbers(pixels: FloatArray) -> npt.NDArray[np.uint8]:
    """Pixels of 0 to 255, rounded."""
    return np.clip(np.rint(pixels), 0, 255).astype(np.uint8)


class StoredPictures:
    """Prepared pictures, read from the source each time: `stored[rows]` has the shape (rows, size, size, channels).

    `files` are names in the index, by row. `rounded`: whether pixels are, as those of pictures in memory.
    """

    def __init__(self, index: ImageIndex, files: Sequence[str], size: int, channels: int, *, rounded: bool) -> None:
        self.files, self._index, self._size, self._channels, self._rounded = files, index, size, channels, rounded

    def __getitem__(self, rows: Numbers) -> FloatArray:
        return np.stack(list(in_order(self._read, rows.tolist(), workers=4, ahead=len(rows))))

    def _read(self, row: int) -> FloatArray:
        _, pixels = read_prepared(self._index, self.files[row], self._size, self._channels)
        return whole_numbers(pixels).astype(np.float32) if self._rounded else pixels


def frozen_function(frozen_split: FrozenSplit, nodes: Sequence[int]) -> Callable[[FloatArray], list[FloatArray]]:
    """Compile some nodes of a model, in inference mode, as a function of prepared pictures."""
    from recommender.pipeline.keras_network import infer

    if not nodes:
        return lambda _: []

    def forward(pixels: Any) -> list[Any]:
        return list(frozen_split.graph.run(pixels, list(nodes), call=infer, start=frozen_split.entry))

    return with_constant_weights(forward, (frozen_split.size, frozen_split.size, frozen_split.channels))


class FrozenFeatures:
    """Outputs of the frozen part for each of n images, plain and, if training reads them, augmented.

    Of an image there are several fixed views: the plain one, and augmented ones. Their outputs are computed when they
    are first read, and kept in `values`, arrays of shape (views, n, ...), up to `memory` bytes in memory; `values` is
    None if they are not to be kept, or if there is no room.
    """

    def __init__(
        self,
        frozen_split: FrozenSplit,
        pictures: Any,
        *,
        n: int,
        augmentation: Sequence[str],
        seed: int,
        keep: bool = True,
        memory: int = MEMORY_LIMIT,
    ) -> None:
        self._split, self._pictures, self._augmentation, self._seed = frozen_split, pictures, augmentation, seed
        shapes = [tuple(int(side) for side in tensor.shape[1:]) for tensor in frozen_split.tail.inputs]
        sizes = [n * math.prod(shape) * np.dtype(np.float32).itemsize for shape in shapes]
        # Two views are worth the disk; more are worth the memory.
        self._views = int(np.clip(memory // max(sum(sizes), 1), 2, VIEWS)) if augmentation else 1
        self.values: list[npt.NDArray[Any]] | None = None
        if keep:
            parts = [
                allocate((self._views, n, *shape), np.float32, memory=memory * size // max(sum(sizes), 1))
                for shape, size in zip(shapes, sizes, strict=True)
            ]
            self.values = None if any(part is None for part in parts) else [part for part in parts if part is not None]
        self._known = np.zeros((self._views, n), bool)
        self._lock = threading.Lock()  # batches are made ahead during validation checks

    def plain(self, rows: Numbers) -> Outputs:
        return self._read(np.zeros(len(rows), np.int64), rows)

    def varied(self, rows: Numbers, rng: np.random.Generator) -> Outputs:
        return self._read(rng.integers(self._views, size=len(rows)), rows)

    def put(self, views: Any, rows: Numbers, outputs: Sequence[FloatArray]) -> None:
        """Keep outputs for some views of some rows; view 0 is the plain one."""
        for values, output in zip(self.values or (), outputs, strict=self.values is not None):
            values[views, rows] = output
        self._known[views, rows] = self.values is not None

    def _read(self, views: Numbers, rows: Numbers) -> Outputs:
        if self.values is None:
            found = self._compute(views, rows)
        else:
            with self._lock:
                wanted = np.unique(np.stack([views, rows]), axis=1)
                missing = wanted[:, ~self._known[wanted[0], wanted[1]]]
                if missing.size:
                    self.put(missing[0], missing[1], self._compute(missing[0], missing[1]))
                found = [np.asarray(values[views, rows]) for values in self.values]
        return found[0] if len(found) == 1 else tuple(found)

    def _compute(self, views: Numbers, rows: Numbers) -> list[FloatArray]:
        pixels = self._pictures[rows].astype(np.float32)
        for place, (view, row) in enumerate(zip(views.tolist(), rows.tolist(), strict=True)):
            if view:
                rng = np.random.default_rng([self._seed, view, row])
                pixels[place] = augmented(pixels[place][None], self._augmentation, rng)[0]
        return self._run(pixels)

    @cached_property
    def _run(self) -> Callable[[FloatArray], list[FloatArray]]:
        return frozen_function(self._split, self._split.reads)
