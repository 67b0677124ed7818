"""How a model is fine-tuned: phases, steps, learning rates, each with its source. Imports no Keras."""

from dataclasses import dataclass

from builders.errors import BuildError

AUGMENTATIONS = ("mirror", "crop")
BATCH_SIZE = 32
# BiT-HyperRule (arXiv 1912.11370) gives 500 steps below 20,000 images and more above. Here it is 500 batches of 32 at
# 1,600 images, and grows with the square root of the images, so that training ends on a CPU.
STEPS = 500
STEPS_AT_IMAGES = 1600
WARM_UP = 0.1  # share of the steps
# Peak rates, from benchmarks/rates.py with 240 steps: the best AdamW ends above the best SGD. On photographs 3e-4 is
# never the worst of 1e-4 to 1e-3, which gains most on clothes and nothing on flowers. SGD comes close on spectrograms,
# where 3e-3 is too much.
LEARNING_RATES = {"adamw": 3e-4, "sgd": 1e-3}
# Where the whole network trains on pictures unlike the source's: on digits and spectrograms 1e-3 does as well as 3e-4
# in 240 steps, on photographs it does not. 3e-3 gains nothing anywhere.
LEARNING_RATES_DISSIMILAR = {"adamw": 1e-3, "sgd": 1e-3}
WEIGHT_DECAY = 1e-4
# Rate of the first layer as a share of the last one's, geometrically between (discriminative rates of ULMFiT,
# arXiv 1801.06146; layer-wise decay).
LOWEST_RATE = 0.3
# BiT-HyperRule mixes pairs of images, with alpha 0.1, from 20,000 images on; not measured by us.
MIXUP_FROM_IMAGES = 20_000
MIXUP_ALPHA = 0.1
LABEL_SMOOTHING = 0.0
CHECKS = 12
PATIENCE = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Phase:
    """One part of the training."""

    name: str  # "linear_probe" or "fine_tune"
    what: str  # is trained, in words
    steps: int = 0  # batches; 0 for a closed-form solution
    learning_rate: float | None = None  # the peak, of the last layers; None without steps
    trainable_parameters: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """How fine-tuning runs."""

    steps: int  # batches, a multiple of `check_every`; 0 trains nothing
    batch_size: int
    check_every: int  # steps between validation checks
    patience: int = PATIENCE  # checks in a row without gain after which training stops
    optimizer: str  # "adamw" or "sgd" (with momentum 0.9)
    learning_rate: float  # the peak, of the last layers
    lowest_rate: float = LOWEST_RATE
    warm_up: int  # steps over which the rate rises from 0; a cosine takes it back there
    weight_decay: float = WEIGHT_DECAY
    label_smoothing: float = LABEL_SMOOTHING
    mixup: float  # alpha of the Beta distribution; 0 for no mixup
    seed: int  # of order, augmentation and mixup


def plan_schedule(
    n_images: int,
    *,
    dissimilar: bool = False,
    epochs: float | None = None,
    steps: int | None = None,
    batch_size: int | None = None,
    learning_rate: float | None = None,
    optimizer: str = "adamw",
    seed: int = 0,
) -> Schedule:
    """The schedule for a number of training images, at least 1; options as of `Recommendation.fit`.

    `dissimilar`: whether the whole network trains, on pictures unlike the source's.
    """
    _check(epochs, steps, batch_size, learning_rate, optimizer)
    size = min(batch_size or BATCH_SIZE, n_images)
    if steps is None and epochs is not None:
        steps = max(1, round(epochs * n_images / size)) if epochs else 0
    elif steps is None:
        steps = round(STEPS * (n_images / STEPS_AT_IMAGES) ** 0.5)
    rates = LEARNING_RATES_DISSIMILAR if dissimilar else LEARNING_RATES
    check_every = max(1, round(steps / CHECKS))
    steps = check_every * max(1, round(steps / check_every)) if steps else 0
    return Schedule(
        steps=steps,
        batch_size=size,
        check_every=check_every,
        optimizer=optimizer,
        learning_rate=rates[optimizer] if learning_rate is None else learning_rate,
        warm_up=round(WARM_UP * steps),
        mixup=MIXUP_ALPHA if n_images >= MIXUP_FROM_IMAGES else 0.0,
        seed=seed,
    )


def _check(
    epochs: float | None, steps: int | None, batch_size: int | None, learning_rate: float | None, optimizer: str
) -> None:
    if epochs is not None and steps is not None:
        raise BuildError(f"Expected `epochs` or `steps`. Received both: {epochs} and {steps}. Give one.")
    for name, value, least in (("epochs", epochs, 0), ("steps", steps, 0), ("batch_size", batch_size, 1)):
        if value is not None and not least <= value < float("inf"):
            raise BuildError(f"Expected `{name}` to be at least {least}. Received: {value}.")
    if learning_rate is not None and not 0 < learning_rate < float("inf"):
        raise BuildError(f"Expected `learning_rate` to be above 0. Received: {learning_rate}.")
    if optimizer not in LEARNING_RATES:
        raise BuildError(f"Expected `optimizer` to be one of {', '.join(LEARNING_RATES)}. Received: {optimizer!r}.")
