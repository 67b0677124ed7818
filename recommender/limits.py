"""The range of each argument, for the command and the library alike."""

import math
import numbers

from recommender.errors import RecommendError

SMALLEST_INPUT = 32  # px: a backbone with stride 32 has no feature map below it
LARGEST_INPUT = 4096  # px: a batch of larger pictures does not fit into memory
SMALLEST_SAMPLE = 2  # an image of each of two classes
LARGEST_SEED = 2**32 - 1  # scikit-learn's
SMALLEST_BUDGET = 1  # s: what is done by then is reported, the frozen strategies at least
ENGINES = ("auto", "litert", "tensorflow")  # what runs the network


def check_arguments(
    input_size: int | str | None,
    max_images: int,
    scenario: int | None,
    seed: int,
    check: str | None,
    engine: str,
    *,
    trial: bool,
    ray: str | None,
) -> None:
    """Refuse arguments of `recommender.recommend` that are out of range."""

    def within(value: object, least: int, most: float = math.inf) -> bool:
        return isinstance(value, numbers.Integral) and least <= int(value) <= most

    is_size = input_size in (None, "auto") or within(input_size, SMALLEST_INPUT, LARGEST_INPUT)
    for name, given, holds, expected in (
        ("input_size", input_size, is_size, f"{SMALLEST_INPUT} to {LARGEST_INPUT} px, or 'auto'"),
        ("max_images", max_images, within(max_images, SMALLEST_SAMPLE), f"at least {SMALLEST_SAMPLE}"),
        ("scenario", scenario, scenario in (None, 1, 2, 3, 4), "1, 2, 3 or 4"),
        ("trial", trial, trial in (False, True), "True or False"),
        ("scenario", scenario, not (trial and scenario), "left to the trial"),
        ("ray", ray, not (trial and ray), "left out with a trial, which trains on this machine"),
        ("engine", engine, engine in ENGINES, "'auto', 'litert' or 'tensorflow'"),
        ("check", check, check in (None, "sample", "full"), "'sample', 'full' or None"),
        ("seed", seed, within(seed, 0, LARGEST_SEED), f"from 0 to {LARGEST_SEED}"),
    ):
        if not holds:
            raise RecommendError(f"Expected `{name}` to be {expected}. Received: {given!r}.")
