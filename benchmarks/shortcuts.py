"""Which classes are given away by format, size, mode or brightness, and whether planted ones are found.

    python benchmarks/shortcuts.py [NAME ...]

All images of every data set. Then one class after another has its facts changed: another format, 0.7 of the size, no
colour, 0.6 of the brightness. Results: benchmarks/results/shortcuts.jsonl, one line a set; a run resumes.
"""

import sys
import time

import numpy as np
from common import ResultFile, data_sets

from probes.data.image_index import ImageIndex
from probes.images.decode import quiet_decoders
from probes.images.image_facts import Records, inspect, record
from probes.quality.shortcuts import KINDS, Shortcut, shortcuts

ALL_GREY = 0.9  # of the pictures without colour, from which on none can lose it


def read(folder: ImageIndex) -> tuple[Records, np.ndarray]:
    """The facts of all readable images, and their labels."""
    names = [name for files in folder.files for name in files]
    labels = np.repeat(np.arange(len(folder.files)), folder.class_counts)
    with quiet_decoders():
        rows = np.concatenate([record(*found) for found in inspect(folder.store, names, range(len(names)))])
    rows = rows[rows["failure"] < 0]
    return rows, labels[rows["place"]]


def spoilt(facts: Records, kind: str, own: np.ndarray) -> Records:
    """The facts of one class changed."""
    facts = facts.copy()
    if kind == "format":
        facts["format"][own] = b"WEBP"
    elif kind == "mode":
        facts["grey"][own] = True
    elif kind == "size":
        for side in ("width", "height"):
            facts[side][own] = (0.7 * facts[side][own]).astype(np.int64)
    else:
        facts["brightness"][own] *= 0.6
    return facts


def hit(found: tuple[Shortcut, ...], kind: str, label: int, n_classes: int) -> bool:
    """Whether a class is among those found; of two classes one stands for both."""
    return any(shortcut.kind == kind and (shortcut.label == label or n_classes == 2) for shortcut in found)


def cell(name: str, folder: ImageIndex) -> dict:
    facts, labels = read(folder)
    start = time.perf_counter()
    found = shortcuts(facts, labels, folder.class_names)
    seconds = time.perf_counter() - start
    classes = range(len(folder.class_names))
    return {
        "set": name,
        "images": len(labels),
        "classes": len(classes),
        "seconds": round(seconds, 3),
        "found": [
            {
                "kind": shortcut.kind,
                "class": folder.class_names[shortcut.label],
                "accuracy": round(shortcut.accuracy, 3),
                "standard_error": round(shortcut.standard_error, 3),
                "words": shortcut.words,
            }
            for shortcut in found
        ],
        "planted": {
            kind: sum(
                hit(shortcuts(spoilt(facts, kind, labels == c), labels, folder.class_names), kind, c, len(classes))
                for c in classes
            )
            for kind in KINDS
            if kind != "mode" or facts["grey"].mean() < ALL_GREY
        },
    }


def main(names: tuple[str, ...]) -> None:
    results = ResultFile("shortcuts.jsonl", ("set",))
    for name, folder in data_sets(names):
        if not results.has(name):
            results.add(cell(name, folder))
    print(f"| set | images | classes | found | {' | '.join(f'{kind} planted, found' for kind in KINDS)} |")
    print(f"|---|---|---|---|{'---|' * len(KINDS)}")
    for row in results.rows:
        found = "; ".join(
            f"{each['kind']}, {each['accuracy']:.3f} ± {each['standard_error']:.3f}: {each['words']}"
            for each in row["found"]
        )
        planted = " | ".join(f"{row['planted'].get(kind, '-')} of {row['classes']}" for kind in KINDS)
        print(f"| {row['set']} | {row['images']} | {row['classes']} | {found or 'nothing'} | {planted} |")


if __name__ == "__main__":
    main(tuple(sys.argv[1:]))
