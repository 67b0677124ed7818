"""How many planted label errors are found, and how many images are flagged where none was planted.

    python benchmarks/label_errors.py [--cache FOLDER] [NAME ...]

Up to 1,000 images of every data set at the best single cut, out-of-fold probabilities as `recommend` has them. Labels
are flipped at random (2, 5 and 10 % of them), to a class that the classifier itself confuses with the right one (5 %),
or all in one direction (15 % of one class), with several seeds. Beside it stands confident learning as published.
Precision counts every image that was not flipped as a false alarm, also those that are mislabelled in the data.
Results: benchmarks/results/label_errors.jsonl, one line a set; a run resumes.
"""

import argparse
from collections.abc import Callable
from pathlib import Path

import numpy as np
from common import ResultFile, data_sets, features_of

from builders.backbones.load import load_backbone
from builders.backbones.registry import BACKBONES
from probes.data.image_index import ImageIndex
from probes.data.sampling import draw_sample
from probes.data.splits import Rows, held_out_splits
from probes.images.decode import quiet_decoders
from probes.images.prepare import median_short_side
from probes.quality.label_errors import label_errors
from probes.separability.linear_probe import cross_validate
from recommender.pipeline.probed_network import probed_network
from recommender.rules.input_size_rule import input_size

BACKBONE = "efficientnet_lite0"
IMAGES = 1000
SEEDS = range(8)
SHARES = (0.02, 0.05, 0.1)
CONFUSED, ONE_WAY = 0.05, 0.15
EARLY_CUTS = 5  # that are never the best

Flip = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def extracted(name: str, folder: ImageIndex, cache: Path | None) -> tuple[list[str], np.ndarray, dict[str, np.ndarray]]:
    """File names, labels and pooled features at each cut of a sample, from the cache if they are there.

    Args:
        name: of the data set.
        folder: its index.
        cache: folder of NAME.npz with the arrays `files`, `labels`, `cuts` and for each cut `pooled_CUT`, or None.
    """
    file = None if cache is None else cache / f"{name}.npz"
    if file is not None and file.exists():
        with np.load(file) as stored:
            pooled = {str(cut): stored[f"pooled_{cut}"] for cut in stored["cuts"]}
            return stored["files"].tolist(), stored["labels"], pooled
    draw = draw_sample(folder.files, IMAGES, 0)
    native = BACKBONES[BACKBONE].native_size
    with quiet_decoders():
        side = median_short_side(folder, draw) or native
    wanted = [(label, each) for label, names in enumerate(draw.candidates) for each in names[: draw.quota[label]]]
    features = features_of(folder, wanted, probed_network(load_backbone(BACKBONE, input_size(side, native))))
    if file is not None:
        arrays = {f"pooled_{cut}": values for cut, values in features.pooled.items()}
        np.savez_compressed(file, files=features.files, labels=features.labels, cuts=list(features.pooled), **arrays)
    return list(features.files), features.labels, features.pooled


def judged(features: np.ndarray, labels: np.ndarray) -> np.ndarray:
    rows = Rows.of(labels)
    return cross_validate(features, rows, held_out_splits(rows, seed=0))


def plain(probabilities: np.ndarray, labels: np.ndarray) -> set[int]:
    """Confident learning as published: the most probable of the classes above their mean probability."""
    means = np.array([probabilities[labels == label, label].mean() for label in range(probabilities.shape[1])])
    above = np.where(probabilities >= means, probabilities, 0.0)
    return set(np.flatnonzero((above.argmax(1) != labels) & (above.max(1) > 0)).tolist())


