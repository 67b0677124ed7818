"""Which of four networks is best, and what the rule that chooses one by measuring costs.

    python benchmarks/backbone_choice.py [NAME ...] [--seeds N] [--summary]

On every data set and for each seed, the linear probe of all stages is fitted with each network on 50, 100 and 300
training images, and judged on up to 300 others. `cross_validated` holds whether it is right on each training image,
which is all that a rule may see. The summary compares rules by the points that they lose against the best network,
which is known only with hindsight and chosen on the test images themselves, so that all losses are a little too high.
Results: benchmarks/results/backbone_choice.jsonl, one line a cell, so far of the logistic regression that came before;
a run resumes: remove the file to measure the classifier of now.
"""

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from common import MOBILENET, WEIGHTS, ResultFile, data_sets, train_test_split
from input_size import features_of

from builders.backbones.registry import BACKBONES
from probes.data.image_index import ImageIndex
from probes.data.sampling import draw_splits, quotas
from probes.data.splits import Rows
from probes.images.decode import quiet_decoders, read_picture
from probes.separability.linear_probe import fit_linear_probe
from recommender.pipeline.loading import Loader
from recommender.pipeline.probed_network import probed_network
from recommender.progress import no_progress
from recommender.rules.backbone_rule import BackboneEvidence, choose_backbone, sample_sizes, with_evidence
from recommender.rules.cut_rule import head_levels

IMAGES, TEST = (50, 100, 300), 300
NETWORKS = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2", MOBILENET)


def cell(folder: ImageIndex, name: str, seed: int) -> dict:
    """What a network gives with each number of images, and what it costs."""
    by_class, tests = train_test_split(folder, None, seed)
    rng = np.random.default_rng(seed)
    tests = [tests[number] for number in rng.permutation(len(tests))[:TEST]]
    counts = tuple(len(files) for files in by_class)
    taken = {n: quotas(counts, n) for n in IMAGES}
    training = [
        (label, file, place)
        for label, files in enumerate(by_class)
        for place, file in enumerate(files[: taken[IMAGES[-1]][label]])
    ]
    loader = Loader(
        index=folder,
        sample=draw_splits(folder, 300, seed),
        backbone=name,
        weights=WEIGHTS.get(name),
        pixels=None,
        trust=False,
        engine="litert",
        seed=seed,
        progress=no_progress,
    )
    loaded = loader.load(None)
    points = loaded.backbone.points
    network = probed_network(loaded.backbone, program=loaded.program)
    with quiet_decoders():
        read = [
            (label, read_picture(Path(folder.source) / file))
            for label, file in (*((label, file) for label, file, _ in training), *tests)
        ]
    network.run(np.zeros((1, network.input_size, network.input_size, 3), np.float32))
    began = time.perf_counter()
    features = features_of(read, network)
    seconds = time.perf_counter() - began
    levels = [points[level].layer for level in head_levels([point.shape for point in points], len(points) - 1)]
    test = np.arange(len(training), len(read))
    judged = {}
    for n in IMAGES:
        rows = np.array([row for row, (label, _, place) in enumerate(training) if place < taken[n][label]])
        blocks = [features.pooled[level] for level in levels]
        probe = fit_linear_probe(
            [block[rows] for block in blocks], Rows.of(features.labels[rows]), len(by_class), seed=seed
        )
        logits = np.concatenate([block[test] for block in blocks], axis=1) @ probe.kernel + probe.bias
        judged[str(n)] = {
            "test": round(float((logits.argmax(1) == features.labels[test]).mean()), 4),
            "cross_validated": "".join(str(int(right)) for right in probe.correct),
        }
    return {
        "input_size": loaded.backbone.input_size,
        "multiply_adds": round(loaded.backbone.multiply_adds, 1),
        "megabytes": round(loaded.backbone.megabytes, 2),
        "n_test": len(test),
        "ms_an_image": round(1000 * seconds / len(read), 2),
        "images": judged,
    }


# --- rules


def right(row: dict, n: int) -> np.ndarray:
    return np.array([char == "1" for char in row["images"][str(n)]["cross_validated"]], float)


def known(rows: list[dict]) -> list[BackboneEvidence]:
    return [
        BackboneEvidence(
            name=row["network"],
            input_size=row["input_size"],
            imagenet_accuracy=BACKBONES[row["network"]].imagenet_accuracy,
            multiply_adds=row["multiply_adds"],
            megabytes=row["megabytes"],
        )
        for row in rows
    ]


