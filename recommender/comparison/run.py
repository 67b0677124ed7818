"""A comparison in progress: the pass, the frozen candidates, the fine-tuned ones, and the time that is left."""

import time
from collections.abc import Sequence
from dataclasses import fields
from functools import partial
from typing import Any

import numpy as np

from builders.build import HeadWeights
from builders.errors import BuildError
from builders.training.batches import kept_memory, quiet_tracing
from builders.training.schedule import AUGMENTATIONS
from probes.separability.learning_curve import LearningCurve, learning_curve
from probes.separability.linear_probe import balanced_accuracy, fit_linear_probe, solve
from recommender.comparison.candidates import Candidate, advice_of, frozen_candidates, tuned_candidates
from recommender.comparison.comparison import INTERRUPTED, Comparison
from recommender.comparison.ranking import Results, Row, judge, reference_of
from recommender.comparison.shared_images import detector_of, load_pictures, share_images
from recommender.comparison.tuned import Tuned
from recommender.fit.data import fitting_augmentation
from recommender.pipeline.decision import Decision
from recommender.progress import Progress

FROZEN_SHARE = 0.25  # of the budget, for all fits on frozen features
CURVE_SHARE = 0.05  # of the budget, for the learning curve
CURVE_FITS = 14  # whole fits that a learning curve costs: five folds, each in parts that sum up to 2.75
AUGMENTATION_SHARE = 0.1  # of the budget, for measuring which augmentations keep the labels
AUGMENTATION_PASSES = 250  # images that go through the network for that, at most
KEEP_LABELS = tuple(name for name in AUGMENTATIONS if name != "mirror")  # everywhere, as `fitting_augmentation` says
LEAST_SECONDS = 15.0  # below which no candidate is set up for fine-tuning. Ours.
ENDING = 0.02  # of the budget, for the verdict and what was begun before the deadline
NO_TIME = "for want of time"


