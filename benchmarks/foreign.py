"""Pictures unlike the training set: which distance tells them best, and how often it is a false alarm.

    python benchmarks/foreign.py [SET …]

Of each data set up to 300 pictures train, 100 more give the threshold, and fresh ones tell the false alarms. Foreign
are 50 pictures of each of the other sets ("far"), 1,000 of ImageNet, and pictures of one class that was left out of
the training ("near", up to four classes in turn). Features are those of EfficientNet-Lite0 at 128 px: "levels" the
pooled ends of all stages, as a model of scenario 1 reads them, "top" the last one alone. "crossed" thresholds come from
the training pictures themselves, in five parts.

Features are kept in $NETGRAFT_CACHE, or in a folder for temporary files. Results: benchmarks/results/foreign.jsonl, one
line a cell; a run resumes.
"""

import functools
import os
import sys
import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import ResultFile, data_sets, features_of, shared_datasets
from sklearn.covariance import ledoit_wolf_shrinkage
from sklearn.metrics import roc_auc_score

from probes.data.image_index import ImageIndex
from probes.data.sources.folder import index_folder
from probes.data.splits import Rows
from probes.evaluation import out_of_distribution as foreign
from probes.evaluation.out_of_distribution import fit_detector, threshold_of
from probes.separability.discriminant import fit

TRAIN, CALIBRATE, MOST, FAR, LEFT_OUT = 300, 100, 700, 50, 4
SMALL = (10, 20, 40, 100, 300)
WIDTHS = {"levels": (32, 16, 24, 40, 80, 112, 192, 320, 1280), "top": (1280,)}
Score = Callable[[np.ndarray], np.ndarray]


@functools.cache
def network() -> tuple[Any, list[str]]:
    from builders.backbones.load import load_backbone
    from recommender.pipeline.probed_network import probed_network
    from recommender.rules.cut_rule import head_levels

    backbone = load_backbone("efficientnet_lite0", 128)
    probed = probed_network(backbone)
    shapes = [point.shape for point in backbone.points]
    return probed, [probed.cuts[level] for level in head_levels(shapes, len(shapes) - 1)]


