"""How far the returned model, untrained, is from the best single cut.

    python benchmarks/cuts.py [NAME ...] [--backbone NAME] [--seeds N] [--held-out N]

On every data set, with 10 and with 30 images a class and two seeds, `recommend` sees the training images alone. Its
model, or its best frozen one where it advises to fine-tune, is compared on held-out images with a linear classifier at
each cut: regret is the best of those accuracies, known only with hindsight, less the model's. Results:
benchmarks/results/cuts.jsonl, one line a cell; a run resumes. The rows of MobileNet 0.75 are of the logistic regression
that came before; remove them to measure the classifier of now.
"""

import argparse
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from common import MOBILENET, WEIGHTS, ResultFile, data_sets, features_of, linked_folder, split

from probes.data.image_index import ImageIndex
from probes.data.splits import Rows
from probes.images.decode import read_picture
from probes.network.features import Features
from probes.separability.linear_probe import LinearProbe, fit_linear_probe
from recommender import recommend
from recommender.recommendation import Recommendation
from recommender.rules import cut_rule

PER_CLASS = (10, 30)
SEEDS, HELD_OUT = 2, 600  # images at most
BACKBONES = ("efficientnet_lite0", MOBILENET)
CHECKED = 4  # held-out pictures on which the model itself is run, to show that it is the classifier it was built from


def accuracy(probe: LinearProbe, features: Features, levels: tuple[str, ...]) -> float:
    joined = np.concatenate([features.pooled[level] for level in levels], axis=1)
    return float(((joined @ probe.kernel + probe.bias).argmax(1) == features.labels).mean())


def all_levels(found: Recommendation) -> tuple[str, ...]:
    """Cut points that a head reads which joins them."""
    cuts = found.plan.cuts
    index = next(i for i, cut in enumerate(cuts) if cut.layer == found.strategy.cut)
    return tuple(cuts[level].layer for level in cut_rule.head_levels([cut.shape for cut in cuts], index))


def joined_probe(found: Recommendation, seen: Features, n_classes: int) -> LinearProbe:
    return fit_linear_probe(
        [seen.pooled[level] for level in all_levels(found)], Rows.of(seen.labels), n_classes, seed=0
    )


def check_model(found: Recommendation, folder: ImageIndex, features: Features) -> None:
    """The built model gives the probabilities of the linear probe."""
    model = found.build()
    for row, file in enumerate(features.files[:CHECKED]):
        joined = np.concatenate([features.pooled[level][row] for level in found.strategy.head.levels])
        logits = joined @ found.probe.kernel + found.probe.bias
        expected = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
        given = model.predict(read_picture(Path(folder.source) / file).pixels[None], verbose=0)[0]
        np.testing.assert_allclose(given, expected, atol=1e-3)


def cells(backbone: str, name: str, folder: ImageIndex, seed: int, n_held_out: int) -> Iterator[dict]:
    """A row for each number of images a class; the same images judge each of them."""
    train, held_out = split(folder, max(PER_CLASS), seed)
    new: dict[int, Features] = {}  # by input size
    for per_class in PER_CLASS:
        few = [files[:per_class] for files in train]
        with linked_folder(folder, few) as path:
            found = recommend(path, backbone=backbone, weights=WEIGHTS.get(backbone))
        advised = found.scenario
        if advised.fine_tunes:
            found = found.with_scenario(found.verdict.best_frozen, by_trial=True)
        size = found.network.input_size
        if size not in new:
            new[size] = features_of(folder, held_out[:n_held_out], found.network)
        if per_class == PER_CLASS[0] and seed == 0:
            check_model(found, folder, new[size])
        key = {"backbone": backbone, "set": name, "per_class": per_class, "seed": seed, "advised": advised.id}
        yield {**key, **compared(found, new[size])}


def compared(found: Recommendation, new: Features) -> dict:
    """Accuracies on new images: of the model, and of a classifier at each cut, fitted on the same images."""
    seen, n_classes = found.features, found.strategy.head.classes
    single = {
        cut: accuracy(fit_linear_probe([seen.pooled[cut]], Rows.of(seen.labels), n_classes, seed=0), new, (cut,))
        for cut in found.network.cuts
    }
    return {
        "scenario": found.scenario.id,
        "cut": found.strategy.cut,
        "levels": len(found.strategy.head.levels),
        "joined": accuracy(joined_probe(found, seen, n_classes), new, all_levels(found)),
        "expected": found.expected_accuracy,
        "model": accuracy(found.probe, new, found.strategy.head.levels),
        "single": single,
        "cross_validated": {part.cut: part.accuracy for part in found.measurements.separability.per_cut},
        "n_held_out": len(new.labels),
    }


def summarise(rows: list[dict]) -> None:
    cuts = list(rows[0]["single"])
    best = np.array([max(row["single"].values()) for row in rows])
    choices = {
        "the returned model": [row["model"] for row in rows],
        "always joined": [row.get("joined", row["model"]) for row in rows],
        "the chosen cut alone": [row["single"][row["cut"]] for row in rows],
        "cross-validation alone": [row["single"][max(cuts, key=row["cross_validated"].get)] for row in rows],
        "always the top": [row["single"][cuts[-1]] for row in rows],
        **{f"always {cut}": [row["single"][cut] for row in rows] for cut in cuts[-6:-1]},
    }
    print(
        "| choice | mean regret | 90th percentile | worst | at 10 a class | at 30 a class |\n|---|---|---|---|---|---|"
    )
    few = np.array([row["per_class"] == PER_CLASS[0] for row in rows])
    for choice, found in choices.items():
        regret = 100 * (best - np.array(found))
        print(
            f"| {choice} | {regret.mean():.2f} | {np.percentile(regret, 90):.1f} | {regret.max():.1f} "
            f"| {regret[few].mean():.2f} | {regret[~few].mean():.2f} |"
        )
    print("\n| set | images a class | scenario | cut | expected | model | best single cut | regret |")
    print("|---|---|---|---|---|---|---|---|")
    for row in rows:
        top = max(row["single"].values())
        print(
            f"| {row['set']} | {row['per_class']} | {row['scenario']} | {row['cut']} | {row['expected']:.1%} "
            f"| {row['model']:.1%} | {top:.1%} | {100 * (top - row['model']):.1f} |"
        )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--backbone", choices=BACKBONES)
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--held-out", type=int, default=HELD_OUT)
    arguments = parser.parse_args()
    results = ResultFile("cuts.jsonl", ("backbone", "set", "per_class", "seed"))
    backbones = BACKBONES if arguments.backbone is None else (arguments.backbone,)
    for backbone in backbones:
        for name, folder in data_sets(tuple(arguments.names)):
            for seed in range(arguments.seeds):
                if not all(results.has(backbone, name, per_class, seed) for per_class in PER_CLASS):
                    for row in cells(backbone, name, folder, seed, arguments.held_out):
                        if not results.has(backbone, name, row["per_class"], seed):
                            results.add(row)
    for backbone in backbones:
        print(f"\n{backbone}\n")
        summarise([row for row in results.rows if row["backbone"] == backbone])


if __name__ == "__main__":
    main()
