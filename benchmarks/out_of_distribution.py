"""How many pictures of other data sets a detector flags, pair by pair, and how many of its own kind.

    python benchmarks/out_of_distribution.py [SET …]

A detector is fitted on 300 images of a set (half of a smaller one), on 100, or on 15 of each class, and its threshold
comes from these images alone. It judges 60 pictures of each of the other sets, resized to the set's own input size, and
up to 300 further pictures of the set itself, which are false alarms. Two draws of the images. Features are those that a
model of scenario 1 with EfficientNet-Lite0 reads: the pooled ends of all stages.

Features are kept in $NETGRAFT_CACHE, or in a folder for temporary files. Results:
benchmarks/results/out_of_distribution.jsonl, one line a cell; a run resumes. "flagged_exact" is what is flagged with
the threshold that 1 % of the further pictures of the set itself exceed: what the distance could do if the threshold
did not have to be estimated from the training images. Rows of version "before" were measured with the detector of
commit 0082e34, which scaled all features together.
"""

import functools
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import ResultFile, data_sets, features_of

from probes.evaluation.out_of_distribution import FALSE_ALARMS, fit_detector

SIZES = {"cifar10": 160, "mnist": 128}  # that the rule for the input size takes; 224 px for all others
PHOTOGRAPHS = ("cats_dogs", "cifar10", "clothing10", "flowers5", "hymenoptera", "trash6")
IMAGES, OTHERS, FRESH, SEEDS = 700, 60, 300, (0, 1)
TRAINING = ("15 a class", "100", "300")
WIDTHS = (32, 16, 24, 40, 80, 112, 192, 320, 1280)
Blocks = Sequence[np.ndarray]
Fit = Callable[[Blocks], Any]


