"""How far the decision falls short of the best way, from the finished cells of the grid.

    python -m benchmarks.regret [--plots DIR]

Every table rests on the cells of benchmarks/results/regret.jsonl in which all four ways were measured. Lines are fitted
with the judged data set left out ("left out"), and on all cells ("shipped": what `recommender.rules.thresholds` has).
Regret is the accuracy of the best way less that of the chosen one. The best is known only with hindsight, from the
images that judge, so that regret is too high; "by halves" takes the best way on one half of them and its accuracy on
the other. Intervals are of a bootstrap over data sets.
"""

import argparse
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from common import RESULTS, WEIGHTS

from benchmarks.regret.cells import (
    ARMS,
    Cell,
    after_trial,
    fitted,
    fixed_less_chosen,
    gains_of_shares,
    interval_over_sets,
    lengths,
    load,
    old_rule,
    regret,
    regret_by_halves,
    results_file,
    verdicts,
)
from builders.training.schedule import FEW_PHOTOGRAPHS
from probes.evaluation.intervals import accuracy_error, accuracy_interval, paired_gain, z
from recommender.rules import thresholds
from recommender.rules.scenario import Scenario, Similarity
from recommender.rules.scenario_rule import Verdict


def print_cells(cells: Sequence[Cell], found: Sequence[Verdict]) -> None:
    print("| data set | images | a class | drift | 1 | 4 | 2 | 3 | advice | confidence | regret |")
    print("|---|---|---|---|---|---|---|---|---|---|---|")
    for cell, verdict in sorted(zip(cells, found, strict=True), key=lambda pair: (pair[0].name, pair[0].per_class)):
        accuracies = " | ".join(f"{cell.accuracy(scenario):.1f}" for scenario in ARMS)
        print(
            f"| {cell.name} | {cell.task.n_images} | {cell.per_class} | {cell.task.excess_drift:.2f} | {accuracies} | "
            f"{verdict.scenario.id} | {verdict.confidence:.2f} | {regret(cell, verdict.scenario.id):.1f} |"
        )


def print_advice(every: Sequence[Cell]) -> None:
    """The advice for each data set from few to many images of a class, with its confidence, by what is shipped."""
    sizes = sorted({cell.per_class for cell in every if cell.seed == 0})
    print("| data set | " + " | ".join(f"{size} a class" for size in sizes) + " |")
    print("|---" * (len(sizes) + 1) + "|")
    for name in sorted({cell.name for cell in every}):
        of_set = [cell for cell in every if cell.name == name and cell.seed == 0]
        found = {cell.per_class: verdict for cell, verdict in zip(of_set, verdicts(of_set), strict=True)}
        told = (f"{found[size].scenario.id} ({found[size].confidence:.2f})" if size in found else "" for size in sizes)
        print(f"| {name} | " + " | ".join(told) + " |")


def print_lengths() -> None:
    """Whether few images want a short training or a long one."""
    print("| data set | images | 120 steps | 240 steps |")
    print("|---|---|---|---|")
    gains: dict[bool, list[float]] = {False: [], True: []}
    for name, n_images, dissimilar, short, long in lengths():
        gains[dissimilar].append(long - short)
        print(f"| {name} | {n_images} | {short:.1f} | {long:.1f} |")
    for dissimilar, kind in ((False, "like"), (True, "unlike")):
        some = gains[dissimilar]
        error = np.std(some, ddof=1) / len(some) ** 0.5
        print(f"| **gain on images {kind} ImageNet's** | | | {np.mean(some):+.1f} ± {error:.1f} |")


