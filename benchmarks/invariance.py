"""Which augmentations leave labels as they are, and what each way of asking says.

The product measures the mirror; crops and changes of brightness, by which training is never limited, are measured here.

    python benchmarks/invariance.py [SET ...]

Up to 600 images of each data set, and scikit-learn's digits; 250 of them augmented; EfficientNet-Lite0 at 128 px, a
middle cut and the top. Beside the measurement: what copies in training do to the accuracy on images as they are,
and how often the mirror passes on smaller samples.
Results: benchmarks/results/invariance.jsonl, one line a set and augmentation; a run resumes.
"""

import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from common import ResultFile, data_sets
from sklearn.datasets import load_digits

from builders.backbones.load import load_backbone
from probes.data.image_index import ImageIndex
from probes.data.sampling import draw_sample
from probes.data.splits import Rows, held_out_splits
from probes.evaluation.intervals import Gain, paired_gain
from probes.images.decode import quiet_decoders, resize
from probes.images.prepare import Prepared, Skipped, readable
from probes.network.features import Network, run_over
from probes.separability.invariance import (
    LEAST_IMAGES,
    LEVEL,
    SYMMETRIES,
    Invariance,
    Pixels,
    augmented_blocks,
    keeps_label,
    measure_invariance,
)
from probes.separability.linear_probe import cross_validate
from recommender.pipeline.probed_network import probed_network

IMAGES, AUGMENTED = 600, 250
INPUT_SIZE = 128
SMALLER, REPEATS = (40, 60, 100), 6  # samples of the augmented images, on which mirroring is asked again
LEVELS = ("block4c_add", "top_activation")
DIGITS = "sklearn_digits"
SMALLEST_AREA = 0.7  # share of the image's area that a crop keeps at least
BRIGHTNESS = 0.2  # largest relative change of brightness
# What crops and brightness may lose: 0.11 of tiles and 0.12 of spectrograms, at most 0.07 of all others. In trials
# fine-tuning lost nothing by cropping even those two, so that the limit lies beyond them.
MOST_LOST = 0.15


def crop(picture: Pixels, rng: np.random.Generator) -> Pixels:
    """A square part of at least `SMALLEST_AREA`, enlarged to the whole by linear interpolation."""
    share = float(np.sqrt(rng.uniform(SMALLEST_AREA, 1.0)))
    for axis in (0, 1):
        length = picture.shape[axis]
        start = rng.uniform(0.0, 1.0 - share) * length
        places = np.clip(start + share * (np.arange(length) + 0.5) - 0.5, 0, length - 1)
        below = np.floor(places).astype(np.int64)
        weight = (places - below).astype(np.float32).reshape((-1,) + (1,) * (picture.ndim - 1 - axis))
        here, there = (np.take(picture, rows, axis) for rows in (below, np.minimum(below + 1, length - 1)))
        picture = here + weight * (there - here)
    return picture


def brightness(picture: Pixels, rng: np.random.Generator) -> Pixels:
    """All colours times one factor."""
    return np.clip(picture * np.float32(1.0 + rng.uniform(-BRIGHTNESS, BRIGHTNESS)), 0, 255)


CANDIDATES = {**SYMMETRIES, "crop": crop, "brightness": brightness}


def digits(size: int) -> Iterator[Prepared]:
    """Handwritten digits of 8 x 8 px."""
    data = load_digits()
    for number, (pixels, label) in enumerate(zip(data.images[:IMAGES], data.target, strict=False)):
        grey = resize((pixels * 15.9)[..., None], size)
        yield Prepared(pixels=np.repeat(grey, 3, -1), label=int(label), file=str(number), size=(8, 8), grey=True)


def pictures_of(folder: ImageIndex | None, size: int) -> list[Prepared]:
    """A stratified sample, in random order."""
    if folder is None:
        found = list(digits(size))
    else:
        with quiet_decoders():
            found = list(readable(folder, draw_sample(folder.files, IMAGES, 0), size, 3, Skipped()))
    return [found[row] for row in np.random.default_rng(0).permutation(len(found))]


def gain(plain: list[np.ndarray], copies: list[np.ndarray], rows: Rows) -> tuple[float, float, float]:
    """What copies of the first rows in training change on images as they are, and the 95 % interval."""
    n, m = len(rows), len(copies[0])
    features = np.concatenate([np.concatenate(plain, axis=1), np.concatenate(copies, axis=1)])
    both = Rows.of(np.append(rows.labels, rows.labels[:m]))
    splits, widths = held_out_splits(rows, seed=0), [block.shape[1] for block in plain]
    more = [(np.append(train, n + train[train < m]), held_out) for train, held_out in splits]
    judged = np.concatenate([held_out for _, held_out in splits])
    without, with_copies = (
        (cross_validate(features, both, parts, widths=widths).argmax(1) == both.labels)[judged]
        for parts in (splits, more)
    )
    gain = paired_gain(without, with_copies)
    change, low, high = gain.difference, gain.low, gain.high
    return change, low, high


def kept_of_samples(plain: list[np.ndarray], copies: list[np.ndarray], labels: np.ndarray) -> dict[int, int]:
    """How many of `REPEATS` samples of so many images let the mirror pass."""
    kept = dict.fromkeys(SMALLER, 0)
    for n in SMALLER:
        for seed in range(REPEATS):
            drawn = np.sort(np.random.default_rng(seed).permutation(len(copies[0]))[:n])
            rows = Rows.of(np.unique(labels[drawn], return_inverse=True)[1])
            small = {"mirror": [block[drawn] for block in copies]}
            found = measure_invariance([block[drawn] for block in plain], small, rows, np.arange(n), seed=seed)
            # What a sample says, whatever the least number of images is.
            kept[n] += sum(keeps_label(LEAST_IMAGES, one.interval, one.recognised_interval) for one in found)
    return kept


