"""The record of how much data there is."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSize:
    """How many images there are, of how many classes, and of what kind.

    Attributes:
        path: the data as they were named.
        kind: of source: "folder", "manifest", "archive", "tfrecord", "arrays", "paths", "stream" or "dataset".
        splits: images listed in each of "train", "validation" and "test" that there is.
        class_names: in the order of the labels.
        class_counts: training images of each class; files found to be unreadable and repeats found are not counted.
        file_counts: training files of each class that can be read, repeats included: what training sees.
        median_size_px: median native (width, height) over the sample.
        grey_share: share of the sample without colour, 0 to 1.
        n_sampled: images that were measured.
        n_checked: images that were looked at, whether they could be read or not.
        unsampled_classes: classes of which the sample holds no image.
        unreadable: file -> reason, among the files that were read.
        n_repeats: training files found to repeat another of their class: of look-alikes all but one.
        ignored: suffix -> number of files passed over, since they are no images.
    """

    path: str
    kind: str
    splits: Mapping[str, int]
    class_names: tuple[str, ...]
    class_counts: tuple[int, ...]
    file_counts: tuple[int, ...]
    median_size_px: tuple[int, int]
    grey_share: float
    n_sampled: int
    n_checked: int
    unsampled_classes: tuple[str, ...]
    unreadable: Mapping[str, str]
    n_repeats: int
    ignored: Mapping[str, int]

    @property
    def n_images(self) -> int:
        return sum(self.class_counts)

    @property
    def n_classes(self) -> int:
        return len(self.class_names)
