"""What measuring and training cost: start-up, images and steps per second beside the bare network, and peak memory.

    python benchmarks/speed.py [PART ...] [--rounds N] [--before CHECKOUT]

Times are ratios within one run: the probe's pass over image files (decoding, resizing, network, all taps) and the bare
forward pass of the same network by LiteRT on pixels in memory, at the same size, in turn; the whole command, with the
converted network in the cache, over the import of TensorFlow and Keras and over the command of another CHECKOUT; the
choice among three networks and three input sizes over the command with what it chooses; a training step of the whole
network over that pass, and over a step in which BatchNorm is a layer of its own. Each is taken on the clock and in
processor time (`cpu`: user and system, of all threads), which other work on the machine disturbs less. Memory is the
peak of the whole command in a process of its own, on 1,000 and on 60,000 images. Parts: help, commands, choosing,
memory, passes, steps; by default all. Results: benchmarks/results/speed.jsonl; the rows of a part are replaced.
"""

import argparse
import contextlib
import functools
import itertools
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import numpy as np
from common import RESULTS, SHARED

ROUNDS = 5
KEY = ("what", "set", "images", "input_size")
ROOT = Path(__file__).parent.parent
IMPORT = "import tensorflow, keras"
RECOMMEND = "import sys; from recommender.cli.recommend import main; sys.exit(main())"
COMMAND = Path(sys.executable).with_name("recommend")
NETWORKS = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")


@dataclass(slots=True)
class Times:
    """Seconds of what was run in turn with something else."""

    clock: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)

    @contextlib.contextmanager
    def taken(self) -> Iterator[None]:
        clock, cpu = time.perf_counter(), processor_seconds()
        yield
        self.clock.append(time.perf_counter() - clock)
        self.cpu.append(processor_seconds() - cpu)


def processor_seconds() -> float:
    """Of this process and of those that it has waited for."""
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def over(own: Times, other: Times) -> dict[str, object]:
    """Seconds and their ratios."""
    return {
        "seconds": [round(float(np.median(each.clock)), 1) for each in (own, other)],
        "cpu_seconds": [round(float(np.median(each.cpu)), 1) for each in (own, other)],
        "ratio": spread(own.clock, other.clock),
        "cpu_ratio": spread(own.cpu, other.cpu),
    }


def spread(times: Sequence[float], others: Sequence[float]) -> dict[str, float]:
    """Ratios of what was measured in turn."""
    ratios = np.array(times) / np.array(others)
    return {
        name: round(float(find(ratios)), 3) for name, find in (("median", np.median), ("min", np.min), ("max", np.max))
    }


def help_seconds(rounds: int) -> Iterator[dict]:
    times = Times()
    for _ in range(rounds):
        with times.taken():
            subprocess.run([COMMAND, "--help"], check=True, capture_output=True)
    seconds, cpu = (round(float(np.median(each)), 3) for each in (times.clock, times.cpu))
    yield {"what": "recommend --help", "seconds": seconds, "cpu_seconds": cpu}


