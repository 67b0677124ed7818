"""What many images cost: the time and memory of sampling a long manifest, and what Ray adds to the pass over a sample.

    python benchmarks/scale.py sampling [MOST_ROWS]
    python benchmarks/scale.py overhead DATA [IMAGES]
    python benchmarks/scale.py cost DATA [IMAGES]

`sampling` writes Parquet manifests of 10^4 to MOST_ROWS (10^7) rows, of 100 classes and names alone, and indexes each
in a fresh process. `overhead` measures DATA twice, by this process and by actors of a local Ray, both with all cores,
and appends the seconds of the pass and of the start of Ray; names, scenario and accuracy have to agree. `cost` does in
this process what an actor does with one core, and appends processor time and bytes an image. All append to
benchmarks/results/scale.jsonl.
"""

import json
import os
import pickle
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

CLASSES, BATCH, MEASURED = 100, 100_000, 1000
RESULTS = Path(__file__).parent / "results" / "scale.jsonl"


def append(**found: Any) -> None:
    print(json.dumps(found), flush=True)
    with RESULTS.open("a", encoding="utf-8") as file:
        file.write(json.dumps(found) + "\n")


def write_manifest(path: Path, rows: int) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = pa.schema([("path", pa.string()), ("label", pa.string())])
    with pq.ParquetWriter(path, schema) as writer:
        for start in range(0, rows, BATCH):
            numbers = range(start, min(start + BATCH, rows))
            paths = [f"s3://bucket/images/{number // 1000:07}/{number:012}.jpg" for number in numbers]
            labels = [f"class_{number % CLASSES:03}" for number in numbers]
            writer.write_table(pa.table([paths, labels], schema=schema))


def sampling(most: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for rows in (10**power for power in range(4, 10) if 10**power <= most):
            path = Path(folder, "labels.parquet")
            write_manifest(path, rows)
            done = subprocess.run(
                [sys.executable, __file__, "index", str(path)], check=True, capture_output=True, text=True
            )
            append(what="sampling", rows=rows, **json.loads(done.stdout))


def index(path: str) -> None:
    """Index one manifest, and print what that took."""
    from probes.data.sampling import draw_splits
    from probes.data.sources.open import open_source

    before, processor = time.perf_counter(), time.process_time()
    found = open_source(path, max_images=MEASURED)
    sample = draw_splits(found, MEASURED, 0)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    took = {"seconds": round(time.perf_counter() - before, 2), "processor": round(time.process_time() - processor, 2)}
    assert sample.n_wanted == MEASURED
    print(json.dumps({**took, "peak_mib": round(memory)}))


def overhead(data: str, images: int) -> None:
    from recommender import recommend
    from recommender.cluster.session import connect

    recommend(data, max_images=images)  # converts the network, and fills the cache of files
    plain = recommend(data, max_images=images)
    begun = time.perf_counter()
    cluster = connect("local")
    started = time.perf_counter() - begun
    spread = recommend(data, max_images=images, ray="local")
    assert spread.features.files == plain.features.files
    assert spread.scenario == plain.scenario
    assert abs((spread.expected_accuracy or 0) - (plain.expected_accuracy or 0)) < 1e-6
    append(
        what="overhead",
        data=Path(data).name,
        images=len(plain.features.files),
        input_size=plain.strategy.input_size,
        cores=cluster.n_cores,
        load=round(os.getloadavg()[0], 1),  # of other programs, too
        plain_seconds=plain.seconds["network"],
        ray_seconds=spread.seconds["network"],
        start_seconds=round(started, 1),
    )


def cost(data: str, images: int) -> None:
    os.environ["NETGRAFT_CORES"] = "1"
    from probes.images.prepare import Prepared, Wanted
    from recommender import recommend
    from recommender.cluster.check import Inspect
    from recommender.cluster.sample import ReadAndRun

    found = recommend(data, max_images=images)
    store, files = found.index.store, found.features.files
    items = [Wanted(0, file, False) for file in files]
    work = ReadAndRun(store=store, network=found.network)
    before = time.process_time()
    results = work.compute(items)
    network = time.process_time() - before
    before = time.process_time()
    Inspect(store=store).compute(list(enumerate(files)))
    check = time.process_time() - before
    outputs = [item.outputs for item in results if isinstance(item, Prepared)]
    levels = [found.network.cuts.index(level) for level in found.strategy.head.levels]
    append(
        what="cost",
        data=Path(data).name,
        images=len(outputs),
        input_size=found.strategy.input_size,
        network_ms=round(1000 * network / len(files), 1),
        check_ms=round(1000 * check / len(files), 1),
        read_bytes=round(sum(len(_content(store, file)) for file in files) / len(files)),
        sample_bytes=round(len(pickle.dumps(results)) / len(files)),
        embedding_bytes=round(sum(row[level].nbytes for row in outputs for level in levels) / len(outputs)),
        prepared_bytes=3 * 4 * found.strategy.input_size**2,
    )


def _content(store: Any, file: str) -> bytes:
    with store.open(file) as opened:
        return bytes(opened.read())


if __name__ == "__main__":
    task, *arguments = sys.argv[1:]
    if task == "sampling":
        sampling(int(float(arguments[0])) if arguments else 10**7)
    elif task == "index":
        index(arguments[0])
    else:
        {"overhead": overhead, "cost": cost}[task](arguments[0], int(arguments[1]) if arguments[1:] else 1000)
