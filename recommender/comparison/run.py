"""A comparison in progress: the pass, the frozen candidates, the fine-tuned ones, and the time that is left."""

import time
from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt

from builders.errors import BuildError
from probes.evaluation.intervals import accuracy_interval
from probes.separability.learning_curve import LearningCurve, learning_curve
from probes.separability.linear_probe import balanced_accuracy, solve
from recommender.comparison.candidates import Candidate, advice_of, frozen_candidates, tuned_candidates
from recommender.comparison.comparison import INTERRUPTED, Comparison
from recommender.comparison.ranking import Row, judge
from recommender.comparison.shared_images import detector_of, load_pictures, share_images
from recommender.comparison.successive_halving import CHECKS, halve, plan_steps
from recommender.comparison.tuned import Tuned, quiet_tracing
from recommender.fit.data import fitting_augmentation
from recommender.fit.finish import chosen_check
from recommender.pipeline.decision import Decision
from recommender.progress import Progress

FROZEN_SHARE = 0.25  # of the budget, for all fits on frozen features
CURVE_SHARE = 0.05  # of the budget, for the learning curve
CURVE_FITS = 14  # whole fits that a learning curve costs: five folds, each in parts that sum up to 2.75
AUGMENTATION_SHARE = 0.1  # of the budget, for measuring which augmentations keep the labels
AUGMENTATION_PASSES = 750  # images that go through the network for that, at most: 250, plain and changed twice
SET_UP_SHARE = 1 / 3  # of the time left, for building, tracing and timing the fine-tuned candidates
SET_UP_IMAGES = 300  # that go through the network for that, for each candidate
SLACK = 0.1  # of the time left after that: steps may turn out slower than they were timed
# Seconds below which no candidate is set up. Ours: tracing a network's gradients takes ten seconds on two cores.
LEAST_SECONDS = 20.0
NO_TIME = "for want of time"


