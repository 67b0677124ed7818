"""What is wrong, or odd, with the data: one finding a kind."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from probes.data.image_index import TRAIN, ImageIndex
from probes.images.facts_table import FAILURES, Inspection, Records

ERROR, WARNING, NOTE = SEVERITIES = ("error", "warning", "note")
EXAMPLES = 1000  # of a finding at most: enough to act on, whatever the size of the data
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


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """Something about the data that the user should know.

    Attributes:
        kind: a word to tell findings apart by: "truncated", "leak", "imbalance" …
        severity: "error" where numbers can't be trusted until it is mended, "warning", or "note".
        n_files: how many files, or images, it is about.
        examples: which, up to `EXAMPLES`; worst first where they can be ranked.
        message: what was found.
        done: what was done about it.
        advice: what the user may do.
    """

    kind: str
    severity: str
    n_files: int
    examples: tuple[str, ...]
    message: str
    done: str
    advice: str


def count(number: int, one: str, many: str | None = None) -> str:
    """ "1 file", "2 files"."""
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def quoted(names: Sequence[str], most: int = 3) -> str:
    """ "'a', 'b'", or "'a', 'b', 'c' and 7 more"."""
    shown = ", ".join(repr(name) for name in names[:most])
    return shown if len(names) <= most else f"{shown} and {len(names) - most:,} more"


_FAILED = {  # of one file, of several, and what to do
    "unreadable": (
        "can't be read as an image",
        "can't be read as images",
        "Open them in a viewer; save them anew or remove them.",
    ),
    "empty": ("is empty, without a byte", "are empty, without a byte", "Fetch or copy them again, or remove them."),
    "truncated": (
        "is cut off before its end",
        "are cut off before their end",
        "Fetch or copy them again: a copy broke off.",
    ),
    "bomb": (
        "claims more pixels than a picture may have",
        "claim more pixels than a picture may have",
        "Shrink them, or remove them if you don't know them.",
    ),
    "missing": (
        "is listed but is not there",
        "are listed but are not there",
        "Mend the paths in the list, or remove the rows.",
    ),
}


def failures(seen: Inspection) -> Iterator[Finding]:
    """Files that are no readable pictures, by the way in which they fail."""
    failed = seen.rows[seen.rows["failure"] >= 0]
    for number, kind in enumerate(FAILURES):
        names = sorted(seen.names[place] for place in failed["place"][failed["failure"] == number])
        if not names:
            continue
        one, several, advice = _FAILED[kind]
        reason = seen.reasons.get(names[0], "")
        yield Finding(
            kind=kind,
            severity=WARNING,
            n_files=len(names),
            examples=tuple(names[:EXAMPLES]),
            message=f"{count(len(names), 'file')} {one if len(names) == 1 else several}"
            + (f", the first {names[0]!r}: {reason}." if reason else "."),
            done="Left out, and not counted.",
            advice=advice,
        )


def _note(
    seen: Inspection, rows: Records, kind: str, message: str, done: str, advice: str, severity: str = NOTE
) -> Iterator[Finding]:
    """A finding about these rows, if there are any; `message` has a place for how many files they are."""
    if len(rows):
        names = [seen.names[place] for place in rows["place"]]
        yield Finding(
            kind=kind,
            severity=severity,
            n_files=len(names),
            examples=tuple(names[:EXAMPLES]),
            message=message.format(count(len(names), "file")),
            done=done,
            advice=advice,
        )


def oddities(seen: Inspection) -> Iterator[Finding]:
    """Readable pictures that show nothing, have odd shapes or names, or that other programs read otherwise."""
    rows = seen.read
    if not len(rows):
        return
    yield from _note(
        seen,
        rows[rows["contrast"] < _BLANK],
        "blank",
        "{} of a single shade: nothing can be seen.",
        "Measured all the same.",
        "Remove them unless an empty picture is what the class means.",
        WARNING,
    )
    yield from _note(
        seen,
        rows[rows["misnamed"]],
        "misnamed",
        "{} of another format than the suffix says.",
        "Read by what they are.",
        "Rename them: programs that go by the suffix fail on them.",
    )
    yield from _note(
        seen,
        rows[rows["rotated"]],
        "rotated",
        "{} to be turned or mirrored, by EXIF.",
        "Turned upright.",
        "Store them upright: TensorFlow's own decoder, and so image_dataset_from_directory, shows them lying.",
    )
    yield from _sizes(seen, rows)
    yield from _modes(seen, rows)


def _sizes(seen: Inspection, rows: Records) -> Iterator[Finding]:
    sides = np.stack([rows["width"], rows["height"]]).astype(np.float64)
    short = sides.min(0)
    middle = float(np.median(short))
    odd = (short * _ODD_SIZE < middle) | (short > middle * _ODD_SIZE)
    yield from _note(
        seen,
        rows[odd][np.argsort(-np.abs(np.log(short[odd] / middle)), kind="stable")],
        "odd_size",
        f"{{}} over {_ODD_SIZE:.0f} times smaller or larger than the median, whose short side is {middle:.0f} px.",
        "Measured, resized like the others.",
        "See whether they are thumbnails or scans that do not belong.",
    )
    ratio = np.log(sides[0] / sides[1])
    away = np.abs(ratio - np.median(ratio))
    odd = away > np.log(_ODD_ASPECT)
    yield from _note(
        seen,
        rows[odd][np.argsort(-away[odd], kind="stable")],
        "odd_aspect",
        f"{{}} over {_ODD_ASPECT:g} times as wide or as high, for the size, as the median picture.",
        "Measured, pressed into the square that the network sees.",
        "Crop them, if what matters is in a part of them.",
    )


def family(mode: bytes | str) -> str:
    """The family of colour modes: "colour", "grey", "transparent" or "CMYK"."""
    return _FAMILIES.get(mode.decode() if isinstance(mode, bytes) else mode, "colour")


def _modes(seen: Inspection, rows: Records) -> Iterator[Finding]:
    families = np.array([family(mode) for mode in rows["mode"].tolist()])
    counted = Counter(families.tolist()).most_common()
    if len(counted) < 2:
        return
    mixed = ", ".join(f"{number:,} {name}" for name, number in counted)
    yield from _note(
        seen,
        rows[families != counted[0][0]],
        "mixed_modes",
        f"Colour modes are mixed: {mixed}.",
        "All read as RGB, transparent ones laid on white.",
        "See that the mode does not go with the class, and feed the model in the same way.",
    )


def listing(index: ImageIndex) -> Iterator[Finding]:
    """What the index had to leave out."""
    for left in index.left_out:
        yield Finding(
            kind="left_out",
            severity=WARNING,
            n_files=left.n,
            examples=left.examples,
            message=f"Left out: {left.reason} ({left.n:,}), the first {left.examples[0]!r}.",
            done="Left out, and not counted.",
            advice="Mend or remove them.",
        )
    if index.ignored:
        kinds = ", ".join(f"{number:,} {suffix}" for suffix, number in index.ignored.items())
        yield Finding(
            kind="passed_over",
            severity=NOTE,
            n_files=sum(index.ignored.values()),
            examples=(),
            message=f"Passed over, since they are no images: {kinds}.",
            done="Not opened.",
            advice="Convert them if they are pictures.",
        )
    if index.empty:
        yield Finding(
            kind="empty_class",
            severity=WARNING,
            n_files=0,
            examples=index.empty[:EXAMPLES],
            message=f"{quoted(index.empty)}: no images in it; not taken for a class.",
            done="The model has no output for it.",
            advice="Fill the folder or remove it.",
        )


def training(seen: Inspection, rows: Records) -> Records:
    """The rows of the training split."""
    return np.asarray(rows[seen.in_split(rows, TRAIN)])
