"""Which ingredient of fine-tuning makes the difference where images are few?

    python benchmarks/recipes.py [SET...]

20 images a class train (half of a class at most), up to 300 others judge. The whole network is trained from the linear
probe, at 160 px unless the recipe says otherwise. `plain` is a recipe that many people use: 240 steps of 32 images,
AdamW with weight decay 0.01, a warm-up over a tenth of the steps and a cosine to 0, one rate for all layers (1e-3 on
pictures unlike ImageNet's as the similarity probe finds them, 3e-4 on others), shifts of 8 %, zooms of 10 %, brightness
of 10 %, no images held out, no early stopping, BatchNorm frozen. Every other recipe changes one thing. Accuracy and log
loss on the unseen images are taken at the start, at the end, and at averages of both in weights. Slow: three minutes a
cell on two cores. Results: benchmarks/results/recipes.jsonl, one line a cell; a run resumes.
"""

import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
from common import MOST, ResultFile, data_sets, linked_folder, split

from builders.build import HeadWeights, build_model
from builders.surgery.frozen_split import split_frozen
from builders.training.data import augmented
from probes.evaluation.evaluation import log_losses
from probes.images.decode import read_picture, resize
from probes.separability.linear_probe import fit_linear_probe
from recommender import Recommendation, recommend
from recommender.fit.plan import is_dissimilar
from recommender.rules.cut_rule import head_levels

PER_CLASS, TEST, BATCH = 20, 300, 32
SHARES = (0.0, 0.25, 0.5, 0.75, 1.0)  # of the end in the average of weights
EMA = 0.98


@dataclass(frozen=True)
class Recipe:
    joined: bool = False  # whether the linear probe reads the end of every stage, not the last map alone
    steps: int = 240
    rate: float = 1.0  # times the usual one
    lowest: float = 1.0  # rate of the first layer as a share of the last one's
    augmentation: tuple[str, ...] = ("shift", "brightness")
    norms: bool = False  # whether scale and offset of BatchNorm train, with fixed statistics
    share: float = 1.0  # of the training images
    decay: float = 0.01
    size: int = 160  # px of the pictures that train and that judge


PLAIN = Recipe()
RECIPES = {
    "plain": PLAIN,
    "joined": replace(PLAIN, joined=True),
    "norms": replace(PLAIN, joined=True, norms=True),
    "lower_layers_slower": replace(PLAIN, joined=True, lowest=0.3),
    "no_augmentation": replace(PLAIN, joined=True, augmentation=()),
    "mirror": replace(PLAIN, joined=True, augmentation=("shift", "brightness", "mirror")),
    "half_the_steps": replace(PLAIN, joined=True, steps=120),
    "twice_the_steps": replace(PLAIN, joined=True, steps=480),
    "four_fifths": replace(PLAIN, joined=True, share=0.8),
    "third_of_the_rate": replace(PLAIN, joined=True, rate=0.3),
    "three_times_the_rate": replace(PLAIN, joined=True, rate=3.0),
    "decay": replace(PLAIN, joined=True, decay=1.0),
    "128_px": replace(PLAIN, joined=True, norms=True, size=128),
    "224_px": replace(PLAIN, joined=True, norms=True, size=224),
}
EVERYWHERE = ("plain", "joined", "norms")  # the others on these sets alone
SOME = ("flowers5", "clothing10", "fsdd_spectrograms", "omniglot_alphabets", "magnetic_tile_defects", "brain_tumor_mri")
LARGE = ("128_px", "224_px")
OF_LARGE = (*SOME, "trash6", "chest_xray_covid")


class Layerwise(keras.optimizers.AdamW):
    factors: tuple[float, ...] = ()

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> Any:
        super().update_step(gradient, variable, learning_rate * self.factors[self._get_variable_index(variable)])


def load(folder: Path, files: list[tuple[int, str]], size: int) -> tuple[np.ndarray, np.ndarray]:
    pixels = [resize(read_picture(folder / file).pixels, size) for _, file in files]
    return np.stack(pixels).astype(np.float32), np.array([label for label, _ in files])


def measured_with_pictures(folder: Path, size: int) -> tuple[Recommendation, tuple[np.ndarray, np.ndarray]]:
    """Scenario 3 at `size` px, and the pictures with their labels in the order of the measured rows."""
    found = recommend(folder, scenario=3, input_size=size, max_images=MOST)
    labels = found.features.labels.tolist()
    return found, load(folder, list(zip(labels, found.features.files, strict=True)), size)


