"""Is the scaling of the pixels told right? Each of the field's in turn is made the true one of genuine weights.

    python benchmarks/scaling.py

What the network expects is emulated: a candidate's pixels are taken back through the true scaling and on to what the
weights really want. Results: benchmarks/results/scaling.jsonl, one line a cell; a run resumes.
"""

import numpy as np
from common import ResultFile, data_sets
from networks import MOBILENET, load

from builders.backbones.pixel_scaling import SCALINGS
from probes.data.image_index import ImageIndex
from probes.data.sampling import draw_sample
from probes.images.decode import quiet_decoders
from probes.images.prepare import Skipped, readable
from probes.similarity.pixel_scaling import PICTURES, choose_scaling
from recommender.pipeline.probed_network import probed_network

NETWORKS = ("efficientnet_lite0", MOBILENET)
SIZE = 128


def pictures(folder: ImageIndex) -> list[np.ndarray]:
    with quiet_decoders():
        return [item.pixels for item in readable(folder, draw_sample(folder.files, PICTURES, 0), SIZE, 3, Skipped())]


def main() -> None:
    results = ResultFile("scaling.jsonl", ("network", "true", "set"))
    sets = {name: pictures(folder) for name, folder in data_sets(())}
    for name in NETWORKS:
        probed = probed_network(load(name, SIZE))  # takes 0..255 and scales it itself
        for true, wanted in SCALINGS.items():
            scale, offset, reverse = wanted.of_channels(3)

            def back(values: np.ndarray, scale=scale, offset=offset, reverse=reverse) -> np.ndarray:
                straight = values[..., ::-1] if reverse else values
                return ((straight - np.asarray(offset)) / np.asarray(scale)).astype(np.float32)

            candidates = {
                key: (lambda pixels, scaling=scaling, back=back: back(scaling.apply(pixels)))
                for key, scaling in SCALINGS.items()
            }
            for which, own in sets.items():
                if not results.has(name, true, which):
                    found = choose_scaling(probed, candidates, own)
                    told = {"told": found.name, "drift": round(found.drift, 4)}
                    told |= {"next": found.runner_up, "next_drift": round(found.runner_up_drift, 4)}
                    results.add({"network": name, "true": true, "set": which, **told})
    right = sum(row["told"] == row["true"] for row in results.rows)
    print(f"{right} of {len(results.rows)} told right")


if __name__ == "__main__":
    main()
