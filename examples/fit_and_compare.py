"""Train the recommended model, and compare the recommendation with its rivals.

python examples/fit_and_compare.py FOLDER MODEL.keras [SECONDS]
"""

import sys

import netgraft


def main(folder: str, target: str, seconds: str = "600", *, steps: int | None = None) -> None:
    found = netgraft.recommend(folder)
    result = found.fit(steps=steps)
    print(result.accuracy, result.interval)  # on images that it did not learn from
    result.model.save(target)
    comparison = netgraft.compare(found, budget=float(seconds))
    print(comparison.sentence)  # right, tied, wrong or too few images to tell


if __name__ == "__main__":
    main(*sys.argv[1:])