def passes(name: str, folder: Path, size: int, n_images: int, rounds: int) -> dict:
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
    times = {"bare": Times(), "taps": Times(), "probe": Times()}
    for _ in range(rounds):
        for what, once in (("bare", bare), ("taps", network.run)):
            with times[what].taken():
                for _ in range(n_images // BATCH_SIZE):
                    once(batch)
        with times["probe"].taken():
            n_read = len(extract(index, draw, network).labels)
    images = {"bare": n_images // BATCH_SIZE * BATCH_SIZE, "taps": n_images // BATCH_SIZE * BATCH_SIZE, "probe": n_read}
    share = images["probe"] / images["bare"]
    return {
        "what": "images per second",
        "set": name,
        "input_size": size,
        "images": n_images,
        **{what: round(images[what] / float(np.median(each.clock)), 1) for what, each in times.items()},
        "cpu_ms": {what: round(1000 * float(np.median(each.cpu)) / images[what], 2) for what, each in times.items()},
        "ratio": spread([share * each for each in times["bare"].clock], times["probe"].clock),
        "cpu_ratio": spread([share * each for each in times["bare"].cpu], times["probe"].cpu),
    }


def run(checkout: Path, command: Sequence[str]) -> str:
    """What Python prints that runs code with arguments in a checkout."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "TF_CPP_MIN_LOG_LEVEL": "3"}
    done = subprocess.run(
        [sys.executable, "-c", *command], check=True, capture_output=True, text=True, env=environment, cwd=checkout
    )
    return done.stdout


def commands(before: Path | None, rounds: int) -> Iterator[dict]:
    """A whole recommendation over the import of TensorFlow and Keras, and over that of another checkout."""
    arguments = [str(SHARED / "datasets" / "flowers5"), "--input-size", "160", "--json"]
    runs = {"now": (ROOT, [RECOMMEND, *arguments]), "import of tensorflow and keras": (ROOT, [IMPORT])}
    if before is not None:
        runs["before"] = (before, [RECOMMEND, *arguments])
    times = {name: Times() for name in runs}
    for number in range(rounds + 1):  # the first round fills caches
        for name, each in runs.items():
            with (times[name] if number else Times()).taken():
                run(*each)
    for name, each in times.items():
        if name != "now":
            yield {"what": f"recommend on 1,000 photographs at 160 px over {name}", **over(times["now"], each)}


def choosing(rounds: int) -> Iterator[dict]:
    """The choice among three networks and three input sizes, over naming what it chooses."""
    data, times = str(SHARED / "datasets" / "hymenoptera"), {"choosing": Times(), "plain": Times()}
    for network in NETWORKS:  # their programs are in the cache from then on
        run(ROOT, [RECOMMEND, data, "--backbone", network, "--max-images", "20", "--json"])
    several = [data, *(part for name in NETWORKS for part in ("--backbone", name)), "--input-size", "auto", "--json"]
    for _ in range(rounds):
        with times["choosing"].taken():
            found = json.loads(run(ROOT, [RECOMMEND, *several]))
        chosen = found["strategy"]["backbone"], str(found["strategy"]["input_size"])
        with times["plain"].taken():
            run(ROOT, [RECOMMEND, data, "--backbone", chosen[0], "--input-size", chosen[1], "--json"])
    yield {
        "what": "choosing among three networks and three input sizes over naming them",
        "set": "hymenoptera",
        "chosen": "{} at {} px".format(*chosen),
        **over(times["choosing"], times["plain"]),
    }


def peak_memory(n_images: int) -> dict:
    """Of `recommend` on links to real photographs."""
    files = sorted((SHARED / "imagenet_sample").glob("*/*"))
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


def all_passes(rounds: int) -> Iterator[dict]:
    root = SHARED / "datasets"
    yield passes("imagenet_sample", root.parent / "imagenet_sample", 224, 320, rounds)
    yield passes("flowers5", root / "flowers5", 160, 640, rounds)
    yield passes("mnist", root / "mnist", 96, 960, rounds)


def steps(size: int, rounds: int) -> Iterator[dict]:
    """A training step of the whole network, for each image, over the bare pass and over a step without folding."""
    import keras

    from builders.backbones.load import open_backbone
    from builders.surgery import frozen_split
    from builders.training.schedule import BATCH_SIZE
    from probes.network.readout import LiteRT, convert
    from recommender.pipeline.keras_network import forward_of

    def tail(folded: bool) -> keras.Model:
        network = open_backbone("efficientnet_lite0").at(size).network
        for layer in network.layers:
            layer.trainable = not isinstance(layer, keras.layers.BatchNormalization)
        pooled = keras.layers.GlobalAveragePooling2D()(network.get_layer("top_activation").output)
        model = keras.Model(network.input, keras.layers.Dense(10, activation="softmax")(pooled))
        with contextlib.nullcontext() if folded else mock.patch.object(frozen_split, "_foldable", return_value=False):
            found = frozen_split.split_frozen(model, train_norms=True).tail
        found.compile("adam", "sparse_categorical_crossentropy", jit_compile=False)
        return found

    whole = forward_of(open_backbone("efficientnet_lite0").at(size), (), at_cuts=True)
    bare = LiteRT(convert(lambda x: whole(x)[-1:], 0, 3, size), 0, size, 3)
    rng = np.random.default_rng(0)
    batch = rng.uniform(0, 255, (BATCH_SIZE, size, size, 3)).astype(np.float32)
    labels = rng.integers(0, 10, BATCH_SIZE)
    models = {"step": tail(folded=True), "BatchNorm apart": tail(folded=False)}
    runs = {name: functools.partial(model.train_on_batch, batch, labels) for name, model in models.items()}
    runs |= {"pass": functools.partial(bare, batch)}
    times = {name: Times() for name in runs}
    for number in range(rounds + 1):  # the first round traces and fills caches
        for name, once in runs.items():
            with (times[name] if number else Times()).taken():
                once()
    for other in ("pass", "BatchNorm apart"):
        yield {"what": f"a training step over {other}", "input_size": size, **over(times["step"], times[other])}


def main() -> None:
    assert resource.RUSAGE_CHILDREN  # a platform without it can't run this
    parser = argparse.ArgumentParser()
    parts = ("help", "commands", "choosing", "memory", "passes", "steps")
    parser.add_argument("parts", nargs="*", choices=[*parts, []])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--before", type=Path)
    arguments = parser.parse_args()
    rounds, before = arguments.rounds, arguments.before and arguments.before.resolve()
    runs = {
        "help": lambda: help_seconds(rounds),
        "commands": lambda: commands(before, rounds),
        "choosing": lambda: choosing(rounds),
        "memory": lambda: map(peak_memory, (1000, 60_000)),
        "passes": lambda: all_passes(rounds),
        "steps": lambda: itertools.chain.from_iterable(steps(size, rounds) for size in (128, 224)),
    }
    path = RESULTS / "speed.jsonl"
    RESULTS.mkdir(exist_ok=True)
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    rows = {tuple(json.loads(line).get(part) for part in KEY): line for line in lines}
    for part in arguments.parts or parts:
        for row in runs[part]():
            print(row, flush=True)
            rows[tuple(row.get(name) for name in KEY)] = json.dumps(row)
            path.write_text("".join(f"{line}\n" for line in rows.values()), encoding="utf-8")


if __name__ == "__main__":
    main()
