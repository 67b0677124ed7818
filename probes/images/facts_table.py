"""Facts of many pictures in columns: about a hundred bytes a picture, for up to a million pictures."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from probes.data.image_index import SPLITS
from probes.images.decode import UnreadableImage
from probes.images.image_facts import DIGEST_BYTES, PictureFacts
from probes.images.perceptual_hash import HASH_BYTES

FAILURES = ("unreadable", "empty", "truncated", "bomb", "missing")
RECORD = np.dtype(
    [
        ("place", "<i8"),  # of its name in the list of names
        ("failure", "i1"),  # number in FAILURES; -1 for a readable picture
        ("bytes", "<i8"),  # size of its file, and its time of change in ns, where it is a file on disk; else 0
        ("changed", "<i8"),
        ("digest", "u1", DIGEST_BYTES),
        ("perceptual", "u1", HASH_BYTES),
        ("format", "S8"),
        ("mode", "S8"),
        ("width", "<u4"),
        ("height", "<u4"),
        ("grey", "?"),
        ("rotated", "?"),
        ("misnamed", "?"),
        ("brightness", "<f4"),
        ("contrast", "<f4"),
    ]
)

Records = npt.NDArray[np.void]


def record(place: int, facts: PictureFacts | UnreadableImage) -> Records:
    """One row, of shape (1,)."""
    row = np.zeros(1, RECORD)
    row["place"], row["failure"] = place, -1
    if isinstance(facts, UnreadableImage):
        row["failure"] = FAILURES.index(facts.kind)
        return row
    row["digest"] = np.frombuffer(facts.digest, np.uint8)
    row["perceptual"] = np.frombuffer(facts.perceptual, np.uint8)
    row["width"], row["height"] = facts.size
    for name in ("format", "mode", "grey", "rotated", "misnamed", "brightness", "contrast"):
        row[name] = getattr(facts, name)
    return row


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Inspection:
    """All images that were inspected."""

    names: tuple[str, ...]
    labels: npt.NDArray[np.int64]  # class numbers, of shape (n,)
    splits: npt.NDArray[np.int8]  # numbers in `SPLITS`, of shape (n,)
    rows: Records  # their facts; `place` is the number of an image in the three above
    reasons: dict[str, str]  # name -> why the image is unreadable, for the first of them

    @property
    def read(self) -> Records:
        """The rows of readable pictures."""
        return np.asarray(self.rows[self.rows["failure"] < 0])

    def in_split(self, rows: Records, split: str) -> npt.NDArray[np.bool_]:
        """Which of these rows belong to a split."""
        return np.asarray(self.splits[rows["place"]] == SPLITS.index(split))
