"""Readable pictures that are blank, or odd in name, orientation, size, shape or colour mode."""

from collections import Counter
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from probes.images.image_facts import Records
from probes.quality.checked_data import InspectedData
from probes.quality.findings import NOTE, WARNING, Finding, count, finding

# Ours, set so that few pictures of the 13 data sets are odd: benchmarks/results/checks.jsonl has 4 of odd size and, but
# for the tiles, 16 of odd shape among 25,000; none is blank.
_BLANK = 2.0  # standard deviation of the luma, of 255: below it a picture shows nothing
_ODD_SIZE = 4.0  # times the median short side, or that part of it
_ODD_ASPECT = 2.5  # times as wide, or as high, as the median picture
_FAMILIES = {
    "CMYK": "CMYK",
    **dict.fromkeys(("1", "L", "I", "F", "I;16", "I;16B", "I;16L", "I;16N"), "grey"),
    **dict.fromkeys(("LA", "La", "PA", "RGBA", "RGBa"), "transparent"),
}
_QUARTER = 64.0  # of 255
_SERIOUS = ("blank", "unused_bits")
_WORDS = {  # the message, what was done, and the advice
    "blank": (
        "{files} of a single shade: nothing can be seen.",
        "Measured all the same.",
        "Remove them unless an empty picture is what the class means.",
    ),
    "unused_bits": (
        "{files} of 16 bits that are nearly black, as pictures of 10 to 13 bits are.",
        "Measured as they are.",
        "If they hold fewer bits, scale their values to 0 to 65535, and feed the model in the same way.",
    ),
    "misnamed": (
        "{files} of another format than the suffix says.",
        "Read in their true format.",
        "Rename them: programs that go by the suffix fail on them.",
    ),
    "rotated": (
        "{files} to be rotated or mirrored, by EXIF.",
        "Rotated upright.",
        "Store them upright: TensorFlow's own decoder, and so image_dataset_from_directory, ignores EXIF.",
    ),
    "odd_size": (
        f"{{files}} over {_ODD_SIZE:.0f} times smaller or larger than the median, "
        "whose short side is {median:.0f} px.",
        "Measured, resized like the others.",
        "Check whether they are thumbnails or scans that do not belong.",
    ),
    "odd_aspect": (
        f"{{files}} over {_ODD_ASPECT:g} times as wide or as high, for the size, as the median picture.",
        "Measured, squeezed into the square that the network sees.",
        "Crop them, if what matters is in a part of them.",
    ),
    "mixed_modes": (
        "Colour modes are mixed: {modes}.",
        "All read as RGB, transparent ones composited on white.",
        "Check that the mode does not go with the class, and feed the model in the same way.",
    ),
}


def check(data: InspectedData) -> Iterator[Finding]:
    """Pictures that are measured all the same, but that the user may not want or other programs read differently."""
    rows = data.seen.read
    if not len(rows):
        return
    width, height = rows["width"].astype(np.float64), rows["height"].astype(np.float64)
    short, ratio = np.minimum(width, height), np.log(width / height)
    median, deviation = float(np.median(short)), ratio - np.median(ratio)
    odd_size = (short * _ODD_SIZE < median) | (short > median * _ODD_SIZE)
    varied = rows["contrast"] > 0
    dark = varied & (rows["brightness"] + 3 * rows["contrast"] < _QUARTER) & np.char.startswith(rows["mode"], b"I")
    families = np.array([_FAMILIES.get(mode.decode(), "colour") for mode in rows["mode"].tolist()])
    counted = Counter(families.tolist()).most_common()
    modes = ", ".join(f"{number:,} {name}" for name, number in counted)
    for kind, odd in (
        ("blank", rows[(rows["contrast"] < _BLANK) & ~dark]),
        ("unused_bits", rows[dark]),
        ("misnamed", rows[rows["misnamed"]]),
        ("rotated", rows[rows["rotated"]]),
        ("odd_size", _furthest(rows, np.log(short / median), odd_size)),
        ("odd_aspect", _furthest(rows, deviation, np.abs(deviation) > np.log(_ODD_ASPECT))),
        ("mixed_modes", rows[families != counted[0][0]]),
    ):
        if len(odd):
            message, done, advice = _WORDS[kind]
            message = message.format(files=count(len(odd), "file"), median=median, modes=modes)
            names = [data.seen.names[place] for place in odd["place"]]
            yield finding(kind, names, message, done, advice, severity=WARNING if kind in _SERIOUS else NOTE)


def _furthest(rows: Records, deviation: npt.NDArray[np.float64], odd: npt.NDArray[np.bool_]) -> Records:
    """The odd rows, those that deviate most first."""
    return np.asarray(rows[odd][np.argsort(-np.abs(deviation[odd]), kind="stable")])
