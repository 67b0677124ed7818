"""Files that are not readable pictures, and files and rows that are not in the index."""

from collections.abc import Iterator

from probes.images.image_facts import FAILURES
from probes.quality.checked_data import InspectedData
from probes.quality.findings import NOTE, Finding, count, finding, quoted

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
        message = f"{count(len(names), 'file')} {one if len(names) == 1 else several}"
        first = f", the first {names[0]!r}: {reason}." if reason else "."
        yield finding(kind, names, message + first, "Left out, and not counted.", advice)


def omissions(data: InspectedData) -> Iterator[Finding]:
    """Images or rows that were left out, files that are not images, and folders without images."""
    index = data.index
    for left in index.left_out:
        message = f"Left out: {left.reason} ({left.n:,}), the first {left.examples[0]!r}."
        done, advice = "Left out, and not counted.", "Correct or remove them."
        yield finding("left_out", left.examples, message, done, advice, n_files=left.n)
    if index.ignored:
        kinds = ", ".join(f"{number:,} {suffix}" for suffix, number in index.ignored.items())
        message, advice = f"Skipped, since they are not images: {kinds}.", "Convert them if they are pictures."
        n_files = sum(index.ignored.values())
        yield finding("passed_over", (), message, "Not opened.", advice, severity=NOTE, n_files=n_files)
    if index.empty:
        message = f"{quoted(index.empty)}: no images in it; not taken as a class."
        done, advice = "The model has no output for it.", "Fill the folder or remove it."
        yield finding("empty_class", index.empty, message, done, advice, n_files=0)
