"""What the checks of the data read."""

from dataclasses import dataclass

from probes.data.dataset_size import DatasetSize
from probes.data.image_index import ImageIndex
from probes.data.splits import Rows
from probes.images.facts_table import Inspection
from probes.network.features import Features
from probes.quality.repeats import Repeats
from probes.separability.linear_probe import Judged


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class InspectedData:
    """Images before they are measured.

    Attributes:
        index: the images.
        seen: those that were inspected.
        repeats: which of the readable ones repeat others.
    """

    index: ImageIndex
    seen: Inspection
    repeats: Repeats


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class CheckedData(InspectedData):
    """Measured images.

    Attributes:
        size: how many there are.
        features: of the measured images.
        rows: the measured images as the splitter sees them.
        judged: out-of-fold predictions for the measured images; None where none can be held out.
        notable_imbalance: ratio of the largest to the smallest class from which classes count as unbalanced.
    """

    size: DatasetSize
    features: Features
    rows: Rows
    judged: Judged | None
    notable_imbalance: float
