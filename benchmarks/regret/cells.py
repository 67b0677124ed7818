"""The finished cells of the grid, what the decision says of each, and what that loses to the best way."""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from common import RESULTS

from benchmarks.regret import lines
from builders.training.schedule import plan_schedule
from probes.evaluation.intervals import paired_gain
from recommender.rules import thresholds
from recommender.rules.outcomes import Task
from recommender.rules.scenario import Similarity
from recommender.rules.scenario_rule import Verdict, decide

ARMS = {1: "whole", 4: "cut", 2: "partial", 3: "full"}


@dataclass(frozen=True, kw_only=True, eq=False)
class Cell:
    """One data set with so many images, and what each scenario gave that was tried."""

    name: str
    per_class: int
    seed: int
    task: Task
    hits: dict[int, npt.NDArray[np.bool_]]  # by scenario: which of the images that judge are right
    trial: dict[int, tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_]]]  # start and end, on a trial's images
    seconds: dict[int, float]

    def accuracy(self, scenario: int) -> float:
        return 100 * float(self.hits[scenario].mean())

    @property
    def complete(self) -> bool:
        return len(self.hits) == len(ARMS)

    @property
    def frozen(self) -> int:
        """The better of the frozen models by what is known beforehand."""
        return 4 if (self.task.cut_gain or 0) > 0 else 1


def results_file(network: str | None) -> str:
    return f"regret_{network}.jsonl" if network else "regret.jsonl"


def load(file: str = "regret.jsonl") -> list[Cell]:
    """The cells with at least the frozen models, in the order of the file."""
    return [_cell(*key, arms) for key, arms in _arms(file).items() if "frozen" in arms]


def _cell(name: str, per_class: int, seed: int, arms: dict[str, dict[str, Any]]) -> Cell:
    frozen = arms["frozen"]
    n = frozen["n_test"]
    hits = {1: _bits(frozen["whole"]["hits"], n), 4: _bits(frozen["cut"]["hits"], n)}
    trial, seconds = {}, {1: 0.0, 4: 0.0}
    for scenario in (2, 3):
        arm = arms.get(ARMS[scenario])
        if arm is None:
            continue
        hits[scenario] = _bits(_returned(arm["test"], arm, frozen)["hits"], n)
        seconds[scenario] = arm["seconds"]
        if arm["trial"]:
            start, end = arm["trial"][0], _returned(arm["trial"], arm, frozen)
            trial[scenario] = tuple(_bits(each["hits"], len(start["losses"])) for each in (start, end))
    known = {"n_classes": frozen["n_classes"], **frozen["task"]}
    task = Task(**{**known, "similarity": Similarity(known["similarity"])})
    return Cell(name=name, per_class=per_class, seed=seed, task=task, hits=hits, trial=trial, seconds=seconds)


def _returned(averages: Sequence[dict[str, Any]], arm: dict[str, Any], frozen: dict[str, Any]) -> dict[str, Any]:
    """The average of the weights at start and end that `fit` returns."""
    share = plan_schedule(arm["n_training"], dissimilar=_dissimilar(frozen)).share
    return next(average for average in averages if average["share"] == share)


def _bits(text: str, n: int) -> npt.NDArray[np.bool_]:
    return np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8))[:n].astype(bool)


