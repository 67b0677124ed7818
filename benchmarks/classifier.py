"""The linear classifier in closed form against regularised logistic regression, on the same features.

    python benchmarks/classifier.py [NAME ...]

On every data set, with 10 and 30 images a class and with up to 1,000 images in all, both are fitted on features of the
default backbone and judged on up to 600 other images: at four single cut points, and at all stages joined as a
prediction layer on a frozen backbone reads them. Logistic regression is what netgraft had before: Pareto scaling,
C = 40 / images. Log loss is that with the best temperature in cross-validation on the training images. A strength is
the penalty as a share of an image's mean square. Results: benchmarks/results/classifier.jsonl, one line a cell; a run
resumes.
"""

import sys
import warnings

import numpy as np
from common import ResultFile, data_sets, features_of, split
from scipy.special import log_softmax
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression

from probes.data.splits import Rows, held_out_splits
from probes.evaluation.evaluation import apply_temperature, fit_temperature, log_losses
from probes.separability import discriminant
from probes.separability.linear_probe import joined
from recommender import recommend
from recommender.rules.cut_rule import head_levels

SIZES = (10, 30, None)  # images a class; None for up to `MOST` in all
MOST, HELD_OUT = 1000, 600
STRENGTHS = (0.05, 0.1, 0.2, 0.3, 0.4, 0.8)
PARTS = (0.15, 0.35, 0.6, 1.0)  # depths of the single cuts
METHODS = ("logistic", *map(str, STRENGTHS))


def logits(method: str, features: np.ndarray, labels: np.ndarray, new: np.ndarray, widths: list[int]) -> np.ndarray:
    """Of new images, of shape (n, classes), by a classifier of that name."""
    if method != "logistic":
        discriminant.PENALTY = float(method)
        rows = Rows.of(labels)
        return discriminant.fit(features, rows, int(labels.max()) + 1, widths=widths).logits(new)
    scale = discriminant.pareto_scale(features.std(0), widths)
    regression = LogisticRegression(C=40 / len(labels), max_iter=300, tol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        regression.fit((features - features.mean(0)) / scale, labels)
    found = np.full((len(new), int(labels.max()) + 1), -np.inf)
    scores = regression.decision_function((new - features.mean(0)) / scale)
    found[:, regression.classes_] = np.stack([-scores / 2, scores / 2], 1) if scores.ndim == 1 else scores
    return found


def log_loss(
    method: str, features: np.ndarray, labels: np.ndarray, found: np.ndarray, truth: np.ndarray, widths: list[int]
) -> float:
    """In nats, of new images with these logits, with the temperature that cross-validation finds."""
    probabilities = np.zeros((len(labels), found.shape[1]))
    for train, held_out in held_out_splits(Rows.of(labels), seed=0):
        scores = logits(method, features[train], labels[train], features[held_out], widths)
        probabilities[held_out, : scores.shape[1]] = np.exp(log_softmax(scores, axis=1))
    temperature = fit_temperature(probabilities, labels)
    return float(log_losses(apply_temperature(np.exp(log_softmax(found, axis=1)), temperature), truth).mean())


def cells(name: str, folder, results: ResultFile) -> None:
    found = recommend(folder.source, max_images=100)
    points = found.plan.cuts
    levels = [points[level].layer for level in head_levels([point.shape for point in points], len(points) - 1)]
    singles = [min(points, key=lambda point: abs(point.depth - part)).layer for part in PARTS]
    train, held_out = split(folder, max(MOST // len(folder.files), SIZES[1]), 0)
    wanted = [(label, file) for label, files in enumerate(train) for file in files]
    seen = features_of(folder, wanted, found.network)
    new = features_of(folder, held_out[:HELD_OUT], found.network)
    within = np.concatenate([np.arange(len(files)) for files in train])  # number of each image within its class
    for per_class in SIZES:
        if results.has(name, per_class):
            continue
        some = within < (per_class or len(within))
        row = {"set": name, "per_class": per_class, "n": int(some.sum()), "accuracy": {}, "log_loss": {}}
        for what, cuts in {
            "joined": levels,
            **{f"at {part:.0%}": [cut] for part, cut in zip(PARTS, singles, strict=True)},
        }.items():
            features, widths = joined([seen.pooled[cut][some] for cut in cuts])
            others, _ = joined([new.pooled[cut] for cut in cuts])
            labels = seen.labels[some]
            scores = {method: logits(method, features, labels, others, widths) for method in METHODS}
            row["accuracy"][what] = {
                method: round(float((each.argmax(1) == new.labels).mean()), 4) for method, each in scores.items()
            }
            if what == "joined":
                row["log_loss"] = {
                    method: round(log_loss(method, features, labels, each, new.labels, widths), 4)
                    for method, each in scores.items()
                }
        results.add(row)


def summarise(rows: list[dict]) -> None:
    def line(what: str, values: np.ndarray, digits: int) -> str:
        difference = values[:, 1:] - values[:, :1]
        errors = difference.std(0, ddof=1) / np.sqrt(len(values))
        shown = [
            f"{mean:+.{digits}f} ± {error:.{digits}f}" for mean, error in zip(difference.mean(0), errors, strict=True)
        ]
        return f"| {what} | {values[:, 0].mean():.{digits}f} | " + " | ".join(shown) + " |"

    print("| images | features | " + " | ".join(METHODS) + " |\n" + "|---" * (len(METHODS) + 2) + "|")
    for per_class in SIZES:
        those = [row for row in rows if row["per_class"] == per_class]
        size = f"{per_class} a class" if per_class else f"up to {MOST}"
        for what in those[0]["accuracy"]:
            values = 100 * np.array([[row["accuracy"][what][method] for method in METHODS] for row in those])
            print(line(f"{size} | {what}", values, 2))
        print(line(f"{size} | log loss, joined", np.array([list(row["log_loss"].values()) for row in those]), 3))
    judge_strength(rows)


def judge_strength(rows: list[dict]) -> None:
    """The strength that is best on the other sets, judged on each set: gain over logistic regression, joined."""
    names = sorted({row["set"] for row in rows})
    gains = {
        name: np.mean(
            [
                [row["accuracy"]["joined"][m] - row["accuracy"]["joined"]["logistic"] for m in METHODS[1:]]
                for row in rows
                if row["set"] == name
            ],
            axis=0,
        )
        for name in names
    }
    chosen = {name: int(np.mean([gains[other] for other in names if other != name], axis=0).argmax()) for name in names}
    found = 100 * np.array([gains[name][chosen[name]] for name in names])
    print(f"\nstrength chosen on the other sets: {sorted({STRENGTHS[each] for each in chosen.values()})}, ", end="")
    print(f"gain {found.mean():.2f} ± {found.std(ddof=1) / np.sqrt(len(found)):.2f} points")


def main(names: tuple[str, ...]) -> None:
    results = ResultFile("classifier.jsonl", ("set", "per_class"))
    for name, folder in data_sets(names):
        if not all(results.has(name, per_class) for per_class in SIZES):
            cells(name, folder, results)
    summarise(results.rows)


if __name__ == "__main__":
    main(tuple(sys.argv[1:]))
