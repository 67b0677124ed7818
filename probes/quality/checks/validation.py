"""A validation split that can't judge the model, or not every class."""

from collections.abc import Iterator

from probes.quality.checked_data import CheckedData
from probes.quality.findings import WARNING, Finding, count


def check(data: CheckedData) -> Iterator[Finding]:
    """Classes without a validation image, or a validation split of which no image is fit to judge."""
    index = data.index
    listed = sum(len(names) for names in index.validation)
    if not listed:
        return
    per_class = zip(index.class_names, index.validation, index.files, strict=True)
    missing = [name for name, held_out, training in per_class if training and not held_out]
    used = data.rows.held_out.any()
    if used and not missing:
        return
    what = f"of {len(missing):,} of {len(index.class_names):,} classes no image" if missing else "no image fit to judge"
    yield Finding(
        kind="validation",
        severity=WARNING,
        n_files=listed,
        examples=tuple(missing),
        message=f"The validation split of {count(listed, 'image')} has {what}.",
        done="Accuracy is measured on the other classes."
        if used
        else "Accuracy is cross-validated in training instead.",
        advice="Hold out images of every class, none of them like a training image.",
    )
