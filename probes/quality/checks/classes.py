"""Names, numbers, sizes and validation images of the classes."""

from collections.abc import Iterator, Sequence

from probes.quality.checked_data import CheckedData, InspectedData
from probes.quality.findings import Finding, count, finding, quoted

_FEW = 10  # images of a class: its own accuracy is then known to within 15 points at best


def names(data: InspectedData) -> Iterator[Finding]:
    """Classes without images, labels that are not 0, 1, …, and several spellings of what is likely one class."""
    index = data.index
    if index.silent:
        yield finding(
            "silent_class",
            index.silent,
            f"{count(len(index.silent), 'class has', 'classes have')} no training image: {quoted(index.silent)}.",
            "The model has an output for it, which starts without knowledge.",
            "Add images of it, or leave its name out.",
            n_files=0,
        )
    if index.numbers:
        pairs = [f"label {number} is output {place}" for place, number in enumerate(index.numbers)]
        yield finding(
            "label_numbers",
            pairs,
            f"Labels are not 0 to {len(pairs) - 1}: {pairs[0]}, {pairs[-1]}.",
            "Outputs are in the order of the labels.",
            "Number the classes from 0 before you train with `fit`, or name them with `class_names`.",
            n_files=0,
        )
    spellings: dict[str, list[str]] = {}
    for name in index.class_names:
        spellings.setdefault(" ".join(name.casefold().replace("_", " ").replace("-", " ").split()), []).append(name)
    several = [spelt for spelt in spellings.values() if len(spelt) > 1]
    if several:
        yield finding(
            "similar_names",
            [" = ".join(spelt) for spelt in several],
            f"{count(len(several), 'class is', 'classes are')} spelt in several ways: {quoted(several[0])}.",
            "Treated as different classes.",
            "Use one spelling, if they are one class.",
            n_files=0,
        )


def small(data: CheckedData) -> Iterator[Finding]:
    """Classes with fewer than 10 training images, the smallest first; those without any are another finding."""
    ranked = [(number, name) for number, name in _ranked(data, data.size.class_counts) if number < _FEW]
    if ranked:
        single = [name for number, name in ranked if number == 1]
        alone = f" {quoted(single)}: one image, which can't be cross-validated." if single else ""
        yield finding(
            "small_class",
            [f"{name}: {number:,}" for number, name in ranked],
            f"{count(len(ranked), 'class has', 'classes have')} fewer than {_FEW} images: "
            f"{quoted([name for _, name in ranked])}.{alone}",
            "Measured as far as it goes.",
            "Add images: so few don't show a class's own accuracy.",
            n_files=sum(number for number, _ in ranked),
        )


def imbalance(data: CheckedData) -> Iterator[Finding]:
    """The largest and the smallest class, where their ratio is notable."""
    ranked = _ranked(data, data.size.file_counts)
    (fewest, smallest), (most, largest) = ranked[0], ranked[-1]
    if most >= data.notable_imbalance * fewest:
        yield finding(
            "imbalance",
            [f"{smallest}: {fewest:,}", f"{largest}: {most:,}"],
            f"The largest class, {largest!r}, has {most / fewest:.0f} times the images of the smallest, "
            f"{smallest!r}: accuracy says little about the smallest.",
            "Classes are weighted equally in what is fitted; balanced accuracy is reported as well as accuracy.",
            "Train with the class weights of the recommendation, and check each class's own accuracy.",
            n_files=sum(data.size.file_counts),
        )


def validation(data: CheckedData) -> Iterator[Finding]:
    """Classes without a validation image, or a validation split of which no image is fit to judge."""
    index = data.index
    listed = sum(len(held_out) for held_out in index.validation)
    per_class = zip(index.class_names, index.validation, index.files, strict=True)
    missing = [name for name, held_out, training in per_class if training and not held_out]
    if not listed or (data.rows.held_out.any() and not missing):
        return
    what = f"of {len(missing):,} of {len(index.class_names):,} classes no image" if missing else "no image fit to judge"
    on_others = "Accuracy is measured on the other classes."
    yield finding(
        "validation",
        missing,
        f"The validation split of {count(listed, 'image')} has {what}.",
        on_others if data.rows.held_out.any() else "Accuracy is cross-validated in training instead.",
        "Hold out images of every class, none of them like a training image.",
        n_files=listed,
    )


def _ranked(data: CheckedData, counts: Sequence[int]) -> list[tuple[int, str]]:
    """(number of images, name) of the classes with images, the smallest first."""
    return sorted((number, name) for number, name in zip(counts, data.index.class_names, strict=True) if number)