@functools.cache
def features(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Features of shape (n, 2096) of a set's pictures in random order, and their classes."""
    cache = Path(os.environ.get("NETGRAFT_CACHE", Path(tempfile.gettempdir()) / "netgraft_foreign"))
    cache.mkdir(parents=True, exist_ok=True)
    paths = cache / f"{name}.npy", cache / f"{name}.labels.npy"
    if not paths[1].exists():
        probed, levels = network()
        root = shared_datasets()
        index: ImageIndex = index_folder(root / name if (root / name).is_dir() else root.parent / name)
        files = [(label, file) for label, names in enumerate(index.files) for file in names]
        order = np.random.default_rng(0).permutation(len(files))[: 1000 if name == "imagenet_sample" else MOST]
        found = features_of(index, [files[number] for number in order], probed)
        np.save(paths[0], np.concatenate([found.pooled[level] for level in levels], axis=1))
        np.save(paths[1], found.labels)
    return np.load(paths[0]), np.load(paths[1])


def of_length_one(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12)


def nearest(x: np.ndarray, k: int) -> Score:
    """Distance to the k-th nearest training picture, features at length 1 (arXiv 2204.06507)."""
    known = of_length_one(x)

    def score(other: np.ndarray) -> np.ndarray:
        squares = np.maximum(2 - 2 * of_length_one(other) @ known.T, 0)
        return np.sqrt(np.partition(squares, k - 1, axis=1)[:, k - 1])

    return score


def centred(x: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    means = np.stack([x[labels == label].mean(0) for label in np.unique(labels)])
    return x - means[np.searchsorted(np.unique(labels), labels)], means


def inverse(rows: np.ndarray, shrinkage: float) -> Callable[[np.ndarray], np.ndarray]:
    """Squared Mahalanobis length under a shrunk covariance of centred rows, through their singular values."""
    _, singular, axes = np.linalg.svd(rows, full_matrices=False)
    floor = shrinkage * (rows**2).sum() / rows.size
    inside = 1 / ((1 - shrinkage) * singular**2 / len(rows) + floor) - 1 / floor
    return lambda x: (x**2).sum(1) / floor + ((x @ axes.T) ** 2 * inside).sum(1)


def mahalanobis(x: np.ndarray, labels: np.ndarray, *, relative: bool = False) -> Score:
    """Least distance to a class under one covariance (arXiv 1807.03888); relative to all classes' (2106.09022)."""
    centre, scale = x.mean(0), np.maximum(x.std(0), 1e-3 * x.std(0).max())
    x = (x - centre) / scale
    rows, means = centred(x, labels)
    shrinkage = float(ledoit_wolf_shrinkage(rows, assume_centered=True))
    within, over_all = inverse(rows, shrinkage), inverse(x, shrinkage)

    def score(other: np.ndarray) -> np.ndarray:
        other = (other - centre) / scale
        least = np.min([within(other - mean) for mean in means], axis=0)
        return least - over_all(other) if relative else np.sqrt(least)

    return score


def detector(x: np.ndarray, axes: int, labels: np.ndarray | None = None, *, residual: bool = False) -> Score:
    """The detector with another number of axes, with class means, or the part beside the axes alone."""
    before, foreign._AXES = foreign._AXES, axes
    try:
        made = foreign._detector(x, 0)
    finally:
        foreign._AXES = before
    if labels is None:  # without variance along the axes, what lies there does not count
        return (replace(made, variances=np.full_like(made.variances, np.inf)) if residual else made).distance
    rows, means = centred(of_length_one(x), labels)
    _, singular, directions = np.linalg.svd(rows, full_matrices=False)
    rank = max(1, min(axes, len(x) // 2))
    variances = singular[:rank] ** 2 / len(x)
    noise = (singular[rank:] ** 2).sum() / len(x) / (x.shape[1] - rank)

    def score(other: np.ndarray) -> np.ndarray:
        found = []
        for mean in means:
            away = of_length_one(other) - mean
            along = (away @ directions[:rank].T) ** 2
            found.append((along / variances).sum(1) + ((away**2).sum(1) - along.sum(1)) / noise)
        return np.sqrt(np.min(found, axis=0))

    return score


def softmax(x: np.ndarray, labels: np.ndarray, widths: tuple[int, ...]) -> Score:
    """One less the largest probability of the classifier that a model's prediction layer starts from."""
    classifier = fit(x, Rows.of(labels), int(labels.max()) + 1, widths=widths)
    return lambda other: 1 - classifier.probabilities(other).max(1)


METHODS: dict[str, Callable[[np.ndarray, np.ndarray, tuple[int, ...]], Score]] = {
    "detector": lambda x, _labels, _: foreign._detector(x, 0).distance,
    "detector_16": lambda x, _labels, _: detector(x, 16),
    "detector_32": lambda x, _labels, _: detector(x, 32),
    "detector_128": lambda x, _labels, _: detector(x, 128),
    "by_class": lambda x, labels, _: detector(x, 64, labels),
    "residual": lambda x, _labels, _: detector(x, 64, residual=True),
    "neighbour_1": lambda x, _labels, _: nearest(x, 1),
    "neighbour_5": lambda x, _labels, _: nearest(x, 5),
    "mahalanobis": lambda x, labels, _: mahalanobis(x, labels),
    "relative": lambda x, labels, _: mahalanobis(x, labels, relative=True),
    "softmax": softmax,
}


def auroc(own: np.ndarray, other: np.ndarray) -> float:
    return float(roc_auc_score([0] * len(own) + [1] * len(other), np.concatenate([own, other])))


def threshold(distances: np.ndarray) -> float:
    """Of any score: shifted above 0, which changes nothing where there are 99 images."""
    shift = min(float(distances.min()), 0.0)
    return threshold_of(distances - shift) + shift


def near(x: np.ndarray, labels: np.ndarray, n_train: int, make: Any, widths: tuple[int, ...]) -> dict[str, Any]:
    """Each of up to four classes left out of the training in turn."""
    found = []
    parts = [slice(0, n_train), slice(n_train, n_train + CALIBRATE), slice(n_train + CALIBRATE, None)]
    for label in np.unique(labels)[:LEFT_OUT] if len(np.unique(labels)) > 2 else ():
        own = [x[part][labels[part] != label] for part in parts]
        left = x[labels == label]
        if len(left) < 10:
            continue
        score = make(own[0], labels[parts[0]][labels[parts[0]] != label], widths)
        fresh, other = score(own[2]), score(left)
        found.append((auroc(fresh, other), float((other > threshold(score(own[1]))).mean())))
    mean = np.mean(found, axis=0).round(4).tolist() if found else [None, None]
    return {"auroc_near": mean[0], "flagged_near": mean[1]}


def foreign_pictures(name: str, names: list[str], start: int) -> dict[str, np.ndarray]:
    return {
        "far": np.concatenate([features(other)[0][:FAR, start:] for other in names if other != name]),
        "imagenet": features("imagenet_sample")[0][:, start:],
    }


def judged(score: Score, limit: float, fresh: np.ndarray, others: dict[str, np.ndarray]) -> dict[str, Any]:
    own = score(fresh)
    row: dict[str, Any] = {"fresh": len(fresh), "false_alarms": round(float((own > limit).mean()), 4)}
    for kind, pictures in others.items():
        distances = score(pictures)
        row[f"auroc_{kind}"] = round(auroc(own, distances), 4)
        row[f"flagged_{kind}"] = round(float((distances > limit).mean()), 4)
    return row


def run(name: str, names: list[str], results: ResultFile) -> None:
    for kind, widths in WIDTHS.items():
        start = sum(WIDTHS["levels"]) - sum(widths)
        x, labels = features(name)[0][:, start:], features(name)[1]
        n_train = min(TRAIN, len(x) // 2)
        fresh, others = x[n_train + CALIBRATE :], foreign_pictures(name, names, start)
        for method, make in METHODS.items():
            cell = {"set": name, "features": kind, "method": method, "train": n_train, "threshold": "held-out"}
            if not results.has(*cell.values()):
                score = make(x[:n_train], labels[:n_train], widths)
                limit = threshold(score(x[n_train : n_train + CALIBRATE]))
                found = judged(score, limit, fresh, others)
                results.add(cell | found | near(x, labels, n_train, make, widths))
        for n in SMALL:
            cell = {"set": name, "features": kind, "method": "detector", "train": n, "threshold": "crossed"}
            if n <= n_train and not results.has(*cell.values()):
                made = fit_detector(x[:n])
                size = sum(array.nbytes for array in made.to_arrays().values())
                results.add(cell | judged(made.distance, made.threshold, fresh, others) | {"bytes": size})


def main(wanted: list[str]) -> None:
    results = ResultFile("foreign.jsonl", ("set", "features", "method", "train", "threshold"))
    names = [name for name, _ in data_sets(())]
    for name in wanted or names:
        run(name, names, results)
    keys = ("auroc_far", "auroc_imagenet", "auroc_near", "false_alarms", "flagged_far", "flagged_imagenet")
    print("| features | method | threshold | train |", " | ".join((*keys, "flagged_near")), "|")
    print("|---" * 11 + "|")
    cells: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in results.rows:
        train = row["train"] if row["threshold"] == "crossed" else TRAIN
        cells.setdefault((row["features"], row["method"], row["threshold"], train), []).append(row)
    for cell, rows in cells.items():
        means = [[row[key] for row in rows if row.get(key) is not None] for key in (*keys, "flagged_near")]
        print("|", " | ".join([*map(str, cell), *(f"{np.mean(part):.3f}" if part else "" for part in means)]), "|")


if __name__ == "__main__":
    main(sys.argv[1:])
