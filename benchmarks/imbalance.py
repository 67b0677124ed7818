"""Whether weighting the classes in the linear probe pays where they are unbalanced.

python benchmarks/imbalance.py [SET ...]

Cross-validated accuracy and balanced accuracy of the prediction layer, with every image and with every class counting
alike. One JSON line a set in results/imbalance.jsonl; a run resumes.
"""

import sys
from pathlib import Path

from common import ResultFile, data_sets

from probes.data.sampling import draw_splits
from probes.quality.repeats import find_repeats
from probes.separability.linear_probe import fit_linear_probe
from recommender import recommend
from recommender.pipeline.data_checks import inspect_sample
from recommender.pipeline.network_pass import rows_of, run_network
from recommender.rules.class_balance import imbalance

IMAGES = 1000


def main(names: list[str]) -> None:
    results = ResultFile("imbalance.jsonl", ("set",))
    for name, index in data_sets(tuple(names)):
        if results.has(name):
            continue
        found = recommend(Path(index.source), max_images=IMAGES)
        features = run_network(found.backbone, index, draw_splits(index, IMAGES, 0), None).features
        seen = inspect_sample(index, features, with_test=0, seed=0)
        rows = rows_of(index, features, seen, find_repeats(seen, index))
        blocks = [features.pooled[level] for level in found.strategy.head.levels]
        row = {"set": name, "imbalance": imbalance(index.class_counts)}
        for kind, balanced in (("images", False), ("classes", True)):
            judged = fit_linear_probe(blocks, rows, len(index.class_names), seed=0, balanced=balanced).judged
            row[kind] = {"accuracy": judged.accuracy, "balanced_accuracy": judged.balanced_accuracy}
        results.add(row)
        print(row)


if __name__ == "__main__":
    main(sys.argv[1:])
