"""What all sources share: how one is recognised, the options, splits given as a dict, and images known by numbers."""

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, BinaryIO, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from probes.data.image_index import SPLITS, TRAIN, Entry, ImageIndex, LeftOutCounter, index_entries, split_name
from probes.data.labels import Label
from probes.errors import ProbeError


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How to read a source; each source uses what concerns it."""

    columns: Mapping[str, str] = field(default_factory=dict)  # our names of a manifest's columns -> the file's
    class_names: Sequence[str] | None = None  # of data in memory, as for `outputs_of`
    max_images: int = 1000  # how many images of each split of a stream to keep, where it has more than twice as many
    seed: int = 0  # of that sample
    importing: Callable[[], None] = lambda: None  # called before TensorFlow is imported to read a path


class Source(Protocol):
    """A form in which people have labelled images; a module with these two functions is one."""

    def recognises(self, data: Any, /) -> bool:
        """Whether data are of this form; paths come as strings, other data as they were given."""
        ...

    def index(self, data: Any, options: Options, /) -> ImageIndex:
        """Make the index of data that were recognised.

        Raises:
            ProbeError: the data can't be read, or do not hold at least two classes of images.
        """
        ...


def is_a(data: object, package: str, *names: str) -> bool:
    """Whether an object is an instance of one of these classes of a package, which is not imported."""
    kinds = (kind.__name__ for kind in type(data).__mro__ if kind.__module__.startswith(f"{package}."))
    return any(kind in names for kind in kinds)


def parts_of(data: Any) -> list[Any]:
    """The splits of a dict, or the data themselves as the only part."""
    return list(data.values()) if isinstance(data, Mapping) else [data]


def splits_of(data: Any) -> dict[str, Any]:
    """The parts of a dict by their splits; data that are no dict are for training."""
    splits, left_out = sort_splits(data)
    if left_out.result() or TRAIN not in splits:
        raise ProbeError(
            f"Expected a dict by split, with the split 'train' and each of {', '.join(SPLITS)} at most once. Received: "
            f"the keys {', '.join(repr(str(key)) for key in data)}. Rename them."
        )
    return splits


def sort_splits(data: Any) -> tuple[dict[str, Any], LeftOutCounter]:
    """Splits under their names in `SPLITS`, and the count of those whose names mean none.

    A single split is for training unless its name means another one, and so are data that are no dict.
    """
    splits = data if isinstance(data, Mapping) else {TRAIN: data}
    known: dict[str, Any] = {}
    left_out = LeftOutCounter()
    given = ", ".join(repr(str(name)) for name in splits)
    for name, value in splits.items():
        split = split_name(str(name)) or (TRAIN if len(splits) == 1 else None)
        if split is None:
            left_out.add("splits that are neither train, validation nor test", str(name))
        elif split in known:
            raise ProbeError(f"Expected each split once. Received: {given}. Leave one {split} split out.")
        else:
            known[split] = value
    if not known:
        raise ProbeError(f"Expected splits named train, validation or test. Received: {given or 'none'}. Rename them.")
    return {split: known[split] for split in SPLITS if split in known}, left_out


def image_name(split: str, name: object) -> str:
    """The name of an image that has none of its own."""
    return f"image {name}" if split == TRAIN else f"{split} image {name}"


class Rows(NamedTuple):
    """The images of one split by their numbers: the label of each, None where it has none, and how to read one."""

    labels: Sequence[Label | None]
    read: Callable[[int], BinaryIO | npt.NDArray[np.uint8]]


@dataclass(frozen=True, slots=True, eq=False)
class RowStore:
    """Reads images by names that hold their split and number, one at a time."""

    splits: Mapping[str, Rows] = field(repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def open(self, name: str) -> BinaryIO | npt.NDArray[np.uint8]:
        words = name.split(" ")
        with self._lock:
            return self.splits[words[0] if len(words) == 3 else TRAIN].read(int(words[-1]))


def index_rows(
    splits: Mapping[str, Rows],
    *,
    source: str,
    kind: str,
    class_names: Sequence[str] | None,
    left_out: LeftOutCounter | None = None,
) -> ImageIndex:
    """Make the index of images that are known by numbers; none is read."""
    left_out = left_out or LeftOutCounter()
    entries: list[Entry] = []
    for split, (labels, _) in splits.items():
        width = max(7, len(str(len(labels) - 1)))
        for number, label in enumerate(labels):
            name = image_name(split, f"{number:0{width}}")
            if label is None:
                left_out.add("images without a label", name)
            else:
                entries.append(Entry(name, label, split))
    return index_entries(
        entries, RowStore(splits), source=source, kind=kind, class_names=class_names, left_out=left_out
    )
