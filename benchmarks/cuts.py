"""How far the returned model, untrained, is from the best single cut.

    python benchmarks/cuts.py [NAME ...]

On every data set, with 10 and with 30 images a class and two seeds, `recommend` sees the training images alone. Its
model is compared on held-out images with a linear classifier at each cut: regret is the best of those accuracies,
known only with hindsight, less the model's. Results: benchmarks/results/cuts.jsonl, one line a cell; a run resumes.
"""

import sys
from pathlib import Path

import numpy as np
from common import ResultFile, data_sets, features_of, linked_folder, shared_datasets, split

from probes.data.image_index import ImageIndex
from probes.data.splits import Rows
from probes.images.decode import read_picture
from probes.network.features import Features
from probes.separability.linear_probe import LinearProbe, fit_linear_probe
from recommender import recommend
from recommender.recommendation import Recommendation
from recommender.rules import cut_rule

PER_CLASS = (10, 30)
SEEDS = (0, 1)
HELD_OUT = 600  # images at most
MOBILENET = "mobilenet_0.75"
MOBILENET_WEIGHTS = shared_datasets().parent / "weights" / "keras3_MobileNet_alpha0.75.weights.h5"
BACKBONES = ("efficientnet_lite0", MOBILENET)
CHECKED = 20  # held-out pictures on which the model itself is run, to show that it is the classifier it was built from


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


def cell(backbone: str, name: str, folder: ImageIndex, per_class: int, seed: int) -> dict:
    train, held_out = split(folder, per_class, seed)
    with linked_folder(folder, train) as path:
        found = recommend(path, backbone=backbone, weights=MOBILENET_WEIGHTS if backbone == MOBILENET else None)
    seen = features_of(folder, [(label, file) for label, files in enumerate(train) for file in files], found.network)
    new = features_of(folder, held_out[:HELD_OUT], found.network)
    single = {
        cut: accuracy(fit_linear_probe([seen.pooled[cut]], Rows.of(seen.labels), len(train), seed=0), new, (cut,))
        for cut in found.network.cuts
    }
    if per_class == PER_CLASS[0] and seed == SEEDS[0]:
        check_model(found, folder, new)
    evidence = {part.cut: part.accuracy for part in found.measurements.separability.per_cut}
    return {
        "backbone": backbone,
        "set": name,
        "per_class": per_class,
        "seed": seed,
        "scenario": found.scenario.id,
        "cut": found.strategy.cut,
        "levels": len(found.strategy.head.levels),
        "joined": accuracy(joined_probe(found, seen, len(train)), new, all_levels(found)),
        "expected": found.expected_accuracy,
        "model": accuracy(found.probe, new, found.strategy.head.levels),
        "single": single,
        "cross_validated": evidence,
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


def main(names: tuple[str, ...]) -> None:
    results = ResultFile("cuts.jsonl", ("backbone", "set", "per_class", "seed"))
    for backbone in BACKBONES:
        for name, folder in data_sets(names):
            for per_class in PER_CLASS:
                for seed in SEEDS:
                    if not results.has(backbone, name, per_class, seed):
                        results.add(cell(backbone, name, folder, per_class, seed))
    for backbone in BACKBONES:
        print(f"\n{backbone}\n")
        summarise([row for row in results.rows if row["backbone"] == backbone])


if __name__ == "__main__":
    main(tuple(sys.argv[1:]))