def print_shares() -> None:
    """What averages of the weights at start and end gain over the start, by their share of the end."""
    shares, known = (0.5, 0.75, 1.0), gains_of_shares()
    print("| images | how many | trainings | 0.5 | 0.75 | 1 |")
    print("|---|---|---|---|---|---|")
    for dissimilar, kind in ((False, "like"), (True, "unlike")):
        for few, number in ((True, "below"), (False, "at least")):
            some = [gains for unlike, n, gains in known if unlike is dissimilar and (n < FEW_PHOTOGRAPHS) is few]
            table = np.array([[gains[share] for share in shares] for gains in some])
            errors = table.std(0, ddof=1) / len(table) ** 0.5
            gained = " | ".join(f"{mean:+.1f} ± {error:.1f}" for mean, error in zip(table.mean(0), errors, strict=True))
            print(f"| {kind} ImageNet's | {number} {FEW_PHOTOGRAPHS} | {len(some)} | {gained} |")
    for arm in ("full", "partial"):
        more = np.array(fixed_less_chosen(arm))
        print(f"\nThe share of `fit` less that of the lowest log loss on a trial, {arm}, {len(more)} trainings:")
        print(f"{more.mean():+.2f} ± {more.std(ddof=1) / len(more) ** 0.5:.2f} points")


def print_policies(cells: Sequence[Cell], left_out: Sequence[Verdict], shipped: Sequence[Verdict]) -> None:
    sets = [cell.name for cell in cells]
    rng = np.random.default_rng(0)
    policies: dict[str, list[int]] = {
        "the decision, left out": [verdict.scenario.id for verdict in left_out],
        "the decision and `fit`, left out": [after_trial(*pair) for pair in zip(cells, left_out, strict=True)],
        "the decision, shipped": [verdict.scenario.id for verdict in shipped],
        "the rule of before (1,000 images)": [old_rule(cell) for cell in cells],
        "the better frozen model by cross-validation": [cell.frozen for cell in cells],
        **{f"always {scenario}": [scenario] * len(cells) for scenario in (1, 4, 2, 3)},
        "a random one": [int(rng.choice(list(ARMS))) for _ in cells],
    }
    print("| policy | regret | 95 % | by halves | 90th percentile | worst | within 1 point | training, s |")
    print("|---|---|---|---|---|---|---|---|")
    for name, chosen in policies.items():
        lost = [regret(*pair) for pair in zip(cells, chosen, strict=True)]
        halves = np.mean([regret_by_halves(*pair) for pair in zip(cells, chosen, strict=True)])
        low, high = interval_over_sets(lost, sets)
        seconds = np.mean([cell.seconds[scenario] for cell, scenario in zip(cells, chosen, strict=True)])
        print(
            f"| {name} | {np.mean(lost):.2f} | {low:.2f} to {high:.2f} | {halves:.2f} | {np.quantile(lost, 0.9):.1f} | "
            f"{max(lost):.1f} | {np.mean(np.array(lost) <= 1):.0%} | {seconds:.0f} |"
        )


def print_differences(cells: Sequence[Cell], left_out: Sequence[Verdict]) -> None:
    """What other policies lose more than the decision with `fit`, on the same cells."""
    own = [regret(cell, after_trial(cell, verdict)) for cell, verdict in zip(cells, left_out, strict=True)]
    print("| policy | loses more than the decision and `fit` | 95 % |")
    print("|---|---|---|")
    others: dict[str, Callable[[Cell], int]] = {
        "the rule of before": old_rule,
        "the better frozen model by cross-validation": lambda cell: cell.frozen,
        "always 3": lambda _: 3,
    }
    for name, choose in others.items():
        more = [regret(cell, choose(cell)) - lost for cell, lost in zip(cells, own, strict=True)]
        low, high = interval_over_sets(more, [cell.name for cell in cells])
        print(f"| {name} | {np.mean(more):+.2f} | {low:+.2f} to {high:+.2f} |")


