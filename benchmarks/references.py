"""Drift at cut points, for networks without BatchNorm: does a reference from the source's pictures rank as it does?

    python benchmarks/references.py

Lite0 and MobileNet 0.75 are measured as if they had no BatchNorm: moments of ImageNet's pictures at every cut point
take the place of BatchNorm's. Results: benchmarks/results/references.jsonl, one line a cell; a run resumes.
"""

import numpy as np
from common import SHARED, ResultFile, data_sets, features_of
from networks import MOBILENET, load

from builders.backbones.backbone import Backbone
from probes.data.image_index import ImageIndex
from probes.data.sampling import draw_sample
from probes.data.sources.folder import index_folder
from probes.images.decode import quiet_decoders
from probes.images.prepare import median_short_side
from probes.network.features import Features, Network
from probes.similarity.drift import excess_drift, layer_drifts, part_means
from probes.similarity.similarity import unit_of
from probes.similarity.standard_photos import load_standard_photos, measure_standard_photos
from recommender.pipeline.make_reference import measure_cuts
from recommender.pipeline.probed_network import probed_network
from recommender.rules.input_size_rule import input_size

NETWORKS = ("efficientnet_lite0", MOBILENET)
SOURCE_IMAGES, IMAGES = 500, 200
NATIVE = 224


def sample(folder: ImageIndex, n_images: int) -> list[tuple[int, str]]:
    draw = draw_sample(folder.files, n_images, 0)
    chosen = enumerate(zip(draw.quota, draw.candidates, strict=True))
    return [(label, file) for label, (quota, files) in chosen for file in files[:quota]][:n_images]


def referenced(backbone: Backbone, source: ImageIndex) -> tuple[Network, np.ndarray]:
    """The network with ImageNet's moments at its cut points, and the drift of ImageNet itself."""

    def run(network: Network) -> Features:
        return features_of(source, sample(source, SOURCE_IMAGES), network)

    norms, drift, _ = measure_cuts(backbone, run, seed=0)
    return probed_network(backbone, norms), drift


def main() -> None:
    results = ResultFile("references.jsonl", ("network", "set"))
    source = index_folder(SHARED / "imagenet_sample")
    sets = []
    for name, folder in data_sets(()):
        with quiet_decoders():
            side = median_short_side(folder, draw_sample(folder.files, IMAGES, 0)) or NATIVE
        sets.append((input_size(side, NATIVE), name, folder))
    for network in NETWORKS:
        for size in sorted({size for size, _, _ in sets}):
            todo = [(name, folder) for wanted, name, folder in sets if wanted == size]
            if all(results.has(network, name) for name, _ in todo):
                continue
            probed, floor = referenced(load(network, size), source)
            _, degraded = measure_standard_photos(probed)
            unit = unit_of(part_means(degraded), load_standard_photos().at(size / NATIVE)[2])
            for name, folder in todo:
                features = features_of(folder, sample(folder, IMAGES), probed)
                excess = float(excess_drift(layer_drifts(features)[0], floor))
                row = {"network": network, "set": name, "input_size": size, "unit": round(unit, 3)}
                results.add({**row, "excess": round(excess, 4), "in_units": round(excess / unit, 4)})
    for network in NETWORKS:
        print(f"\n{network}")
        for row in sorted((row for row in results.rows if row["network"] == network), key=lambda row: row["in_units"]):
            print(f"  {row['set']:24} {row['in_units']:.3f}")


if __name__ == "__main__":
    main()
