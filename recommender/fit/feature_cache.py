"""Arrays that fill up row by row: in memory while they are small, in a temporary file while they are not."""

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

MEMORY_LIMIT = 2 << 30  # bytes in memory, in all arrays of a run
DISK_SHARE = 0.5  # of what is free where the file lies


class FeatureCache:
    """Rows of one shape, for as many images as there may be.

    Args:
        capacity: rows at most.
        shape: of a row.
        dtype: of its values.
        memory: bytes that it may take in memory; beyond, a memory-mapped file is used.
        directory: where that file lies; the system's place for temporary files by default.
    """

    def __init__(
        self,
        capacity: int,
        shape: Sequence[int],
        dtype: Any,
        *,
        memory: int = MEMORY_LIMIT,
        directory: Path | None = None,
    ) -> None:
        self._filled = 0
        self._file: Any = None
        whole = (capacity, *shape)
        if bytes_of(whole, dtype) <= memory:
            self._rows: npt.NDArray[Any] = np.empty(whole, dtype)
        else:
            self._file = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 - it lives as long as the array
            self._rows = np.memmap(self._file, dtype, "w+", shape=whole)

    def add(self, rows: npt.NDArray[Any]) -> None:
        """Append rows."""
        self._rows[self._filled : self._filled + len(rows)] = rows
        self._filled += len(rows)

    @property
    def rows(self) -> npt.NDArray[Any]:
        """What has been added so far."""
        return self._rows[: self._filled]

    @property
    def in_memory(self) -> bool:
        return self._file is None


def fits(shape: Sequence[int], dtype: Any, *, memory: int = MEMORY_LIMIT, directory: Path | None = None) -> bool:
    """Whether an array fits into memory or, as a file, onto half of the free disk."""
    wanted = bytes_of(shape, dtype)
    free = shutil.disk_usage(directory or tempfile.gettempdir()).free
    return wanted <= memory or wanted <= DISK_SHARE * free


def bytes_of(shape: Sequence[int], dtype: Any) -> int:
    """Size of an array."""
    size = int(np.dtype(dtype).itemsize)
    for side in shape:
        size *= int(side)
    return size
