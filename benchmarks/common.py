"""What the benchmarks share: subsets of an image folder, and result files that a run can resume."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from probes.data.image_index import ImageIndex
from probes.data.sources.folder import index_folder
from probes.images.decode import quiet_decoders, read_picture, resize
from probes.images.prepare import Prepared
from probes.network.features import Features, Network, run_over

RESULTS = Path(__file__).parent / "results"
MOST, TEST = 1500, 500  # images that train and that judge at most, in `train_test_split`
SHARED = Path(os.environ.get("NETGRAFT_SHARED", Path(__file__).parent.parent.parent / "shared"))
MOBILENET = "mobilenet_0.75"
WEIGHTS = {MOBILENET: SHARED / "weights" / "keras3_MobileNet_alpha0.75.weights.h5"}  # of the networks not packaged


def split(folder: ImageIndex, per_class: int, seed: int) -> tuple[list[list[str]], list[tuple[int, str]]]:
    """Draw training files of each class, at most half of a class; all others are held out, in random order."""
    rng = np.random.default_rng(seed)
    train, held_out = [], []
    for label, files in enumerate(folder.files):
        order = rng.permutation(len(files))
        taken = min(per_class, len(files) // 2)
        train.append([files[i] for i in order[:taken]])
        held_out += [(label, files[i]) for i in order[taken:]]
    return train, [held_out[i] for i in rng.permutation(len(held_out))]


def train_test_split(
    folder: ImageIndex, per_class: int | None, seed: int
) -> tuple[list[list[str]], list[tuple[int, str]]]:
    """Training files of each class and test files; a quarter of the images, `TEST` at most, are for the test.

    The test files are the same for each `per_class`. None means as many as there are, `MOST` of all classes at most.
    """
    rng = np.random.default_rng([seed, 5])
    shuffled = [[files[i] for i in rng.permutation(len(files))] for files in folder.files]
    n_images = sum(map(len, shuffled))
    share = min(0.25, TEST / n_images)
    tests = [round(share * len(files)) for files in shuffled]
    kept = min(1.0, MOST / sum(len(files) - n for files, n in zip(shuffled, tests, strict=True)))
    train = []
    for files, n in zip(shuffled, tests, strict=True):
        most = max(1, round(kept * (len(files) - n))) if per_class is None else per_class
        train.append(files[n : n + most])
    return train, [
        (label, file) for label, (files, n) in enumerate(zip(shuffled, tests, strict=True)) for file in files[:n]
    ]


@contextlib.contextmanager
def linked_folder(folder: ImageIndex, files: list[list[str]]) -> Iterator[Path]:
    """A temporary folder that holds links to these files of each class."""
    with tempfile.TemporaryDirectory() as name:
        for class_name, names in zip(folder.class_names, files, strict=True):
            (Path(name) / class_name).mkdir()
            for number, file in enumerate(names):
                link = Path(name) / class_name / f"{number:05}{Path(file).suffix}"
                link.symlink_to((Path(folder.source) / file).resolve())
        yield Path(name)


def features_of(folder: ImageIndex, files: list[tuple[int, str]], network: Network) -> Features:
    """Run the network over these files."""

    def pictures() -> Iterator[Prepared]:
        for label, file in files:
            picture = read_picture(Path(folder.source) / file)
            pixels = resize(picture.pixels, network.input_size)
            yield Prepared(pixels=pixels, label=label, file=file, size=picture.size, grey=picture.grey)

    with quiet_decoders():
        return run_over(network, pictures())


class ResultFile:
    """One JSON line per finished cell, appended as it ends; a second run skips what is there."""

    def __init__(self, name: str, key: tuple[str, ...]) -> None:
        self.path, self.key = RESULTS / name, key
        RESULTS.mkdir(exist_ok=True)
        lines = self.path.read_text(encoding="utf-8").splitlines() if self.path.exists() else []
        self.rows: list[dict[str, Any]] = [json.loads(line) for line in lines]
        self.done = {tuple(row[part] for part in key) for row in self.rows}

    def has(self, *cell: Any) -> bool:
        return cell in self.done

    def add(self, row: dict[str, Any]) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")
        self.rows.append(row)
        self.done.add(tuple(row[part] for part in self.key))


def data_sets(names: tuple[str, ...]) -> list[tuple[str, ImageIndex]]:
    root = SHARED / "datasets"
    return [(name, index_folder(root / name)) for name in (names or tuple(sorted(p.name for p in root.iterdir())))]
