"""Whether two checkouts give the same answers.

    python benchmarks/compare_checkouts.py OLD NEW [NAME ...] [--results FOLDER]

`scenarios.py` and `cuts.py` run in both, and every figure is compared. OLD and NEW are folders of checkouts, both run
by this Python. A decision, a cut, a drift or an accuracy that moves by more than float noise is printed, and the exit
code is 1. Seconds are not compared. The results lie in FOLDER, by default a temporary one, in one folder a checkout; a
second run with the same FOLDER resumes.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from common import SHARED

TOLERANCE = 1e-6  # absolute, and relative to the larger figure
KEYS = {"scenarios": ("set", "whole"), "cuts": ("backbone", "set", "per_class", "seed")}
RUN = (
    "import sys, pathlib, common; common.RESULTS = pathlib.Path(sys.argv[1]); import {0}; {0}.main(tuple(sys.argv[2:]))"
)


def run(checkout: Path, results: Path, names: list[str]) -> None:
    """Run both benchmarks with the code of a checkout."""
    paths = os.pathsep.join([str(checkout), str(checkout / "benchmarks")])
    environment = {**os.environ, "PYTHONPATH": paths, "NETGRAFT_SHARED": str(SHARED)}
    for benchmark in KEYS:
        command = [sys.executable, "-c", RUN.format(benchmark), str(results), *names]
        subprocess.run(command, cwd=checkout, env=environment, check=True, stdout=subprocess.DEVNULL)


def differences(old: Any, new: Any, place: str = "") -> Iterator[str]:
    """Where two values of plain data differ by more than float noise."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in sorted({*old, *new} - {"seconds"}):
            yield from differences(old.get(key), new.get(key), f"{place}/{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, pair in enumerate(zip(old, new, strict=True)):
            yield from differences(*pair, f"{place}[{number}]")
    elif isinstance(old, float) and isinstance(new, float):
        if abs(old - new) > TOLERANCE * max(1.0, abs(old), abs(new)):
            yield f"{place}: {old!r} and {new!r}"
    elif old != new:
        yield f"{place}: {old!r} and {new!r}"


def rows(results: Path, benchmark: str) -> dict[str, Any]:
    lines = (results / f"{benchmark}.jsonl").read_text(encoding="utf-8").splitlines()
    found = [json.loads(line) for line in lines]
    return {" ".join(str(row[key]) for key in KEYS[benchmark]): row for row in found}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", type=Path)
    parser.add_argument("new", type=Path)
    parser.add_argument("names", nargs="*")
    parser.add_argument("--results", type=Path)
    given = parser.parse_args()
    folder = given.results or Path(tempfile.mkdtemp(prefix="netgraft_checkouts_"))
    for name in ("old", "new"):
        (folder / name).mkdir(parents=True, exist_ok=True)
        run(getattr(given, name).resolve(), folder / name, given.names)
    found = 0
    for benchmark in KEYS:
        old, new = rows(folder / "old", benchmark), rows(folder / "new", benchmark)
        for line in differences(old, new, benchmark):
            found += 1
            print(line)
        print(f"{benchmark}: {len(old)} cells of {given.old} compared with {len(new)} of {given.new}")
    print("The same." if not found else f"{found} differences.")
    sys.exit(bool(found))


if __name__ == "__main__":
    main()
