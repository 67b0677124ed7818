"""A comparison in progress: the pass, the frozen candidates, the fine-tuned ones, and the time that is left."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.special import softmax

from builders.errors import BuildError
from probes.evaluation.selection import cross_chosen
from probes.separability.learning_curve import learning_curve
from probes.separability.linear_probe import balanced_accuracy, solve
from recommender.comparison.candidates import Candidate, frozen_candidates, tuned_candidates
from recommender.comparison.comparison import Comparison
from recommender.comparison.outcome import Row
from recommender.comparison.ranking import judge
from recommender.comparison.shared_images import PASS_SHARE, Pixels, detector_of, load_pictures, share_images
from recommender.comparison.successive_halving import affordable, halve
from recommender.comparison.tuned import Start, Tuned, quiet_tracing
from recommender.fit.data import fitting_augmentation
from recommender.fit.finish import chosen_check
from recommender.progress import Progress

if TYPE_CHECKING:
    from probes.separability.learning_curve import LearningCurve
    from recommender.pipeline.decision import Decision

FROZEN_SHARE = 0.25  # of the budget, for all fits on frozen features
CURVE_SHARE = 0.05  # of the budget, for the learning curve
CURVE_FITS = 14  # whole fits that a learning curve costs: five folds, each in parts that sum up to 2.75
AUGMENTATION_SHARE = 0.1  # of the budget, for measuring which augmentations keep the labels
AUGMENTATION_PASSES = 750  # images that go through the network for that, at most: 250, plain and changed twice
SET_UP_SHARE = 1 / 3  # of the time left, for building, tracing and timing the fine-tuned candidates
SET_UP_IMAGES = 300  # that go through the network for that, for each candidate
SLACK = 0.1  # of the time left after that: steps may turn out slower than they were timed
# Fewest useful steps, and seconds below which no candidate is set up. Ours: tracing a network's gradients takes ten
# seconds on two cores.
LEAST_STEPS = 24
LEAST_SECONDS = 20.0
NO_TIME = "for want of time"


class Run:
    """A comparison in progress."""

    def __init__(
        self,
        found: "Decision",
        budget: float,
        seed: int,
        progress: Progress | None,
        on_result: Callable[[Row], None] | None,
    ) -> None:
        self.found, self.budget, self.seed = found, budget, seed
        self.progress, self.on_result = progress, on_result
        self.began = time.perf_counter()
        self.deadline = self.began + budget
        self.balanced = found.class_weight is not None
        self.rows: list[Row] = []
        self.skipped: dict[str, str] = {}
        self.start: Start | None = None
        self.fit_seconds: dict[int, float] = {}  # by id of the row
        self.augmentation: tuple[str, ...] | None = None
        self.curve: LearningCurve | None = None
        self.curve_label: str | None = None
        self.interrupted = False

    @property
    def left(self) -> float:
        """Seconds that are left."""
        return self.deadline - time.perf_counter()

    def report(self, *_: int) -> None:
        """Report the share of the budget that is spent."""
        if self.progress is not None:
            elapsed = min(time.perf_counter() - self.began, self.budget)
            self.progress("comparing", round(elapsed), round(self.budget))

    def read_images(self) -> None:
        """Read the images, and split them."""
        self.shared = share_images(self.found, budget=self.budget, seed=self.seed, progress=self.progress)
        self.images, self.held_out = self.shared.images, self.shared.images.held_out

    def fit_frozen(self) -> None:
        """Fit linear probes until their share of the budget is spent, at least two."""
        until = min(time.perf_counter() + FROZEN_SHARE * self.budget, self.deadline)
        rate = 0.0
        for candidate in frozen_candidates(self.found):
            width = sum(block.shape[1] for block in self._blocks(candidate))
            if len(self.rows) > 1 and time.perf_counter() + rate * width > until:
                self.skipped[candidate.label] = NO_TIME
                continue
            rate = max(rate / 2, self._fit(candidate) / width)  # the first fit is slower than the others
            self.report()

    def _blocks(self, candidate: Candidate | Row) -> list[npt.NDArray[np.float32]]:
        return [self.images.features.pooled[level] for level in candidate.strategy.head.levels]

    def _fit(self, candidate: Candidate) -> float:
        """Fit a linear probe; returns the seconds."""
        began = time.perf_counter()
        blocks, split = self._blocks(candidate), self.images.split
        rows, classes = self.images.rows.taken(split.training).pooled(), len(self.found.index.class_names)
        weights = solve([block[split.training] for block in blocks], rows, classes, balanced=self.balanced)
        logits = np.concatenate([block[split.held_out] for block in blocks], axis=1) @ weights[0] + weights[1]
        correct = logits.argmax(1) == self.held_out.labels
        seconds = time.perf_counter() - began
        row = self._add(candidate, correct, weights, seconds)
        self.fit_seconds[id(row)] = seconds
        if candidate.strategy.head.levels == (self.found.plan.cuts[-1].layer,):
            probabilities = softmax(logits, axis=1)
            self.start = Start(kernel=weights[0], bias=weights[1], probabilities=probabilities, seconds=seconds)
        return seconds

    def _add(
        self,
        candidate: Candidate,
        correct: npt.NDArray[np.bool_],
        weights: tuple[npt.NDArray[Any], ...],
        seconds: float,
        *,
        checks: npt.NDArray[np.bool_] | None = None,
        steps: int = 0,
        full_steps: int = 0,
        ended_early: bool = False,
    ) -> Row:
        """Add a row and report it."""
        judged = cross_chosen(correct[None], repeats=1, groups=self.held_out.groups)
        row = Row(
            strategy=candidate.strategy,
            scenario=candidate.scenario,
            label=candidate.label,
            recommended=candidate.recommended,
            accuracy=judged.accuracy,
            interval=judged.interval,
            balanced_accuracy=balanced_accuracy(correct, self.held_out.labels)[0],
            seconds=self.shared.seconds * candidate.strategy.cut_depth + seconds,
            steps=steps,
            full_steps=full_steps,
            ended_early=ended_early,
            correct=correct,
            checks=correct[None] if checks is None else checks,
            weights=weights,
        )
        self.rows.append(row)
        if self.on_result is not None:
            self.on_result(row)
        return row

    def measure_curve(self) -> None:
        """The learning curve of the best linear probe, if a small share of the budget is enough for it."""
        best = max(self.rows, key=lambda row: row.accuracy)
        if CURVE_FITS * self.fit_seconds[id(best)] <= min(CURVE_SHARE * self.budget, self.left):
            self.curve = learning_curve(self._blocks(best), self.images.rows, seed=self.seed, balanced=self.balanced)
            self.curve_label = None if self.curve is None else best.label

    def fine_tune(self, augmentation: Sequence[str] | None) -> None:
        """Train the fine-tuned candidates by successive halving."""
        with quiet_tracing():
            self._halve(self._set_up(tuned_candidates(self.found), augmentation))

    def _set_up(self, candidates: Sequence[Candidate], augmentation: Sequence[str] | None) -> list[Tuned]:
        """Build, trace and time as many candidates as there is time for."""
        runners: list[Tuned] = []
        pictures = None
        if self.start is not None and self.left > LEAST_SECONDS and candidates:
            pictures = self._pictures(augmentation)
        until = time.perf_counter() + SET_UP_SHARE * self.left
        longest = LEAST_SECONDS / 2
        for candidate in candidates:
            began = time.perf_counter()
            # A gradient takes as long as two forward passes.
            images = SET_UP_IMAGES * (1 + 2 * (1 - candidate.strategy.freeze_depth))
            wanted = max(longest, images * self.shared.seconds_per_image)
            if pictures is None or self.start is None or began + wanted > until:
                self.skipped[candidate.label] = NO_TIME
                continue
            kept = self.augmentation or ()
            try:
                runners.append(Tuned(candidate, self.found, self.images, pictures, self.start, kept, self.seed))
            except BuildError:  # a network without trainable weights
                self.skipped[candidate.label] = "nothing in it can train"
                continue
            longest = max(longest if len(runners) > 1 else 0.0, time.perf_counter() - began)
            self.report()
        return runners

    def _pictures(self, augmentation: Sequence[str] | None) -> Pixels | None:
        """Choose the augmentation, and read the pictures."""
        expected = AUGMENTATION_PASSES * self.shared.seconds_per_image
        if augmentation is not None:
            self.augmentation = tuple(dict.fromkeys(augmentation))
        elif expected < min(AUGMENTATION_SHARE * self.budget, self.left):
            progress = self.progress
            self.augmentation = fitting_augmentation(
                self.found, progress and (lambda done, wanted: progress("augmentation", done, wanted))
            )
        until = min(time.perf_counter() + PASS_SHARE * self.budget, self.deadline)
        return load_pictures(self.found, self.shared, until=until, progress=self.progress)

    def _halve(self, runners: list[Tuned]) -> None:
        always = [number for number, runner in enumerate(runners) if runner.candidate.recommended]
        steps = affordable(
            [runner.pace for runner in runners],
            seconds=(1 - SLACK) * self.left,
            most=[runner.most for runner in runners],
            least=LEAST_STEPS,
            always=always,
        )
        for number, runner in enumerate(runners):
            if number in steps:
                runner.plan(steps[number])
            else:
                self.skipped[runner.candidate.label] = NO_TIME
        halving = halve(
            list(steps),
            lambda number, share: runners[number].advance(share, self.deadline, self.report),
            always=always,
            cost=lambda number, before, share: runners[number].pace.between(steps[number], before, share),
            left=lambda: self.left,
        )
        self.interrupted = halving.interrupted and not any(runners[number].out_of_time for number in steps)
        for number, reached in halving.reached.items():
            self._add_tuned(runners[number], ended_early=reached < 1)

    def _add_tuned(self, runner: Tuned, *, ended_early: bool) -> None:
        """Add the row of a training: its best check, or its start."""
        state = runner.state
        if not state.round:
            self.skipped[runner.candidate.label] = NO_TIME
            return
        chosen = chosen_check(state, self.held_out, self.seed, stratified=True)
        self._add(
            runner.candidate,
            state.correct[0] if chosen is None else chosen.correct,
            runner.weights(best=chosen is not None),
            runner.seconds,
            checks=state.correct,
            steps=runner.steps,
            full_steps=runner.most,
            ended_early=ended_early,
        )

    def comparison(self) -> Comparison:
        """The comparison of the rows so far."""
        judged = judge(self.rows, seed=self.seed, groups=self.held_out.groups, labels=self.held_out.labels)
        order = sorted(range(len(self.rows)), key=lambda n: (-self.rows[n].accuracy, self.rows[n].seconds))
        advice = Candidate(strategy=self.found.strategy, scenario=self.found.scenario, recommended=True)
        found, shared, seed = self.found, self.shared, self.seed
        return Comparison(
            rows=tuple(self.rows[number] for number in order),
            winner=self.rows[judged.winner],
            preferred=self.rows[judged.preferred],
            recommended=next((row for row in self.rows if row.recommended), None),
            accuracy=judged.chosen.accuracy,
            interval=judged.chosen.interval,
            regret=judged.regret,
            gaps=tuple(judged.gaps[number] for number in order),
            skipped=self.skipped,
            n_training=len(self.images.split.training),
            n_held_out=len(self.images.split.held_out),
            n_images=shared.n_images,
            is_sample=shared.is_sample,
            judged_by=self.images.split.judged_by,
            augmentation=self.augmentation,
            curve=self.curve,
            curve_label=self.curve_label,
            advice=advice.label,
            interrupted=self.interrupted,
            budget=self.budget,
            seconds=time.perf_counter() - self.began,
            backbone=found.backbone,
            detect=lambda row: detector_of(row, found, shared, seed),
        )
