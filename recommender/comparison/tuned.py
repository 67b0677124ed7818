"""A candidate of a comparison that is fine-tuned as a trial of `fit`, in as many steps as there is time for."""

import contextlib
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from builders.build import HeadWeights, build_model
from builders.surgery.frozen_split import split_frozen
from builders.training.data import PREDICTION_BATCH, Examples, Inputs, Pictures, predict
from builders.training.optimizers import best_precision, use_precision
from builders.training.schedule import plan_schedule
from builders.training.state import Arrays
from builders.training.trainer import TIMED_STEPS, Trainer, between
from probes.evaluation.evaluation import calibrate
from recommender.comparison.candidates import Candidate
from recommender.comparison.shared_images import SharedImages
from recommender.fit.gate import SHARES, Evidence, weigh
from recommender.fit.inputs import FrozenFeatures
from recommender.fit.plan import is_dissimilar
from recommender.pipeline.decision import Decision

_SLOW = 1.0  # seconds of a step from which a single one is timed. Ours.
LEAST_STEPS = 24  # fewest useful steps. Ours.
SLACK = 0.1  # of the time for steps: they may turn out slower than they were timed
_PASSES = 4  # forward passes that a step takes as long as, measured for EfficientNet-Lite0 on two cores
_TRACES = 7  # compilations of a forward pass that the compilation of a step takes as long as, measured there


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """The cost of a training, in seconds."""

    step: float  # with outputs of the frozen part kept
    image: float  # of the frozen part for an image; 0 if nothing is frozen
    batch: int  # images of a step
    views: float  # of all training images, of which outputs are kept; infinite if they are computed at each step
    ending: float  # after the last step: predictions of the held-out images
    most: int  # steps without a budget

    def seconds(self, steps: int) -> float:
        """Of a whole training."""
        return steps * self.step + min(steps * self.batch, self.views) * self.image + self.ending

    def steps_within(self, seconds: float) -> int:
        """The most steps that take no longer."""
        left, frozen = max(seconds - self.ending, 0.0), self.batch * self.image
        steps = left / (self.step + frozen)
        if frozen and np.isfinite(self.views):
            steps = max(steps, (left - self.views * self.image) / self.step)
        return min(int(steps), self.most)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FineTuned:
    """A training that came to its end."""

    evidence: Evidence  # on the held-out images
    weights: Arrays  # of the whole model, at the best average with the start
    steps: int
    full_steps: int  # that `fit` takes


class Tuned:
    """A candidate with its model, compiled and timed."""

    def __init__(
        self,
        candidate: Candidate,
        found: Decision,
        shared: SharedImages,
        start: HeadWeights,
        augmentation: Sequence[str],
        seed: int,
    ) -> None:
        images, pixels = shared.images, shared.pictures
        self.model, self.seed, self.judged = (
            build_model(candidate.strategy, start, found.backbone),
            seed,
            images.held_out,
        )
        split = split_frozen(self.model, train_norms=True)
        frozen = None
        if not split.takes_pictures:
            frozen = FrozenFeatures(split, pixels, n=len(images.rows), augmentation=augmentation, seed=seed)
        inputs: Inputs = frozen or Pictures(pixels=pixels, augmentation=augmentation)
        self.training = images.examples(inputs, shared.training, balanced=found.class_weight is not None)
        self.held_out = images.examples(inputs, images.split.held_out)
        dissimilar = split.takes_pictures and is_dissimilar(found)
        schedule = plan_schedule(len(self.training), dissimilar=dissimilar, seed=seed)
        self._precision = contextlib.ExitStack()  # until the end: the model is used for nothing else
        self._precision.enter_context(use_precision(split.tail, best_precision()))
        self._speed = keras.Variable(1.0, trainable=False, dtype="float32")
        self.trainer = Trainer(split.tail, schedule, speed=self._speed)
        self._frozen = frozen

    def time(self, left: float) -> bool:
        """Compile the model and measure its pace; False if that or a useful training would take longer than is left."""
        until, image, views = time.perf_counter() + left, 0.0, np.inf
        schedule = self.trainer.schedule
        batch = self.training.take(slice(schedule.batch_size))
        first, again = self._prediction(batch), self._prediction(batch)
        about, tracing = _PASSES * again, _TRACES * max(first - again, 0.0)
        began = time.perf_counter()
        if self._frozen is not None:
            self._frozen.plain(self.held_out.rows)
            image = (time.perf_counter() - began) / len(self.held_out)
            kept = self._frozen.values
            views = np.inf if kept is None else len(kept[0]) * len(self.training)
        self._prediction(self.held_out.take(slice(PREDICTION_BATCH)))  # the first of another size takes longer
        prediction = self._prediction(self.held_out)
        self.pace = Pace(
            step=about,
            image=image,
            batch=schedule.batch_size,
            views=views,
            ending=len(SHARES) * prediction,
            most=schedule.steps,
        )
        timed = TIMED_STEPS if about < _SLOW else 1
        if tracing + self.pace.seconds(2 * timed + LEAST_STEPS) > until - time.perf_counter():
            return False
        self.pace = replace(self.pace, step=self.trainer.seconds_of_step(self.training, timed))
        return True

    def _prediction(self, examples: Examples) -> float:
        """Seconds of a prediction; the last one, of the held-out images, is kept."""
        began = time.perf_counter()
        self.start = predict(self.trainer.model, examples)
        return time.perf_counter() - began

    def steps_within(self, share: float, left: float) -> int:
        """Steps for a share of the time left: at least `LEAST_STEPS`, or none if all of it is too short for them."""
        most = self.pace.steps_within((1 - SLACK) * left)
        least = min(LEAST_STEPS, self.pace.most)
        return 0 if most < least else max(self.pace.steps_within((1 - SLACK) * share), least)

    def train(self, steps: int, deadline: float, report: Callable[..., None]) -> FineTuned | None:
        """Run through one whole schedule of so many steps; None if that is not over at the deadline."""
        trainer, late = self.trainer, False

        def stop_in_time(batch: int, logs: Any = None) -> None:  # noqa: ARG001
            nonlocal late
            late = time.perf_counter() + self.pace.ending > deadline
            if late:
                raise KeyboardInterrupt

        self._speed.assign(trainer.schedule.steps / steps)
        trainer.schedule = replace(trainer.schedule, steps=steps, check_every=steps)
        stopper, first = keras.callbacks.LambdaCallback(on_train_batch_end=stop_in_time), trainer.weights()
        trained = trainer.run(trainer.start(), self.training, callbacks=[stopper], progress=report)
        if trained.interrupted and late:
            return None
        if trained.interrupted:
            raise KeyboardInterrupt
        end = trained.state.weights
        averages = trainer.averages(first, end, SHARES[1:], self.held_out)
        evidence = weigh(np.concatenate([self.start[None], averages]), self.judged, self.seed)
        trainer.set_weights(between(first, end, evidence.share))
        self._calibrate(evidence.probabilities)
        return FineTuned(
            evidence=evidence, weights=tuple(self.model.get_weights()), steps=steps, full_steps=self.pace.most
        )

    def _calibrate(self, probabilities: npt.NDArray[np.float64]) -> None:
        found = calibrate(probabilities, self.judged.labels, seed=self.seed, groups=self.judged.groups)
        if found.helps:
            layer = self.model.layers[-1]
            layer.set_weights([part / found.temperature for part in layer.get_weights()])


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
