"""What measuring costs: start-up, images per second beside the bare network, and peak memory.

    python benchmarks/speed.py [CHECKOUT]

Times are ratios within one run: the probe's pass over image files (decoding, resizing, network, all taps) and the bare
forward pass of the same network by LiteRT on pixels in memory, at the same size, in turn; the whole command, with the
converted network in the cache, and that of another CHECKOUT. Memory is the peak of the whole command in a process of
its own, on 1,000 and on 60,000 images. Results: benchmarks/results/speed.jsonl, which is written again.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from common import RESULTS, shared_datasets

ROUNDS = 5
ROOT = Path(__file__).parent.parent
IMPORT = "import tensorflow, keras"
COMMAND = Path(sys.executable).with_name("recommend")


def help_seconds() -> float:
    times = []
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        subprocess.run([COMMAND, "--help"], check=True, capture_output=True)
        times.append(time.perf_counter() - begin)
    return float(np.median(times))


def passes(name: str, folder: Path, size: int, n_images: int) -> dict:
    from builders.backbones.load import open_backbone
    from probes.data.sampling import draw_splits
    from probes.data.sources.folder import index_folder
    from probes.network.features import BATCH_SIZE, extract
    from probes.network.readout import LiteRT, convert
    from recommender.pipeline.keras_network import forward_of
    from recommender.pipeline.probed_network import probed_network
    from recommender.pipeline.programs import make_program

    opened = open_backbone("efficientnet_lite0")
    backbone = opened.at(size)
    program = make_program(backbone, opened, None)
    whole = forward_of(backbone, (), at_cuts=True)
    bare = LiteRT(convert(lambda x: whole(x)[-1:], 0, 3, size), 0, size, 3)
    index = index_folder(folder)
    draw, network = draw_splits(index, n_images, 0), probed_network(program.opened(opened.at).at(size), program=program)
    batch = np.random.default_rng(0).uniform(0, 255, (BATCH_SIZE, size, size, 3)).astype(np.float32)
    bare(batch)
    network.run(batch)
    rates: dict[str, list[float]] = {"bare": [], "probe": []}
    for _ in range(ROUNDS):
        begin = time.perf_counter()
        for _ in range(n_images // BATCH_SIZE):
            bare(batch)
        rates["bare"].append(n_images // BATCH_SIZE * BATCH_SIZE / (time.perf_counter() - begin))
        begin = time.perf_counter()
        features = extract(index, draw, network)
        rates["probe"].append(len(features.labels) / (time.perf_counter() - begin))
    return {
        "what": "images per second",
        "set": name,
        "input_size": size,
        "images": n_images,
        "bare": round(float(np.median(rates["bare"])), 1),
        "probe": round(float(np.median(rates["probe"])), 1),
        "ratio": spread(rates["probe"], rates["bare"]),
    }


def spread(times: list[float], others: list[float]) -> dict[str, float]:
    """Ratios of what was measured in turn."""
    ratios = np.array(times) / np.array(others)
    return {
        name: round(float(find(ratios)), 3) for name, find in (("median", np.median), ("min", np.min), ("max", np.max))
    }


def commands(before: Path | None) -> Iterator[dict]:
    """A whole recommendation, in turn with that of another checkout and with the import of TensorFlow and Keras."""
    arguments = [str(shared_datasets() / "flowers5"), "--input-size", "160", "--json"]
    code = "import sys; from recommender.cli import main; sys.exit(main())"
    runs = {"now": (ROOT, ["-c", code, *arguments]), "import of tensorflow and keras": (ROOT, ["-c", IMPORT])}
    if before is not None:
        runs["before"] = (before, ["-c", code, *arguments])
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS + 1):  # the first round fills caches
        for name, (checkout, command) in runs.items():
            begin = time.perf_counter()
            environment = {**os.environ, "PYTHONPATH": str(checkout), "TF_CPP_MIN_LOG_LEVEL": "3"}
            subprocess.run([sys.executable, *command], check=True, capture_output=True, env=environment, cwd=checkout)
            seconds[name].append(time.perf_counter() - begin)
    for name in runs:
        if name != "now":
            yield {
                "what": f"recommend on 1,000 photographs at 160 px over {name}",
                "seconds": [round(float(np.median(seconds[each][1:])), 1) for each in ("now", name)],
                "ratio": spread(seconds["now"][1:], seconds[name][1:]),
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
        *commands(Path(sys.argv[1]).resolve() if sys.argv[1:] else None),
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
