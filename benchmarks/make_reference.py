"""Make the statistics of the source that ship in `probes/similarity/reference/`.

    python benchmarks/make_reference.py PICTURES [--backbone NAME ...]

PICTURES holds one sub-folder for each class of the source, named WNID_label and sorted as the network's outputs are.
Each picture passes the network at every input size, as it is and shrunk before so that it has to be enlarged: what
small pictures look like to the network. One file a backbone comes out; a run takes a few minutes a backbone.
"""

import io
from pathlib import Path

import click
import numpy as np

from builders.backbones.load import open_backbone
from builders.backbones.packaged import PACKAGED
from probes.data.image_index import ImageIndex
from probes.data.sources.folder import index_folder
from probes.images.decode import read_picture, resize
from probes.images.prepare import Prepared
from probes.network.features import run_over
from probes.similarity.drift import layer_drifts, part_means
from probes.similarity.reference import load_reference
from probes.similarity.standard_photos import measure_standard_photos, photo_drift
from recommender.pipeline.probed_network import probed_network
from recommender.pipeline.programs import make_program

BACKBONES = {spec.name: spec for spec in PACKAGED}
ENLARGEMENTS = (1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0)
SHRUNK_PICTURES = 300  # enough for a floor whose standard error is below 0.002
EMBEDDING_STEP = 6 / 255  # ReLU6 ends at 6
OUT = Path(__file__).parent.parent / "probes" / "similarity" / "reference"


def sizes_of(native_size: int) -> tuple[int, ...]:
    return (*range(96, native_size, 32), native_size)


def pictures(folder: ImageIndex, size: int, enlargement: float):
    """The source's pictures as the network is to see them, shrunk first where they are to be enlarged."""
    files = [name for names in folder.files for name in names]
    step = 1 if enlargement == 1 else max(1, len(files) // SHRUNK_PICTURES)
    for label, name in list(enumerate(files))[::step]:
        pixels = read_picture(Path(folder.source) / name).pixels
        if enlargement > 1:
            pixels = np.rint(resize(pixels, round(size / enlargement))).astype(np.uint8)
        yield Prepared(
            pixels=resize(pixels, size),
            label=label,
            file=name,
            size=(pixels.shape[1], pixels.shape[0]),
            grey=False,
        )


def make(name: str, folder: ImageIndex) -> None:
    spec = BACKBONES[name]
    sizes = sizes_of(spec.native_size)
    kept = (sizes[0], 160, spec.native_size)
    rows, embeddings = [], []
    opened = open_backbone(name)
    program = make_program(opened.at(spec.native_size), opened, None)
    for size in sizes:
        backbone = program.opened(opened.at).at(size)
        network = probed_network(backbone, program=program)
        row = []
        for enlargement in ENLARGEMENTS:
            features = run_over(network, pictures(folder, size, enlargement))
            row.append(layer_drifts(features)[0])
            click.echo(f"{name} {size} px x{enlargement:g}: {len(features.labels)} pictures, {np.mean(row[-1]):.3f}")
            if enlargement == 1 and size in kept:
                embeddings.append(features.pooled[network.cuts[-1]])
        rows.append(row)
    stored = io.BytesIO()
    np.savez_compressed(
        stored,
        fingerprint=backbone.fingerprint,
        source="ImageNet",
        layers=[norm.layer for norm in network.norms],
        sizes=sizes,
        enlargements=ENLARGEMENTS,
        drift=np.array(rows, np.float32),
        labels=[class_name.split("_", 1)[1].replace("_", " ") for class_name in folder.class_names],
        embedding_sizes=kept,
        embedding_step=EMBEDDING_STEP,
        embeddings=np.rint(np.array(embeddings) / EMBEDDING_STEP).astype(np.uint8),
    )
    (OUT / f"{name}.npz").write_bytes(stored.getvalue())


def make_standard_photos() -> None:
    """How EfficientNet-Lite0 sees the two photographs, above the floor that its reference holds."""
    name = "efficientnet_lite0"
    reference, native = load_reference(name), BACKBONES[name].native_size
    above, degraded, floor = [], [], []
    opened = open_backbone(name)
    program = make_program(opened.at(native), opened, None)
    for size in sizes_of(native):
        network = probed_network(program.opened(opened.at).at(size), program=program)
        floor.append([part_means(reference.floor(size, times)) for times in ENLARGEMENTS])
        lies = [part_means(photo_drift(network, enlargement=times)) for times in ENLARGEMENTS]
        above.append(np.array(lies) - floor[-1])
        degraded.append(part_means(measure_standard_photos(network)[1]))
        click.echo(f"standard photographs {size} px: {above[-1][0]}, {degraded[-1]}")
    stored = io.BytesIO()
    np.savez_compressed(
        stored,
        native_size=native,
        sizes=sizes_of(native),
        enlargements=ENLARGEMENTS,
        floor=np.array(floor, np.float32),
        above_floor=np.array(above, np.float32),
        degraded=np.array(degraded, np.float32),
    )
    (OUT / "standard_photos.npz").write_bytes(stored.getvalue())


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path), metavar="PICTURES")
@click.option("--backbone", "names", multiple=True, default=tuple(BACKBONES), help="A backbone; all by default.")
def main(folder: Path, names: tuple[str, ...]) -> None:
    """Make the statistics that ship in probes/similarity/reference/."""
    index = index_folder(folder)
    for name in names:
        make(name, index)
    make_standard_photos()


if __name__ == "__main__":
    main()