def print_ablations(cells: Sequence[Cell], every: Sequence[Cell]) -> None:
    """What the decision loses, left out, where one of its measurements is the same for all tasks."""
    typical = {"n_images": thresholds.TYPICAL_IMAGES, "images_per_class": thresholds.TYPICAL_IMAGES_PER_CLASS}
    unknown: dict[str, dict[str, Any]] = {
        "nothing": {},
        "drift": {"excess_drift": thresholds.DRIFT_THRESHOLD, "similarity": Similarity.SIMILAR},
        "the frozen model's accuracy": {"accuracy": thresholds.TYPICAL_ACCURACY, "n_judged": 1.0},
        "the gain of an earlier cut": {"cut_gain": 0.0, "cut_gain_error": 1.0},
        "the number of images": typical,
    }
    print("| not measured | regret | within 1 point |")
    print("|---|---|---|")
    for name, changes in unknown.items():
        blind, others = (
            [replace(cell, task=replace(cell.task, **changes)) for cell in some] for some in (cells, every)
        )
        lost = [regret(*pair) for pair in zip(cells, (v.scenario.id for v in verdicts(blind, others)), strict=True)]
        print(f"| {name} | {np.mean(lost):.2f} | {np.mean(np.array(lost) <= 1):.0%} |")


def print_confidence(cells: Sequence[Cell], found: Sequence[Verdict]) -> None:
    print("| confidence | answers | mean confidence | within 1 point of the best |")
    print("|---|---|---|---|")
    right = np.array([regret(c, v.scenario.id) <= 1 for c, v in zip(cells, found, strict=True)])
    sure = np.array([verdict.confidence for verdict in found])
    for low, high in ((0, 0.4), (0.4, 0.6), (0.6, 0.8), (0.8, 1.01)):
        inside = (sure >= low) & (sure < high)
        if inside.any():
            print(
                f"| {low:.1f} to {min(high, 1.0):.1f} | {inside.sum()} | {sure[inside].mean():.2f} | "
                f"{right[inside].mean():.2f} |"
            )


def print_expected(cells: Sequence[Cell], found: Sequence[Verdict]) -> None:
    """Whether the accuracies that are expected of each scenario hold; the images that judge are a sample, too."""
    print("| scenario | cells | expected less measured | its spread | in the 90 % interval |")
    print("|---|---|---|---|---|")
    for scenario in Scenario:
        errors, inside = [], []
        for cell, verdict in zip(cells, found, strict=True):
            if scenario.id not in cell.hits:
                continue
            hits, expected = cell.hits[scenario.id], verdict.outcomes.expected(scenario)
            (low, high), noise = verdict.outcomes.interval(scenario), z() * accuracy_error(hits)
            errors.append(100 * expected - cell.accuracy(scenario.id))
            inside.append(-np.hypot(high - expected, noise) <= errors[-1] / 100 <= np.hypot(expected - low, noise))
        print(
            f"| {scenario.id} | {len(errors)} | {np.mean(errors):+.1f} | {np.std(errors):.1f} | {np.mean(inside):.0%} |"
        )


def print_reported(cells: Sequence[Cell], found: Sequence[Verdict]) -> None:
    """Whether the accuracy that `fit` reports of fine-tuning holds, with the width of its 90 % interval."""
    print("| fine-tuned, accuracy of | cells | reported less measured | root mean square | width | in it |")
    print("|---|---|---|---|---|---|")
    rows: dict[str, list[tuple[float, float, bool]]] = {"the trial's images": [], "both, by Bayes' rule": []}
    for cell, verdict in zip(cells, found, strict=True):
        for number, (start, end) in cell.trial.items():
            scenario, gain = Scenario.numbered(number), paired_gain(start, end)
            alone = both = end.mean(), accuracy_interval(end)
            if not verdict.outcomes.surprised(scenario, gain.difference, gain.standard_error):
                both = verdict.outcomes.accuracy_after(scenario, end.mean(), len(end))
            truth, noise = cell.hits[number].mean(), z() * accuracy_error(cell.hits[number])
            for of_kind, (reported, (low, high)) in zip(rows.values(), (alone, both), strict=True):
                inside = -np.hypot(high - reported, noise) <= reported - truth <= np.hypot(reported - low, noise)
                of_kind.append((100 * (reported - truth), 100 * (high - low), inside))
    for name, of_kind in rows.items():
        errors, widths, inside = (np.array(column) for column in zip(*of_kind, strict=True))
        print(
            f"| {name} | {len(errors)} | {errors.mean():+.1f} | {np.sqrt((errors**2).mean()):.1f} | "
            f"{widths.mean():.0f} | {inside.mean():.0%} |"
        )


