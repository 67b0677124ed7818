"""Is the advice right, and does a comparison keep to its budget?

    python benchmarks/compare.py [--budget SECONDS] [SET...]

The recommended strategy and its rivals are trained under one budget, 600 s by default. A line a set: the seconds that
it took, every row with its accuracy, and the regret of the advice. Ten minutes a set. Results:
benchmarks/results/compare.jsonl; a run resumes.
"""

import argparse
import time
from typing import Any

from common import ResultFile, data_sets
from rich.console import Console

from probes.data.image_index import ImageIndex
from recommender import recommend
from recommender.comparison.compare import compare
from recommender.reports.comparison_page import print_comparison

SETS = ("flowers5", "fsdd_spectrograms", "brain_tumor_mri")
BUDGET = 600.0


def cell(name: str, folder: ImageIndex, budget: float) -> dict[str, Any]:
    began = time.perf_counter()
    found = recommend(folder.source)
    measured = time.perf_counter() - began
    began = time.perf_counter()
    comparison = compare(found, budget=budget)
    seconds = time.perf_counter() - began
    print_comparison(comparison, Console(width=110))
    return {
        "set": name,
        "budget": budget,
        "seconds": round(seconds, 1),
        "seconds_recommend": round(measured, 1),
        "scenario": found.scenario.id,
        "input_size": found.strategy.input_size,
        **{key: value for key, value in rounded(comparison.to_dict()).items() if key not in ("budget", "seconds")},
    }


def rounded(value: Any) -> Any:
    """The same with numbers to four places."""
    if isinstance(value, dict):
        return {key: rounded(part) for key, part in value.items()}
    if isinstance(value, list):
        return [rounded(part) for part in value]
    return round(value, 4) if isinstance(value, float) else value


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sets", nargs="*", default=SETS)
    parser.add_argument("--budget", type=float, default=BUDGET)
    asked = parser.parse_args()
    results = ResultFile("compare.jsonl", ("set", "budget"))
    for name, folder in data_sets(tuple(asked.sets)):
        if not results.has(name, asked.budget):
            results.add(cell(name, folder, asked.budget))
        row = next(row for row in results.rows if (row["set"], row["budget"]) == (name, asked.budget))
        print({key: row[key] for key in ("set", "seconds", "verdict", "winner", "preferred", "regret")}, flush=True)


if __name__ == "__main__":
    main()
