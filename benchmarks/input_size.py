"""Which input size is best, and what the rule that chooses it costs.

    python benchmarks/input_size.py [NAME ...] [--backbone NAME] [--seeds N] [--test N]

On every data set, with 10 and with 30 images a class and two seeds, the linear probe of all stages is fitted on the
training images at every input size, and judged on up to 400 others. `cross_validated` holds whether it is right on each
training image, which is all that a rule may see. The summary compares rules by the points that they lose against the
best size, which is known only with hindsight and chosen on the test images themselves, so that all losses are a little
too high. The factor of the rule, and the rule with evidence, are fitted with the judged set left out. Results:
benchmarks/results/input_size.jsonl, one line a cell; a run resumes.
"""

import argparse
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from common import ResultFile, data_sets, split

from builders.backbones.load import open_backbone
from probes.data.image_index import ImageIndex
from probes.data.splits import Rows
from probes.images.decode import Picture, quiet_decoders, read_picture, resize
from probes.images.prepare import Prepared
from probes.network.features import Features, Network, run_over
from probes.separability.linear_probe import fit_linear_probe
from recommender.pipeline.probed_network import probed_network
from recommender.pipeline.programs import make_program
from recommender.rules.cut_rule import head_levels
from recommender.rules.input_size_rule import choose_input_size, input_size, sizes_to_try

PER_CLASS, SEEDS, TEST = (10, 30), 2, 400
SMALLEST, STEP = 96, 32
FACTORS = (1, 1.5, 2, 2.5, 3, 3.5, 4, 4.5, 5, 6, 8)


def sizes_of(native: int) -> tuple[int, ...]:
    return (*range(SMALLEST, native, STEP), native)


def features_of(pictures: Sequence[tuple[int, Picture]], network: Network) -> Features:
    return run_over(
        network,
        (
            Prepared(
                pixels=resize(each.pixels, network.input_size), label=label, file="", size=each.size, grey=each.grey
            )
            for label, each in pictures
        ),
    )


def cells(
    folder: ImageIndex, networks: dict[int, Network], levels: list[str], seed: int, n_test: int
) -> dict[int, dict]:
    """For each number of images a class what every input size gives."""
    train, held_out = split(folder, max(PER_CLASS), seed)
    chosen = [[(label, file) for file in files] for label, files in enumerate(train)]
    training = [pair for pairs in chosen for pair in pairs]
    with quiet_decoders():
        read = [(label, read_picture(Path(folder.source) / file)) for label, file in (*training, *held_out[:n_test])]
    places = {pair: place for place, pair in enumerate(training)}
    found: dict[int, dict] = {
        few: {
            "n": sum(len(pairs[:few]) for pairs in chosen),
            "n_test": len(read) - len(training),
            "median_side": float(np.median([min(each.size) for _, each in read[: len(training)]])),
            "sizes": {},
        }
        for few in PER_CLASS
    }
    for size, network in networks.items():
        began = time.perf_counter()
        features = features_of(read, network)
        seconds = (time.perf_counter() - began) / len(read)
        test = np.arange(len(training), len(read))
        for few, about in found.items():
            rows = np.array([places[pair] for pairs in chosen for pair in pairs[:few]])
            judged = {}
            for name, read_by in (("joined", levels), ("top", levels[-1:])):
                blocks = [features.pooled[level] for level in read_by]
                probe = fit_linear_probe(
                    [block[rows] for block in blocks], Rows.of(features.labels[rows]), len(train), seed=0
                )
                logits = np.concatenate([block[test] for block in blocks], axis=1) @ probe.kernel + probe.bias
                judged[name] = round(float((logits.argmax(1) == features.labels[test]).mean()), 4)
                if name == "joined":
                    judged["cross_validated"] = "".join(str(int(right)) for right in probe.correct)
            about["sizes"][str(size)] = {**judged, "ms_an_image": round(1000 * seconds, 2)}
    return found


# --- rules


def nearest(side: float, native: int, factor: float) -> int:
    """The size nearest to a multiple of the median short side."""
    wanted = factor * side
    return native if wanted >= native else min(sizes_of(native), key=lambda size: abs(size - wanted))


def accuracies(row: dict) -> dict[int, float]:
    return {int(size): 100 * found["joined"] for size, found in row["sizes"].items()}


def right(row: dict, size: int) -> np.ndarray:
    return np.array([char == "1" for char in row["sizes"][str(size)]["cross_validated"]], float)


