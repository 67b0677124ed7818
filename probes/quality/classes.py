"""Findings about the classes: how many images they have, and how they are called."""

from collections.abc import Iterator, Sequence

from probes.data.image_index import ImageIndex
from probes.quality.findings import EXAMPLES, WARNING, Finding, count, quoted

_FEW = 10  # images of a class: its own accuracy is then known to no better than 15 points


def class_sizes(names: tuple[str, ...], class_counts: Sequence[int]) -> Iterator[Finding]:
    """Classes with too few images.

    Args:
        names: of all classes.
        class_counts: training images of each; a class without any is told of elsewhere.
    """
    ranked = sorted((number, name) for name, number in zip(names, class_counts, strict=True) if 0 < number < _FEW)
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
        advice="Add images: a class's own accuracy can't be told from so few.",
    )


def imbalance(names: tuple[str, ...], file_counts: Sequence[int], *, notable: float) -> Iterator[Finding]:
    """Classes that are unbalanced.

    Args:
        names: of all classes.
        file_counts: training files of each.
        notable: largest over smallest class from which classes count as unbalanced.
    """
    ranked = sorted((number, name) for name, number in zip(names, file_counts, strict=True) if number)
    (fewest, least), (largest, most) = ranked[0], ranked[-1]
    if largest < notable * fewest:
        return
    yield Finding(
        kind="imbalance",
        severity=WARNING,
        n_files=sum(file_counts),
        examples=(f"{least}: {fewest:,}", f"{most}: {largest:,}"),
        message=f"The largest class, {most!r}, has {largest / fewest:.0f} times the images of the smallest, {least!r}: "
        "accuracy says little of the smallest.",
        done="Each class counts alike in what is fitted; balanced accuracy stands beside accuracy.",
        advice="Train with the class weights of the recommendation, and look at each class's own accuracy.",
    )


def class_names(index: ImageIndex) -> Iterator[Finding]:
    """Classes that are likely one, classes without images, and numbers that are not those of the outputs."""
    if index.silent:
        yield Finding(
            kind="silent_class",
            severity=WARNING,
            n_files=0,
            examples=index.silent[:EXAMPLES],
            message=f"{count(len(index.silent), 'class has', 'classes have')} no training image: "
            f"{quoted(index.silent)}.",
            done="The model has an output for it, which starts without knowledge.",
            advice="Add images of it, or leave its name out.",
        )
    if index.numbers:
        pairs = [f"label {number} is output {place}" for place, number in enumerate(index.numbers)]
        yield Finding(
            kind="label_numbers",
            severity=WARNING,
            n_files=0,
            examples=tuple(pairs[:EXAMPLES]),
            message=f"Labels are not 0 to {len(pairs) - 1}: {pairs[0]}, {pairs[-1]}.",
            done="Outputs are in the order of the labels.",
            advice="Number the classes from 0 on before you train with `fit`, or name them with `class_names`.",
        )
    spelt: dict[str, list[str]] = {}
    for name in index.class_names:
        spelt.setdefault(" ".join(name.casefold().replace("_", " ").replace("-", " ").split()), []).append(name)
    twice = [names for names in spelt.values() if len(names) > 1]
    if twice:
        yield Finding(
            kind="similar_names",
            severity=WARNING,
            n_files=0,
            examples=tuple(" = ".join(names) for names in twice[:EXAMPLES]),
            message=f"{count(len(twice), 'class is', 'classes are')} spelt in several ways: {quoted(twice[0])}.",
            done="Taken for different classes.",
            advice="Spell them alike, if they are one.",
        )
