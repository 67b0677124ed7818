"""What a training is asked to do, and what it will do."""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from numbers import Integral
from typing import TYPE_CHECKING, Any

import numpy as np

from builders.strategy import Strategy
from builders.training.schedule import Phase, Schedule, check_augmentation, plan_schedule
from probes.data.splits import FOLDS
from recommender.errors import RecommendError
from recommender.fit.images import ENOUGH_HELD_OUT, MOST_HELD_OUT, MOST_TRIALS, FloatArray
from recommender.fit.result import TrainingPlan
from recommender.limits import LARGEST_SEED
from recommender.progress import Clock, Progress
from recommender.rules.class_balance import class_weights
from recommender.rules.plan import plan_strategy
from recommender.rules.scenario import Scenario, Similarity
from recommender.rules.scenario_rule import similarity_verdict

if TYPE_CHECKING:
    from builders.surgery.frozen_split import FrozenSplit
    from builders.training.state import Check
    from recommender.pipeline.decision import Decision

SOLVED_AT_ONCE = 20_000  # training images of a linear probe at most
REFIT_BELOW = 10 * MOST_HELD_OUT  # images: above, the few that are held out are not worth a second training. Ours.

# Time of a training step for each image, with nothing frozen, over that of the network's LiteRT pass.
# benchmarks/results/speed.jsonl: EfficientNet-Lite0 at 128 and at 224 px, both on two cores.
PASSES_OF_A_STEP = 5.4
VIEWS = 8  # of an image at most, of which the outputs of a frozen part are kept. Ours.
STARTING_SECONDS = 20.0  # to import TensorFlow, build the model and trace its graphs. Ours.

# The options of `fit` without effect where the prediction layer is solved at once.
OF_FINE_TUNING = "epochs steps batch_size learning_rate augmentation callbacks logs resume force".split()


@dataclass(frozen=True, slots=True, kw_only=True)
class FitOptions:
    """The options of `recommender.Recommendation.fit`, which documents them."""

    epochs: float | None = None
    steps: int | None = None
    batch_size: int | None = None
    learning_rate: float | None = None
    augmentation: Sequence[str] | None = None
    cache: bool = True
    precision: str | None = None
    callbacks: Sequence[Any] = ()
    logs: str | os.PathLike[str] | None = None
    resume: bool = False
    keep_state: bool = False
    force: bool = False
    only_tries: bool = False  # whether it is a trial before the choice, whose state is not that of `fit`
    seed: int
    progress: Progress | None = None
    announce: Callable[[TrainingPlan], None] | None = None
    on_check: "Callable[[Check, Schedule], None] | None" = None

    def at(self, phase: str) -> Callable[[int, int], None] | None:
        """The callback for the progress of one phase."""
        progress = self.progress
        return None if progress is None else (lambda done, wanted: progress(phase, done, wanted))

    def of_no_training(self) -> "FitOptions":
        """The options without those of fine-tuning."""
        usual: dict[str, Any] = {part.name: part.default for part in fields(self) if part.name in OF_FINE_TUNING}
        return replace(self, **usual)

    def schedule(self, n_images: int, *, dissimilar: bool = False, whole: bool = True) -> Schedule:
        """The schedule of fine-tuning, as by `plan_schedule`."""
        names = ("epochs", "steps", "batch_size", "learning_rate", "seed")
        given = {name: getattr(self, name) for name in names}
        return plan_schedule(n_images, dissimilar=dissimilar, whole=whole, **given)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FitSession:
    """What is trained, and how."""

    found: "Decision"
    model: Any  # the whole model
    frozen_split: "FrozenSplit"
    given: bool  # whether the user handed the model in
    options: FitOptions
    clock: Clock

    @property
    def n_classes(self) -> int:
        return len(self.found.measurements.size.class_names)

    @property
    def class_weight(self) -> tuple[float, ...] | None:
        return class_weights(self.found.measurements.size.file_counts)

    def announce(self, plan: TrainingPlan) -> None:
        if self.options.announce is not None:
            self.options.announce(plan)

    def blocks(self, features: FloatArray) -> list[FloatArray]:
        """Inputs of the prediction layer, split by cut point: each block is scaled on its own."""
        return in_blocks(self.found, self.found.strategy.head.levels, features)


def in_blocks(found: "Decision", levels: Sequence[str], features: FloatArray) -> list[FloatArray]:
    """Inputs of a prediction layer, split by the cut points that it reads; one block if they are something else."""
    widths = [_channels(found, level) for level in levels]
    if sum(widths) != features.shape[1]:
        return [features]
    return np.split(features, np.cumsum(widths)[:-1], axis=1)


