"""Does a training that is killed at any moment and resumed end where an uninterrupted one ends?

    python benchmarks/kills.py [KILLS]

`recommend fit FOLDER --scenario 3 --force --resume --build MODEL.keras` runs on pictures of digits; it is killed
(SIGKILL) at random moments, from the import of TensorFlow to the writing of the model, and started again until it ends.
After every kill the files under their final names are looked at: each has to be whole or missing. At the end the model
has to be that of an unbroken run, every weight to 1e-6, and the looks at held-out images the same. Results:
benchmarks/results/kills.jsonl, one line a run that came to its end; each time other moments are drawn.
"""

import io
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

import h5py
import numpy as np
from common import RESULTS
from PIL import Image
from sklearn.datasets import load_digits

KILLS = 20
IMAGES = 200
ARGUMENTS = ("--scenario", "3", "--input-size", "32", "--steps", "48", "--resume", "--force")


def write_digits(folder: Path) -> None:
    digits = load_digits()
    for number, (pixels, label) in enumerate(zip(digits.images[:IMAGES], digits.target, strict=False)):
        (folder / str(label)).mkdir(parents=True, exist_ok=True)
        Image.fromarray((pixels * 15.9).astype(np.uint8)).resize((32, 32)).save(folder / str(label) / f"{number}.png")


def start(folder: Path, target: Path, state: Path) -> subprocess.Popen[bytes]:
    command = [str(Path(sys.executable).with_name("recommend")), "fit", str(folder), *ARGUMENTS, "--build", str(target)]
    environment = {**os.environ, "NETGRAFT_DATA": str(state)}
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)


def kills_on_record() -> int:
    results = RESULTS / "kills.jsonl"
    lines = results.read_text(encoding="utf-8").splitlines() if results.exists() else []
    return sum(len(json.loads(line)["killed_at_seconds"]) for line in lines)


def is_whole(target: Path) -> bool:
    """Whether every file under its final name can be read to its end."""
    for path in (target, target.with_suffix(".features.npz")):
        if path.exists() and zipfile.ZipFile(path).testzip() is not None:
            return False
    if target.with_suffix(".json").exists():
        json.loads(target.with_suffix(".json").read_text(encoding="utf-8"))
    return True


def weights(target: Path) -> list[np.ndarray]:
    found: list[np.ndarray] = []
    with zipfile.ZipFile(target) as archive, h5py.File(io.BytesIO(archive.read("model.weights.h5"))) as file:
        file["layers"].visititems(lambda _, item: found.append(item[()]) if isinstance(item, h5py.Dataset) else None)
    return found


def history(target: Path) -> list[float]:
    fit = json.loads(target.with_suffix(".json").read_text(encoding="utf-8"))["fit"]
    return [look["accuracy"] for look in fit["history"]]


def main() -> None:
    wanted = int(sys.argv[1]) if sys.argv[1:] else KILLS
    rng = np.random.default_rng(kills_on_record())  # other moments than before
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        write_digits(place / "digits")
        began = time.perf_counter()
        unbroken = start(place / "digits", place / "unbroken.keras", place / "unbroken")
        assert unbroken.wait() == 0
        length = time.perf_counter() - began
        print(f"unbroken: {length:.0f} s", flush=True)
        kills = runs = 0
        while kills < wanted:
            runs += 1
            target, killed_at, was_written = place / f"{runs}.keras", [], 0
            while True:
                process = start(place / "digits", target, place / f"state{runs}")
                try:
                    wait = rng.uniform(0, 1.05 * length) if kills < wanted else None
                    process.wait(wait)
                    break
                except subprocess.TimeoutExpired:
                    process.send_signal(signal.SIGKILL)
                    process.wait()
                    kills += 1
                    killed_at.append(round(wait, 1))
                    was_written += target.exists()  # and so its state was no longer needed
                    assert is_whole(target), f"a half-written file after a kill at {wait:.1f} s"
            assert process.returncode == 0, process.stderr.read().decode()
            fit = json.loads(target.with_suffix(".json").read_text(encoding="utf-8"))["fit"]
            resumed = fit["resumed_at"]
            pairs = zip(weights(place / "unbroken.keras"), weights(target), strict=True)
            row = {
                "run": runs,
                "killed_at_seconds": killed_at,
                "resumed_at_step": resumed,
                "killed_after_writing": was_written,
                "largest_difference": max(float(np.abs(one - other).max(initial=0)) for one, other in pairs),
                "same_looks": history(place / "unbroken.keras") == history(target),
                "left_behind": sorted(path.name for path in place.glob(f".{runs}*")),
            }
            print(row, flush=True)
            with (RESULTS / "kills.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")
            assert row["same_looks"]
            assert row["largest_difference"] < 1e-6


if __name__ == "__main__":
    main()
