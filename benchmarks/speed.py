"""What measuring costs: start-up, images per second beside the bare network, and peak memory.

    python benchmarks/speed.py

Times are ratios within one run: the probe's pass over image files (decoding, resizing, network, all taps) and the bare
forward pass of the same Keras network on pixels in memory, at the same size and batch, in turn. Memory is the peak of
the whole command in a process of its own, on 1,000 and on 60,000 images. Results: benchmarks/results/speed.jsonl, the
file is written anew.
"""

import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from common import RESULTS, shared_datasets

ROUNDS = 5
COMMAND = Path(sys.executable).with_name("recommend")


def help_seconds() -> float:
    times = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        subprocess.run([COMMAND, "--help"], check=True, capture_output=True)
        times.append(time.perf_counter() - begin)
    return float(np.median(times))


def passes(name: str, folder: Path, size: int, n_images: int) -> dict:
    import tensorflow as tf

    from builders.backbones.load import load_backbone
    from probes.data.sampling import draw_splits
    from probes.data.sources.folder import index_folder
    from probes.network.features import BATCH_SIZE, extract, tapped
    from recommender.pipeline.probed_network import probed_network

    backbone = load_backbone("efficientnet_lite0", size)
    index = index_folder(folder)
    draw, network = draw_splits(index, n_images, 0), probed_network(backbone)
    signature = [tf.TensorSpec((None, size, size, 3), tf.float32)]
    bare = tf.function(lambda x: backbone.network(x, training=False), input_signature=signature, jit_compile=False)
    batch = tf.random.uniform((BATCH_SIZE, size, size, 3), -1, 1)
    bare(batch)
    run = tapped(network)  # compiled once, as the bare network is
    run(batch)
    rates: dict[str, list[float]] = {"bare": [], "probe": []}
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        for _ in range(n_images // BATCH_SIZE):
            bare(batch)
        rates["bare"].append(n_images // BATCH_SIZE * BATCH_SIZE / (time.perf_counter() - begin))
        begin = time.perf_counter()
        features = extract(index, draw, network, run=run)
        rates["probe"].append(len(features.labels) / (time.perf_counter() - begin))
    ratios = np.array(rates["probe"]) / np.array(rates["bare"])
    return {
        "what": "images per second",
        "set": name,
        "input_size": size,
        "images": n_images,
        "bare": round(float(np.median(rates["bare"])), 1),
        "probe": round(float(np.median(rates["probe"])), 1),
        "ratio": {"median": float(np.median(ratios)), "min": float(ratios.min()), "max": float(ratios.max())},
    }


def peak_memory(n_images: int) -> dict:
    """Of `recommend` on links to real photographs."""
    files = sorted((shared_datasets().parent / "imagenet_sample").glob("*/*"))
    with tempfile.TemporaryDirectory() as name:
        for label in range(10):
            (Path(name) / str(label)).mkdir()
        for number in range(n_images):
            file = files[number % len(files)]
            (Path(name) / str(number % 10) / f"{number}{file.suffix}").symlink_to(file.resolve())
        code = (
            "import resource, subprocess, sys, time; begin = time.perf_counter(); "
            "subprocess.run(sys.argv[1:], check=True, capture_output=True); "
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, time.perf_counter() - begin)"
        )
        out = subprocess.run(
            [sys.executable, "-c", code, COMMAND, name, "--json"], check=True, capture_output=True, text=True
        )
    kilobytes, seconds = out.stdout.split()
    return {
        "what": "peak memory",
        "images": n_images,
        "gigabytes": round(int(kilobytes) * 1024 / 1e9, 2),
        "seconds": round(float(seconds), 1),
    }


def main() -> None:
    assert resource.RUSAGE_CHILDREN  # a platform without it can't run this
    root = shared_datasets()
    rows = [
        {"what": "recommend --help", "seconds": help_seconds()},
        peak_memory(1000),
        peak_memory(60_000),
        passes("imagenet_sample", root.parent / "imagenet_sample", 224, 320),
        passes("flowers5", root / "flowers5", 160, 640),
        passes("mnist", root / "mnist", 96, 960),
    ]
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / "speed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
