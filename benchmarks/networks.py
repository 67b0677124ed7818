"""Drift by layer of every data set to four networks of two families, and of ImageNet's own pictures.

    python benchmarks/networks.py

And the score as the product takes it, with and without a reference: it has to mean the same for every network.
Results: benchmarks/results/networks.jsonl and scores.jsonl, one line a cell; a run resumes.
"""

from dataclasses import replace
from itertools import combinations

import click
import keras
from common import MOBILENET, SHARED, WEIGHTS, ResultFile, data_sets, features_of
from scipy.stats import spearmanr

from builders.backbones.backbone import Backbone
from builders.backbones.load import open_backbone
from builders.backbones.packaged import PACKAGED
from probes.data.image_index import ImageIndex
from probes.data.sampling import draw_sample, draw_splits
from probes.data.sources.folder import index_folder
from probes.data.splits import Rows
from probes.images.decode import quiet_decoders
from probes.images.prepare import median_short_side
from probes.similarity.drift import layer_drifts
from recommender.pipeline.network_pass import run_network
from recommender.pipeline.probed_network import probed_network
from recommender.pipeline.probes import ProbeInput, similarity
from recommender.rules.input_size_rule import input_size
from recommender.rules.thresholds import DRIFT_THRESHOLD

IMAGES, SOURCE_IMAGES = 200, 500
BACKBONES = {spec.name: spec for spec in PACKAGED}
SIZES = (96, 128, 160, 192, 224)


def load(network: str, size: int) -> Backbone:
    if network in BACKBONES:
        return open_backbone(network).at(size)
    model = keras.applications.MobileNet(alpha=0.75, weights=None, input_shape=(size, size, 3))
    model.load_weights(WEIGHTS[network])
    return open_backbone(model, scaling="-1..1").at(size)


def cell(name: str, folder: ImageIndex, network: str, size: int, images: int) -> dict:
    backbone = load(network, size)
    draw = draw_sample(folder.files, images, 0)
    chosen = zip(draw.quota, draw.candidates, strict=True)
    files = [(label, file) for label, (quota, names) in enumerate(chosen) for file in names[:quota]]
    probed = probed_network(backbone)
    features = features_of(folder, files[:images], probed)
    drift = layer_drifts(features)[0].tolist()
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
    source = index_folder(SHARED / "imagenet_sample")
    for network in (MOBILENET, *BACKBONES):
        native = BACKBONES[network].native_size if network in BACKBONES else 224
        wanted: list[tuple[str, ImageIndex, int, int]] = []
        for size in (*[size for size in SIZES if size < native], native):
            wanted.append(("imagenet", source, size, SOURCE_IMAGES))
        for name, folder in data_sets(()):
            with quiet_decoders():
                side = median_short_side(folder, draw_sample(folder.files, IMAGES, 0)) or native
            wanted += [(name, folder, size, IMAGES) for size in (input_size(side, native), native)]
        for name, folder, size, images in wanted:
            if not results.has(name, network, size):
                results.add(cell(name, folder, network, size, images))
                click.echo(f"{network} {name} {size}")


def score(name: str, folder: ImageIndex, network: str, size: int) -> dict:
    """Excess drift as the product takes it: compared with ImageNet's where a reference ships, and with photographs."""
    backbone = load(network, size)
    passed = run_network(backbone, folder, draw_splits(folder, IMAGES, 0), None)
    rows = Rows.of(passed.features.labels)
    data = ProbeInput(passed=passed, rows=rows, class_names=folder.class_names, balanced=False, seed=0)
    by_photographs = similarity(replace(data, passed=replace(passed, reference=None)))
    found = {"set": name, "network": network, "input_size": size, "unit": round(by_photographs.unit, 3)}
    found["photographs"] = round(by_photographs.excess, 4)
    if passed.reference is not None:
        found["reference"] = round(similarity(data).excess, 4)
    return found


def measure_scores(results: ResultFile) -> None:
    for network in (MOBILENET, *BACKBONES):
        native = BACKBONES[network].native_size if network in BACKBONES else 224
        for name, folder in data_sets(()):
            if not results.has(name, network):
                with quiet_decoders():
                    side = median_short_side(folder, draw_sample(folder.files, IMAGES, 0)) or native
                results.add(score(name, folder, network, input_size(side, native)))


def report(rows: list[dict]) -> None:
    """Excess drift of every set to every network, and how alike they rank the sets."""
    columns = [(network, basis) for network in BACKBONES for basis in ("reference", "photographs")]
    columns.append((MOBILENET, "photographs"))
    value = {
        (row["network"], basis, row["set"]): row.get(basis) for row in rows for basis in ("reference", "photographs")
    }
    sets = sorted({row["set"] for row in rows}, key=lambda name: value["efficientnet_lite0", "reference", name])
    print("| set | " + " | ".join(f"{network}, {basis}" for network, basis in columns) + " |")
    print("|---" * (len(columns) + 1) + "|")
    for name in sets:
        print(f"| {name} | " + " | ".join(f"{value[*column, name]:.3f}" for column in columns) + " |")
    print("\nSpearman's rank correlation:")
    for one, other in combinations(columns, 2):
        rho = spearmanr([value[*one, name] for name in sets], [value[*other, name] for name in sets]).statistic
        print(f"  {', '.join(one)} and {', '.join(other)}: {rho:.3f}")
    sides = {name: {value[*column, name] <= DRIFT_THRESHOLD for column in columns} for name in sets}
    print("On both sides of the threshold:", [name for name, found in sides.items() if len(found) > 1] or "none")


@click.command()
def main() -> None:
    """Measure what is missing, and print the report."""
    measure(ResultFile("networks.jsonl", ("set", "network", "input_size")))
    scores = ResultFile("scores.jsonl", ("set", "network"))
    measure_scores(scores)
    report(scores.rows)


if __name__ == "__main__":
    main()
