"""The record of how much data there is."""

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSize:
    """How many images there are, of how many classes, and of what kind."""

    path: str  # the data as they were named
    kind: str  # of source, as in `ImageIndex`
    splits: Mapping[str, int]  # images listed in each split that there is
    class_names: tuple[str, ...]
    class_counts: tuple[int, ...]  # training images, without unreadable files and repeats that were found
    file_counts: tuple[int, ...]  # training files that can be read, repeats included: what training sees
    median_size_px: tuple[int, int]  # native (width, height), over the sample
    grey_share: float  # of the sample, 0 to 1
    n_sampled: int  # images that were measured
    n_checked: int  # images that were looked at, whether they could be read or not
    unsampled_classes: tuple[str, ...]  # of which the sample holds no image
    unreadable: Mapping[str, str]  # file -> reason
    n_repeats: int  # training files that repeat another of their class: of look-alikes all but one
    ignored: Mapping[str, int]  # suffix -> number of files that are no images

    @property
    def n_images(self) -> int:
        return sum(self.class_counts)

    @property
    def n_classes(self) -> int:
        return len(self.class_names)
