"""Write scikit-learn's handwritten digits out as an image folder: one sub-folder a digit, PNG files of 8 px.

python examples/write_digits.py FOLDER [IMAGES_PER_CLASS]
"""

import sys
from pathlib import Path

import numpy as np
from PIL import Image
from sklearn.datasets import load_digits


def write_digits(folder: Path, per_class: int | None = None) -> Path:
    """Write the first `per_class` pictures of each digit, all by default, and return the folder."""
    pictures, labels = load_digits(return_X_y=True)
    for digit in range(10):
        (folder / str(digit)).mkdir(parents=True, exist_ok=True)
        for number, picture in enumerate(pictures[labels == digit][:per_class]):
            pixels = np.rint(picture.reshape(8, 8) * 255 / 16).astype(np.uint8)
            Image.fromarray(pixels).save(folder / str(digit) / f"{number:03}.png")
    return folder


if __name__ == "__main__":
    print(write_digits(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else None))