def at_random(share: float) -> Flip:
    def flip(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        given, n_classes = labels.copy(), int(labels.max()) + 1
        chosen = rng.choice(len(labels), max(1, round(share * len(labels))), replace=False)
        given[chosen] = (labels[chosen] + rng.integers(1, n_classes, len(chosen))) % n_classes
        return given

    return flip


def confused(probabilities: np.ndarray) -> Flip:
    def flip(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        given = labels.copy()
        for row in rng.choice(len(labels), round(CONFUSED * len(labels)), replace=False):
            odds = np.sqrt(probabilities[row])
            odds[labels[row]] = 0.0
            given[row] = rng.choice(len(odds), p=odds / odds.sum())
        return given

    return flip


def one_way(labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    given = labels.copy()
    right, wrong = rng.choice(int(labels.max()) + 1, 2, replace=False)
    own = np.flatnonzero(labels == right)
    given[rng.choice(own, max(1, round(ONE_WAY * len(own))), replace=False)] = wrong
    return given


def planted(features: np.ndarray, labels: np.ndarray, flip: Flip) -> dict[str, int]:
    counted = dict.fromkeys(("planted", "flagged", "found", "flagged_plain", "found_plain"), 0)
    for seed in SEEDS:
        given = flip(labels, np.random.default_rng([seed, len(labels)]))
        flipped = set(np.flatnonzero(given != labels).tolist())
        probabilities = judged(features, given)
        flagged = {error.index for error in label_errors(probabilities, given, features)}
        simply = plain(probabilities, given)
        sizes = len(flipped), len(flagged), len(flagged & flipped), len(simply), len(simply & flipped)
        counted = {name: n + size for (name, n), size in zip(counted.items(), sizes, strict=True)}
    return counted


def cell(name: str, folder: ImageIndex, cache: Path | None) -> dict:
    files, labels, pooled = extracted(name, folder, cache)
    clean = {cut: judged(pooled[cut], labels) for cut in list(pooled)[EARLY_CUTS:]}
    accuracy = {cut: float((found.argmax(1) == labels).mean()) for cut, found in clean.items()}
    cut = max(accuracy, key=accuracy.__getitem__)
    features, probabilities = pooled[cut], clean[cut]
    flips = {f"{share:.0%}": at_random(share) for share in SHARES}
    flips |= {"confused": confused(probabilities), "one way": one_way}
    return {
        "set": name,
        "images": len(labels),
        "classes": len(folder.class_names),
        "cut": cut,
        "accuracy": round(accuracy[cut], 3),
        "clean": [
            {
                "file": files[error.index],
                "given": folder.class_names[error.given],
                "suggested": folder.class_names[error.suggested],
            }
            for error in label_errors(probabilities, labels, features)
        ],
        "clean_plain": len(plain(probabilities, labels)),
        "planted": {kind: planted(features, labels, flip) for kind, flip in flips.items()},
    }


def share(part: int, whole: int) -> str:
    return f"{part / whole:.2f}" if whole else "-"


def main(names: tuple[str, ...], cache: Path | None) -> None:
    results = ResultFile("label_errors.jsonl", ("set",))
    for name, folder in data_sets(names):
        if not results.has(name):
            results.add(cell(name, folder, cache))
    kinds = list(results.rows[0]["planted"])
    print("Flagged on the data as they are, and precision / recall of planted errors\n")
    print(f"| set | accuracy | flagged | {' | '.join(kinds)} |\n|---|---|---|{'---|' * len(kinds)}")
    for plainly in (False, True):
        suffix = "_plain" if plainly else ""
        print(f"| **{'confident learning as published' if plainly else 'label_errors'}** |")
        for row in sorted(results.rows, key=lambda row: -row["accuracy"]):
            flagged = row["clean_plain"] if plainly else len(row["clean"])
            columns = [
                f"{share(n[f'found{suffix}'], n[f'flagged{suffix}'])} / {share(n[f'found{suffix}'], n['planted'])}"
                for n in row["planted"].values()
            ]
            print(f"| {row['set']} | {row['accuracy']:.1%} | {flagged / row['images']:.1%} | {' | '.join(columns)} |")


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--cache", type=Path)
    arguments = parser.parse_args()
    main(tuple(arguments.names), arguments.cache)
