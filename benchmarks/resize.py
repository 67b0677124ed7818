"""How pictures that are not square are best made square: squashed, padded or cropped.

    python benchmarks/resize.py [NAME ...] [--most PX] [--ways WAY ...] [--seeds N] [--backbone NAME]

On every data set with pictures that are not square, with 10 and with 30 images a class and two seeds, the linear probe
of all stages is fitted on the training images in each way, and judged on up to 400 others. The input size is that of
the rule, at most `--most` px. Square pictures are the same in each way, so other sets can't differ. Results:
benchmarks/results/resize.jsonl, one line a cell; a run resumes.
"""

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
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
from recommender.rules.input_size_rule import input_size

PER_CLASS, SEEDS, TEST = (10, 30), 2, 400
SQUARE = 1.05  # long over short side, up to which a picture counts as square
LEAST_SHARE = 0.05  # of pictures that are not square, from which a set is measured
GREY = 127
Pixels = npt.NDArray[np.uint8]


def padded(pixels: Pixels, value: int) -> Pixels:
    """The picture in the middle of a square."""
    height, width = pixels.shape[:2]
    side = max(height, width)
    square = np.full((side, side, pixels.shape[2]), value, np.uint8)
    top, left = (side - height) // 2, (side - width) // 2
    square[top : top + height, left : left + width] = pixels
    return square


def cropped(pixels: Pixels) -> Pixels:
    """The square in the middle of the picture."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return pixels[top : top + side, left : left + side]


WAYS: dict[str, Callable[[Pixels], Pixels]] = {
    "squash": lambda pixels: pixels,
    "pad, black": lambda pixels: padded(pixels, 0),
    "pad, grey": lambda pixels: padded(pixels, GREY),
    "crop": cropped,
}


def features_of(pictures: Sequence[tuple[int, Picture]], network: Network, way: Callable[[Pixels], Pixels]) -> Features:
    return run_over(
        network,
        (
            Prepared(
                pixels=resize(np.ascontiguousarray(way(each.pixels)), network.input_size),
                label=label,
                file="",
                size=each.size,
                grey=each.grey,
            )
            for label, each in pictures
        ),
    )


def cells(
    folder: ImageIndex,
    network_at: Callable[[int], Network],
    levels: list[str],
    ways: Sequence[str],
    most: int,
    seed: int,
) -> list[dict]:
    """A row for each number of images a class; none if the pictures are square."""
    train, held_out = split(folder, max(PER_CLASS), seed)
    training = [(label, file, place) for label, files in enumerate(train) for place, file in enumerate(files)]
    with quiet_decoders():
        read = [
            (label, read_picture(Path(folder.source) / file))
            for label, file in (*((label, file) for label, file, _ in training), *held_out[:TEST])
        ]
    sides = np.array([sorted(each.size) for _, each in read], float)
    share = float((sides[:, 1] > SQUARE * sides[:, 0]).mean())
    if share < LEAST_SHARE:
        return []
    test = np.arange(len(training), len(read))
    size = min(most, input_size(float(np.median(sides[: len(training), 0])), most))
    rows: dict[int, dict] = {few: {} for few in PER_CLASS}
    for way in ways:
        features = features_of(read, network_at(size), WAYS[way])
        for few, row in rows.items():
            seen = np.array([number for number, (_, _, place) in enumerate(training) if place < few])
            blocks = [features.pooled[level] for level in levels]
            probe = fit_linear_probe(
                [block[seen] for block in blocks], Rows.of(features.labels[seen]), len(train), seed=0
            )
            logits = np.concatenate([block[test] for block in blocks], axis=1) @ probe.kernel + probe.bias
            row["n"] = len(seen)
            row[way] = round(float((logits.argmax(1) == features.labels[test]).mean()), 4)
    about = {
        "input_size": size,
        "not_square": round(share, 3),
        "median_aspect": round(float(np.median(sides[:, 1] / sides[:, 0])), 2),
        "n_test": len(test),
    }
    return [{"per_class": few, **about, **row} for few, row in rows.items()]


def summarise(rows: list[dict]) -> None:
    """Differences to squashing in points; the standard error is over sets."""
    sets = sorted({row["set"] for row in rows})
    others = [way for way in WAYS if way != "squash" and all(way in row for row in rows)]
    print("| set | not square | median aspect | input px | squash | " + " | ".join(others) + " |")
    print("|---" * (5 + len(others)) + "|")
    means = {way: np.zeros(len(sets)) for way in others}
    for number, name in enumerate(sets):
        own = [row for row in rows if row["set"] == name]
        for way in others:
            means[way][number] = 100 * np.mean([row[way] - row["squash"] for row in own])
        print(
            f"| {name} | {np.mean([row['not_square'] for row in own]):.0%} | {own[0]['median_aspect']} "
            f"| {own[0]['input_size']} | {100 * np.mean([row['squash'] for row in own]):.1f} | "
            + " | ".join(f"{means[way][number]:+.1f}" for way in others)
            + " |"
        )
    print(
        "| all | | | | | "
        + " | ".join(f"{mean.mean():+.2f} ± {mean.std(ddof=1) / np.sqrt(len(sets)):.2f}" for mean in means.values())
        + " |"
    )


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("names", nargs="*")
    parser.add_argument("--most", type=int, default=160)
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=tuple(WAYS))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--backbone", default="efficientnet_lite0")
    arguments = parser.parse_args()
    results = ResultFile("resize.jsonl", ("backbone", "most", "set", "per_class", "seed"))
    opened = open_backbone(arguments.backbone)
    program = make_program(opened.at(opened.native_size), opened, None)
    points = program.opened(opened.at).at(opened.native_size).points
    levels = [points[level].layer for level in head_levels([point.shape for point in points], len(points) - 1)]

    def network_at(size: int) -> Network:
        return probed_network(program.opened(opened.at).at(size), program=program)

    for name, folder in data_sets(tuple(arguments.names)):
        for seed in range(arguments.seeds):
            key = {"backbone": arguments.backbone, "most": arguments.most, "set": name}
            if not all(results.has(*key.values(), few, seed) for few in PER_CLASS):
                for row in cells(folder, network_at, levels, arguments.ways, arguments.most, seed):
                    if not results.has(*key.values(), row["per_class"], seed):
                        results.add({**key, "seed": seed, **row})
                        print(results.rows[-1], flush=True)
    same = [row for row in results.rows if (row["backbone"], row["most"]) == (arguments.backbone, arguments.most)]
    for few in PER_CLASS:
        print(f"\n{few} a class\n")
        summarise([row for row in same if row["per_class"] == few])


if __name__ == "__main__":
    main()
