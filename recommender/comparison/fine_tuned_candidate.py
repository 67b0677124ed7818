"""A candidate of a comparison that is fine-tuned: set up and timed at once, trained a stretch at a time."""

import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from builders.build import HeadWeights, build_model
from builders.surgery.frozen_split import split_frozen
from builders.training.inputs import Pictures
from builders.training.optimizers import depths_of, optimizer_for
from builders.training.precision import best_precision, use_precision
from builders.training.schedule import plan_schedule
from builders.training.state import TrainingState
from builders.training.trainer import Trainer
from recommender.comparison.candidates import Candidate
from recommender.comparison.shared_data import Frozen, Seen
from recommender.comparison.successive_halving import Pace
from recommender.fit.plan import is_unlike

if TYPE_CHECKING:
    from recommender.pipeline.decision import Decision

LOOKS = 4  # at the held-out images: each costs as much as some steps, and the rungs of the halving are quarters
_TIMED = 64  # images of a timed look
_TIMED_STEPS = 3


class OutOfTime(KeyboardInterrupt):
    """Ends a training as Ctrl-C does: what it has so far is kept."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Start:
    """The linear probe of the top cut, from which fine-tuning starts.

    Attributes:
        kernel: of shape (features, classes).
        bias: of shape (classes,).
        correct: whether each held-out image is right, of shape (n,).
        loss: mean negative log probability of their labels.
        seconds: that it took.
    """

    kernel: npt.NDArray[np.float64]
    bias: npt.NDArray[np.float64]
    correct: npt.NDArray[np.bool_]
    loss: float
    seconds: float


class Tuned:
    """A candidate that is fine-tuned: set up and timed at once, trained a stretch at a time.

    Args:
        candidate: what it is.
        found: the recommendation.
        seen: the images and their split.
        pictures: prepared, by row.
        start: where its prediction layer starts.
        augmentation: what is done to pictures at random.
        seed: of order and augmentation.

    Attributes:
        pace: what its training costs.
        most: steps of its training where time is no limit.
        state: how far it is.
        seconds: that it took so far.
        out_of_time: whether its time ran out.
    """

    def __init__(
        self,
        candidate: Candidate,
        found: "Decision",
        seen: Seen,
        pictures: npt.NDArray[np.uint8],
        start: Start,
        augmentation: Sequence[str],
        seed: int,
    ) -> None:
        began = time.perf_counter()
        self.candidate, self.out_of_time = candidate, False
        self._precision = contextlib.ExitStack()
        head = HeadWeights(kernel=start.kernel, bias=start.bias)
        self.model = build_model(candidate.strategy, head, found.backbone)
        frozen_split = split_frozen(self.model)
        self._precision.enter_context(use_precision(frozen_split.tail, best_precision()))
        mirror, crop = "mirror" in augmentation, "crop" in augmentation
        self._frozen = None if frozen_split.takes_pictures else Frozen(pictures, frozen_split, mirror=mirror)
        inputs: Any = self._frozen or Pictures(pictures, mirror=mirror, crop=crop)
        training, held_out = (
            seen.examples(inputs, rows, balanced=found.class_weight is not None and rows is seen.split.training)
            for rows in (seen.split.training, seen.split.held_out)
        )
        anew = frozen_split.takes_pictures and is_unlike(found)
        schedule = replace(plan_schedule(len(training), anew=anew, seed=seed), patience=LOOKS + 1)
        self.most = max(schedule.steps - schedule.steps % LOOKS, LOOKS)
        optimizer = optimizer_for(frozen_split.tail, schedule, depths_of(frozen_split.graph))
        self._length = _stretch(optimizer)
        self.trainer = Trainer(frozen_split.tail, training, held_out, schedule, optimizer)
        slots = tuple(variable.numpy() for variable in self.trainer.optimizer.variables)
        begun = TrainingState.start(self.trainer.weights(), start.correct, start.loss)
        self.state, self.first = replace(begun, slots=slots), begun.weights
        self.pace = self._timed(2 if mirror else 1)
        self.seconds = start.seconds + time.perf_counter() - began

    def _timed(self, views: int) -> Pace:
        """Train for a few steps and look at a few images, once more than is timed: the first time graphs are traced."""
        trainer, frozen = self.trainer, self._frozen
        schedule, held_out = trainer.schedule, trainer.held_out
        size = min(len(held_out), _TIMED)
        image = 0.0
        if frozen is not None:
            frozen.plain(held_out.rows[:size])
            image = frozen.seconds / frozen.computed
        trainer.schedule = replace(schedule, steps=_TIMED_STEPS, check_every=_TIMED_STEPS)
        trainer.held_out = replace(held_out, rows=held_out.rows[:size], labels=held_out.labels[:size])
        for _ in range(2):  # the same images again, whose frozen part is at hand by now
            timer = _timer()
            begun = time.perf_counter()
            trainer.run(replace(self.state, correct=self.state.correct[:, :size]), callbacks=[timer])
        trainer.schedule, trainer.held_out = schedule, held_out
        return Pace(
            step=(timer.batches[-1] - begun) / _TIMED_STEPS,
            batch=schedule.batch_size,
            image=image,
            views=views * len(trainer.training),
            look=(timer.looked - timer.batches[-1]) * len(held_out) / size,
            looks=LOOKS,
            held_out=len(held_out),
        )

    def plan(self, steps: int) -> None:
        """Make the training that long; a multiple of `LOOKS`."""
        schedule = self.trainer.schedule
        self._length.assign(schedule.steps / steps)
        self.trainer.schedule = replace(schedule, steps=steps, check_every=steps // LOOKS)

    def advance(self, share: float, deadline: float, progress: Any = None) -> tuple[float, float] | None:
        """Train until that share of the whole, and tell accuracy and loss then; None if it got no farther."""
        trained = self.trainer.run(
            self.state,
            until=round(share * LOOKS),
            callbacks=[_stopper(self, deadline)],
            progress=progress,
        )
        self.state = trained.state
        self.seconds += trained.seconds
        if trained.interrupted:
            return None
        return trained.state.checks[-1].accuracy, -trained.state.checks[-1].held_out_loss

    def weights(self, *, best: bool) -> tuple[npt.NDArray[Any], ...]:
        """All of the model's, at the best look or at the start; the layers compute as they did before after that."""
        self.trainer.set_weights(self.state.best if best else self.first)
        self._precision.close()
        return tuple(self.model.get_weights())

    @property
    def steps(self) -> int:
        return self.state.checks[-1].step