def lengths() -> list[tuple[str, int, bool, float, float]]:
    """(data set, images, whether unlike ImageNet's, accuracy of `full` after 120 and after 240 steps) of each cell."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in _rows():
        arms = found.setdefault((row["set"], row["per_class"], row["seed"]), {})
        length = row["arm"] if row["arm"] != "full" else {120: "short", 240: "long"}.get(row["steps"], "full")
        arms[length] = row
    return [
        (
            name,
            arms["short"]["n_training"],
            _dissimilar(arms["frozen"]),
            *(
                100 * _returned(arms[length]["test"], arms[length], arms["frozen"])["accuracy"]
                for length in ("short", "long")
            ),
        )
        for (name, _, _), arms in sorted(found.items())
        if {"short", "long"} <= set(arms)
    ]


def gains_of_shares() -> list[tuple[bool, int, dict[float, float]]]:
    """(whether unlike ImageNet's, images, points gained by each average of weights) of each training of `full`."""
    found = []
    for arms in _arms().values():
        if "full" in arms:
            accuracy = {average["share"]: 100 * average["accuracy"] for average in arms["full"]["test"]}
            gains = {share: value - accuracy[0.0] for share, value in accuracy.items() if share}
            found.append((_dissimilar(arms["frozen"]), arms["full"]["n_training"], gains))
    return found


def fixed_less_chosen(arm: str) -> list[float]:
    """Points of accuracy of the average that `fit` returns, less those of the one that a trial's log loss chooses."""
    found = []
    for arms in _arms().values():
        if arm in arms and arms[arm]["trial"]:
            row = arms[arm]
            chosen = 1 + int(np.argmin([np.mean(average["losses"]) for average in row["trial"][1:]]))
            fixed = _returned(row["test"], row, arms["frozen"])
            found.append(100 * (fixed["accuracy"] - row["test"][chosen]["accuracy"]))
    return found


def _arms(file: str = "regret.jsonl") -> dict[tuple[Any, ...], dict[str, Any]]:
    """The arms of each cell by their names; cells by (data set, images a class, seed), in the order of the file."""
    found: dict[tuple[Any, ...], dict[str, Any]] = {}
    for row in _rows(file):
        found.setdefault((row["set"], row["per_class"], row["seed"]), {})[row["arm"]] = row
    return found


def _dissimilar(frozen: dict[str, Any]) -> bool:
    return bool(frozen["task"]["similarity"] == Similarity.DISSIMILAR)


def _rows(file: str = "regret.jsonl") -> Iterator[dict[str, Any]]:
    return map(json.loads, (RESULTS / file).read_text(encoding="utf-8").splitlines())


def points(cells: Sequence[Cell], after: int, before: Callable[[Cell], int]) -> lines.Points:
    """Log ratios of the odds of an error of one scenario over those of another."""
    pairs = [lines.log_odds_ratio(~cell.hits[after], ~cell.hits[before(cell)]) for cell in cells]
    return lines.Points(
        features=np.stack([_features(cell.task) for cell in cells]),
        logs=np.array([pair[0] for pair in pairs]),
        variances=np.array([pair[1] for pair in pairs]),
        sets=tuple(cell.name for cell in cells),
    )


def _features(task: Task) -> npt.NDArray[np.float64]:
    error = ((1 - (task.accuracy or 0.0)) * task.n_judged + 0.5) / (task.n_judged + 1)
    return task.features(error, task.excess_drift or 0.0)


def fitted(cells: Sequence[Cell]) -> dict[str, Any]:
    """The thresholds that these cells give."""
    full = points([cell for cell in cells if 3 in cell.hits], 3, lambda cell: cell.frozen)
    partial = points([cell for cell in cells if {2, 3} <= set(cell.hits)], 2, lambda _: 3)
    means, rest, noise = {}, [], []
    for similarity in Similarity:
        of_kind = [cell for cell in cells if cell.task.similarity is similarity]
        gains = [paired_gain(cell.hits[1], cell.hits[4]) for cell in of_kind]
        means[similarity] = float(np.mean([gain.difference for gain in gains])) if gains else 0.0
        rest += [gain.difference - means[similarity] for gain in gains]
        noise += [gain.standard_error**2 for gain in gains]
    spread = np.sqrt(max(np.var(rest, ddof=2) - np.mean(noise), 0.01**2))  # without that of the images that judge
    return {
        # More images never make fine-tuning worse; whether training all layers gains more from them is left open.
        "FULL": lines.fit_line(full, lines.PRIOR, lines.PRIOR_SPREAD, falling=True),
        "PARTIAL_LESS_FULL": lines.fit_line(
            partial, lines.PRIOR_DIFFERENCE, lines.PRIOR_DIFFERENCE_SPREAD, falling=False
        ),
        "CUT_GAIN_SIMILAR": round(means[Similarity.SIMILAR], 3),
        "CUT_GAIN_DISSIMILAR": round(means[Similarity.DISSIMILAR], 3),
        "CUT_GAIN_SPREAD": round(float(spread), 3),
    }


@contextlib.contextmanager
def with_thresholds(values: dict[str, Any]) -> Iterator[None]:
    before = {name: getattr(thresholds, name) for name in values}
    for name, value in values.items():
        setattr(thresholds, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(thresholds, name, value)


def verdicts(cells: Sequence[Cell], fitted_to: Sequence[Cell] = ()) -> list[Verdict]:
    """The decision of each cell, with what the cells of other data sets give, or with what is shipped."""

    @cache
    def without(name: str) -> dict[str, Any]:
        return fitted([cell for cell in fitted_to if cell.name != name])

    found = []
    for cell in cells:
        with with_thresholds(without(cell.name) if fitted_to else {}):
            found.append(decide(cell.task))
    return found


def old_rule(cell: Cell) -> int:
    """The table with fixed numbers: 1,000 images, 20 in the smallest class, and the drift."""
    plentiful = cell.task.n_images >= 1000 and cell.task.images_per_class >= 20
    similar = cell.task.similarity is Similarity.SIMILAR
    return (2 if similar else 3) if plentiful else (1 if similar else 4)


def after_trial(cell: Cell, verdict: Verdict) -> int:
    """The scenario of what `fit` returns, after one trial on the images that the cell holds out for it."""
    scenario = verdict.scenario if verdict.scenario.fine_tunes else verdict.rival
    if scenario is None or scenario.id not in cell.trial:
        return verdict.scenario.id
    gain = paired_gain(*cell.trial[scenario.id])
    if verdict.outcomes.chance_after(scenario, gain.difference, gain.standard_error) >= thresholds.ACCEPTED:
        return scenario.id
    return verdict.best_frozen.id if verdict.scenario.fine_tunes else verdict.scenario.id


def regret(cell: Cell, scenario: int) -> float:
    return max(cell.accuracy(each) for each in ARMS) - cell.accuracy(scenario)


def regret_by_halves(cell: Cell, scenario: int) -> float:
    """The same without the bias of a best that is chosen by the images that judge it."""
    halves = np.arange(len(cell.hits[1])) % 2 == 0
    lost = []
    for half in (halves, ~halves):
        best = max(ARMS, key=lambda each: cell.hits[each][half].mean())
        lost.append(cell.hits[best][~half].mean() - cell.hits[scenario][~half].mean())
    return 100 * float(np.mean(lost))


def interval_over_sets(values: Sequence[float], sets: Sequence[str]) -> tuple[float, float]:
    """95 % interval of a mean, by a bootstrap over data sets."""
    names, rng = sorted(set(sets)), np.random.default_rng(0)
    of_set = {name: [v for v, s in zip(values, sets, strict=True) if s == name] for name in names}
    means = []
    for _ in range(2000):
        drawn = [value for name in rng.choice(names, len(names)) for value in of_set[name]]
        means.append(np.mean(drawn))
    low, high = np.quantile(means, (0.025, 0.975))
    return float(low), float(high)