def print_network(network: str, fitted_to: Sequence[Cell]) -> None:
    """The same of another network, by the lines of the default one."""
    cells = [cell for cell in load(results_file(network)) if cell.complete]
    left_out, shipped = verdicts(cells, fitted_to), verdicts(cells)
    print(f"\n{network}: {len(cells)} cells\n")
    print_cells(cells, left_out)
    print()
    print_policies(cells, left_out, shipped)
    print()
    print_expected(cells, left_out)


def plot(cells: Sequence[Cell], found: Sequence[Verdict], folder: Path) -> None:
    """What fine-tuning gained over the frozen model against the number of images, and how true the confidence is."""
    import matplotlib

    matplotlib.use("svg")
    from matplotlib import pyplot as plt

    folder.mkdir(parents=True, exist_ok=True)
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for similarity, marker in ((Similarity.SIMILAR, "o"), (Similarity.DISSIMILAR, "s")):
        of_kind = [cell for cell in cells if cell.task.similarity is similarity]
        n_images = [cell.task.n_images for cell in of_kind]
        gains = [cell.accuracy(3) - cell.accuracy(cell.frozen) for cell in of_kind]
        axes.scatter(n_images, gains, marker=marker, label=f"{similarity} to ImageNet's images")
    axes.axhline(0, color="grey", linewidth=1)
    axes.set(xscale="log", xlabel="training images", ylabel="points gained by training everything")
    axes.legend()
    figure.savefig(folder / "gain.svg")
    figure, axes = plt.subplots(figsize=(4.5, 4), layout="constrained")
    sure = np.array([verdict.confidence for verdict in found])
    right = np.array([regret(cell, verdict.scenario.id) <= 1 for cell, verdict in zip(cells, found, strict=True)])
    order = np.array_split(np.argsort(sure), 4)
    axes.plot([0, 1], [0, 1], color="grey", linewidth=1)
    axes.errorbar(
        [sure[part].mean() for part in order],
        [right[part].mean() for part in order],
        yerr=[np.sqrt(right[part].mean() * (1 - right[part].mean()) / len(part)) for part in order],
        fmt="o",
    )
    axes.set(xlabel="confidence", ylabel="share within 1 point of the best", xlim=(0, 1), ylim=(0, 1))
    figure.savefig(folder / "confidence.svg")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--plots", type=Path)
    options = parser.parse_args()
    every = load()
    cells = [cell for cell in every if cell.complete]
    left_out, shipped = verdicts(cells, every), verdicts(cells)
    print(
        f"{len(cells)} cells of {len({cell.name for cell in cells})} data sets, {len(every)} with the frozen models\n"
    )
    print_cells(cells, left_out)
    print()
    print_policies(cells, left_out, shipped)
    print()
    print_differences(cells, left_out)
    print()
    print_ablations(cells, every)
    print()
    print_confidence(cells, left_out)
    print()
    print_advice(every)
    print()
    print_lengths()
    print()
    print_shares()
    print()
    print_expected(every, verdicts(every, every))
    print()
    print_reported(cells, left_out)
    for network in WEIGHTS:
        if (RESULTS / results_file(network)).exists():
            print_network(network, every)
    print("\nFitted on all cells:")
    for name, value in fitted(every).items():
        print(f"{name} = {value}")
    if options.plots:
        plot(cells, left_out, options.plots)


if __name__ == "__main__":
    main()
