"""Damaged pictures: what happens to files that random changes were made to.

    python benchmarks/fuzz.py [N] [SEED …]

Each seed makes N pictures (20,000 by default) of all forms that are read and damages them in one to three ways. They
are looked at one after the other, in a process of their own, for the time and the memory that each takes, for what it
prints on standard error and for crashes; then all at once, as `recommend check --full` does.

Results: benchmarks/results/fuzz.jsonl, one line a seed; a run resumes.
"""

import json
import os
import resource
import selectors
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import PIL
from common import ResultFile

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))

from damage import write_damaged

from probes.data.sources.folder import index_folder
from probes.images.decode import UnreadableImage, quiet_decoders
from probes.images.image_facts import FAILURES, inspect
from probes.images.inspect_all import inspect_everything
from probes.quality.checked_data import InspectedData
from probes.quality.checks import files, odd_pictures, repeats
from probes.quality.repeats import find_repeats

SLOW = 1.0  # seconds for one file
LARGE = 256  # MiB that one file adds
HUNG = 60.0  # seconds without an answer
MOST_MEMORY = 8 << 30  # bytes that a process may ask for
SHOWN = 20


def peak() -> int:
    """The most memory that this process has had since the last `forget_peak`, in KiB."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))


def forget_peak() -> None:
    Path("/proc/self/clear_refs").write_text("5", encoding="ascii")


def one_by_one(folder: str, start: int) -> None:
    """Look at each file from a place on; print what came of it."""
    index = index_folder(folder)
    names = [name for files in index.files for name in files]
    with quiet_decoders():
        for place in range(start, len(names)):
            print(json.dumps({"begun": place, "name": names[place]}), flush=True)
            said = os.fstat(2).st_size
            forget_peak()
            before, clock = peak(), time.perf_counter()
            [(_, found)] = inspect(index.store, names, [place])
            failed = isinstance(found, UnreadableImage)
            row = {
                "place": place,
                "name": names[place],
                "kind": found.kind if failed else "read",
                "reason": str(found) if failed else "",
                "seconds": time.perf_counter() - clock,
                "mib": (peak() - before) / 1024,
                "said": os.fstat(2).st_size - said,
            }
            print(json.dumps(row), flush=True)


def all_at_once(folder: str) -> None:
    """Look at all files on all cores, and digest what was seen; print the peak of memory and the findings."""
    index = index_folder(folder)
    clock = time.perf_counter()
    seen = inspect_everything(index)
    seconds = time.perf_counter() - clock
    data = InspectedData(index=index, seen=seen, repeats=find_repeats(seen, index))
    found = [finding for check in (files.unreadable, repeats.check, odd_pictures.check) for finding in check(data)]
    kinds = Counter(seen.rows["failure"].tolist())
    print(
        json.dumps(
            {
                "outcomes": {("read", *FAILURES)[kind + 1]: number for kind, number in sorted(kinds.items())},
                "findings": {finding.kind: finding.n_files for finding in found},
                "seconds_all": round(seconds, 1),
                "peak_mib_all": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
            }
        )
    )


def child(*arguments: Any, stderr: Any) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(
        [sys.executable, __file__, *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=stderr,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (MOST_MEMORY, MOST_MEMORY)),
        env={**os.environ, "NETGRAFT_DATA": tempfile.gettempdir()},
    )


def lines_of(process: "subprocess.Popen[bytes]") -> Any:
    """What a child prints; it is ended when it says nothing for too long."""
    selector, waiting = selectors.DefaultSelector(), b""
    assert process.stdout is not None
    selector.register(process.stdout, selectors.EVENT_READ)
    while selector.select(HUNG):
        got = os.read(process.stdout.fileno(), 1 << 16)
        if not got:
            return
        *whole, waiting = (waiting + got).split(b"\n")
        yield from map(json.loads, whole)
    process.kill()


def look(folder: Path, n: int) -> dict[str, Any]:
    rows, crashes, start = [], [], 0
    while start < n:
        with tempfile.TemporaryFile() as said, child("--one-by-one", folder, start, stderr=said) as process:
            last: dict[str, Any] = {}
            for last in lines_of(process):
                if "place" in last:
                    rows.append(last)
            process.wait()
            said.seek(0)
            words = said.read().decode(errors="replace").splitlines()
        if process.returncode == 0:
            break
        crashes.append({"name": last.get("name"), "returncode": process.returncode, "said": words[-3:]})
        start = last.get("begun", last.get("place", n)) + 1
    if not rows:
        raise SystemExit(f"Nothing was looked at. {crashes}")
    by_seconds = sorted(rows, key=lambda row: -row["seconds"])
    by_memory = sorted(rows, key=lambda row: -row["mib"])
    reasons = Counter((row["kind"], row["reason"]) for row in rows if row["reason"])
    return {
        "crashes": crashes,
        "slowest_s": round(by_seconds[0]["seconds"], 2),
        "slow": [[row["name"], round(row["seconds"], 2)] for row in by_seconds[:SHOWN] if row["seconds"] > SLOW],
        "most_mib": round(by_memory[0]["mib"]),
        "large": [[row["name"], round(row["mib"])] for row in by_memory[:SHOWN] if row["mib"] > LARGE],
        "loud": [row["name"] for row in rows if row["said"]][:SHOWN],
        "said": sorted(set(words))[:SHOWN],
        "reasons": len(reasons),
        "unclean": sorted({reason for _, reason in reasons if not reason.isprintable() or len(reason) > 100})[:SHOWN],
        "_reasons": reasons,
    }


def of_seed(n: int, seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as name:
        folder = write_damaged(Path(name), n, seed)
        single = look(folder, n)
        with tempfile.TemporaryFile() as said, child("--all-at-once", folder, stderr=said) as process:
            found: dict[str, Any] = next(iter([*lines_of(process)][-1:]), {})
            process.wait()
            said.seek(0)
            words = said.read().decode(errors="replace").splitlines()
    if "--reasons" in sys.argv:
        for (kind, reason), number in sorted(single["_reasons"].items()):
            print(f"{number:6} {kind:10} {reason!r}")
    del single["_reasons"]
    whole = {"returncode_all": process.returncode, "said_all": words[-SHOWN:], **found}
    return {"seed": seed, "n": n, "pillow": PIL.__version__, **single, **whole}


def main(arguments: list[str]) -> None:
    n, *seeds = [int(word) for word in arguments] or [20_000]
    results = ResultFile("fuzz.jsonl", ("seed", "n"))
    for seed in seeds or range(1, 4):
        if not results.has(seed, n):
            row = of_seed(n, seed)
            print(json.dumps(row, indent=1))
            results.add(row)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--one-by-one"]:
        one_by_one(sys.argv[2], int(sys.argv[3]))
    elif sys.argv[1:2] == ["--all-at-once"]:
        all_at_once(sys.argv[2])
    else:
        main([word for word in sys.argv[1:] if word != "--reasons"])
