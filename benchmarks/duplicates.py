"""Near duplicates: how many of the pictures that were edited a little are found again, and what else is found.

    python benchmarks/duplicates.py [SET …]

Of each data set 200 pictures are edited in each way and added to the set; an edited picture counts as found if it is
linked to its own original. Links between the set's own pictures are real duplicates or false alarms: the examples in
the results are for the eye. Random fingerprints show the time that large sets take.

Results: benchmarks/results/duplicates.jsonl, one line a set; a run resumes.
"""

import hashlib
import io
import itertools
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from common import ResultFile, data_sets
from PIL import Image, ImageEnhance, ImageOps

from probes.data.image_index import ImageIndex
from probes.images.perceptual_hash import HASH_BYTES, NO_HASH, perceptual_hash
from probes.quality import near_duplicates as duplicates
from probes.quality.near_duplicates import components, near_duplicates

EDITED = 200
EXAMPLES = 20
SIZES = (1_000, 100_000, 1_000_000)


def saved(image: Image.Image, kind: str, quality: int = 0) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, kind, quality=quality)
    return Image.open(buffer).convert("RGB")


def scaled(image: Image.Image, factor: float) -> Image.Image:
    size = [max(1, round(side * factor)) for side in image.size]
    return image.resize((size[0], size[1]), Image.Resampling.BICUBIC)


def cropped(image: Image.Image, share: float) -> Image.Image:
    """Without this share of the width and height, at least one pixel, at the left and top in turns with the others."""
    dx, dy = (max(1, round(side * share)) for side in image.size)
    left, top = (dx, dy) if sum(image.getpixel((0, 0))) % 2 else (0, 0)
    return image.crop((left, top, image.width - dx + left, image.height - dy + top))


EDITS: dict[str, Callable[[Image.Image], Image.Image]] = {
    "png": lambda x: saved(x, "PNG"),
    "jpeg_95": lambda x: saved(x, "JPEG", 95),
    "jpeg_75": lambda x: saved(x, "JPEG", 75),
    "jpeg_50": lambda x: saved(x, "JPEG", 50),
    "webp_75": lambda x: saved(x, "WEBP", 75),
    "size_0.5": lambda x: scaled(x, 0.5),
    "size_0.7": lambda x: scaled(x, 0.7),
    "size_1.4": lambda x: scaled(x, 1.4),
    "size_2": lambda x: scaled(x, 2.0),
    "brightness_1.1": lambda x: ImageEnhance.Brightness(x).enhance(1.1),
    "brightness_0.9": lambda x: ImageEnhance.Brightness(x).enhance(0.9),
    "contrast_1.1": lambda x: ImageEnhance.Contrast(x).enhance(1.1),
    "contrast_0.9": lambda x: ImageEnhance.Contrast(x).enhance(0.9),
    "grey": lambda x: x.convert("L").convert("RGB"),
    "all_three": lambda x: saved(ImageEnhance.Brightness(scaled(x, 0.7)).enhance(1.1), "JPEG", 75),
    "crop_1%": lambda x: cropped(x, 0.01),
    "crop_2%": lambda x: cropped(x, 0.02),
}


def recall(edit: str, images: list[Image.Image], own: list[int], hashes: list[bytes]) -> float:
    """Share of edited pictures that are linked to their originals."""
    edited = [perceptual_hash(np.asarray(EDITS[edit](image))) for image in images]
    pairs = near_duplicates([*hashes, *edited])
    group = components(len(hashes) + len(edited), pairs)
    return round(float((group[len(hashes) :] == group[own]).mean()), 3)


def links(pairs: list[tuple[int, int]], labels: list[int], digests: list[bytes]) -> dict[str, int]:
    other = [(i, j) for i, j in pairs if digests[i] != digests[j]]
    across = sum(labels[i] != labels[j] for i, j in other)
    return {"near_within_classes": len(other) - across, "near_across_classes": across}


