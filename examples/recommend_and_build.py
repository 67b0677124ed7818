"""Ask what to do with a folder of labelled images, read the answer, write the model.

python examples/recommend_and_build.py FOLDER MODEL.keras
"""

import sys

import netgraft


def main(folder: str, target: str) -> None:
    found = netgraft.recommend(folder)
    print(found.scenario)  # for example Scenario.LINEAR_PROBE
    print(found.expected_accuracy)  # cross-validated, of the model as returned
    print(*found.reasons, sep="\n")
    model = found.build()  # a compiled keras.Model that already classifies
    model.save(target)


if __name__ == "__main__":
    main(*sys.argv[1:])
