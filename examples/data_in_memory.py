"""Data that lie in memory: arrays, arrays by split, a tf.data.Dataset.

python examples/data_in_memory.py
"""

import numpy as np
import tensorflow as tf
from sklearn.datasets import load_digits

import netgraft


def main(n_images: int = 400) -> None:
    images, labels = load_digits(return_X_y=True)
    images = images.reshape(-1, 8, 8)[:n_images] / 16  # of shape (N, H, W), 0 to 1
    labels = labels[:n_images]
    print(netgraft.recommend((images, labels)).scenario)

    half = n_images // 2
    splits = {"train": (images[:half], labels[:half]), "validation": (images[half:], labels[half:])}
    print(netgraft.recommend(splits).scenario)

    pixels = np.repeat(images[..., None] * 255, 3, axis=-1).astype(np.uint8)
    stream = tf.data.Dataset.from_tensor_slices((pixels, labels)).batch(32)
    print(netgraft.recommend(stream, class_names=[str(digit) for digit in range(10)]).scenario)


if __name__ == "__main__":
    main()
