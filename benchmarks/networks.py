"""Drift by layer of every data set to four networks of two families, and of ImageNet's own pictures.

    python benchmarks/networks.py

What a score must be made of, to mean the same for every network: `--report` prints how the candidates do.
Results: benchmarks/results/networks.jsonl, one line a cell; a run resumes.
"""

from pathlib import Path

import click
import keras
from common import ResultFile, data_sets, features_of, shared_datasets

from builders.backbone import Backbone
from builders.backbones import BACKBONES
from builders.loading import open_backbone
from probes.dataset import ImageFolder, draw_sample, index_folder
from probes.drift import bootstrap_drift, bootstrap_weights
from probes.features import median_short_side
from probes.images import quiet_decoders
from recommender.rules import input_size
from recommender.wiring import probed_network

IMAGES, SOURCE_IMAGES = 200, 500
MOBILENET = "mobilenet_0.75"
SIZES = (96, 128, 160, 192, 224)


def load(network: str, size: int) -> Backbone:
    if network in BACKBONES:
        return open_backbone(network).at(size)
    weights = shared_datasets().parent / "weights" / "keras3_MobileNet_alpha0.75.weights.h5"
    model = keras.applications.MobileNet(alpha=0.75, weights=None, input_shape=(size, size, 3))
    model.load_weights(weights)
    return open_backbone(model, scaling="-1..1").at(size)


def cell(name: str, folder: ImageFolder, network: str, size: int, images: int) -> dict:
    backbone = load(network, size)
    draw = draw_sample(folder, images, 0)
    chosen = zip(draw.quota, draw.candidates, strict=True)
    files = [(label, file) for label, (quota, names) in enumerate(chosen) for file in names[:quota]]
    probed = probed_network(backbone)
    features = features_of(folder, files[:images], probed)
    weights = bootstrap_weights(len(features.labels), 200, 0)
    drift = [
        bootstrap_drift(features.norm_means[norm.layer], features.norm_squares[norm.layer], weights).value
        for norm in probed.norms
    ]
    depth = {point.batch_norm: point.depth for point in backbone.points}
    return {
        "set": name,
        "network": network,
        "input_size": size,
        "images": len(features.labels),
        "depth": [round(depth[norm.layer], 4) for norm in probed.norms],
        "drift": [round(value, 5) for value in drift],
    }


def measure(results: ResultFile) -> None:
    source = index_folder(shared_datasets().parent / "imagenet_sample")
    for network in (MOBILENET, *BACKBONES):
        native = BACKBONES[network].native_size if network in BACKBONES else 224
        wanted: list[tuple[str, ImageFolder, int, int]] = []
        for size in (*[size for size in SIZES if size < native], native):
            wanted.append(("imagenet", source, size, SOURCE_IMAGES))
        for name, folder in data_sets(()):
            with quiet_decoders():
                side = median_short_side(folder, draw_sample(folder, IMAGES, 0)) or native
            wanted += [(name, folder, size, IMAGES) for size in (input_size(side, native), native)]
        for name, folder, size, images in wanted:
            if not results.has(name, network, size):
                results.add(cell(name, folder, network, size, images))
                click.echo(f"{network} {name} {size}")


@click.command()
def main() -> None:
    """Measure what is missing."""
    measure(ResultFile(Path("networks.jsonl").name, ("set", "network", "input_size")))


if __name__ == "__main__":
    main()
