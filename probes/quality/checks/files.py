"""Files that are not readable pictures, and files and rows that are not in the index."""

from collections.abc import Iterator

from probes.images.image_facts import FAILURES
from probes.quality.checked_data import InspectedData
from probes.quality.findings import EXAMPLES, NOTE, WARNING, Finding, count, quoted

_WORDS = {  # of one file, of several, and the advice
    "unreadable": (
        "can't be read as an image",
        "can't be read as images",
        "Open them in a viewer; save them again or remove them.",
    ),
    "empty": ("is empty, without a byte", "are empty, without a byte", "Fetch or copy them again, or remove them."),
    "truncated": (
        "is cut off before its end",
        "are cut off before their end",
        "Fetch or copy them again: a copy was interrupted.",
    ),
    "bomb": (
        "claims more pixels than a picture may have",
        "claim more pixels than a picture may have",
        "Shrink them, or remove them if you don't know them.",
    ),
    "missing": (
        "is listed but is not there",
        "are listed but are not there",
        "Correct the paths in the list, or remove the rows.",
    ),
}


def unreadable(data: InspectedData) -> Iterator[Finding]:
    """One finding for each way in which files fail."""
    seen = data.seen
    for number, kind in enumerate(FAILURES):
        names = sorted(seen.names[place] for place in seen.rows["place"][seen.rows["failure"] == number])
        if not names:
            continue
        one, several, advice = _WORDS[kind]
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


def omissions(data: InspectedData) -> Iterator[Finding]:
    """Images or rows that were left out, files that are not images, and folders without images."""
    index = data.index
    for left in index.left_out:
        yield Finding(
            kind="left_out",
            severity=WARNING,
            n_files=left.n,
            examples=left.examples,
            message=f"Left out: {left.reason} ({left.n:,}), the first {left.examples[0]!r}.",
            done="Left out, and not counted.",
            advice="Correct or remove them.",
        )
    if index.ignored:
        kinds = ", ".join(f"{number:,} {suffix}" for suffix, number in index.ignored.items())
        yield Finding(
            kind="passed_over",
            severity=NOTE,
            n_files=sum(index.ignored.values()),
            examples=(),
            message=f"Skipped, since they are not images: {kinds}.",
            done="Not opened.",
            advice="Convert them if they are pictures.",
        )
    if index.empty:
        yield Finding(
            kind="empty_class",
            severity=WARNING,
            n_files=0,
            examples=index.empty[:EXAMPLES],
            message=f"{quoted(index.empty)}: no images in it; not taken as a class.",
            done="The model has no output for it.",
            advice="Fill the folder or remove it.",
        )
