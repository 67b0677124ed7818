"""Trials with held-out images, and then training on all images if they show that it helps."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from builders.graph.variables import size_of
from builders.training.batches import predict
from builders.training.data import Examples
from builders.training.state import Arrays, Check, TrainingState, read_state
from builders.training.trainer import Trained, Trainer, WholeModel, between
from probes.data.splits import Rows
from probes.evaluation.intervals import effective_size
from probes.evaluation.out_of_distribution import Detector
from recommender.fit.data import Data, linear_probe
from recommender.fit.finish import MOST_IMAGES, fitted_detector
from recommender.fit.gate import Evidence, weigh
from recommender.fit.images import Numbers
from recommender.fit.plan import REFIT_BELOW, FitSession, phases
from recommender.fit.result import TrainingPlan
from recommender.fit.state_file import state_file
from recommender.rules import thresholds
from recommender.rules.outcomes import Outcomes, outcomes


@dataclass(kw_only=True, eq=False)
class FineTuning:
    """A fine-tuning in progress: trials first, then all images."""

    session: FitSession
    data: Data
    trainer: Trainer
    precision: str
    as_expected: bool  # whether the model trains as those did from which the decision knows what to expect
    kept: TrainingState | None = None  # of an earlier run, to be resumed
    plan: TrainingPlan = field(init=False)
    predictions: tuple[Any, ...] = ()  # of each trial's held-out images, at its start and end, of shape (2, n, classes)
    evidence: Evidence | None = None
    end: Arrays | None = None  # weights to return; None for the frozen model
    on_all: bool = False  # whether these come of all images
    threshold: float | None = None  # of the detector of the last trial
    detector: Detector | None = None
    history: tuple[Check, ...] = ()
    interrupted: bool = False
    diverged: bool = False  # weights are not finite
    unsaved: str | None = None

    def __post_init__(self) -> None:
        self.given = self.trainer.weights()
        self.file = state_file(self.session, self.data, self.trainer.schedule, self.precision)
        if self.session.options.resume:
            kept = read_state(self.file)
            self.kept = kept if kept is not None and kept.fits(self.trainer.start()) else None
            if self.kept is not None:
                self.predictions, self.threshold = self.kept.predictions, self.kept.threshold
                self.history = self.kept.history

    @cached_property
    def _below_head(self) -> Any:
        """One model for all detectors: to trace it takes seconds."""
        return self.session.frozen_split.below_head()

    @property
    def splits(self) -> list[Any]:
        """Of the trials; none without steps."""
        return [split for split in self.data.images.splits if len(split.held_out) and self.trainer.schedule.steps]

    @property
    def judged(self) -> Rows:
        """The held-out images of the trials so far."""
        return self.data.images.rows.taken(self.held_out)

    @property
    def held_out(self) -> Numbers:
        return np.concatenate([split.held_out for split in self.splits[: len(self.predictions)]])

    @property
    def refits(self) -> bool:
        images = self.data.images
        return images.split.judged_by == "held-out part" and len(images.training) < REFIT_BELOW

    @property
    def chance(self) -> float | None:
        """Probability that fine-tuning is better, by what is expected and by the trials.

        None where nothing was expected: of the user's model, of a prediction layer alone, of a shorter training.
        """
        if self.evidence is None or not self.as_expected:
            return None
        return self._expected.chance_after(self.session.found.scenario, *self.evidence.measured)

    @property
    def expected_accuracy(self) -> tuple[float, tuple[float, float]] | None:
        """Accuracy of fine-tuning on all images with its 90 % interval, by what is expected and by the trials.

        None where nothing is expected, or of balanced accuracies alone; where the trials are far from it; and where the
        model of a trial is returned.
        """
        if self.chance is None or self.evidence is None or self.session.class_weight is not None or not self.on_all:
            return None
        scenario, correct, expected = self.session.found.scenario, self.evidence.correct, self._expected
        if expected.surprised(scenario, *self.evidence.measured):
            return None
        return expected.accuracy_after(scenario, float(correct.mean()), effective_size(correct, self.judged.groups))

    @property
    def _expected(self) -> Outcomes:
        return outcomes(self.session.found.verdict.task)  # before a trial, whose images are held out here again

    @property
    def accepted(self) -> bool:
        """Whether the fine-tuned network is returned."""
        if self.session.options.force or self.evidence is None:
            return self.session.options.force
        return self.evidence.sure if self.chance is None else self.chance >= thresholds.ACCEPTED

    @property
    def settled(self) -> bool:
        """Whether further trials would change nothing, or are expected to make too little of a difference."""
        if self.evidence is None:
            return False
        if self.session.options.force or self.chance is None:
            return self.session.options.force or self.evidence.sure or self.evidence.worse
        done = len(self.held_out) / sum(len(split.held_out) for split in self.splits)
        scenario, measured = self.session.found.scenario, self.evidence.measured
        return done == 1 or self._expected.worth_of_trials(scenario, *measured, less=done) < thresholds.WORTH_ITS_COST

    def announce(self) -> None:
        """Tell the user the plan, with the seconds that a few timed steps predict."""
        session, trainer, images = self.session, self.trainer, self.data.images
        frozen, schedule, trials = session.frozen_split, self.trainer.schedule, self.splits
        seconds = 0.0
        if schedule.steps:
            self.set_start(images.training)
            runs = len(trials) + self.refits
            seconds = runs * schedule.steps * trainer.seconds_of_step(self._examples(images.training))
        head, trainable = (size_of(part.trainable_variables) for part in (session.model.layers[-1], frozen.tail))
        freeze = None if frozen.takes_pictures else frozen.graph.nodes[frozen.reads[-1]].name
        self.plan = TrainingPlan(
            phases=phases(len(images.training), head, schedule, trainable, freeze),
            schedule=schedule,
            augmentation=self.data.augmentation,
            n_training=len(images.training),
            n_held_out=len(images.split.held_out),
            trials=len(trials),
            refits=self.refits,
            class_weight=session.class_weight,
            cached=self.data.cached,
            precision=self.precision,
            seconds=seconds,
            resumed_at=(self.kept.checks[-1].step if self.kept else 0) if session.options.resume else None,
        )
        session.announce(self.plan)

    def run_trials(self) -> None:
        """Train with images held out, until more trials are not worth their time."""
        for number, split in enumerate(self.splits):
            if self.settled:
                return
            first: Arrays | None = None
            if number >= len(self.predictions):
                held_out, training = self._examples(split.held_out), self._examples(split.training, training=True)
                self.set_start(split.training)
                trained = self._run(training, held_out, number)
                if self.interrupted:
                    return
                self.set_start(split.training)
                first = self.trainer.weights()
                end = between(first, trained.state.weights, self.trainer.schedule.share)
                self.predictions += (np.stack([self.trainer.predictions(each, held_out) for each in (first, end)]),)
            start, tuned = np.concatenate(self.predictions, axis=1)
            self.evidence = weigh(start, tuned, self.judged, balanced=self.session.class_weight is not None)
            if first is not None and self.accepted and not self.diverged:
                self.end = end
                self.trainer.set_weights(end)
                self.detector = self._detector(training, held_out)
                self.threshold = None if self.detector is None else self.detector.threshold

    def run_on_everything(self) -> None:
        """Repeat what helps on all images; without a refit the last trial's weights are returned."""
        if self.interrupted or self.diverged or not self.accepted or not self.trainer.schedule.steps:
            return
        if self.splits and not self.refits and self.end is not None:
            return
        rows = self.data.images.training
        training = self._examples(rows, training=True)
        self.set_start(rows)
        first = self.trainer.weights()
        trained = self._run(training, None, len(self.predictions))
        if self.interrupted or self.diverged:  # what the last trial left is judged, too
            return
        self.end, self.on_all = between(first, trained.state.weights, self.trainer.schedule.share), True
        self.trainer.set_weights(self.end)
        found = self._detector(training, None)
        # Of its own training images a network knows too much: the threshold is that of a trial's held-out images.
        self.detector = replace(found, threshold=self.threshold) if found and self.threshold is not None else None

    def set_start(self, training: Numbers) -> None:
        """Give the model the weights that it came with, and a linear probe of some rows as its prediction layer."""
        self.trainer.set_weights(self.given)
        head = linear_probe(self.session, self.data.images, training)
        if head is not None:
            self.session.model.layers[-1].set_weights(list(head))

    def _examples(self, rows: Numbers, *, training: bool = False) -> Examples:
        balanced = training and self.session.class_weight is not None
        return self.data.images.examples(self.data.inputs, rows, balanced=balanced)

    def _run(self, training: Examples, held_out: Examples | None, number: int) -> Trained:
        """One training from the present weights, resumed if that is where the earlier run ended."""
        options, kept = self.session.options, self.kept
        callbacks: list[Any] = [WholeModel(each, self.session.model) for each in options.callbacks]
        if options.logs is not None:
            import keras

            name = "all images" if held_out is None else f"trial {number + 1}"
            callbacks.append(keras.callbacks.TensorBoard(str(Path(options.logs) / name), write_graph=False))
        if kept is not None and len(kept.predictions) == number:
            state = kept
        else:
            start = self.trainer.start(held_out)
            state = replace(start, predictions=self.predictions, history=self.history, threshold=self.threshold)
            if options.on_check is not None and held_out is not None:
                options.on_check(state.checks[0], self.trainer.schedule)
        trained = self.trainer.run(
            state,
            training,
            held_out,
            file=self.file,
            callbacks=callbacks,
            progress=options.at("training" if held_out is not None else "refitting"),
            on_check=options.on_check if held_out is not None else None,
        )
        self.interrupted, self.unsaved = trained.interrupted, trained.unsaved or self.unsaved
        self.diverged = not all(np.isfinite(values).all() for values in trained.state.weights)
        if not number and (trained.interrupted or held_out is not None):
            self.history = trained.state.checks
        return trained

    def _detector(self, training: Examples, held_out: Examples | None) -> Detector | None:
        """A detector on what the prediction layer reads; None if that is no dense layer."""
        below, seed = self._below_head, self.session.options.seed
        if below is None:
            return None
        drawn = [each.sample(MOST_IMAGES, seed) for each in (training, held_out) if each is not None]
        features = [self.session.blocks(predict(below, each)) for each in drawn]
        return fitted_detector(features[0], features[1] if held_out is not None else None, None, seed)
