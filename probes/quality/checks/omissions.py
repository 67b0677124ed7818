"""Files and rows that are not in the index."""

from collections.abc import Iterator

from probes.quality.checked_data import InspectedData
from probes.quality.findings import EXAMPLES, NOTE, WARNING, Finding, quoted


def check(data: InspectedData) -> Iterator[Finding]:
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
