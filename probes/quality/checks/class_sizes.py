"""Classes with too few images."""

from collections.abc import Iterator

from probes.quality.checked_data import CheckedData
from probes.quality.findings import EXAMPLES, WARNING, Finding, count, quoted

_FEW = 10  # images of a class: its own accuracy is then known to within 15 points at best


def check(data: CheckedData) -> Iterator[Finding]:
    """Classes with fewer than 10 training images, the smallest first; those without any are another finding."""
    counts = zip(data.size.class_counts, data.index.class_names, strict=True)
    ranked = sorted((number, name) for number, name in counts if 0 < number < _FEW)
    if not ranked:
        return
    few, single = [name for _, name in ranked], [name for number, name in ranked if number == 1]
    alone = f" {quoted(single)}: one image, which can't be cross-validated." if single else ""
    yield Finding(
        kind="small_class",
        severity=WARNING,
        n_files=sum(number for number, _ in ranked),
        examples=tuple(f"{name}: {number:,}" for number, name in ranked[:EXAMPLES]),
        message=f"{count(len(few), 'class has', 'classes have')} fewer than {_FEW} images: {quoted(few)}.{alone}",
        done="Measured as far as it goes.",
        advice="Add images: so few don't show a class's own accuracy.",
    )
