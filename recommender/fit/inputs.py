"""What a training reads: stored pictures, and the outputs of a frozen part of the network, computed once."""

import math
import shutil
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from builders.surgery.frozen_split import FrozenSplit
from probes.data.image_index import ImageIndex
from probes.images.decode import in_order
from probes.network.features import with_constant_weights
from recommender.pipeline.reread_images import read_prepared

MEMORY_LIMIT = 2 << 30  # bytes of an array in memory
DISK_SHARE = 0.5  # of the free disk space that an array may take

FloatArray = npt.NDArray[np.float32]
Numbers = npt.NDArray[np.int64]


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
    from recommender.pipeline.probed_network import infer

    if not nodes:
        return lambda _: []

    def forward(pixels: Any) -> list[Any]:
        return list(frozen_split.graph.run(pixels, list(nodes), call=infer, start=frozen_split.entry))

    run = with_constant_weights(forward, (frozen_split.size, frozen_split.size, frozen_split.channels))
    return lambda pixels: [np.asarray(output) for output in run(pixels)]


class FrozenFeatures:
    """Outputs of the frozen part for each of n images, plain and, if training reads them, mirrored.

    They are computed when they are first read, and kept in `values`, of shape (views, n, ...), up to `memory` bytes in
    memory; `values` is None if they are not to be kept, or if there is no room. `computed` pictures went through the
    frozen part in `seconds`.
    """

    def __init__(
        self,
        frozen_split: FrozenSplit,
        pictures: Any,
        *,
        n: int,
        mirror: bool,
        keep: bool = True,
        memory: int = MEMORY_LIMIT,
    ) -> None:
        self._split, self._pictures, self._views = frozen_split, pictures, 1 + mirror
        shape = (self._views, n, *(int(side) for side in frozen_split.tail.input_shape[1:]))
        self.values = allocate(shape, np.float32, memory=memory) if keep else None
        self._known = np.zeros((self._views, n), bool)
        self._lock = threading.Lock()  # batches are made ahead during validation checks
        self.computed, self.seconds = 0, 0.0

    def plain(self, rows: Numbers) -> FloatArray:
        return self._read(np.zeros(len(rows), np.int64), rows)

    def varied(self, rows: Numbers, rng: np.random.Generator) -> FloatArray:
        return self._read(rng.integers(self._views, size=len(rows)), rows)

    def put(self, rows: Numbers, outputs: FloatArray, pictures: FloatArray) -> None:
        """Keep outputs for pictures that were computed elsewhere, and compute those for the mirrored pictures."""
        self._keep(0, rows, outputs)
        if self._views > 1:
            self._keep(1, rows, self._run(pictures[:, :, ::-1])[0])

    def _keep(self, views: Any, rows: Numbers, outputs: FloatArray) -> None:
        if self.values is not None:
            self.values[views, rows] = outputs
            self._known[views, rows] = True

    def _read(self, views: Numbers, rows: Numbers) -> FloatArray:
        if self.values is None:
            return self._compute(views, rows)
        with self._lock:
            wanted = np.unique(np.stack([views, rows]), axis=1)
            missing = wanted[:, ~self._known[wanted[0], wanted[1]]]
            if missing.size:
                self._keep(missing[0], missing[1], self._compute(missing[0], missing[1]))
            return np.asarray(self.values[views, rows])

    def _compute(self, views: Numbers, rows: Numbers) -> FloatArray:
        run = self._run
        began = time.perf_counter()
        pixels = self._pictures[rows].astype(np.float32)
        pixels[views == 1] = pixels[views == 1][:, :, ::-1]
        outputs = run(pixels)[0]
        self.computed += len(rows)
        self.seconds += time.perf_counter() - began
        return outputs

    @cached_property
    def _run(self) -> Callable[[FloatArray], list[FloatArray]]:
        run = frozen_function(self._split, [self._split.split])
        size = self._split.size
        run(np.zeros((1, size, size, self._split.channels), np.float32))  # the first call is slow: not counted
        return run