def measured(rows: list[dict], n: int) -> tuple[str, float]:
    """The network that `recommend` chooses with n images, and the network passes that it takes beside one over all."""
    tried, milliseconds = {each.name: each for each in known(rows)}, 0.0
    by_name, before = {row["network"]: row for row in rows}, 0
    for size in sample_sizes(n):
        standing = [name for name, each in tried.items() if not each.dropped]
        if len(standing) < 2:
            break
        milliseconds += sum(by_name[name]["ms_an_image"] for name in standing) * (size - before)
        before = size
        found = with_evidence([tried[name] for name in standing], [right(by_name[name], size) for name in standing])
        tried |= {each.name: each for each in found}
    name = choose_backbone(list(tried.values())).name
    return name, milliseconds / (by_name[name]["ms_an_image"] * n)


def within_an_error(rows: list[dict], n: int) -> str:
    """The cheapest that cross-validation does not find worse than the best by one standard error."""
    found = with_evidence(known(rows), [right(row, n) for row in rows])
    tied = [each for each in found if -(each.gain or 0) <= (each.gain_error or 0)]
    return min(tied, key=lambda each: each.multiply_adds).name


def summarise(rows: list[dict]) -> None:
    cells: dict[tuple, list[dict]] = {}
    for row in rows:
        cells.setdefault((row["set"], row["seed"]), []).append(row)
    cells = {key: found for key, found in cells.items() if len(found) == len(NETWORKS)}
    by_imagenet = max(NETWORKS, key=lambda name: BACKBONES[name].imagenet_accuracy or 0)
    rules: dict[str, Callable[[list[dict], int], str]] = {
        "the rule of `recommend`": lambda rows, n: measured(rows, n)[0],
        "cross-validation alone": lambda rows, n: max(rows, key=lambda row: right(row, n).mean())["network"],
        "the cheapest within one error of it": within_an_error,
        f"always the largest, and the best on ImageNet ({by_imagenet})": lambda _rows, _n: by_imagenet,
        **{f"always {name}": lambda _rows, _n, name=name: name for name in NETWORKS if name != by_imagenet},
        "a random one": lambda _rows, _n: "",
    }
    print(f"{len(cells)} cells of {len({name for name, _ in cells})} sets\n")
    print("| rule |", " | ".join(f"{n} images" for n in IMAGES), "| worst | multiply-adds, millions |")
    print("|---" * (len(IMAGES) + 3) + "|")
    for name, rule in rules.items():
        columns, worst, cost = [], 0.0, []
        for n in IMAGES:
            lost: dict[str, list[float]] = {}
            for (data, _), found in cells.items():
                accuracy = {row["network"]: 100 * row["images"][str(n)]["test"] for row in found}
                chosen = rule(found, n)
                picked = [row for row in found if chosen in ("", row["network"])]
                loss = max(accuracy.values()) - np.mean([accuracy[row["network"]] for row in picked])
                lost.setdefault(data, []).append(loss)
                worst = max(worst, loss)
                cost.append(np.mean([row["multiply_adds"] for row in picked]))
            of_set = [np.mean(each) for each in lost.values()]
            columns.append(f"{np.mean(of_set):.2f} ± {np.std(of_set, ddof=1) / np.sqrt(len(of_set)):.2f}")
        print(f"| {name} |", " | ".join(columns), f"| {worst:.1f} | {np.mean(cost):.0f} |")
    for n in IMAGES:
        passes = [measured(found, n)[1] for found in cells.values()]
        print(f"Choosing with {n} images takes {np.mean(passes):.1f} passes of the chosen network over them.")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--summary", action="store_true")
    arguments = parser.parse_args()
    results = ResultFile("backbone_choice.jsonl", ("set", "seed", "network"))
    for seed in range(0 if arguments.summary else arguments.seeds):
        for name, folder in data_sets(tuple(arguments.names)):
            for network in NETWORKS:
                if not results.has(name, seed, network):
                    found = {"set": name, "seed": seed, "network": network, **cell(folder, network, seed)}
                    results.add(found)
                    shown = {n: each["test"] for n, each in found["images"].items()}
                    print(name, seed, network, found["ms_an_image"], shown, flush=True)
    summarise(results.rows)


if __name__ == "__main__":
    main()
