"""Does the learning curve foretell what twice the images bring?

    python benchmarks/learning_curve.py [--cache FOLDER] [SET …]

Of each data set up to 2,000 images go through EfficientNet-Lite0 at 128 px. Half of them, 1,000 at most, are for
judging. A half, a quarter and an eighth of the others are a person's images in turn, in several drawings. Their curve
is held against the truth: the accuracy on the images for judging when the classifier is fitted on as many images as it
is in a fold, and on twice as many. Other laws than the one in use are fitted to the same points.

Results: benchmarks/results/learning_curve.jsonl, one line a cell; a run resumes.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from common import ResultFile, data_sets, features_of
from scipy.optimize import nnls

from builders.backbones.load import load_backbone
from probes.data.image_index import ImageIndex
from probes.data.splits import FOLDS, Rows
from probes.separability.discriminant import fit
from probes.separability.learning_curve import doubling_gain, learning_curve
from recommender.pipeline.probed_network import probed_network

BACKBONE, SIZE = "efficientnet_lite0", 128
CUTS = ("block6d_add", "top_activation")
IMAGES, JUDGING, LEAST = 2000, 1000, 40
DIVISORS, SEEDS, TRUTHS = (2, 4, 8), range(3), 3
FITTED = 1 - 1 / FOLDS  # share of the images that a fold is fitted on

Law = Callable[[np.ndarray, np.ndarray, int], float]


def none(sizes: np.ndarray, accuracies: np.ndarray, n_images: int) -> float:  # noqa: ARG001
    return 0.0


def as_the_last(sizes: np.ndarray, accuracies: np.ndarray, n_images: int) -> float:  # noqa: ARG001
    return max(0.0, float(accuracies[-1] - accuracies[-2]))


def half_the_last(sizes: np.ndarray, accuracies: np.ndarray, n_images: int) -> float:
    return as_the_last(sizes, accuracies, n_images) / 2


def log_linear(sizes: np.ndarray, accuracies: np.ndarray, n_images: int) -> float:  # noqa: ARG001
    return max(0.0, float(np.polyfit(np.log2(sizes), accuracies, 1)[0]))


def power_with_asymptote(sizes: np.ndarray, accuracies: np.ndarray, n_images: int) -> float:  # noqa: ARG001
    """Accuracy a - b n^-c by least squares, a at most 1 and b at least 0, c from a grid."""
    fits = []
    for c in np.geomspace(0.05, 2, 30):
        x = sizes**-c
        (a, b), _ = nnls(np.stack([np.ones_like(x), -x], axis=1), accuracies)
        if a > 1:
            a, b = 1.0, max(0.0, float((1 - accuracies) @ x / (x @ x)))
        fits.append((float(((a - b * x - accuracies) ** 2).sum()), b * float(x[-1] - (2 * sizes[-1]) ** -c)))
    return min(fits)[1]


def power_of_error(sizes: np.ndarray, accuracies: np.ndarray, n_images: int) -> float:
    """The law in use."""
    return float(doubling_gain(sizes, accuracies[None], n_images)[0])


LAWS: tuple[Law, ...] = (none, as_the_last, half_the_last, log_linear, power_with_asymptote, power_of_error)


def extracted(name: str, folder: ImageIndex, cache: Path | None) -> tuple[list[np.ndarray], np.ndarray]:
    """Pooled features at `CUTS` and labels, from FOLDER/NAME.npz if it is there."""
    file = None if cache is None else cache / f"{name}.npz"
    if file is not None and file.exists():
        with np.load(file) as stored:
            return [stored[cut] for cut in CUTS], stored["labels"]
    names = [(label, file) for label, files in enumerate(folder.files) for file in files]
    drawn = np.random.default_rng(0).permutation(len(names))[:IMAGES]
    features = features_of(folder, [names[i] for i in drawn], probed_network(load_backbone(BACKBONE, SIZE)))
    if file is not None:
        np.savez(file, labels=features.labels, **{cut: features.pooled[cut] for cut in CUTS})
    return [features.pooled[cut] for cut in CUTS], features.labels


def true_accuracy(
    blocks: list[np.ndarray], labels: np.ndarray, known: np.ndarray, judging: np.ndarray, rng: np.random.Generator
) -> float:
    """Mean accuracy of classifiers that are fitted on as many of the known images as in a fold."""
    features = np.concatenate(blocks, axis=1)
    found = []
    for _ in range(TRUTHS):
        some = rng.permutation(known)[: int(FITTED * len(known))]
        widths = [block.shape[1] for block in blocks]
        classifier = fit(features[some], Rows.of(labels[some]), int(labels.max()) + 1, widths=widths)
        found.append((classifier.predict(features[judging]) == labels[judging]).mean())
    return float(np.mean(found))


def of_cell(blocks: list[np.ndarray], labels: np.ndarray, divisor: int, seed: int) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    order = rng.permutation(len(labels))
    n_judging = min(JUDGING, len(labels) // 2)
    judging, others = order[:n_judging], order[n_judging:]
    n_images = len(others) // divisor
    own, twice = others[:n_images], others[: 2 * n_images]
    classes, numbers = np.unique(labels[own], return_inverse=True)
    row: dict[str, Any] = {"images": n_images, "classes": len(classes), "seconds": None, "points": None}
    if n_images < LEAST:
        return row
    start = time.process_time()
    found = learning_curve([block[own] for block in blocks], Rows.of(numbers), seed=seed)
    row["seconds"] = round(time.process_time() - start, 2)
    if found is None or found.doubled is None or found.gain is None:
        return row
    sizes, accuracies = (np.array([getattr(p, key) for p in found.points], float) for key in ("n_images", "accuracy"))
    now, then = (true_accuracy(blocks, labels, known, judging, rng) for known in (own, twice))
    return {
        **row,
        "points": [[p.n_images, round(p.accuracy, 4), round(p.standard_error, 4)] for p in found.points],
        "doubled": [round(each, 4) for each in (found.doubled.accuracy, found.doubled.low, found.doubled.high)],
        "gain": [round(each, 4) for each in found.gain],
        "true": [round(now, 4), round(then, 4)],
        "laws": {law.__name__: round(law(sizes, accuracies, n_images), 4) for law in LAWS},
    }


def summary(rows: list[dict[str, Any]]) -> None:
    """Of each law the error of the gain and of the accuracy; how often the intervals hold the truth."""
    true = np.array([row["true"] for row in rows])
    last = np.array([row["points"][-1][1] for row in rows])
    print(f"{len(rows)} curves, mean true gain {np.mean(true[:, 1] - true[:, 0]):.4f}")
    print("\n| law | gain: bias | gain: mean absolute error | accuracy: mean absolute error |\n|---|---|---|---|")
    for name in (law.__name__ for law in LAWS):
        told = np.array([row["laws"][name] for row in rows])
        error, whole = told - (true[:, 1] - true[:, 0]), last + told - true[:, 1]
        print(f"| {name} | {error.mean():+.4f} | {np.abs(error).mean():.4f} | {np.abs(whole).mean():.4f} |")
    print(
        "\n| images | curves | accuracy held | gain held | width, accuracy | width, gain |\n|---|---|---|---|---|---|"
    )
    for low, high in ((0, 150), (150, 300), (300, IMAGES)):
        some = [row for row in rows if low <= row["images"] < high]
        if some:
            held = [row["doubled"][1] <= row["true"][1] <= row["doubled"][2] for row in some]
            gains = [row["gain"][0] <= row["true"][1] - row["true"][0] <= row["gain"][1] for row in some]
            wide = np.mean([[row["doubled"][2] - row["doubled"][1], np.ptp(row["gain"])] for row in some], axis=0)
            shares = f"{np.mean(held):.3f} | {np.mean(gains):.3f} | {wide[0]:.3f} | {wide[1]:.3f}"
            print(f"| {low} to {high} | {len(some)} | {shares} |")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--cache", type=Path)
    parser.add_argument("sets", nargs="*")
    wanted = parser.parse_args()
    results = ResultFile("learning_curve.jsonl", ("set", "divisor", "seed"))
    for name, folder in data_sets(tuple(wanted.sets)):
        cells = [(divisor, seed) for divisor in DIVISORS for seed in SEEDS if not results.has(name, divisor, seed)]
        if cells:
            blocks, labels = extracted(name, folder, wanted.cache)
            for divisor, seed in cells:
                results.add({"set": name, "divisor": divisor, "seed": seed, **of_cell(blocks, labels, divisor, seed)})
    summary([row for row in results.rows if row["points"]])


if __name__ == "__main__":
    main()