def judge(
    tail: Any, variables: list, first: list, last: list, ema: list, test: tuple
) -> dict[str, tuple[float, float]]:
    """Accuracy in % and log loss on the unseen images of each average of weights."""
    judged = {}
    for name, values in (
        *((f"{share:g}", [a + share * (b - a) for a, b in zip(first, last, strict=True)]) for share in SHARES),
        ("ema", ema),
    ):
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)
        probabilities = np.asarray(tail.predict(test[0], batch_size=64, verbose=0), np.float64)
        judged[name] = (
            round(100 * float((probabilities.argmax(1) == test[1]).mean()), 2),
            round(float(log_losses(probabilities, test[1]).mean()), 4),
        )
    return judged


def trained(found: Any, recipe: Recipe, data: tuple, test: tuple, seed: int) -> dict[str, Any]:
    cuts = found.plan.cuts
    last = len(cuts) - 1
    levels = head_levels([cut.shape for cut in cuts], last) if recipe.joined else [last]
    names = [cuts[level].layer for level in levels]
    head = replace(found.strategy.head, levels=tuple(names))
    rows, blocks = found.rows, [found.features.pooled[name] for name in names]
    pictures, labels = data
    rng = np.random.default_rng([seed, 7])
    if recipe.share < 1:
        kept = np.concatenate(
            [
                rng.permutation(np.flatnonzero(rows.labels == label))[: max(1, round(recipe.share * count))]
                for label, count in enumerate(np.bincount(rows.labels))
            ]
        )
        rows, blocks, pictures, labels = rows.taken(kept), [b[kept] for b in blocks], pictures[kept], labels[kept]
    probe = fit_linear_probe(blocks, rows, head.classes, seed=seed, balanced=found.class_weight is not None)
    weights = HeadWeights(kernel=probe.kernel, bias=probe.bias)
    model = build_model(replace(found.strategy, head=head), weights, found.backbone)
    tail = split_frozen(model, train_norms=recipe.norms).tail
    rate = recipe.rate * (1e-3 if is_dissimilar(found) else 3e-4)
    warm = recipe.steps // 10
    schedule = keras.optimizers.schedules.CosineDecay(
        rate / (warm + 1), recipe.steps - warm, warmup_target=rate, warmup_steps=warm
    )
    optimizer = Layerwise(schedule, weight_decay=recipe.decay, use_ema=True, ema_momentum=EMA)
    variables = tail.trainable_variables
    optimizer.factors = [recipe.lowest ** (1 - place / max(len(variables) - 1, 1)) for place in range(len(variables))]
    tail.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)
    first = [variable.numpy() for variable in variables]
    class_weight = found.class_weight
    order, taken = rng.permutation(len(labels)), 0
    began = time.perf_counter()
    for _ in range(recipe.steps):
        batch: list[int] = []
        while len(batch) < BATCH:
            if taken == len(order):
                order, taken = rng.permutation(len(labels)), 0
            more = order[taken : taken + BATCH - len(batch)]
            taken += len(more)
            batch += more.tolist()
        x = augmented(pictures[batch], recipe.augmentation, rng)
        sample_weight = None if class_weight is None else np.array([class_weight[label] for label in labels[batch]])
        tail.train_on_batch(x, labels[batch], sample_weight=sample_weight)
    seconds = time.perf_counter() - began
    last_values = [variable.numpy() for variable in variables]
    ema = [variable.numpy() for variable in optimizer._model_variables_moving_average]
    judged = judge(tail, variables, first, last_values, ema, test)
    keras.backend.clear_session()
    return {
        "n": len(labels),
        "rate": rate,
        "seconds": round(seconds),
        "accuracy": {name: pair[0] for name, pair in judged.items()},
        "log_loss": {name: pair[1] for name, pair in judged.items()},
    }


def main() -> None:
    results = ResultFile("recipes.jsonl", ("set", "recipe", "seed"))
    sets = dict(data_sets(tuple(sys.argv[1:])))
    where = dict.fromkeys(RECIPES, SOME) | dict.fromkeys(EVERYWHERE, tuple(sets)) | dict.fromkeys(LARGE, OF_LARGE)
    seed = 0
    for name, recipe in ((name, recipe) for recipe in RECIPES for name in sets if name in where[recipe]):
        if results.has(name, recipe, seed):
            continue
        size = RECIPES[recipe].size
        train, rest = split(sets[name], PER_CLASS, seed)
        with linked_folder(sets[name], train) as path:
            found, data = measured_with_pictures(path, size)
            test = load(Path(sets[name].source), rest[:TEST], size)
        row = trained(found, RECIPES[recipe], data, test, seed)
        about = {
            "set": name,
            "recipe": recipe,
            "seed": seed,
            **row,
            "changed": {key: value for key, value in asdict(RECIPES[recipe]).items() if value != asdict(PLAIN)[key]},
        }
        results.add(about)
        print(about, flush=True)


if __name__ == "__main__":
    main()
