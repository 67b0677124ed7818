"""How a model is fine-tuned: phases, steps, learning rates, each with its source. Imports no Keras."""

from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real

from builders.errors import BuildError

AUGMENTATIONS = ("mirror", "shift", "brightness")
BATCH_SIZE = 32
# BiT-HyperRule (arXiv 1912.11370) gives 500 steps below 20,000 images and more above. Here it is 500 batches of 32 at
# 1,600 images, and grows with the square root of the images, so that training ends on a CPU.
STEPS = 500
STEPS_AT_IMAGES = 1600
# With few images, too. benchmarks/results/regret.jsonl: with 240 steps in place of 120 the whole network is better by
# 2.5 ± 0.9 points on pictures unlike ImageNet's, and worse by 1.2 ± 0.7 on photographs.
LEAST_STEPS = 120
LEAST_STEPS_DISSIMILAR = 240
WARM_UP = 0.1  # share of the steps
# Peak rates of Adam, of all layers. Weight decay changes nothing at such rates and so few steps: AdamW shrinks a weight
# by rate times decay a step, at a decay of 0.01 and 240 steps by 0.1 % in all.
LEARNING_RATE = 3e-4
LEARNING_RATE_DISSIMILAR = 1e-3  # where the whole network trains on pictures unlike the source's
CHECKS = 12
# What is returned is an average of the weights at start and end (Wortsman et al., WiSE-FT, arXiv 2109.01903). Of the
# shares 0.5, 0.75 and 1 of the end, 0.75 gains most over the cells of benchmarks/results/regret.jsonl, and 0.5 on few
# photographs. Chosen by the log loss of a trial's images, which are few, the average gains 0.5 ± 0.2 points less there.
SHARE = 0.75
SHARE_OF_FEW_PHOTOGRAPHS, FEW_PHOTOGRAPHS = 0.5, 250


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One part of the training."""

    name: str  # "linear_probe" or "fine_tune"
    what: str  # is trained, in words
    steps: int = 0  # batches; 0 for a closed-form solution
    learning_rate: float | None = None  # the peak; None without steps
    trainable_parameters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How fine-tuning runs."""

    steps: int  # batches, a multiple of `check_every`; 0 trains nothing
    batch_size: int
    check_every: int  # steps between validation checks
    learning_rate: float  # the peak
    warm_up: int  # steps over which the rate rises from 0; a cosine takes it back there
    seed: int  # of order and augmentation
    share: float  # of the trained weights in their average with the start, which is returned

    def trains_as(self, usual: "Schedule") -> bool:
        """Whether it shows at least as many images, at the same rate."""
        shown, wanted = (each.steps * each.batch_size for each in (self, usual))
        return shown >= wanted and self.learning_rate == usual.learning_rate


def plan_schedule(
    n_images: int,
    *,
    dissimilar: bool = False,
    whole: bool = True,
    epochs: float | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    seed: int = 0,
) -> Schedule:
    """The schedule for a number of training images, at least 1; options as of `Recommendation.fit`.

    `dissimilar`: whether the pictures are unlike the source's. `whole`: whether the whole network trains.
    """
    _check(epochs, steps, batch_size, learning_rate)
    size = min(batch_size or BATCH_SIZE, n_images)
    if steps is None and epochs is not None:
        steps = max(1, round(epochs * n_images / size)) if epochs else 0
    elif steps is None:
        least = LEAST_STEPS_DISSIMILAR if dissimilar else LEAST_STEPS
        steps = max(least, round(STEPS * (n_images / STEPS_AT_IMAGES) ** 0.5))
    usual = LEARNING_RATE_DISSIMILAR if dissimilar and whole else LEARNING_RATE
    few_photographs = not dissimilar and n_images < FEW_PHOTOGRAPHS
    check_every = max(1, round(steps / CHECKS))
    steps = check_every * max(1, round(steps / check_every)) if steps else 0
    return Schedule(
        steps=steps,
        batch_size=size,
        check_every=check_every,
        learning_rate=usual if learning_rate is None else learning_rate,
        warm_up=round(WARM_UP * steps),
        seed=seed,
        share=SHARE_OF_FEW_PHOTOGRAPHS if few_photographs else SHARE,
    )


def check_augmentation(names: Iterable[str]) -> None:
    """Refuse an unknown augmentation."""
    for name in [names] if isinstance(names, str) or not isinstance(names, Iterable) else names:
        if name not in AUGMENTATIONS:
            raise BuildError(f"Expected `augmentation` to hold some of {', '.join(AUGMENTATIONS)}. Received: {name!r}.")


def _check(epochs: float | None, steps: int | None, batch_size: int | None, learning_rate: float | None) -> None:
    if epochs is not None and steps is not None:
        raise BuildError(f"Expected `epochs` or `steps`. Received both: {epochs} and {steps}. Give one.")
    for name, value, least in (("epochs", epochs, 0), ("steps", steps, 0), ("batch_size", batch_size, 1)):
        if value is not None and not (isinstance(value, Real) and least <= value < float("inf")):
            raise BuildError(f"Expected `{name}` to be at least {least}. Received: {value!r}.")
    if learning_rate is not None and not (isinstance(learning_rate, Real) and 0 < learning_rate < float("inf")):
        raise BuildError(f"Expected `learning_rate` to be above 0. Received: {learning_rate!r}.")