def with_evidence(row: dict, native: int, factor: float, caution: float) -> int:
    """The rule's size, left for another one where cross-validation prefers that by so many standard errors."""
    prior = nearest(row["median_side"], native, factor)
    best, gain = prior, 0.0
    for size in sizes_of(native):
        difference = right(row, size) - right(row, prior)
        error = difference.std(ddof=1) / np.sqrt(len(difference))
        if difference.mean() > caution * max(error, 1e-9) and difference.mean() > gain:
            best, gain = size, difference.mean()
    return best


def measured(row: dict, native: int) -> int:
    """What `--input-size auto` chooses; the times do not matter to it."""
    prior = input_size(row["median_side"], native)
    tried = sizes_to_try(prior, native)
    return choose_input_size(prior, tried, [right(row, size) for size in tried], [0.0] * len(tried)).size


def loss(row: dict, size: int) -> float:
    found = accuracies(row)
    return max(found.values()) - found[size]


def leaving_out(rows: list[dict], choose: Callable[[dict, float], int]) -> list[int]:
    """The size in each row, with the factor that loses least on the other sets."""
    chosen = []
    for row in rows:
        others = [each for each in rows if each["set"] != row["set"]]
        best = min(FACTORS, key=lambda factor: np.mean([loss(each, choose(each, factor)) for each in others]))
        chosen.append(choose(row, best))
    return chosen


def summarise(rows: list[dict], native: int) -> None:
    def cross_validated(row: dict) -> int:
        return max(sizes_of(native), key=lambda size: right(row, size).mean())

    rules: dict[str, list[int]] = {
        "the rule of before: nearest to the short side": [nearest(row["median_side"], native, 1) for row in rows],
        "the rule of `recommend`": [input_size(row["median_side"], native) for row in rows],
        "the same with `--input-size auto`": [measured(row, native) for row in rows],
        "cross-validation alone": [cross_validated(row) for row in rows],
        "always native": [native for _ in rows],
        **{
            f"{factor:g} × the short side": [nearest(row["median_side"], native, factor) for row in rows]
            for factor in FACTORS
        },
        "the factor, fitted on other sets": leaving_out(
            rows, lambda row, factor: nearest(row["median_side"], native, factor)
        ),
        **{
            f"the same, left where cross-validation prefers another by {caution:g} errors": leaving_out(
                rows, lambda row, factor, caution=caution: with_evidence(row, native, factor, caution)
            )
            for caution in (1.0, 1.5, 2.0, 3.0)
        },
    }
    print(
        "| rule | mean loss, points | standard error over sets | worst | cost, share of native |\n|---|---|---|---|---|"
    )
    sets = sorted({row["set"] for row in rows})
    for name, sizes in rules.items():
        lost = np.array([loss(row, size) for row, size in zip(rows, sizes, strict=True)])
        of_set = [lost[[row["set"] == each for row in rows]].mean() for each in sets]
        paid = np.mean([(size / native) ** 2 for size in sizes])
        error = np.std(of_set, ddof=1) / np.sqrt(len(of_set)) if len(sets) > 1 else float("nan")
        print(f"| {name} | {lost.mean():.2f} | {error:.2f} | {lost.max():.1f} | {paid:.2f} |")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--backbone", default="efficientnet_lite0")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--test", type=int, default=TEST, help="images that judge, at most")
    arguments = parser.parse_args()
    results = ResultFile("input_size.jsonl", ("backbone", "set", "per_class", "seed"))
    opened = open_backbone(arguments.backbone)
    native = opened.native_size
    program = make_program(opened.at(native), opened, None)
    backbones = {size: program.opened(opened.at).at(size) for size in sizes_of(native)}
    networks = {size: probed_network(backbone, program=program) for size, backbone in backbones.items()}
    points = backbones[native].points
    levels = [points[level].layer for level in head_levels([point.shape for point in points], len(points) - 1)]
    for name, folder in data_sets(tuple(arguments.names)):
        for seed in range(arguments.seeds):
            if all(results.has(arguments.backbone, name, few, seed) for few in PER_CLASS):
                continue
            for few, row in cells(folder, networks, levels, seed, arguments.test).items():
                key = {"backbone": arguments.backbone, "set": name, "per_class": few, "seed": seed}
                if not results.has(*key.values()):
                    results.add({**key, **row})
                    print(key, accuracies(row), flush=True)
    summarise([row for row in results.rows if row["backbone"] == arguments.backbone], native)


if __name__ == "__main__":
    main()
