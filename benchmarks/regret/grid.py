"""What each way of transfer learning gives, on 13 data sets with few to many images.

    python -m benchmarks.regret.grid [SET...] [--network mobilenet_0.75] [--part K OF]

A cell is a data set, a number of training images of each class, and a seed; of each class up to 60 images, a third at
most, are kept out of everything and judge. In the `frozen` arm a classifier is fitted at every cut point, alone and
joined with the earlier stages. In the others the product's own training runs on all training images, without trials:
`full` (scenario 3), `partial` (scenario 2), `short` and `long` (`full` with 120 and 240 steps), `small` (`full` with as
many batches of 16 in place of 32) and `plain`, a recipe that many people use: the last stage alone read by the
prediction layer, the last weights taken, scale and offset of BatchNorm frozen, shifts and brightness as augmentation.
A quarter as many images as train, if there are so many, are shown to the start and to the end of each training: that is
what a trial on held-out images would have seen. Input is the rule's size, 128 px at most, so that a training takes
minutes. `seconds` are of one processor.

Results: benchmarks/results/regret.jsonl, and regret_NETWORK.jsonl of another network, to which nothing is fitted; one
line an arm; a run resumes. `--part 0 2` and `--part 1 2` share the work between two processes; the first arms of all
data sets come first.
"""

import argparse
import os
import time
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from common import WEIGHTS, ResultFile, data_sets, features_of, linked_folder

from benchmarks.regret.cells import results_file
from builders.surgery.frozen_split import split_frozen
from builders.training.batches import kept_memory, predict, quiet_tracing
from builders.training.data import Examples, Pictures
from builders.training.trainer import Trainer, between
from probes.data.image_index import ImageIndex
from probes.evaluation.evaluation import log_losses
from probes.images.decode import quiet_decoders, read_picture, resize
from probes.separability.discriminant import fit
from probes.separability.linear_probe import fit_linear_probe
from recommender import recommend
from recommender.fit.data import linear_probe, read_all
from recommender.fit.plan import FitOptions, FitSession, is_dissimilar
from recommender.progress import Clock
from recommender.recommendation import Recommendation
from recommender.rules.cut_rule import head_levels
from recommender.rules.input_size_rule import input_size
from recommender.rules.plan import plan_strategy
from recommender.rules.scenario import Scenario

TEST, LARGEST_SIZE = 60, 128
SHARES = (0.0, 0.5, 0.75, 1.0)  # of the end in averages of weights with the start
STEPS = {"short": 120, "long": 240}
BATCH_SIZE = {"small": 16}
SCENARIOS = {
    "partial": Scenario.PARTIAL_FINE_TUNE,
    **dict.fromkeys(("full", "plain", "short", "long", "small"), Scenario.FULL_FINE_TUNE),
}
SIZES = ((40, 0), (10, 0), (160, 0), (20, 1), (80, 1), (320, 0))  # images a class, and seed
ARMS = ("frozen", "full", "partial")


def cells(n_sets: int) -> list[tuple[int, int, int, str]]:
    """(set, images a class, seed, arm) in an order in which each part says something of every set and size."""
    pairs = ((0, 1), (1, 0), (2, 3), (3, 2), (4, 4), (5, 5))
    found = [(number, *SIZES[pair[number % 2]], arm) for pair in pairs for number in range(n_sets) for arm in ARMS]
    found += [(number, 40, 0, "plain") for number in range(n_sets)]
    found += [(number, *SIZES[number % 2], length) for number in range(n_sets) for length in STEPS]
    found += [(number, 10, 0, "small") for number in range(n_sets)]
    return found


Files = list[tuple[int, str]]


