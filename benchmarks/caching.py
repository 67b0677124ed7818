"""What does computing the frozen part once save?

    python benchmarks/caching.py

`fit` in scenario 2 on 800 photographs, 96 steps, with what the frozen part puts out kept, and computed again at each
step; the two take turns three times. Results: benchmarks/results/caching.jsonl, one line a pair: seconds of fine-tuning
and of the whole training, and their ratio within the pair, which is what counts on a machine that others use.
"""

import json

from common import RESULTS, data_sets, linked_folder, split

from recommender import recommend

PAIRS, STEPS, PER_CLASS = 3, 96, 160


def main() -> None:
    ((_, folder),) = data_sets(("flowers5",))
    train, _ = split(folder, PER_CLASS, 0)
    with linked_folder(folder, train) as path:
        found = recommend(path, scenario=2)
        for _ in range(PAIRS):
            cached, plain = (
                found.fit(steps=STEPS, augmentation=("mirror",), cache=kept).seconds for kept in (True, False)
            )
            row = {
                "freeze": found.strategy.freeze,
                "input_size": found.strategy.input_size,
                "fine_tune_cached": cached["fine_tune"],
                "fine_tune_plain": plain["fine_tune"],
                "times_as_fast": round(plain["fine_tune"] / cached["fine_tune"], 2),
                "all_cached": round(sum(cached.values()), 1),
                "all_plain": round(sum(plain.values()), 1),
            }
            print(row, flush=True)
            with (RESULTS / "caching.jsonl").open("a", encoding="utf-8") as file:
                file.write(json.dumps(row) + "\n")


if __name__ == "__main__":
    main()
