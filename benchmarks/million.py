"""What it costs to index a million images: seconds, beside merely reading the names, and peak memory.

    python benchmarks/million.py

A manifest of 1,000,000 rows and 1,000 classes, with splits, groups and weights, as CSV and as Parquet, and a folder of
200,000 empty files. Each is made in a temporary folder and indexed in a fresh process that imports no TensorFlow. Peak
memory is that of the whole process. The ratio is to reading the lines of the CSV, the bare columns of the Parquet file
or a plain walk by `os.scandir`, in the same process, right before. Results are appended to
benchmarks/results/million.jsonl.
"""

import csv
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

ROWS, FILES, CLASSES = 1_000_000, 200_000, 1_000
COLUMNS = ("path", "label", "split", "group", "weight")
RESULTS = Path(__file__).parent / "results" / "million.jsonl"


def rows() -> Iterator[tuple[str, str, str, str, float]]:
    """A patient has ten images; one image in ten is for validation, one for testing."""
    for number in range(ROWS):
        label = f"class_{number % CLASSES:04}"
        split = ("val", "test", *["train"] * 8)[number // CLASSES % 10]
        yield f"{label}/image_{number:07}.jpg", label, split, f"patient_{number // 10:06}", 0.5 + number % 4 / 2


def make_csv(path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        writer.writerows(rows())


def make_parquet(path: Path) -> None:
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table(dict(zip(COLUMNS, map(list, zip(*rows(), strict=True)), strict=True)))
    pyarrow.parquet.write_table(table, path)


def make_folder(path: Path) -> None:
    for label in range(CLASSES):
        folder = path / f"class_{label:04}"
        folder.mkdir(parents=True)
        for number in range(FILES // CLASSES):
            (folder / f"image_{number:07}.jpg").touch()


def read_csv(path: Path) -> int:
    with path.open(encoding="utf-8", newline="") as file:
        return sum(1 for _ in file) - 1


def read_parquet(path: Path) -> int:
    import pyarrow.parquet

    with pyarrow.parquet.ParquetFile(path) as table:
        return sum(batch.num_rows for batch in table.iter_batches())


def read_folder(path: Path | str) -> int:
    with os.scandir(path) as found:
        return sum(read_folder(entry.path) if entry.is_dir() else 1 for entry in found)


MAKE = {"csv": make_csv, "parquet": make_parquet, "folder": make_folder}
READ = {"csv": read_csv, "parquet": read_parquet, "folder": read_folder}


def measure(what: str, path: Path) -> dict:
    from probes.data.sources.open import open_source

    READ[what](path)  # libraries and the disk's cache are warm
    begin = time.perf_counter()
    n = READ[what](path)
    read_seconds = time.perf_counter() - begin
    before = peak_megabytes()
    begin = time.perf_counter()
    index = open_source(path)
    seconds = time.perf_counter() - begin
    assert "tensorflow" not in sys.modules
    assert sum(index.split_sizes().values()) == n, "all of them are in the index"
    return {
        "what": what,
        "rows": n,
        "classes": len(index.class_names),
        "seconds": round(seconds, 2),
        "read_seconds": round(read_seconds, 2),
        "ratio": round(seconds / read_seconds, 1),
        "microseconds_per_row": round(seconds / n * 1e6, 2),
        "peak_mb": round(peak_megabytes()),
        "before_mb": round(before),
        "bytes_per_row": round((peak_megabytes() - before) * 1e6 / n),
    }


def peak_megabytes() -> float:
    """Of this process since its start; Linux counts it in KiB, macOS in bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def in_a_fresh_process(*arguments: str) -> str:
    """This process stays small: a child's peak is at least its parent's size when it was born."""
    return subprocess.run([sys.executable, __file__, *arguments], check=True, stdout=subprocess.PIPE, text=True).stdout


def main() -> None:
    if len(sys.argv) > 1:
        step, what, path = sys.argv[1:]
        if step == "make":
            MAKE[what](Path(path))
        else:
            print(json.dumps(measure(what, Path(path))))
        return
    for what in MAKE:
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "million" if what == "folder" else f"million.{what}")
            in_a_fresh_process("make", what, path)
            line = in_a_fresh_process("measure", what, path)
        with RESULTS.open("a", encoding="utf-8") as file:
            file.write(line)
        print(line, end="")


if __name__ == "__main__":
    main()