class Run:
    """A comparison in progress."""

    def __init__(self, found: Decision, budget: float, seed: int, progress: Progress) -> None:
        self.found, self.budget, self.seed, self.progress = found, budget, seed, progress
        self.began = time.perf_counter()
        self.deadline = self.began + (1 - ENDING) * budget
        self.balanced, self.n_classes = found.class_weight is not None, len(found.index.class_names)
        self.rows: list[Row] = []
        self.temperatures: dict[tuple[str, ...], float] = {}  # of frozen rows, by what their head reads
        self.skipped: dict[str, str] = {}
        self.augmentation: tuple[str, ...] | None = None
        self.curve: LearningCurve | None = None
        self.curve_label: str | None = None
        self.interrupted = False

    @property
    def left(self) -> float:
        return self.deadline - time.perf_counter()

    def report(self, *_: int) -> None:
        elapsed = min(time.perf_counter() - self.began, self.budget)
        self.progress("comparing", round(elapsed), round(self.budget))

    def read_images(self) -> None:
        """Read the images, and split them."""
        self.shared = share_images(self.found, budget=self.budget, seed=self.seed, progress=self.progress)
        self.images = self.shared.images

    def fit_frozen(self) -> None:
        """Fit linear probes, at least two: the usual ones until the deadline, the others within their share."""
        until = min(time.perf_counter() + FROZEN_SHARE * self.budget, self.deadline)
        for candidate in frozen_candidates(self.found):
            if len(self.rows) > 1 and time.perf_counter() > (self.deadline if candidate.usual else until):
                self.skipped[candidate.label] = NO_TIME
            else:
                self._fit(candidate)
                self.report()

    def _fit(self, candidate: Candidate) -> None:
        """Judge by cross-validation or the user's validation split; the prediction layer is that of all images."""
        began, order, levels = time.perf_counter(), self.shared.order, candidate.strategy.head.levels
        blocks, rows = self.shared.blocks(levels, order), self.images.rows.taken(order)
        probe = fit_linear_probe(blocks, rows, self.n_classes, seed=self.seed, balanced=self.balanced)
        if probe.judged is None:
            raise AssertionError("images that are held out can be judged")
        once = (time.perf_counter() - began) / (self.shared.folds + 1)
        self.temperatures[levels] = probe.temperature
        self._add(
            candidate,
            self._results(order[probe.judged.rows], probe.judged.correct),
            weights=(probe.kernel, probe.bias),
            seconds=self.shared.seconds * candidate.strategy.cut_depth + once,
        )

    def _results(self, rows: Any, correct: Any) -> Results:
        found = Results(judged=np.zeros(len(self.images.rows), bool), correct=np.zeros(len(self.images.rows), bool))
        found.judged[rows], found.correct[rows] = True, correct
        return found

    def _add(self, candidate: Candidate, results: Results, **more: Any) -> None:
        rows = self.images.rows
        reference = reference_of(self.rows).results if self.rows and not candidate.frozen else results
        accuracy, interval = results.estimate(reference, rows.groups)
        self.rows.append(
            Row(
                **{part.name: getattr(candidate, part.name) for part in fields(Candidate)},
                accuracy=accuracy,
                interval=interval,
                balanced_accuracy=balanced_accuracy(results.correct[results.judged], rows.labels[results.judged])[0],
                results=results,
                **more,
            )
        )

    def measure_curve(self) -> None:
        """The learning curve of the best linear probe, if a small share of the budget is enough for it."""
        best = max(self.rows, key=lambda row: row.accuracy)
        seconds = CURVE_FITS * (best.seconds - self.shared.seconds * best.strategy.cut_depth)
        if seconds <= min(CURVE_SHARE * self.budget, self.left):
            blocks = self.images.features.blocks(best.strategy.head.levels)
            self.curve = learning_curve(blocks, self.images.rows, seed=self.seed, balanced=self.balanced)
            self.curve_label = None if self.curve is None else best.label

    def fine_tune(self, augmentation: Sequence[str] | None) -> None:
        """Fine-tune one candidate after the other; each gets an equal share of the time that is left to its kind.

        The usual ones come first and share all of it, and the others share what those leave.
        """
        candidates, reason = tuned_candidates(self.found), NO_TIME
        if candidates and self.left > LEAST_SECONDS:
            reason = self._prepare(augmentation)
        for number, candidate in enumerate(candidates):
            if self.shared.pictures is None or self.augmentation is None or self.left < LEAST_SECONDS:
                self.skipped[candidate.label] = reason
                continue
            waiting = sum(each.usual == candidate.usual for each in candidates[number:])
            try:
                with quiet_tracing(), kept_memory():
                    self._fine_tune(candidate, self.left / waiting)
            except BuildError:  # a network without trainable weights
                self.skipped[candidate.label] = "nothing in it can train"
            except KeyboardInterrupt:
                self.skipped |= {each.label: INTERRUPTED for each in candidates[number:]}
                raise

    def _prepare(self, augmentation: Sequence[str] | None) -> str:
        """Read the pictures and choose the augmentation, if there is time; the reason where that failed."""
        rate = self.shared.seconds / len(self.images.rows)
        if self.shared.pictures is None and self.shared.seconds > self.left:
            return NO_TIME
        if load_pictures(self.found, self.shared, self.progress) is None:
            return "for want of disk space"
        if augmentation is not None:
            self.augmentation = tuple(dict.fromkeys(augmentation))
        elif AUGMENTATION_PASSES * rate < AUGMENTATION_SHARE * self.left:
            self.augmentation = fitting_augmentation(self.found, partial(self.progress, "augmentation"))
        else:
            self.augmentation = KEEP_LABELS
        return NO_TIME

    def _fine_tune(self, candidate: Candidate, share: float) -> None:
        began, levels = time.perf_counter(), candidate.strategy.head.levels
        training = self.shared.training
        blocks, rows = self.shared.blocks(levels, training), self.images.rows.taken(training)
        kernel, bias = solve(blocks, rows, self.n_classes, balanced=self.balanced)
        scale = self.temperatures.get(levels, 1.0)
        start = HeadWeights(kernel=kernel / scale, bias=bias / scale)
        tuned = Tuned(candidate, self.found, self.shared, start, self.augmentation or (), self.seed)
        least = tuned.least_seconds()
        self.report()
        share = max(share - (time.perf_counter() - began), least)
        trained = tuned.train(min(share, self.left), self.report) if least < self.left else None
        if trained is None:
            self.skipped[candidate.label] = NO_TIME
            return
        evidence, held_out = trained.evidence, self.images.split.held_out
        self._add(
            candidate,
            self._results(held_out, evidence.correct),
            weights=trained.weights,
            seconds=self.shared.seconds * candidate.strategy.cut_depth + time.perf_counter() - began,
            steps=trained.steps,
            full_steps=trained.full_steps,
            share=trained.share,
            gained=evidence.sure,
        )

    def comparison(self) -> Comparison:
        """The comparison of the rows so far."""
        ranking = judge(self.rows, self.images.rows, seed=self.seed)
        split = self.images.split
        advice = advice_of(self.found)
        if self.interrupted and ranking.recommended is None:
            self.skipped.setdefault(advice.label, INTERRUPTED)
        return Comparison(
            **vars(ranking),
            skipped=self.skipped,
            n_training=len(self.shared.training),
            n_held_out=len(split.held_out),
            n_judged=max(row.n_judged for row in self.rows),
            n_images=self.shared.n_images,
            is_sample=self.shared.is_sample,
            judged_by="validation" if split.judged_by == "validation" else "cross-validation",
            augmentation=self.augmentation,
            curve=self.curve,
            curve_label=self.curve_label,
            advice=advice.label,
            interrupted=self.interrupted,
            budget=self.budget,
            seconds=time.perf_counter() - self.began,
            backbone=self.found.backbone,
            found=self.found,
            detect=partial(detector_of, found=self.found, shared=self.shared, seed=self.seed),
        )
