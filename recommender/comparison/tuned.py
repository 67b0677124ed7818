"""A candidate of a comparison that is fine-tuned as a trial of `fit`, in as many steps as there is time for."""

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from builders.build import HeadWeights, build_model
from builders.surgery.frozen_split import split_frozen
from builders.training.batches import PREDICTION_BATCH, predict
from builders.training.data import Examples, Inputs, Pictures
from builders.training.optimizers import best_precision, use_precision
from builders.training.schedule import plan_schedule
from builders.training.state import Arrays
from builders.training.trainer import Trainer, between
from probes.evaluation.evaluation import calibrate
from recommender.comparison.candidates import Candidate
from recommender.comparison.shared_images import SharedImages
from recommender.fit.gate import Evidence, weigh
from recommender.fit.inputs import FrozenFeatures
from recommender.fit.plan import is_dissimilar
from recommender.pipeline.decision import Decision

LEAST_STEPS = 24  # fewest useful steps. Ours.
# With EfficientNet-Lite0 on two cores a step took as long as 4 forward passes, and its compilation as long as 6 to 12
# compilations of a forward pass. Less is assumed, since a training that turns out too slow ends in time all the same.
_PASSES, _TRACES = 3, 4
_SLOWER = 1.5  # predictions may be slower later than when they were timed: a busy machine


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FineTuned:
    """A training that came to its end."""

    evidence: Evidence  # on the held-out images
    weights: Arrays  # of the whole model, averaged with the start
    steps: int
    full_steps: int  # that `fit` takes
    share: float  # of the trained weights in the average


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
        self.model = build_model(candidate.strategy, start, found.backbone)
        self.seed, self.judged, self.balanced = seed, images.held_out, found.class_weight is not None
        split = split_frozen(self.model, train_norms=True)
        inputs: Inputs = Pictures(pixels=pixels, augmentation=augmentation)
        if not split.takes_pictures:
            inputs = FrozenFeatures(split, pixels, n=len(images.rows), augmentation=augmentation, seed=seed)
        self.training = images.examples(inputs, shared.training, balanced=self.balanced)
        self.held_out = images.examples(inputs, images.split.held_out)
        whole = split.takes_pictures
        own, of_fit = (  # `fit` trains on the held-out images, too
            plan_schedule(n_images, dissimilar=is_dissimilar(found), whole=whole, seed=seed)
            for n_images in (len(self.training), len(images.training))
        )
        schedule = replace(own, share=of_fit.share)
        self._precision = contextlib.ExitStack()  # until the end: the model is used for nothing else
        self._precision.enter_context(use_precision(split.tail, best_precision()))
        self._place = keras.Variable(0.0, trainable=False, dtype="float32")
        self.trainer = Trainer(split.tail, schedule, place=self._place)

    def least_seconds(self) -> float:
        """Compile predictions and time them; how long the shortest useful training will take, as far as that shows."""
        batch = self.training.take(slice(self.trainer.schedule.batch_size))
        self.training.inputs.plain(batch.rows)  # the frozen part, once
        first, again = self._prediction(batch), self._prediction(batch)
        self._prediction(self.held_out.take(slice(PREDICTION_BATCH)))  # the first of another size takes longer
        self._ending = _SLOWER * self._prediction(self.held_out)
        steps = min(LEAST_STEPS, self.trainer.schedule.steps)
        return _TRACES * max(first - again, 0.0) + steps * _PASSES * again + self._ending

    def _prediction(self, examples: Examples) -> float:
        """Seconds of a prediction; the last one, of the held-out images, is kept."""
        began = time.perf_counter()
        self.start = predict(self.trainer.model, examples)
        return time.perf_counter() - began

    def train(self, seconds: float, report: Callable[..., None]) -> FineTuned | None:
        """Run through one whole schedule in that time, in at most as many steps as `fit` takes; None if too few fit.

        The place in the schedule is the share of the steps, or of the time if that is larger.
        """
        trainer, most, done, began = self.trainer, self.trainer.schedule.steps, 0, 0.0
        until = time.perf_counter() + seconds - self._ending

        def advance(batch: int, logs: Any = None) -> None:  # noqa: ARG001
            nonlocal done, began
            now, done = time.perf_counter(), batch + 1
            began = began or now  # the first step is compiled
            spent = (now - began) / (until - began) if until > began else 1.0
            self._place.assign(most * min(max(done / most, spent), 1.0))
            trainer.model.stop_training = spent >= 1

        trainer.schedule = replace(trainer.schedule, check_every=most)
        pacer, first = keras.callbacks.LambdaCallback(on_train_batch_end=advance), trainer.weights()
        trained = trainer.run(trainer.start(), self.training, callbacks=[pacer], progress=report)
        if trained.interrupted:
            raise KeyboardInterrupt
        if done < min(LEAST_STEPS, most):
            return None
        average = between(first, trained.state.weights, trainer.schedule.share)
        evidence = weigh(self.start, trainer.predictions(average, self.held_out), self.judged, balanced=self.balanced)
        self._calibrate(evidence.probabilities)
        weights = tuple(self.model.get_weights())
        share = trainer.schedule.share
        return FineTuned(evidence=evidence, weights=weights, steps=done, full_steps=most, share=share)

    def _calibrate(self, probabilities: npt.NDArray[np.float64]) -> None:
        found = calibrate(probabilities, self.judged.labels, seed=self.seed, groups=self.judged.groups)
        if found.helps:
            layer = self.model.layers[-1]
            layer.set_weights([part / found.temperature for part in layer.get_weights()])
