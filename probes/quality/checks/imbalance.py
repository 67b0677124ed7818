"""Classes of very different sizes."""

from collections.abc import Iterator

from probes.quality.checked_data import CheckedData
from probes.quality.findings import WARNING, Finding


def check(data: CheckedData) -> Iterator[Finding]:
    """The largest and the smallest class, where their ratio is notable."""
    counts = zip(data.size.file_counts, data.index.class_names, strict=True)
    ranked = sorted((number, name) for number, name in counts if number)
    (fewest, smallest), (most, largest) = ranked[0], ranked[-1]
    if most < data.notable_imbalance * fewest:
        return
    yield Finding(
        kind="imbalance",
        severity=WARNING,
        n_files=sum(data.size.file_counts),
        examples=(f"{smallest}: {fewest:,}", f"{largest}: {most:,}"),
        message=f"The largest class, {largest!r}, has {most / fewest:.0f} times the images of the smallest, "
        f"{smallest!r}: accuracy says little about the smallest.",
        done="Classes are weighted equally in what is fitted; balanced accuracy is reported as well as accuracy.",
        advice="Train with the class weights of the recommendation, and check each class's own accuracy.",
    )
