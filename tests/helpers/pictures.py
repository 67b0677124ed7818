"""Small pictures for tests, cut from the two photographs and the digits that scikit-learn carries."""

import functools
import struct
import zlib
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits, load_sample_images


@functools.cache
def _photographs():
    return tuple(Image.fromarray(pixels) for pixels in load_sample_images().images)


@functools.cache
def _digits():
    return load_digits().images


def photograph(rng, size=(64, 48), source=0):
    """A random crop of one of the photographs: 0 a temple, 1 a flower."""
    (width, height), whole = size, _photographs()[source]
    left, top = rng.integers(whole.width - width + 1), rng.integers(whole.height - height + 1)
    return whole.crop((left, top, left + width, top + height))


def digit(rng, size=(64, 48)):
    """A random handwritten digit, grey."""
    pixels = _digits()[rng.integers(len(_digits()))]
    return Image.fromarray((pixels * 15.9).astype(np.uint8)).resize(size)


def png(width, height, *, bits=8, colour=2, rows=b""):
    """A PNG made by hand: whatever its header promises, its pixels are `rows`."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def write_images(folder, counts, *, size=(64, 48), seed=0, suffix=".jpg"):
    """Write a folder of labelled pictures.

    Args:
        folder: where; it is made.
        counts: class name -> number of pictures. Classes take turns: temples, flowers, digits.
        size: (width, height) in px.
        seed: of the choice of crops and digits.
        suffix: of the files, and so their format.

    Returns:
        The folder.
    """
    rng = np.random.default_rng(seed)
    kinds = (photograph, functools.partial(photograph, source=1), digit)
    for index, (name, count) in enumerate(counts.items()):
        below = Path(folder, name)
        below.mkdir(parents=True)
        for number in range(count):
            kinds[index % len(kinds)](rng, size).save(below / f"{number:04}{suffix}")
    return Path(folder)