def parts(folder: ImageIndex, per_class: int, seed: int) -> tuple[list[list[str]], Files, Files]:
    """Files that train, by class; those that a trial holds out; those that judge. The last are of the seed alone."""
    train, trial, test = [], [], []
    rng = np.random.default_rng([seed, 11])
    for label, files in enumerate(folder.files):
        order = [files[i] for i in rng.permutation(len(files))]
        kept = min(TEST, len(order) // 3)
        rest = order[kept:]
        n = min(per_class, len(rest))
        train.append(rest[:n])
        trial += [(label, file) for file in rest[n : n + max(1, n // 4)]]
        test += [(label, file) for file in order[:kept]]
    return train, trial, test


def packed(hits: npt.ArrayLike) -> str:
    return np.packbits(np.asarray(hits, bool)).tobytes().hex()


def told(probabilities: npt.NDArray[Any], labels: npt.NDArray[np.int64]) -> dict[str, Any]:
    """What one model says of one part: accuracy, the mean of those of the classes, log loss, and which are right."""
    hits = probabilities.argmax(1) == labels
    of_classes = [hits[labels == label].mean() for label in np.unique(labels)]
    return {
        "accuracy": round(float(hits.mean()), 4),
        "balanced": round(float(np.mean(of_classes)), 4),
        "log_loss": round(float(log_losses(np.asarray(probabilities, np.float64), labels).mean()), 4),
        "hits": packed(hits),
    }


def frozen(found: Recommendation, folder: ImageIndex, test: Files) -> dict[str, Any]:
    """What the decision reads; classifiers on the whole backbone, at the cut of scenario 4 and at every cut point."""
    rows, cuts, levels = found.rows, found.plan.cuts, found.strategy.head.levels
    features = features_of(folder, test, found.network)
    names, balanced = [cut.layer for cut in cuts], found.class_weight is not None
    joined = [[names[level] for level in head_levels([cut.shape for cut in cuts], end)] for end in range(len(cuts))]

    def judged(names: Sequence[str]) -> dict[str, Any]:
        blocks, unseen = ([each.pooled[name] for name in names] for each in (found.features, features))
        widths = [block.shape[1] for block in blocks]
        n_classes = found.strategy.head.classes
        classifier = fit(np.concatenate(blocks, 1), rows, n_classes, widths=widths, balanced=balanced)
        return told(classifier.probabilities(np.concatenate(unseen, 1)), features.labels)

    return {
        "n_training": int(rows.training.sum()),
        "n_classes": found.strategy.head.classes,
        "n_test": len(features.labels),
        "input_size": found.strategy.input_size,
        "task": asdict(found.verdict.task),
        "whole": judged(joined[-1]),
        "cut": {"depth": round(found.strategy.cut_depth, 3), "n_levels": len(levels), **judged(levels)},
        "depths": [round(cut.depth, 3) for cut in cuts],
        "alone": [judged([name])["accuracy"] for name in names],
        "joined": [judged(each)["accuracy"] for each in joined],
    }


def examples(folder: ImageIndex, files: Files, size: int) -> Examples:
    pixels = np.stack([resize(read_picture(Path(folder.source) / file).pixels, size) for _, file in files])
    labels = np.array([label for label, _ in files])
    return Examples(
        inputs=Pictures(pixels=pixels), rows=np.arange(len(labels)), labels=labels, weights=np.ones(len(labels))
    )


def trained(found: Recommendation, arm: str, folder: ImageIndex, trial: Files, test: Files) -> dict[str, Any]:
    """Train on all images, as `fit` does, and show the unseen ones to averages of the start and the end."""
    plan = plan_strategy(found.backbone.name, found.plan.cuts, SCENARIOS[arm], found.measurements)
    plan = plan.reading_the_cut_alone() if arm == "plain" else plan
    blocks = [found.features.pooled[level] for level in plan.strategy.head.levels]
    n_classes, balanced = plan.strategy.head.classes, found.class_weight is not None
    probe = fit_linear_probe(blocks, found.rows, n_classes, seed=found.seed, balanced=balanced)
    found = replace(found, plan=plan, probe=probe)
    options = FitOptions(
        steps=STEPS.get(arm),
        batch_size=BATCH_SIZE.get(arm),
        augmentation=("shift", "brightness") if arm == "plain" else None,
        precision="float32",
        seed=found.seed,
        force=True,
    )
    model = found.build()
    split = split_frozen(model, train_norms=arm != "plain")
    session = FitSession(found=found, model=model, frozen_split=split, given=False, options=options, clock=Clock())
    began, cpu = time.perf_counter(), time.process_time()
    data = read_all(session)
    rows = data.images.training
    schedule = options.schedule(len(rows), dissimilar=is_dissimilar(found), whole=split.takes_pictures)
    with quiet_decoders(), quiet_tracing(), kept_memory():
        trainer = Trainer(split.tail, schedule)
        model.layers[-1].set_weights(list(linear_probe(session, data.images, rows)))
        first = trainer.weights()
        state = trainer.start()
        end = trainer.run(
            state, data.images.examples(data.inputs, rows, balanced=session.class_weight is not None)
        ).state.weights
        seconds, processor = time.perf_counter() - began, time.process_time() - cpu
        judged: dict[str, list[Any]] = {"test": [], "trial": []}
        for name, files in (("test", test), ("trial", trial)):
            if not files:
                continue
            unseen = examples(folder, files, found.strategy.input_size)
            for share in SHARES:
                trainer.set_weights(between(first, end, share))
                probabilities = predict(model, unseen)
                about = {"share": share, **told(probabilities, unseen.labels)}
                if name == "trial":
                    losses = log_losses(np.asarray(probabilities, np.float64), unseen.labels)
                    about["losses"] = [round(float(loss), 3) for loss in losses]
                judged[name].append(about)
    return {
        "n_training": len(rows),
        "freeze_depth": found.strategy.freeze_depth,
        "augmentation": list(data.augmentation),
        "steps": schedule.steps,
        "rate": schedule.learning_rate,
        "seconds": round(processor),
        "clock": round(seconds),
        **judged,
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("sets", nargs="*")
    parser.add_argument("--network", choices=sorted(WEIGHTS))
    parser.add_argument("--part", nargs=2, type=int, default=(0, 1))
    options = parser.parse_args()
    import keras

    results = ResultFile(results_file(options.network), ("set", "per_class", "seed", "arm"))
    network = {"backbone": options.network, "weights": WEIGHTS[options.network]} if options.network else {}
    folders = data_sets(tuple(options.sets))
    part, of = options.part
    order = cells(len(folders))
    for place, (number, per_class, seed, arm) in enumerate(order):
        name, folder = folders[number]
        if place // len(ARMS) % of == part and not results.has(name, per_class, seed, arm):
            train, trial, test = parts(folder, per_class, seed)
            with linked_folder(folder, train) as path:
                size = input_size(_short_side(folder), LARGEST_SIZE)
                scenario = 4 if arm == "frozen" else 3
                found = recommend(path, scenario=scenario, input_size=size, seed=seed, **network)
                row = frozen(found, folder, test) if arm == "frozen" else trained(found, arm, folder, trial, test)
            backend = {"backend": keras.backend.backend(), "threads": os.environ.get("OMP_NUM_THREADS")}
            results.add({"set": name, "per_class": per_class, "seed": seed, "arm": arm, **row, **backend})
            print(
                name,
                per_class,
                seed,
                arm,
                row.get("seconds"),
                row.get("expected"),
                [each["accuracy"] for each in row.get("test", [])],
                flush=True,
            )
            keras.backend.clear_session()


def _short_side(folder: ImageIndex) -> float:
    """Median over some pictures, in px."""
    some = [files[0] for files in folder.files] + [files[-1] for files in folder.files]
    return float(np.median([min(read_picture(Path(folder.source) / file).size) for file in some]))


if __name__ == "__main__":
    main()
