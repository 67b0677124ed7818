"""Which classes are given away by format, size, mode or brightness, and whether planted ones are found.

    python benchmarks/shortcuts.py [NAME ...]

All images of every data set. Then one class after another has its facts changed: another format, 0.7 of the size, no
colour, 0.6 of the brightness. Results: benchmarks/results/shortcuts.jsonl, one line a set; a run resumes.
"""

import sys
import time
from dataclasses import replace

import numpy as np
from common import ResultFile, data_sets

from probes.data.image_index import ImageIndex
from probes.images.decode import quiet_decoders
from probes.images.image_facts import inspect
from probes.quality.shortcuts import KINDS, Nuisance, Shortcut, shortcuts

ALL_GREY = 0.9  # of the pictures without colour, from which on none can lose it


def read(folder: ImageIndex) -> tuple[Nuisance, np.ndarray]:
    """The facts of all images, and their labels."""
    names = [name for files in folder.files for name in files]
    labels = np.repeat(np.arange(len(folder.files)), folder.class_counts)
    with quiet_decoders():
        seen = [one for one in inspect(folder.store, names, range(len(names))) if one.facts is not None]
    facts = [one.facts for one in seen]
    nuisance = Nuisance(
        formats=[one.format for one in facts],
        modes=[one.mode for one in facts],
        sizes=np.array([one.size for one in facts]),
        brightness=np.array([one.brightness for one in facts]),
        grey=np.array([one.grey for one in facts]),
    )
    return nuisance, labels[[one.place for one in seen]]


def spoilt(facts: Nuisance, kind: str, own: np.ndarray) -> Nuisance:
    """The facts of one class changed."""
    if kind == "format":
        return replace(facts, formats=["WEBP" if hit else name for hit, name in zip(own, facts.formats, strict=True)])
    if kind == "mode":
        return replace(facts, grey=facts.grey | own)
    if kind == "size":
        return replace(facts, sizes=np.where(own[:, None], (0.7 * facts.sizes).astype(np.int64), facts.sizes))
    return replace(facts, brightness=np.where(own, 0.6 * facts.brightness, facts.brightness))


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
            if kind != "mode" or facts.grey.mean() < ALL_GREY
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
