"""Which optimiser and which rates fine-tune best?

    python benchmarks/rates.py

`fit` for 240 steps, with each optimiser and peak rate, in scenario 2 and in scenario 3; the same images are held out
each time. Results: benchmarks/results/rates.jsonl, one line a cell with the held-out accuracy at each look; a run
resumes. A few minutes a cell on two cores.
"""

from common import ResultFile, shared_datasets

from recommender import recommend

STEPS = 240
SETS = (("fsdd_spectrograms", 3), ("flowers5", 2), ("flowers5", 3), ("clothing10", 2), ("mnist", 3))
RATES = (
    ("adamw", 1e-4),
    ("adamw", 3e-4),
    ("adamw", 1e-3),
    ("adamw", 3e-3),
    ("sgd", 3e-4),
    ("sgd", 1e-3),
    ("sgd", 3e-3),
    ("sgd", 1e-2),
)


def main() -> None:
    results = ResultFile("rates.jsonl", ("set", "scenario", "optimizer", "learning_rate"))
    for name, scenario in SETS:
        found = None
        for optimizer, rate in RATES:
            if results.has(name, scenario, optimizer, rate):
                continue
            if found is None:
                found = recommend(str(shared_datasets() / name), scenario=scenario)
            done = found.fit(steps=STEPS, optimizer=optimizer, learning_rate=rate)
            results.add(
                {
                    "set": name,
                    "scenario": scenario,
                    "optimizer": optimizer,
                    "learning_rate": rate,
                    "freeze": found.strategy.freeze,
                    "augmentation": done.plan.augmentation,
                    "n_held_out": done.plan.n_held_out,
                    "accuracy": [round(check.accuracy, 4) for check in done.history],
                    "seconds": round(done.seconds["fine_tune"], 1),
                }
            )
            print(results.rows[-1], flush=True)


if __name__ == "__main__":
    main()