@functools.cache
def features(name: str, size: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Features of shape (n, 2096) of up to n pictures of a set in random order, at a size in px, and their classes."""
    cache = Path(os.environ.get("NETGRAFT_CACHE", Path(tempfile.gettempdir()) / "netgraft_out_of_distribution"))
    cache.mkdir(parents=True, exist_ok=True)
    path = cache / f"{name}-{size}-{n}.npz"
    if not path.exists():
        from builders.backbones.load import load_backbone
        from recommender.pipeline.probed_network import probed_network
        from recommender.rules.cut_rule import head_levels

        backbone = load_backbone("efficientnet_lite0", size)
        probed = probed_network(backbone)
        shapes = [point.shape for point in backbone.points]
        ((_, index),) = data_sets((name,))
        files = [(label, file) for label, names in enumerate(index.files) for file in names]
        order = np.random.default_rng(0).permutation(len(files))[:n]
        found = features_of(index, [files[number] for number in order], probed)
        blocks = [found.pooled[probed.cuts[level]] for level in head_levels(shapes, len(shapes) - 1)]
        np.savez(path, features=np.concatenate(blocks, axis=1), labels=found.labels)
    with np.load(path) as kept:
        return kept["features"], kept["labels"]


def drawn(labels: np.ndarray, training: str, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Rows of training images, and of others of the same set."""
    order = np.random.default_rng(seed).permutation(len(labels))
    if training == "15 a class":
        train = np.concatenate([order[labels[order] == label][:15] for label in np.unique(labels)])
    else:
        train = order[: min(int(training), len(labels) // 2)]
    return train, order[~np.isin(order, train)][:FRESH]


def judged(name: str, names: Sequence[str], training: str, seed: int, fit: Fit) -> dict[str, Any]:
    """Shares that are flagged: of each other set, also with the exact threshold, and of fresh images of the set."""
    size = SIZES.get(name, 224)
    x, labels = features(name, size, IMAGES)
    train, fresh = drawn(labels, training, seed)
    detector = fit(np.split(x[train], np.cumsum(WIDTHS)[:-1], axis=1))

    def share(distances: np.ndarray, threshold: float) -> float:
        return round(float((~(distances <= threshold)).mean()), 4)

    own = detector.distance(x[fresh])
    others = {other: detector.distance(features(other, size, OTHERS)[0]) for other in names if other != name}
    flagged, exact = (
        {other: share(distances, threshold) for other, distances in others.items()}
        for threshold in (detector.threshold, float(np.quantile(own, 1 - FALSE_ALARMS)))
    )
    about = {"train": len(train), "fresh": len(fresh), "false_alarms": share(own, detector.threshold)}
    return {**about, "flagged": flagged, "flagged_exact": exact}


def run(wanted: Sequence[str], version: str, fit: Fit) -> ResultFile:
    results = ResultFile("out_of_distribution.jsonl", ("version", "set", "training", "seed"))
    names = [name for name, _ in data_sets(())]
    for name in wanted or names:
        for training in TRAINING:
            for seed in SEEDS:
                cell = {"version": version, "set": name, "training": training, "seed": seed}
                if not results.has(*cell.values()):
                    results.add(cell | judged(name, names, training, seed, fit))
    return results


def pairs(rows: list[dict[str, Any]], key: str = "flagged") -> dict[tuple[str, str], float]:
    """The share flagged of each pair of sets, over draws."""
    found: dict[tuple[str, str], list[float]] = {}
    for row in rows:
        for other, share in row[key].items():
            found.setdefault((row["set"], other), []).append(share)
    return {pair: float(np.mean(shares)) for pair, shares in found.items()}


def mixed(found: dict[tuple[str, str], float]) -> dict[tuple[str, str], float]:
    """Pairs of a set of photographs and another set."""
    return {pair: part for pair, part in found.items() if sum(name in PHOTOGRAPHS for name in pair) == 1}


def weak_detectors(rows: list[dict[str, Any]]) -> None:
    """How many detectors flag less than 80 % of some set of the other kind, by what is known when a model is built."""
    for title, holds in (
        ("photographs, fewer than 300 images", lambda row: row["set"] in PHOTOGRAPHS and row["train"] < 300),
        ("photographs, 300 images", lambda row: row["set"] in PHOTOGRAPHS and row["train"] >= 300),
        ("other pictures", lambda row: row["set"] not in PHOTOGRAPHS),
    ):
        worst = [min(mixed(pairs([row])).values()) for row in rows if holds(row)]
        print(f"{title}: {sum(part < 0.8 for part in worst)} of {len(worst)} detectors are weak")


def exact(rows: list[dict[str, Any]]) -> None:
    """What the same distances flag with the exact threshold."""
    for training in TRAINING:
        found = pairs([row for row in rows if row["training"] == training], "flagged_exact")
        weak = sum(part < 0.8 for part in mixed(found).values())
        print(
            f"{training}: {np.mean(list(found.values())):.1%} with the exact threshold, {weak} mixed pairs below 80 %"
        )


def summary(results: ResultFile) -> None:
    print("| version | training images | flagged | pairs with a photograph set below 80 % | false alarms | worst set |")
    print("|---" * 6 + "|")
    for version, training in [(version, training) for training in TRAINING for version in ("before", "after")]:
        rows = [row for row in results.rows if (row["version"], row["training"]) == (version, training)]
        if rows:
            found = pairs(rows)
            unlike = mixed(found)
            weak = [f"{one} / {other} {part:.0%}" for (one, other), part in unlike.items() if part < 0.8]
            alarms = {name: np.mean([row["false_alarms"] for row in rows if row["set"] == name]) for name, _ in found}
            worst = max(alarms, key=lambda name: alarms[name])
            listed = f"{len(weak)} of {len(unlike)}" + (f": {', '.join(weak)}" if 0 < len(weak) < 7 else "")
            print(
                f"| {version} | {training} | {np.mean(list(found.values())):.1%} | {listed} | "
                f"{np.mean(list(alarms.values())):.2%} | {worst} {alarms[worst]:.1%} |"
            )
    now = [row for row in results.rows if row["version"] == "after"]
    weak_detectors(now)
    exact(now)
    last = pairs([row for row in results.rows if (row["version"], row["training"]) == ("after", "300")])
    names = sorted({name for name, _ in last})
    print("\n| a model of, % flagged of |", " | ".join(names), "|\n" + "|---" * (len(names) + 1) + "|")
    for name in names:
        print(f"| {name} |", " | ".join(f"{100 * last[name, o]:.0f}" if o != name else "" for o in names), "|")


if __name__ == "__main__":
    summary(run(sys.argv[1:], "after", fit_detector))
