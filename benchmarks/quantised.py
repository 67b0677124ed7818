"""What does a network lose by 8-bit numbers?

    python benchmarks/quantised.py

The recommended model of five sets, fitted on at most 600 images, is exported to both quantised forms of LiteRT, with
100 pictures to calibrate and to compare on; accuracy is taken on 200 images that it was not fitted on. Results:
benchmarks/results/quantised.jsonl, one line a cell; a run resumes.
"""

import tempfile
from pathlib import Path

import numpy as np
from common import ResultFile, data_sets, linked_folder

from builders.export.export import export_model, run_exported
from probes.images.decode import read_picture, resize
from recommender import recommend

SETS = ("chest_xray_covid", "cifar10", "clothing10", "flowers5", "omniglot_alphabets")
FORMATS = ("litert_dynamic", "litert_int8")
FITTED_ON, SHOWN, JUDGED_BY = 600, 100, 200


def main() -> None:
    results = ResultFile("quantised.jsonl", ("set", "format"))
    for name, folder in data_sets(SETS):
        if all(results.has(name, form) for form in FORMATS):
            continue
        files = [(label, file) for label, names in enumerate(folder.files) for file in names]
        order = np.random.default_rng(0).permutation(len(files))
        fitted = [files[i] for i in order[: len(files) - JUDGED_BY][:FITTED_ON]]
        judged = [files[i] for i in order[-JUDGED_BY:]]
        by_class = [[file for label, file in fitted if label == number] for number in range(len(folder.files))]
        with linked_folder(folder, by_class) as path:
            found = recommend(path)
        size = found.strategy.input_size
        shown, pictures = (
            np.stack([resize(read_picture(Path(folder.source) / file).pixels, size) for _, file in part])
            for part in (fitted[:SHOWN], judged)
        )
        labels = np.array([label for label, _ in judged])
        model = found.build()
        expected = model.predict(pictures, verbose=0).argmax(1)
        for form in FORMATS:
            if results.has(name, form):
                continue
            with tempfile.TemporaryDirectory() as place:
                made = export_model(model, Path(place, "model"), form, shown)
                predicted = run_exported(made.path, form, pictures).argmax(1)
            results.add(
                {
                    "set": name,
                    "format": form,
                    "classes": len(folder.files),
                    "input_size": size,
                    "same_class_of_shown": made.same_class,
                    "same_class_of_judged": float((predicted == expected).mean()),
                    "accuracy_keras": float((expected == labels).mean()),
                    "accuracy": float((predicted == labels).mean()),
                    "megabytes": round(made.size_bytes / 1e6, 1),
                }
            )
            print(results.rows[-1], flush=True)


if __name__ == "__main__":
    main()