def of_set(name: str, index: ImageIndex) -> dict[str, Any]:
    names = [(label, file) for label, files in enumerate(index.files) for file in files]
    labels = [label for label, _ in names]
    drawn = np.random.default_rng(0).permutation(len(names))[:EDITED].tolist()
    hashes, digests, images, seconds = [], [], {}, 0.0
    for number, (_, file) in enumerate(names):
        with index.store.open(file) as stream:
            image = ImageOps.exif_transpose(Image.open(stream)).convert("RGB")
        pixels = np.asarray(image)
        start = time.perf_counter()
        hashes.append(perceptual_hash(pixels))
        seconds += time.perf_counter() - start
        digests.append(hashlib.blake2b(repr(pixels.shape).encode() + pixels.tobytes()).digest())
        if number in drawn:
            images[number] = image
    start = time.perf_counter()
    pairs = near_duplicates(hashes)
    searched = time.perf_counter() - start
    near = [(i, j) for i, j in pairs if digests[i] != digests[j]]
    shown = np.random.default_rng(0).permutation(len(near))[:EXAMPLES]
    return {
        "set": name,
        "images": len(names),
        "without_hash": hashes.count(NO_HASH),
        "exact_copies": len(names) - len(set(digests)),
        **links(pairs, labels, digests),
        "most_bits": limit(hashes),
        "hash_ms": round(seconds / len(names) * 1000, 2),
        "search_ms": round(searched * 1000),
        "recall": {edit: recall(edit, [images[i] for i in drawn], drawn, hashes) for edit in EDITS},
        "examples": [[names[i][1], names[j][1]] for i, j in (near[number] for number in shown)],
    }


def limit(hashes: list[bytes]) -> int:
    """In how many bits near duplicates of the set differ at most."""
    prints = np.frombuffer(b"".join({one for one in hashes if one != NO_HASH}), np.uint8).reshape(-1, HASH_BYTES)
    return duplicates._distance_limit(np.ascontiguousarray(prints[:, :32]).view(np.uint64))


def of_random(n: int) -> dict[str, Any]:
    """Random fingerprints, one in ten of them that of another one with three bits flipped."""
    rng = np.random.default_rng(n)
    prints = rng.integers(0, 256, (n, HASH_BYTES), np.uint8)
    copies = prints[: n // 10].copy()
    for bit in rng.integers(0, 256, (3, len(copies))):
        copies[np.arange(len(copies)), bit // 8] ^= (1 << bit % 8).astype(np.uint8)
    hashes = [row.tobytes() for row in np.concatenate([prints[: n - len(copies)], copies])]
    start = time.perf_counter()
    pairs = near_duplicates(hashes)
    return {
        "set": f"random_{n}",
        "images": n,
        "copies": len(copies),
        "linked": len(pairs),
        "search_ms": round((time.perf_counter() - start) * 1000),
    }


def main(names: list[str]) -> None:
    results = ResultFile("duplicates.jsonl", ("set",))
    for name, index in data_sets(tuple(names)):
        if not results.has(name):
            results.add(of_set(name, index))
    for n in SIZES:
        if not names and not results.has(f"random_{n}"):
            results.add(of_random(n))
    rows = [row for row in results.rows if "recall" in row]
    print("| set | images | no hash | exact copies | near, within | near, across | most bits | hash, ms | search, ms |")
    print("|---|---|---|---|---|---|---|---|---|")
    keys = ("set", "images", "without_hash", "exact_copies", "near_within_classes", "near_across_classes")
    for row in rows:
        print("|", " | ".join(str(row[key]) for key in (*keys, "most_bits", "hash_ms", "search_ms")), "|")
    print("\n| recall |", " | ".join(row["set"] for row in rows), "|")
    print("|---" * (len(rows) + 1) + "|")
    for edit in EDITS:
        print(f"| {edit} |", " | ".join(f"{row['recall'][edit]:.2f}" for row in rows), "|")
    for row in itertools.filterfalse(lambda row: "recall" in row, results.rows):
        print(f"{row['set']}: {row['linked']} of {row['copies']} copies linked in {row['search_ms'] / 1000:.2f} s")


if __name__ == "__main__":
    main(sys.argv[1:])
