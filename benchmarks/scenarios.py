"""Which scenario each data set gets, whole and reduced, and whether the promised accuracy is kept.

    python benchmarks/scenarios.py [NAME ...]

Every set is measured whole and with 15 images a class. The accuracy that the recommendation promises is compared with
that of the returned model, untrained, on held-out images: for whole sets a second run, with the same scenario, on four
fifths of the images. Results: benchmarks/results/scenarios.jsonl, one line a cell; a run resumes.
"""

import sys
from pathlib import Path

import numpy as np
from common import ResultFile, data_sets, linked_folder, split

from probes.data.image_index import ImageIndex
from probes.images.decode import read_picture
from recommender import recommend
from recommender.recommendation import Recommendation
from recommender.rules import scenario_rule as rules
from recommender.rules.scenario import Similarity

REDUCED = 15  # images a class
HELD_OUT = 500  # images at most


def accuracy(found: Recommendation, folder: ImageIndex, files: list[tuple[int, str]]) -> float:
    """Share of held-out pictures, each at its own size, that the returned model gets right."""
    import tensorflow as tf

    model = found.build()
    signature = [tf.TensorSpec((1, None, None, 3), tf.uint8)]
    predict = tf.function(lambda pixels: model(tf.cast(pixels, tf.float32), training=False), input_signature=signature)
    hits = [
        int(predict(read_picture(Path(folder.source) / file).pixels[None])[0].numpy().argmax()) == label
        for label, file in files
    ]
    return float(np.mean(hits))


def by_cuts(found: Recommendation) -> Similarity:
    """What the similarity would count as if drift could not be measured."""
    evidence = {cut.cut: cut.correct for cut in found.measurements.separability.per_cut}
    depths = [point.depth for point in found.plan.cuts]
    return rules.similarity_by_cuts(depths, [evidence[point.layer] for point in found.plan.cuts])


def row(name: str, folder: ImageIndex, *, whole: bool) -> dict:
    per_class = 10**9 if whole else REDUCED
    train, held_out = split(folder, per_class, seed=0)
    if whole:
        shares = [int(0.8 * len(files)) for files in folder.files]
        pool = [sorted(files) for files in folder.files]
        order = [np.random.default_rng([0, label]).permutation(len(files)) for label, files in enumerate(pool)]
        train = [[files[i] for i in o[:n]] for files, o, n in zip(pool, order, shares, strict=True)]
        held_out = [(k, pool[k][i]) for k, (o, n) in enumerate(zip(order, shares, strict=True)) for i in o[n:]]
        np.random.default_rng(0).shuffle(held_out)
        held_out = [(int(label), str(file)) for label, file in held_out]
        found = recommend(folder.source)
    with linked_folder(folder, train) as path:
        tested = recommend(path, scenario=found.scenario.id if whole else None)
        found = found if whole else tested
        held = accuracy(tested, folder, held_out[:HELD_OUT])
    similarity = found.measurements.similarity
    return {
        "set": name,
        "whole": whole,
        "n_images": found.measurements.size.n_images,
        "input_size": found.strategy.input_size,
        "early": similarity.part("early"),
        "middle": similarity.part("middle"),
        "late": similarity.part("late"),
        "excess": similarity.excess,
        "score": similarity.score,
        "standard_error": similarity.standard_error,
        "sharp_score": similarity.sharp_score,
        "by_cuts": str(by_cuts(found)),
        "scenario": found.scenario.id,
        "confidence": found.verdict.confidence,
        "cut": found.strategy.cut,
        "expected": tested.expected_accuracy,
        "held_out": held,
        "n_held_out": len(held_out[:HELD_OUT]),
        "seconds": sum(found.seconds.values()),
    }


def main(names: tuple[str, ...]) -> None:
    results = ResultFile("scenarios.jsonl", ("set", "whole"))
    for name, folder in data_sets(names):
        for whole in (True, False):
            if not results.has(name, whole):
                results.add(row(name, folder, whole=whole))
    print_table(results.rows)


def print_table(rows: list[dict]) -> None:
    print("| set | images | px | early | middle | late | excess | score | scenario | cut | expected | held out |")
    print("|---|---|---|---|---|---|---|---|---|---|---|---|")
    for r in rows:
        drift = f"{r['early']:.2f} | {r['middle']:.3f} | {r['late']:.2f} | {r['excess']:.3f}"
        print(
            f"| {r['set']}{'' if r['whole'] else ', reduced'} | {r['n_images']:,} | {r['input_size']} | {drift} "
            f"| {r['score']:.2f} ± {r['standard_error']:.2f} | {r['scenario']} ({r['confidence']:.0%}) | {r['cut']} "
            f"| {r['expected']:.1%} | {r['held_out']:.1%} |"
        )


if __name__ == "__main__":
    main(tuple(sys.argv[1:]))
