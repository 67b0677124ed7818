"""Images whose label is likely wrong."""

from collections.abc import Iterator

from probes.quality.checked_data import CheckedData
from probes.quality.findings import Finding, count, finding
from probes.quality.label_errors import label_errors


def check(data: CheckedData) -> Iterator[Finding]:
    """Measured images whose neighbours and out-of-fold predictions agree on another class."""
    if data.judged is None:
        return
    features, names, rows = data.features, data.index.class_names, data.judged.rows
    deepest = list(features.pooled.values())[-1]
    found = label_errors(data.judged.probabilities, features.labels[rows], deepest[rows], data.rows.groups[rows])
    examples = [
        f"{features.files[rows[error.index]]}: {names[error.given]!r}, looks like {names[error.suggested]!r} "
        f"({error.certainty:.0%} sure)"
        for error in found
    ]
    if found:
        yield finding(
            "label_error",
            examples,
            f"{count(len(found), 'image')} that may be labelled wrong: a classifier that was not trained on them and "
            "their nearest neighbours agree on another class.",
            "Measured as they are labelled.",
            "Inspect them, the most certain first; whether a label is wrong is your decision.",
        )