def _stretch(optimizer: Any) -> Any:
    """Let an optimiser's rate run faster or slower, without tracing the training step anew.

    Returns:
        A variable: how many steps of the schedule pass with each step.
    """
    import keras

    pace, planned = keras.Variable(1.0, trainable=False, dtype="float32"), optimizer._learning_rate

    class Stretched(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
        def __call__(self, step: Any) -> Any:
            return planned(keras.ops.cast(step, "float32") * pace)

    optimizer.learning_rate = Stretched()
    return pace


def _stopper(tuned: Tuned, deadline: float) -> Any:
    """A callback that ends a training when its time is over, or a look would take longer than there is time."""
    import keras

    class Stopper(keras.callbacks.Callback):  # type: ignore[misc]
        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
            is_last = batch + 1 == tuned.trainer.schedule.check_every
            if time.perf_counter() + (tuned.pace.look if is_last else 0.0) > deadline:
                tuned.out_of_time = True
                raise OutOfTime

    return Stopper()


def _timer() -> Any:
    """A callback that notes when steps and the look after them end."""
    import keras

    class Timer(keras.callbacks.Callback):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.batches: list[float] = []
            self.looked = 0.0

        def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
            self.batches.append(time.perf_counter())

        def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
            self.looked = time.perf_counter()

    return Timer()


@contextlib.contextmanager
def quiet_tracing() -> Iterator[None]:
    """TensorFlow's warning of many traced graphs stays silent inside: there are many networks."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