class Run:
    """A comparison in progress."""

    def __init__(self, found: Decision, budget: float, seed: int, progress: Progress) -> None:
        self.found, self.budget, self.seed, self.progress = found, budget, seed, progress
        self.began = time.perf_counter()
        self.deadline = self.began + budget
        self.balanced = found.class_weight is not None
        self.rows: list[Row] = []
        self.skipped: dict[str, str] = {}
        self.start: Row | None = None  # the linear probe of the last cut point, from which fine-tuning starts
        self.augmentation: tuple[str, ...] | None = None
        self.curve: LearningCurve | None = None
        self.curve_label: str | None = None
        self.interrupted = False

    @property
    def left(self) -> float:
        return self.deadline - time.perf_counter()

    def report(self, *_: int) -> None:
        """Report the share of the budget that is spent."""
        elapsed = min(time.perf_counter() - self.began, self.budget)
        self.progress("comparing", round(elapsed), round(self.budget))

    def read_images(self) -> None:
        """Read the images, and split them."""
        self.shared = share_images(self.found, budget=self.budget, seed=self.seed, progress=self.progress)
        self.images, self.held_out = self.shared.images, self.shared.images.held_out

    def fit_frozen(self) -> None:
        """Fit linear probes until their share of the budget is spent, at least two."""
        until = min(time.perf_counter() + FROZEN_SHARE * self.budget, self.deadline)
        for candidate in frozen_candidates(self.found):
            if len(self.rows) > 1 and time.perf_counter() > until:
                self.skipped[candidate.label] = NO_TIME
            else:
                self._fit(candidate)
                self.report()

    def _fit(self, candidate: Candidate) -> None:
        began = time.perf_counter()
        split = self.images.split
        blocks = [self.images.features.pooled[level] for level in candidate.strategy.head.levels]
        rows, classes = self.images.rows.taken(split.training).pooled(), len(self.found.index.class_names)
        kernel, bias = solve([block[split.training] for block in blocks], rows, classes, balanced=self.balanced)
        logits = np.concatenate([block[split.held_out] for block in blocks], axis=1) @ kernel + bias
        correct = logits.argmax(1) == self.held_out.labels
        share_of_pass = self.shared.seconds * candidate.strategy.cut_depth
        seconds = share_of_pass + time.perf_counter() - began
        row = self._add(candidate, correct, checks=correct[None], weights=(kernel, bias), seconds=seconds)
        if candidate.strategy.head.levels == (self.found.plan.cuts[-1].layer,):
            self.start = row

    def _add(self, candidate: Candidate, correct: npt.NDArray[np.bool_], **more: Any) -> Row:
        row = Row(
            strategy=candidate.strategy,
            scenario=candidate.scenario,
            recommended=candidate.recommended,
            accuracy=float(correct.mean()),
            interval=accuracy_interval(correct, self.held_out.groups),
            balanced_accuracy=balanced_accuracy(correct, self.held_out.labels)[0],
            correct=correct,
            **more,
        )
        self.rows.append(row)
        return row

    def measure_curve(self) -> None:
        """The learning curve of the best linear probe, if a small share of the budget is enough for it."""
        best = max(self.rows, key=lambda row: row.accuracy)
        seconds = CURVE_FITS * (best.seconds - self.shared.seconds * best.strategy.cut_depth)
        if seconds <= min(CURVE_SHARE * self.budget, self.left):
            blocks = [self.images.features.pooled[level] for level in best.strategy.head.levels]
            self.curve = learning_curve(blocks, self.images.rows, seed=self.seed, balanced=self.balanced)
            self.curve_label = None if self.curve is None else best.label

    def fine_tune(self, augmentation: Sequence[str] | None) -> None:
        """Train the fine-tuned candidates by successive halving."""
        with quiet_tracing():
            runners = self._set_up(augmentation)
            steps = plan_steps([runner.pace for runner in runners], (1 - SLACK) * self.left)
            self.skipped |= {
                each.candidate.label: NO_TIME for number, each in enumerate(runners) if number not in steps
            }
            planned = [runners[number] for number in steps]
            for runner, number_of_steps in zip(planned, steps.values(), strict=True):
                runner.plan(number_of_steps)
            advice = [runner for runner in planned if runner.candidate.recommended]
            halve(planned, lambda runner, checks: runner.advance(checks, self.deadline, self.report), always=advice)
            self.interrupted = any(runner.interrupted and not runner.out_of_time for runner in planned)
            for runner in planned:
                self._add_tuned(runner)

    def _set_up(self, augmentation: Sequence[str] | None) -> list[Tuned]:
        """Build, trace and time as many candidates as there is time for."""
        runners: list[Tuned] = []
        candidates, pictures, reason = tuned_candidates(self.found), None, NO_TIME
        if self.start is not None and self.left > LEAST_SECONDS and candidates:
            if augmentation is not None:
                self.augmentation = tuple(dict.fromkeys(augmentation))
            elif AUGMENTATION_PASSES * self.shared.seconds_per_image < min(AUGMENTATION_SHARE * self.budget, self.left):
                self.augmentation = fitting_augmentation(self.found, partial(self.progress, "augmentation"))
            if self.shared.pictures is not None or self.shared.seconds < self.left:
                pictures = load_pictures(self.found, self.shared, self.progress)
                reason = NO_TIME if pictures is not None else "for want of disk space"
        until = time.perf_counter() + SET_UP_SHARE * self.left
        longest = LEAST_SECONDS / 2
        for candidate in candidates:
            began = time.perf_counter()
            passes = 1 + 2 * (1 - candidate.strategy.freeze_depth)  # a gradient takes as long as two forward passes
            wanted = max(longest, SET_UP_IMAGES * passes * self.shared.seconds_per_image)
            if pictures is None or self.start is None or began + wanted > until:
                self.skipped[candidate.label] = reason
                continue
            kept = self.augmentation or ()
            try:
                runners.append(Tuned(candidate, self.found, self.images, pictures, self.start, kept, self.seed))
            except BuildError:  # a network without trainable weights
                self.skipped[candidate.label] = "nothing in it can train"
                continue
            longest = time.perf_counter() - began
            self.report()
        return runners

    def _add_tuned(self, runner: Tuned) -> None:
        """Add the row of a training: its best check, or its start."""
        state = runner.state
        if not state.round:
            self.skipped[runner.candidate.label] = INTERRUPTED if self.interrupted else NO_TIME
            return
        chosen = chosen_check(state, self.held_out, self.seed, stratified=True)
        self._add(
            runner.candidate,
            state.correct[0] if chosen is None else chosen.correct,
            checks=state.correct,
            weights=runner.weights(best=chosen is not None),
            seconds=runner.seconds,
            steps=state.checks[-1].step,
            full_steps=runner.pace.most,
            ended_early=state.round < CHECKS,
        )

    def comparison(self) -> Comparison:
        """The comparison of the rows so far."""
        ranking = judge(self.rows, seed=self.seed, groups=self.held_out.groups, labels=self.held_out.labels)
        split = self.images.split
        return Comparison(
            **vars(ranking),
            skipped=self.skipped,
            n_training=len(split.training),
            n_held_out=len(split.held_out),
            n_images=self.shared.n_images,
            is_sample=self.shared.is_sample,
            judged_by=split.judged_by,
            augmentation=self.augmentation,
            curve=self.curve,
            curve_label=self.curve_label,
            advice=advice_of(self.found).label,
            interrupted=self.interrupted,
            budget=self.budget,
            seconds=time.perf_counter() - self.began,
            backbone=self.found.backbone,
            detect=partial(detector_of, found=self.found, shared=self.shared, seed=self.seed),
        )
