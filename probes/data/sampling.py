"""A stratified sample of an index."""

from dataclasses import dataclass

import numpy as np

from probes.data.image_index import ByClass, ImageIndex

_SPARE_FILES = 20  # how many more files of a class than its quota may be tried when some can't be read


@dataclass(frozen=True, slots=True, kw_only=True)
class Draw:
    """Which files of each class to look at.

    Attributes:
        quota: for each class, how many readable images are wanted.
        candidates: for each class, files in the order in which to try them; the first `quota` come first.
    """

    quota: tuple[int, ...]
    candidates: ByClass


def quotas(class_counts: tuple[int, ...], max_images: int) -> tuple[int, ...]:
    """Share `max_images` out among classes: two each where they have them, the rest in proportion by largest remainder.

    Args:
        class_counts: how many images each class has.
        max_images: the most that may be taken in all.

    Returns:
        How many to take of each class. All of them where they fit. Where not even two a class fit, the classes with
        most images get two each until nothing is left; two classes get at least one each.
    """
    counts = np.asarray(class_counts)
    if counts.sum() <= max_images:
        return class_counts
    base = np.minimum(counts, 2)
    if base.sum() > max_images:
        order = np.argsort(-counts, kind="stable")
        fits = np.cumsum(base[order]) <= max_images
        quota = np.zeros_like(counts)
        quota[order[fits]] = base[order[fits]]
        if fits.sum() < 2:  # a classifier needs two classes
            quota[order[:2]] = max_images - 1, 1
        return tuple(int(n) for n in quota)
    ideal = (counts - base) * (max_images - base.sum()) / (counts - base).sum()
    quota = base + np.floor(ideal).astype(int)
    for index in np.argsort(np.floor(ideal) - ideal, kind="stable")[: max_images - quota.sum()]:
        quota[index] += 1
    return tuple(int(n) for n in quota)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """What is measured: training images, and held-out ones where the user has such a split."""

    train: Draw
    validation: Draw

    @property
    def n_wanted(self) -> int:
        return sum(self.train.quota) + sum(self.validation.quota)


def draw_splits(index: ImageIndex, max_images: int, seed: int) -> Sample:
    """Choose what is measured of an index: at most `max_images`, a quarter of them from the user's validation split."""
    n_validation = sum(len(names) for names in index.validation)
    held_out = max_images - index.n_images if index.n_images < max_images else 0
    held_out = min(n_validation, max(held_out, max_images // 4))
    train = draw_sample(index.files, max_images - held_out, seed)
    if held_out < 2:
        nothing = ((),) * len(index.files)
        return Sample(train=train, validation=Draw(quota=(0,) * len(index.files), candidates=nothing))
    return Sample(train=train, validation=draw_sample(index.validation, held_out, seed))


def draw_sample(files: ByClass, max_images: int, seed: int) -> Draw:
    """Choose a stratified sample; the same for the same seed and the same file names.

    Args:
        files: for each class the names of its images.
        max_images: the most that may be taken in all.
        seed: of the choice.
    """
    quota = quotas(tuple(len(names) for names in files), max_images)
    candidates = []
    for label, (names, wanted) in enumerate(zip(files, quota, strict=True)):
        order = np.random.default_rng([seed, label]).permutation(len(names))
        tried = max(2 * wanted, wanted + _SPARE_FILES) if wanted else 0
        candidates.append(tuple(names[index] for index in order[:tried]))
    return Draw(quota=quota, candidates=tuple(candidates))
