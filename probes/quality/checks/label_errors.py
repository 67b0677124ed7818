"""Images whose label is likely wrong."""

from collections.abc import Iterator

from probes.quality.checked_data import CheckedData
from probes.quality.findings import EXAMPLES, WARNING, Finding, count
from probes.quality.label_errors import label_errors


def check(data: CheckedData) -> Iterator[Finding]:
    """Measured images whose neighbours and out-of-fold predictions agree on another class."""
    if data.judged is None:
        return
    features, names, rows = data.features, data.index.class_names, data.judged.rows
    deepest = list(features.pooled.values())[-1]
    found = label_errors(data.judged.probabilities, features.labels[rows], deepest[rows], data.rows.groups[rows])
    if not found:
        return
    yield Finding(
        kind="label_error",
        severity=WARNING,
        n_files=len(found),
        examples=tuple(
            f"{features.files[rows[error.index]]}: {names[error.given]!r}, looks like {names[error.suggested]!r} "
            f"({error.certainty:.0%} sure)"
            for error in found
        )[:EXAMPLES],
        message=f"{count(len(found), 'image')} that may be labelled wrong: a classifier that was not trained on them "
        "and their nearest neighbours agree on another class.",
        done="Measured as they are labelled.",
        advice="Inspect them, the most certain first; whether a label is wrong is your decision.",
    )
