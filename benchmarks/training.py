"""Does `fit` ever return a worse model than the frozen one, does it gain, and is the accuracy that it reports true?

    python benchmarks/training.py [SET...]

15 images a class, then as many as there are up to 1,500, train; up to 500 others, kept out of everything, judge. For
scenarios 2 and 3, forced, and two seeds of the split: the accuracy of what `build` returns, of what `fit` returns, and
the accuracy that `fit` reports. `plain` is the plain recipe of recipes.py on the same images: the whole network at
160 px, 240 steps, nothing held out. Slow: five to thirty minutes a cell on two cores, the small ones first. Results:
benchmarks/results/training.jsonl, one line a cell; a run resumes. At the end a summary of all cells is printed.
"""

import functools
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from common import ResultFile, data_sets, linked_folder, train_test_split
from recipes import PLAIN, load, measured_with_pictures, trained

from builders.training.batches import predict
from builders.training.data import Examples, Pictures
from probes.data.image_index import ImageIndex
from probes.evaluation.intervals import paired_gain
from probes.images.decode import read_picture, resize
from recommender import recommend

FEW = 15
SEEDS, ARMS = (0, 1), (3, "plain", 2)


def cell(folder: ImageIndex, per_class: int | None, scenario: int, seed: int) -> dict[str, Any]:
    train, held_out = train_test_split(folder, per_class, seed)
    labels = np.array([label for label, _ in held_out])
    with linked_folder(folder, train) as path:
        began = time.perf_counter()
        found = recommend(path, scenario=scenario)
        measured = time.perf_counter() - began
        size = found.strategy.input_size
        pixels = np.stack([resize(read_picture(Path(folder.source) / file).pixels, size) for _, file in held_out])
        test = Examples(
            inputs=Pictures(pixels=pixels), rows=np.arange(len(labels)), labels=labels, weights=np.ones(len(labels))
        )
        start = predict(found.build(), test).argmax(1) == labels
        began = time.perf_counter()
        result = found.fit()
        trained = time.perf_counter() - began
        after = predict(result.model, test).argmax(1) == labels
    gain, tried = paired_gain(start, after), result.gain
    return {
        "n_training": sum(map(len, train)),
        "n_test": len(labels),
        "input_size": size,
        "advised": (found.verdict.overridden or found.scenario).id,
        "chosen": result.chosen,
        "share": result.share,
        "trials": result.trials,
        "tried_gain": None if tried is None else [round(each, 4) for each in (tried.difference, tried.low, tried.high)],
        "start": round(float(start.mean()), 4),
        "fit": round(float(after.mean()), 4),
        "gain": [round(each, 4) for each in (gain.difference, gain.low, gain.high)],
        "reported": None if result.accuracy is None else round(result.accuracy, 4),
        "reported_interval": None if result.interval is None else [round(end, 4) for end in result.interval],
        "augmentation": result.plan.augmentation,
        "steps": 0 if result.plan.schedule is None else result.plan.schedule.steps,
        "rate": None if result.plan.schedule is None else result.plan.schedule.learning_rate,
        "seconds_recommend": round(measured, 1),
        "seconds_fit": round(trained, 1),
    }


def plain_cell(folder: ImageIndex, per_class: int | None, seed: int) -> dict[str, Any]:
    train, held_out = train_test_split(folder, per_class, seed)
    with linked_folder(folder, train) as path:
        found, data = measured_with_pictures(path, PLAIN.size)
        row = trained(found, PLAIN, data, load(Path(folder.source), held_out, PLAIN.size), seed)
    return {
        "n_training": row["n"],
        "n_test": len(held_out),
        "input_size": PLAIN.size,
        "start": round(row["accuracy"]["0"] / 100, 4),
        "fit": round(row["accuracy"]["1"] / 100, 4),
        "rate": row["rate"],
        "seconds_fit": row["seconds"],
    }


def summary(rows: list[dict[str, Any]]) -> str:
    """Over all cells: how often the returned model is worse than the frozen one, and whether the report is true."""
    plain, full = (
        {(row["set"], row["per_class"], row["seed"]): 100 * row["fit"] for row in rows if row["scenario"] == arm}
        for arm in ("plain", 3)
    )
    ahead = [full[key] - plain[key] for key in full.keys() & plain.keys()]
    rows = [row for row in rows if row["scenario"] != "plain"]
    gains = np.array([100 * (row["fit"] - row["start"]) for row in rows])
    told = [row for row in rows if row["reported"] is not None]
    errors = np.array([100 * (row["reported"] - row["fit"]) for row in told])
    covered = np.mean([row["reported_interval"][0] <= row["fit"] <= row["reported_interval"][1] for row in told])
    return (
        f"{len(rows)} cells: gain {gains.mean():+.2f} points, worst {gains.min():+.2f}, {np.sum(gains < -1)} below -1; "
        f"fine-tuned in {sum(row['chosen'] == 'fine_tuned' for row in rows)}; reported less measured "
        f"{errors.mean():+.2f} points, in the interval {covered:.0%}; scenario 3 less the plain recipe "
        f"{np.mean(ahead) if ahead else np.nan:+.2f} points in {len(ahead)} cells"
    )


def main() -> None:
    results = ResultFile("training.jsonl", ("set", "per_class", "scenario", "seed"))
    folders = dict(data_sets(tuple(sys.argv[1:])))
    for per_class in (FEW, None):
        for seed in SEEDS:
            for arm in ARMS:
                for name, folder in folders.items():
                    if results.has(name, per_class, arm, seed):
                        continue
                    measure = plain_cell if arm == "plain" else functools.partial(cell, scenario=arm)
                    key = {"set": name, "per_class": per_class, "scenario": arm, "seed": seed}
                    results.add({**key, **measure(folder, per_class, seed=seed)})
                    print(results.rows[-1], flush=True)
    print(summary(results.rows))


if __name__ == "__main__":
    main()
