"""Drift of every data set to every backbone, and of photographs that were spoilt: where the threshold may lie.

Against sharp pictures of the source, whatever the size of the data set's own.

    python benchmarks/drift.py

Results: benchmarks/results/drift.jsonl, one line a cell; a run resumes.
"""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from common import ResultFile, data_sets

from builders.backbones.load import load_backbone
from builders.backbones.packaged import PACKAGED
from probes.data.image_index import ImageIndex
from probes.data.sampling import draw_sample
from probes.images.decode import quiet_decoders, read_picture, resize
from probes.images.prepare import Prepared, median_short_side
from probes.network.features import Network, run_over
from probes.similarity.reference import load_reference
from probes.similarity.similarity import measure_similarity, reference_baseline
from recommender.pipeline.probed_network import probed_network
from recommender.rules import thresholds
from recommender.rules.input_size_rule import input_size

IMAGES = 300
PHOTOGRAPHS = ("hymenoptera", "cats_dogs", "flowers5", "clothing10", "trash6")
SPOILT: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "grey": lambda x: np.repeat(x.mean(-1, keepdims=True), 3, -1),
    "dark": lambda x: 0.4 * x,
    "noisy": lambda x: np.clip(x + np.random.default_rng(0).normal(0, 25, x.shape), 0, 255),
    "negative": lambda x: 255 - x,
}


def pictures(folder: ImageIndex, network: Network, change: Callable[[np.ndarray], np.ndarray]) -> Iterator[Prepared]:
    draw = draw_sample(folder.files, IMAGES, 0)
    for label, (quota, files) in enumerate(zip(draw.quota, draw.candidates, strict=True)):
        for file in files[:quota]:
            picture = read_picture(Path(folder.source) / file)
            pixels = change(resize(picture.pixels, network.input_size)).astype(np.float32)
            yield Prepared(pixels=pixels, label=label, file=file, size=picture.size, grey=picture.grey)


def cell(name: str, folder: ImageIndex, backbone: str, variant: str, size: int) -> dict:
    network = probed_network(load_backbone(backbone, size))
    with quiet_decoders():
        features = run_over(network, pictures(folder, network, SPOILT.get(variant, lambda x: x)))
    sharp = reference_baseline(load_reference(backbone), source="ImageNet", input_size=size, enlargement=1.0)
    found = measure_similarity(
        features,
        sharp,
        input_size=size,
        n_classes=len(folder.class_names),
        threshold=thresholds.DRIFT_THRESHOLD,
        seed=0,
    )
    parts = {part: round(found.part(part), 4) for part in ("early", "middle", "late")}
    return {
        "set": name,
        "backbone": backbone,
        "variant": variant,
        "input_size": size,
        "images": len(features.labels),
        **parts,
        "excess": round(found.excess, 4),
        "score": round(found.score, 3),
    }


def main() -> None:
    results = ResultFile("drift.jsonl", ("set", "backbone", "variant", "input_size"))
    for name, folder in data_sets(()):
        for backbone, spec in ((spec.name, spec) for spec in PACKAGED):
            with quiet_decoders():
                side = median_short_side(folder, draw_sample(folder.files, IMAGES, 0)) or spec.native_size
            auto = input_size(side, spec.native_size)
            photograph = name in PHOTOGRAPHS
            cells = [("plain", auto)]
            if backbone == "efficientnet_lite0":
                cells += [("plain", spec.native_size)] + ([(variant, auto) for variant in SPOILT] if photograph else [])
            for variant, size in cells:
                if not results.has(name, backbone, variant, size):
                    results.add(cell(name, folder, backbone, variant, size))
    rows = sorted(results.rows, key=lambda row: row["excess"])
    print("| set | variant | backbone | px | early | middle | late | excess | score |")
    print("|---|---|---|---|---|---|---|---|---|")
    for row in rows:
        print(
            f"| {row['set']} | {row['variant']} | {row['backbone']} | {row['input_size']} | {row['early']:.3f} "
            f"| {row['middle']:.3f} | {row['late']:.3f} | {row['excess']:.3f} | {row['score']:.2f} |"
        )


if __name__ == "__main__":
    main()
