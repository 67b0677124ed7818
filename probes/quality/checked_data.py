"""What the checks of the data read."""

from dataclasses import dataclass

from probes.data.dataset_size import DatasetSize
from probes.data.image_index import ImageIndex
from probes.data.splits import Rows
from probes.images.image_facts import Inspection
from probes.network.features import Features
from probes.quality.repeats import Repeats
from probes.separability.linear_probe import Judged


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InspectedData:
    """Images before they are measured."""

    index: ImageIndex
    seen: Inspection  # those that were inspected
    repeats: Repeats  # among the readable ones


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CheckedData(InspectedData):
    """Measured images."""

    size: DatasetSize
    features: Features
    rows: Rows  # the measured images as the splitter sees them
    judged: Judged | None  # out-of-fold predictions; None where no measured image can be held out
    notable_imbalance: float  # ratio of the largest to the smallest class from which classes count as unbalanced