def check_choices(augmentation: Sequence[str] | None, seed: int) -> None:
    """Refuse an unknown augmentation and a seed out of range."""
    if not (isinstance(seed, Integral) and 0 <= seed <= LARGEST_SEED):
        raise RecommendError(f"Expected `seed` to be from 0 to {LARGEST_SEED}. Received: {seed!r}.")
    check_augmentation(augmentation or ())


def planned(found: "Decision", tried: Scenario | None = None) -> TrainingPlan:
    """What `fit` will do, or what it would do with another scenario; augmentation is not known before it starts."""
    size, strategy = found.measurements.size, _trained(found, tried)
    n_images = min(size.n_images, sum(len(names) for names in found.index.files))  # of a stream, a sample
    head = (sum(_channels(found, level) for level in strategy.head.levels) + 1) * strategy.head.classes
    frozen = strategy.freeze == strategy.cut and n_images <= SOLVED_AT_ONCE
    own_split = bool(found.measurements.n_held_out)
    held_out = sum(len(names) for names in found.index.validation) if own_split else n_images // FOLDS
    n_held_out = min(held_out, MOST_HELD_OUT)
    trials = 0 if frozen else trials_of(n_held_out, own_split=own_split)
    refits = not (frozen or own_split) and n_images < REFIT_BELOW
    schedule, trainable = None, 0
    if not frozen:
        whole = strategy.freeze is None
        schedule = plan_schedule(max(n_images, 1), dissimilar=is_dissimilar(found), whole=whole, seed=found.seed)
        # Here BatchNorm trains its scale and offset.
        trainable = found.backbone.parameter_counts(replace(strategy, train_batch_norm=True))[1]
    return TrainingPlan(
        phases=phases(n_images, head, schedule, trainable, strategy.freeze),
        schedule=schedule,
        n_training=n_images,
        n_held_out=found.measurements.n_held_out if frozen else n_held_out,
        trials=trials,
        refits=refits,
        class_weight=class_weights(size.file_counts),
        cached=None if strategy.freeze is None else True,
    )


def _trained(found: "Decision", tried: Scenario | None) -> Strategy:
    """What is trained: by default the rival if there is one."""
    tried = tried or found.verdict.rival
    if tried in (None, found.scenario):
        return found.strategy
    return plan_strategy(found.backbone.name, found.plan.cuts, tried, found.measurements).strategy


def expected_seconds(found: "Decision", tried: Scenario | None = None, *, refit: bool = True) -> float | None:
    """About how long all trials of what `planned` plans take, and the training on all images; a rough figure.

    The network is timed on a few images. None if no layer of the backbone trains.
    """
    plan, strategy = planned(found, tried), _trained(found, tried)
    if plan.schedule is None or strategy.freeze == strategy.cut:
        return None
    runs = plan.trials + (plan.refits and refit)
    passes = runs * plan.schedule.steps * plan.schedule.batch_size * (1 - strategy.freeze_depth) * PASSES_OF_A_STEP
    passes += plan.n_training * (1 if strategy.freeze is None else VIEWS)
    return STARTING_SECONDS + passes * found.seconds_of_image


def trials_of(n_held_out: int, *, own_split: bool) -> int:
    """How many trials there are at most, if each holds out about so many images."""
    if own_split or not n_held_out:
        return min(n_held_out, 1)
    return min(MOST_TRIALS, -(-ENOUGH_HELD_OUT // n_held_out))


def is_dissimilar(found: "Decision") -> bool:
    """Whether the pictures are unlike the source's, as measured, or else as the scenario says."""
    similarity = found.measurements.similarity
    measured = found.scenario.similarity if similarity is None else similarity_verdict(similarity.score)
    return measured is Similarity.DISSIMILAR


def phases(
    n_images: int, head: int, schedule: Schedule | None, trainable: int, freeze: str | None
) -> tuple[Phase, ...]:
    """The linear probe, of `head` parameters, and fine-tuning of `trainable` ones if there is a schedule.

    `freeze`: the last frozen layer; None if nothing is frozen.
    """
    probe = Phase(
        name="linear_probe",
        what=f"the prediction layer, on {n_images:,} images, solved at once",
        trainable_parameters=head,
    )
    if schedule is None:
        return (probe,)
    tuned = Phase(
        name="fine_tune",
        what="the whole network" if freeze is None else f"the layers after {freeze}",
        steps=schedule.steps,
        learning_rate=schedule.learning_rate,
        trainable_parameters=trainable,
    )
    return (probe, tuned)


def _channels(found: "Decision", level: str) -> int:
    return next(int(point.shape[-1] or 0) for point in found.plan.cuts if point.layer == level)
