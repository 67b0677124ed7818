"""Does the training that netgraft does beat the linear probe that it starts from, and the usual Keras recipe?

    python benchmarks/training.py [SET...]

A quarter of each set (half of a class at most, where it is reduced to a few images a class) is kept out of everything
and judges at the end. On the rest: the recommended model before training, the same after `fit`, and the usual recipe
with the same backbone, input size and images: a frozen backbone and a new dense layer, 10 epochs of Adam at 1e-3; then
the top third of the layers unfrozen, 10 epochs at a tenth of that. The recipe's accuracy is taken after each epoch, so
that it can be read at equal time; that is not counted in its seconds. Slow: about a quarter of an hour a set on two
cores. Results: benchmarks/results/training.jsonl, one line a cell; a run resumes.
"""

import sys
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
from common import ResultFile, data_sets, linked_folder, split

from builders.backbones.load import load_backbone
from probes.data.image_index import ImageIndex
from probes.evaluation.intervals import paired_gain, wilson
from probes.images.decode import read_picture, resize
from recommender import recommend

CELLS = (  # set, images a class or None for three quarters of all, seed of the split
    ("hymenoptera", 20, 0),
    ("brain_tumor_mri", 15, 0),
    ("flowers5", None, 0),
    ("clothing10", None, 0),
    ("fsdd_spectrograms", None, 0),
    ("mnist", None, 0),
    ("flowers5", None, 1),
    ("clothing10", None, 1),
)
EPOCHS, RATE, BATCH = 10, 1e-3, 32
TOP = 1 / 3  # of the layers, unfrozen in the recipe's second phase


def three_quarters(folder: ImageIndex, seed: int) -> tuple[list[list[str]], list[tuple[int, str]]]:
    train, held_out = [], []
    for label, files in enumerate(folder.files):
        order = np.random.default_rng([seed, label]).permutation(len(files))
        taken = round(0.75 * len(files))
        train.append([files[i] for i in order[:taken]])
        held_out += [(label, files[i]) for i in order[taken:]]
    return train, held_out


def pictures(folder: ImageIndex, files: list[tuple[int, str]], size: int) -> tuple[np.ndarray, np.ndarray]:
    pixels = [resize(read_picture(Path(folder.source) / file).pixels, size).numpy() for _, file in files]
    return np.stack(pixels), np.array([label for label, _ in files])


def right(model: Any, test: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    return model.predict(test[0], batch_size=64, verbose=0).argmax(1) == test[1]


def usual_recipe(folder: Path, size: int, classes: int, test: tuple[np.ndarray, np.ndarray]) -> list[dict[str, float]]:
    """Accuracy and seconds after each epoch."""
    data = keras.utils.image_dataset_from_directory(
        folder, image_size=(size, size), batch_size=BATCH, seed=0, verbose=False
    )
    data = data.cache().shuffle(100, seed=0).prefetch(2)
    keras.utils.set_random_seed(0)
    network = load_backbone("efficientnet_lite0", size).network
    base = keras.Model(network.input, network.get_layer("top_activation").output)
    base.trainable = False
    inputs = keras.Input((size, size, 3))
    x = keras.layers.GlobalAveragePooling2D()(base(inputs, training=False))
    model = keras.Model(inputs, keras.layers.Dense(classes, activation="softmax")(x))
    curve, seconds = [], 0.0
    for phase, rate in enumerate((RATE, RATE / 10)):
        if phase:
            base.trainable = True
            for layer in base.layers[: round((1 - TOP) * len(base.layers))]:
                layer.trainable = False
        model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", jit_compile=False)
        for _ in range(EPOCHS):
            began = time.perf_counter()
            model.fit(data, verbose=0)
            seconds += time.perf_counter() - began
            curve.append({"seconds": round(seconds, 1), "accuracy": round(float(right(model, test).mean()), 4)})
    return curve


def cell(name: str, folder: ImageIndex, per_class: int | None, seed: int) -> dict[str, Any]:
    train, held_out = three_quarters(folder, seed) if per_class is None else split(folder, per_class, seed)
    with linked_folder(folder, train) as path:
        began = time.perf_counter()
        found = recommend(path)
        measured = time.perf_counter() - began
        test = pictures(folder, held_out, found.strategy.input_size)
        before = right(found.build(), test)
        began = time.perf_counter()
        result = found.fit()
        trained = time.perf_counter() - began
        after = right(result.model, test)
        curve = usual_recipe(path, found.strategy.input_size, len(train), test)
    gain = paired_gain(before, after)
    in_time = [point["accuracy"] for point in curve if point["seconds"] <= measured + trained]
    return {
        "set": name,
        "per_class": per_class,
        "seed": seed,
        "n_training": sum(map(len, train)),
        "n_test": len(test[1]),
        "input_size": found.strategy.input_size,
        "scenario": found.scenario.id,
        "freeze": found.strategy.freeze,
        "chosen": result.chosen,
        "start": round(float(before.mean()), 4),
        "fit": round(float(after.mean()), 4),
        "fit_interval": [round(end, 4) for end in wilson(after.sum(), len(after))],
        "gain": [round(end, 4) for end in (gain.difference, gain.low, gain.high)],
        "told": None if result.accuracy is None else round(result.accuracy, 4),
        "told_interval": None if result.interval is None else [round(end, 4) for end in result.interval],
        "augmentation": result.plan.augmentation,
        "steps": 0 if result.plan.schedule is None else result.plan.schedule.steps,
        "seconds_recommend": round(measured, 1),
        "seconds_fit": round(trained, 1),
        "recipe_at_equal_time": in_time[-1] if in_time else None,
        "recipe_at_its_end": curve[-1]["accuracy"],
        "recipe_seconds": curve[-1]["seconds"],
        "recipe_curve": curve,
    }


def main() -> None:
    results = ResultFile("training.jsonl", ("set", "per_class", "seed"))
    wanted = [part for part in CELLS if not sys.argv[1:] or part[0] in sys.argv[1:]]
    folders = dict(data_sets(tuple(dict.fromkeys(name for name, *_ in wanted))))
    for name, per_class, seed in wanted:
        if not results.has(name, per_class, seed):
            results.add(cell(name, folders[name], per_class, seed))
        row = next(
            row for row in results.rows if (row["set"], row["per_class"], row["seed"]) == (name, per_class, seed)
        )
        print({key: value for key, value in row.items() if key != "recipe_curve"}, flush=True)


if __name__ == "__main__":
    main()
