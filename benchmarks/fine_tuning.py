"""Does fine-tuning start well from the linear probe, and may BatchNorm train?

    python benchmarks/fine_tuning.py

The model of scenario 2 or 3 is trained for five epochs on 1,000 images with the constant learning rate that it is
compiled with, and with others; its accuracy is taken on 500 held-out images before and after. Slow: a minute or two a
cell on two cores. Results: benchmarks/results/fine_tuning.jsonl, one line a cell; a run resumes.
"""

from dataclasses import replace
from pathlib import Path

import keras
import numpy as np
from common import ResultFile, data_sets, linked_folder

from probes.data.image_index import ImageIndex
from probes.images.decode import read_picture, resize
from recommender import recommend
from recommender.recommendation import Recommendation

IMAGES, HELD_OUT, EPOCHS = 1000, 500, 5
CELLS = (  # set, scenario, whether BatchNorm trains, learning rate
    ("fsdd_spectrograms", 3, False, 1e-4),
    ("fsdd_spectrograms", 3, True, 1e-4),
    ("fsdd_spectrograms", 3, False, 3e-4),
    ("flowers5", 2, False, 1e-4),
    ("flowers5", 2, False, 3e-4),
    ("flowers5", 3, False, 1e-4),
    ("mnist", 3, False, 1e-4),
    ("clothing10", 2, False, 1e-4),
    ("clothing10", 3, False, 1e-4),
)


def load(folder: ImageIndex, files: list[tuple[int, str]], size: int) -> tuple[np.ndarray, np.ndarray]:
    pixels = [resize(read_picture(Path(folder.source) / file).pixels, size) for _, file in files]
    return np.stack(pixels), np.array([label for label, _ in files])


def train(found: Recommendation, batch_norm: bool, rate: float, data: tuple, held_out: tuple) -> list[float]:
    plan = replace(found.plan, strategy=replace(found.strategy, train_batch_norm=batch_norm, learning_rate=rate))
    keras.utils.set_random_seed(0)
    model = replace(found, plan=plan).build()
    accuracy = [model.evaluate(*held_out, verbose=0)[1]]
    for _ in range(EPOCHS):
        model.fit(*data, batch_size=32, verbose=0)
        accuracy.append(model.evaluate(*held_out, verbose=0)[1])
    return accuracy


def main() -> None:
    results = ResultFile("fine_tuning.jsonl", ("set", "scenario", "train_batch_norm", "learning_rate"))
    folders = dict(data_sets(tuple(dict.fromkeys(cell[0] for cell in CELLS))))
    for name, scenario, batch_norm, rate in CELLS:
        if results.has(name, scenario, batch_norm, rate):
            continue
        folder = folders[name]
        files = [(label, file) for label, names in enumerate(folder.files) for file in names]
        order = np.random.default_rng(0).permutation(len(files))
        chosen, rest = [files[i] for i in order[:IMAGES]], [files[i] for i in order[IMAGES : IMAGES + HELD_OUT]]
        by_class = [[file for label, file in chosen if label == number] for number in range(len(folder.files))]
        with linked_folder(folder, by_class) as path:
            found = recommend(path, scenario=scenario)
        size = found.strategy.input_size
        accuracy = train(found, batch_norm, rate, load(folder, chosen, size), load(folder, rest, size))
        results.add(
            {
                "set": name,
                "scenario": scenario,
                "train_batch_norm": batch_norm,
                "learning_rate": rate,
                "freeze": found.strategy.freeze,
                "accuracy_by_epoch": [round(value, 4) for value in accuracy],
            }
        )
    for row in results.rows:
        print(row)


if __name__ == "__main__":
    main()