@dataclass(frozen=True, kw_only=True)
class Changed:
    """As `Invariance`, of an augmentation by which every copy can be recognised, since it loses detail."""

    name: str
    n: int
    accuracy_plain: float
    accuracy_augmented: float  # of copies, by a classifier that is fitted on copies, too
    gain: Gain
    recognised: None = None

    @property
    def difference(self) -> float:
        return self.gain.difference

    @property
    def interval(self) -> tuple[float, float]:
        return self.gain.low, self.gain.high

    @property
    def keeps(self) -> bool:
        return self.n >= LEAST_IMAGES and self.gain.low >= -MOST_LOST


def measure_changed(name: str, plain: list[np.ndarray], copies: list[np.ndarray], rows: Rows) -> Changed:
    """Whether copies of the first rows are classified as well as these."""
    n, m = len(rows), len(copies[0])
    values = np.concatenate([np.concatenate(plain, axis=1), np.concatenate(copies, axis=1)])
    both, widths = Rows.of(np.append(rows.labels, rows.labels[:m])), [block.shape[1] for block in plain]
    folds = [(train, held[held < m]) for train, held in held_out_splits(rows, seed=0)]
    own = [(train, np.append(held, n + held)) for train, held in folds]
    with_copies = [(np.append(train, n + train[train < m]), n + held) for train, held in folds]
    before, after = (
        cross_validate(values, both, splits, widths=widths).argmax(1) == both.labels for splits in (own, with_copies)
    )
    judged = np.sort(np.concatenate([held for _, held in folds]))
    before, after = before[judged], after[n + judged]
    return Changed(
        name=name,
        n=len(judged),
        accuracy_plain=float(before.mean()),
        accuracy_augmented=float(after.mean()),
        gain=paired_gain(before, after, level=LEVEL),
    )


def row_of(
    name: str, found: Invariance | Changed, gained: tuple[float, float, float], n: int, seconds: dict[str, float]
) -> dict:
    told = (
        None
        if found.recognised is None
        else [round(found.recognised, 4), *(round(end, 4) for end in found.recognised_interval)]
    )
    return {
        "set": name,
        "augmentation": found.name,
        "images": n,
        "judged": found.n,
        "plain": round(found.accuracy_plain, 4),
        "augmented": round(found.accuracy_augmented, 4),
        "difference": [round(each, 4) for each in (found.difference, *found.interval)],
        "told": told,
        "gain_of_copies": [round(each, 4) for each in gained],
        "keeps": found.keeps,
        "seconds": seconds,
    }


def cells(name: str, folder: ImageIndex | None, network: Network) -> Iterator[dict]:
    pictures = pictures_of(folder, network.input_size)
    features = run_over(network, pictures)
    start = time.perf_counter()
    augmented = augmented_blocks(network, pictures[:AUGMENTED], tuple(CANDIDATES), seed=0, among=CANDIDATES)
    middle = time.perf_counter()
    plain = [features.pooled[level] for level in LEVELS]
    copies = {which: [blocks[level] for level in LEVELS] for which, blocks in augmented.items()}
    rows = Rows.of(np.unique(features.labels, return_inverse=True)[1])
    chosen = np.arange(min(AUGMENTED, len(rows)))
    moved = {name: copies[name] for name in SYMMETRIES}
    answers: list[Invariance | Changed] = list(measure_invariance(plain, moved, rows, chosen, seed=0))
    answers += [measure_changed(name, plain, copies[name], rows) for name in CANDIDATES if name not in SYMMETRIES]
    seconds = {"network": round(middle - start, 1), "classifiers": round(time.perf_counter() - middle, 1)}
    for found in answers:
        row = row_of(name, found, gain(plain, copies[found.name], rows), len(rows), seconds)
        if found.name == "mirror":
            row["kept_of_samples"] = kept_of_samples(plain, copies["mirror"], features.labels)
        yield row


def interval(values: list[float] | None) -> str:
    return "-" if values is None else f"{values[0]:.3f} [{values[1]:.3f}, {values[2]:.3f}]"


def main(names: tuple[str, ...]) -> None:
    results = ResultFile("invariance.jsonl", ("set", "augmentation"))
    network = probed_network(load_backbone("efficientnet_lite0", INPUT_SIZE))
    sets: list[tuple[str, ImageIndex | None]] = []
    if not names or names != (DIGITS,):
        sets += data_sets(tuple(name for name in names if name != DIGITS))
    if not names or DIGITS in names:
        sets.append((DIGITS, None))
    for name, folder in sets:
        if all(results.has(name, which) for which in CANDIDATES):
            continue
        for row in cells(name, folder, network):
            if not results.has(name, row["augmentation"]):
                results.add(row)
    print("| set | augmentation | plain | augmented | difference | told | gain of copies | keeps |")
    print("|---|---|---|---|---|---|---|---|")
    for row in results.rows:
        figures = " | ".join(interval(row[key]) for key in ("difference", "told", "gain_of_copies"))
        parts = (row["set"], row["augmentation"], f"{row['plain']:.3f}", f"{row['augmented']:.3f}", figures)
        print(f"| {' | '.join(parts)} | {'yes' if row['keeps'] else 'no'} |")


if __name__ == "__main__":
    main(tuple(sys.argv[1:]))
