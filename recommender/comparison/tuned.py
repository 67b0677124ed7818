"""A candidate of a comparison that is fine-tuned: set up and timed first, then trained in parts."""

import contextlib
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from builders.build import HeadWeights, build_model
from builders.surgery.frozen_split import split_frozen
from builders.training.data import Pictures
from builders.training.optimizers import best_precision, depths_of, optimizer_for, use_precision
from builders.training.schedule import plan_schedule
from builders.training.trainer import TIMED_IMAGES, Trainer
from recommender.comparison.candidates import Candidate
from recommender.comparison.ranking import Row
from recommender.comparison.successive_halving import CHECKS, Pace
from recommender.fit.images import SplitImages
from recommender.fit.inputs import MEMORY_LIMIT, FrozenFeatures
from recommender.fit.plan import is_dissimilar
from recommender.pipeline.decision import Decision

_FROZEN_MEMORY = MEMORY_LIMIT // 8  # bytes for each candidate's frozen part; there are up to six, and the pictures


class Tuned:
    """A candidate that is fine-tuned, from the linear probe of the last cut point."""

    def __init__(
        self,
        candidate: Candidate,
        found: Decision,
        images: SplitImages,
        pictures: npt.NDArray[np.uint8],
        start: Row,
        augmentation: Sequence[str],
        seed: int,
    ) -> None:
        began = time.perf_counter()
        self.candidate, self.interrupted, self.out_of_time = candidate, False, False
        kernel, bias = start.weights
        self.model = build_model(candidate.strategy, HeadWeights(kernel=kernel, bias=bias), found.backbone)
        split, mirror = split_frozen(self.model), "mirror" in augmentation
        self._precision = contextlib.ExitStack()
        self._precision.enter_context(use_precision(split.tail, best_precision()))
        frozen = None
        if not split.takes_pictures:
            frozen = FrozenFeatures(split, pictures, n=len(pictures), mirror=mirror, memory=_FROZEN_MEMORY)
        inputs = frozen or Pictures(pixels=pictures, mirror=mirror, crop="crop" in augmentation)
        training = images.examples(inputs, images.split.training, balanced=found.class_weight is not None)
        held_out = images.examples(inputs, images.split.held_out)
        dissimilar = split.takes_pictures and is_dissimilar(found)
        schedule = replace(plan_schedule(len(training), dissimilar=dissimilar, seed=seed), patience=CHECKS + 1)
        optimizer = optimizer_for(split.tail, schedule, depths_of(split.graph))
        self._speed = keras.Variable(1.0, trainable=False, dtype="float32")
        optimizer.learning_rate = _Stretched(optimizer._learning_rate, self._speed)
        self.trainer = Trainer(split.tail, training, held_out, schedule, optimizer)
        features = images.features.pooled[start.strategy.cut][images.split.held_out]
        self.state = self.trainer.start(softmax(features @ kernel + bias, axis=1))
        self._first = self.state.weights
        self.pace = self._timed(frozen, views=(1 + mirror) * len(training))
        self.seconds = start.seconds + time.perf_counter() - began

    def _timed(self, frozen: FrozenFeatures | None, views: int) -> Pace:
        image, held_out, schedule = 0.0, self.trainer.held_out, self.trainer.schedule
        if frozen is not None:
            frozen.plain(held_out.rows[:TIMED_IMAGES])
            image = frozen.seconds / frozen.computed
        step, check = self.trainer.timed(self.state)
        return Pace(
            step=step,
            check=check,
            image=image,
            batch=schedule.batch_size,
            views=views,
            held_out=len(held_out),
            most=max(schedule.steps - schedule.steps % CHECKS, CHECKS),
        )

    def plan(self, steps: int) -> None:
        """Set the length of the training, a multiple of `CHECKS`."""
        schedule = self.trainer.schedule
        self._speed.assign(schedule.steps / steps)
        self.trainer.schedule = replace(schedule, steps=steps, check_every=steps // CHECKS)

    def advance(self, checks: int, deadline: float, progress: Any = None) -> tuple[float, float] | None:
        """Train up to a validation check; returns its accuracy and negative loss, or None if interrupted.

        The advice trains to its end at once. A step after the deadline interrupts the training, and so does a check
        for which there is no time.
        """

        def stop_in_time(batch: int, logs: Any = None) -> None:  # noqa: ARG001
            is_last = batch + 1 == self.trainer.schedule.check_every
            if time.perf_counter() + (self.pace.check if is_last else 0.0) > deadline:
                self.out_of_time = True
                raise KeyboardInterrupt  # the best so far is kept

        stopper = keras.callbacks.LambdaCallback(on_train_batch_end=stop_in_time)
        until = CHECKS if self.candidate.recommended else checks
        trained = self.trainer.run(self.state, until=until, callbacks=[stopper], progress=progress)
        self.state, self.interrupted = trained.state, trained.interrupted
        self.seconds += trained.seconds
        if trained.interrupted:
            return None
        check = self.state.checks[checks]
        return check.accuracy, -check.held_out_loss

    def weights(self, *, best: bool) -> tuple[npt.NDArray[Any], ...]:
        """All weights of the model at the best check or at the start; the training is over."""
        self.trainer.set_weights(self.state.best if best else self._first)
        self._precision.close()
        return tuple(self.model.get_weights())


class _Stretched(keras.optimizers.schedules.LearningRateSchedule):  # type: ignore[misc]
    """A learning rate that changes faster or slower than planned; another speed needs no new trace of the step."""

    def __init__(self, planned: Any, speed: Any) -> None:
        self.planned, self.speed = planned, speed

    def __call__(self, step: Any) -> Any:
        return self.planned(keras.ops.cast(step, "float32") * self.speed)


@contextlib.contextmanager
def quiet_tracing() -> Iterator[None]:
    """Silence TensorFlow's warning of many traced graphs: there are many networks."""
    logger = logging.getLogger("tensorflow")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
