"""One comparison under way: the pass, the frozen candidates, those that are fine-tuned, and the clock over all."""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy.special import log_softmax

from builders.errors import BuildError
from probes.evaluation.selection import cross_chosen
from probes.separability.learning_curve import learning_curve
from probes.separability.linear_probe import balanced_accuracy, solve
from recommender.comparison.candidates import Candidate, frozen_candidates, tuned_candidates
from recommender.comparison.comparison import Comparison
from recommender.comparison.detector import detector_of
from recommender.comparison.fine_tuned_candidate import Start, Tuned, quiet_tracing
from recommender.comparison.outcome import Row
from recommender.comparison.ranking import judge
from recommender.comparison.shared_data import PASS_SHARE, Seen, prepared, see
from recommender.comparison.successive_halving import affordable, halve
from recommender.fit.augmentation import fitting_augmentation

if TYPE_CHECKING:
    from probes.separability.learning_curve import LearningCurve
    from recommender.pipeline.decision import Decision

FROZEN_SHARE = 0.25  # of the budget, for all fits on frozen features
CURVE_SHARE = 0.05  # for the learning curve
CURVE_FITS = 14  # whole fits that a learning curve costs: of five folds each in parts that sum up to 2.75
AUGMENTATION_SHARE = 0.1  # for asking which augmentations keep the labels
AUGMENTATION_PASSES = 750  # images that go through the network for that, at most: 250, plain and changed twice
SET_UP_SHARE = 1 / 3  # of what is left, for building, tracing and timing what is fine-tuned
SET_UP_IMAGES = 300  # that go through the network for that
SLACK = 0.1  # of what is left after that: steps that were timed to be faster than they turn out
# Steps below which fine-tuning is not worth its while, and seconds below which not even one is set up. Ours: tracing a
# network's gradients takes ten seconds on two cores.
LEAST_STEPS = 24
LEAST_SECONDS = 20.0
NO_TIME = "for want of time"


Progress = Callable[[str, int, int], None]


class Run:
    """One comparison under way."""

    seen: Seen

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
        self.rows: list[Row] = []
        self.skipped: dict[str, str] = {}
        self.start: Start | None = None
        self.fits: dict[int, float] = {}  # id of a row -> seconds of its fit
        self.augmentation: tuple[str, ...] | None = None
        self.curve: LearningCurve | None = None
        self.curve_label: str | None = None
        self.interrupted = False

    @property
    def deadline(self) -> float:
        return self.began + self.budget

    @property
    def left(self) -> float:
        return self.deadline - time.perf_counter()

    @property
    def balanced(self) -> bool:
        return self.found.class_weight is not None

    def tell(self, *_: int) -> None:
        if self.progress is not None:
            elapsed = min(time.perf_counter() - self.began, self.budget)
            self.progress("comparing", round(elapsed), round(self.budget))

    def see(self) -> None:
        self.seen = see(self.found, budget=self.budget, seed=self.seed, progress=self.progress)

    def fit_frozen(self) -> None:
        """Fit and judge linear probes, until their share of the budget is spent; two of them in any case."""
        until = min(time.perf_counter() + FROZEN_SHARE * self.budget, self.deadline)
        rate = 0.0
        for candidate in frozen_candidates(self.found):
            width = sum(self.seen.features.pooled[level].shape[1] for level in candidate.strategy.head.levels)
            if len(self.rows) > 1 and time.perf_counter() + rate * width > until:
                self.skipped[candidate.label] = NO_TIME
                continue
            rate = max(rate / 2, self._fit(candidate) / width)  # the first takes longer than it should
            self.tell()

    def _fit(self, candidate: Candidate) -> float:
        """Fit one, and tell the seconds."""
        began = time.perf_counter()
        training, held_out = self.seen.split.training, self.seen.split.held_out
        blocks = [self.seen.features.pooled[level] for level in candidate.strategy.head.levels]
        rows, classes = self.seen.rows.taken(training).pooled(), len(self.found.index.class_names)
        kernel, bias = solve([block[training] for block in blocks], rows, classes, balanced=self.balanced)
        logits = np.concatenate([block[held_out] for block in blocks], axis=1) @ kernel + bias
        labels = self.seen.rows.labels[held_out]
        correct = logits.argmax(1) == labels
        seconds = time.perf_counter() - began
        row = self._row(candidate, correct, correct[None], (kernel, bias), seconds, steps=(0, 0), ended_early=False)
        self.fits[id(row)] = seconds
        if candidate.strategy.head.levels == (self.found.plan.cuts[-1].layer,):
            self.start = Start(kernel=kernel, bias=bias, correct=correct, loss=_loss(logits, labels), seconds=seconds)
        return seconds

    def _row(
        self,
        candidate: Candidate,
        correct: npt.NDArray[np.bool_],
        looks: npt.NDArray[np.bool_],
        weights: tuple[npt.NDArray[Any], ...],
        seconds: float,
        *,
        steps: tuple[int, int],
        ended_early: bool,
    ) -> Row:
        """Note a result and tell it."""
        held_out = self.seen.rows.taken(self.seen.split.held_out)
        judged = cross_chosen(correct[None], repeats=1, groups=held_out.groups)
        row = Row(
            strategy=candidate.strategy,
            scenario=candidate.scenario,
            label=candidate.label,
            recommended=candidate.recommended,
            accuracy=judged.accuracy,
            interval=judged.interval,
            balanced_accuracy=balanced_accuracy(correct, held_out.labels)[0],
            seconds=self.seen.seconds * candidate.strategy.cut_depth + seconds,
            steps=steps[0],
            full_steps=steps[1],
            ended_early=ended_early,
            correct=correct,
            looks=looks,
            weights=weights,
        )
        self.rows.append(row)
        if self.on_result is not None:
            self.on_result(row)
        return row

    def draw_curve(self) -> None:
        """What more images would bring the best linear probe, where a small part of the budget is enough to tell."""
        best = max(self.rows, key=lambda row: row.accuracy)
        if CURVE_FITS * self.fits[id(best)] > min(CURVE_SHARE * self.budget, self.left):
            return
        blocks = [self.seen.features.pooled[level] for level in best.strategy.head.levels]
        self.curve = learning_curve(blocks, self.seen.rows, seed=self.seed, balanced=self.balanced)
        self.curve_label = None if self.curve is None else best.label

    def fine_tune(self, augmentation: Sequence[str] | None) -> None:
        """Train what is fine-tuned, by successive halving."""
        with quiet_tracing():
            self._halve(self._set_up(tuned_candidates(self.found), augmentation))

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
            lambda number, share: runners[number].advance(share, self.deadline, self.tell),
            always=always,
            cost=lambda number, before, share: runners[number].pace.between(steps[number], before, share),
            left=lambda: self.left,
        )
        trained = [runners[number] for number in steps]
        self.interrupted = halving.interrupted and not any(runner.out_of_time for runner in trained)
        for number, reached in halving.reached.items():
            self._tuned_row(runners[number], ended_early=reached < 1)

    def _set_up(self, candidates: Sequence[Candidate], augmentation: Sequence[str] | None) -> list[Tuned]:
        """Build, trace and time as many as there is time for."""
        runners: list[Tuned] = []
        pictures = None
        if self.start is not None and self.left > LEAST_SECONDS and candidates:
            pictures = self._pictures(augmentation)
        until = time.perf_counter() + SET_UP_SHARE * self.left
        longest = LEAST_SECONDS / 2
        for candidate in candidates:
            began = time.perf_counter()
            if pictures is None or self.start is None or began + max(longest, self._set_up_seconds(candidate)) > until:
                self.skipped[candidate.label] = NO_TIME
                continue
            kept = self.augmentation or ()
            try:
                runner = Tuned(candidate, self.found, self.seen, pictures, self.start, kept, self.seed)
            except BuildError:  # a network of which nothing can train
                self.skipped[candidate.label] = "nothing in it can train"
                continue
            runners.append(runner)
            longest = max(longest if len(runners) > 1 else 0.0, time.perf_counter() - began)
            self.tell()
        return runners

    def _set_up_seconds(self, candidate: Candidate) -> float:
        """What timing a candidate takes, by the speed of the network; a gradient costs twice a forward pass."""
        images = SET_UP_IMAGES * (1 + 2 * (1 - candidate.strategy.freeze_depth))
        return images * self.seen.seconds / len(self.seen.rows)

    def _pictures(self, augmentation: Sequence[str] | None) -> npt.NDArray[np.uint8] | None:
        """Prepared pictures; the augmentation is decided beside."""
        asking = AUGMENTATION_PASSES * self.seen.seconds / len(self.seen.rows)
        if augmentation is not None:
            self.augmentation = tuple(dict.fromkeys(augmentation))
        elif asking < min(AUGMENTATION_SHARE * self.budget, self.left):
            told = self.progress
            self.augmentation = fitting_augmentation(
                self.found, None if told is None else lambda done, wanted: told("augmentation", done, wanted)
            )
        until = min(time.perf_counter() + PASS_SHARE * self.budget, self.deadline)
        return prepared(self.found, self.seen, until=until, progress=self.progress)

    def _tuned_row(self, runner: Tuned, *, ended_early: bool) -> None:
        """The row of a training: its best look, or the start where that is no better."""
        state = runner.state
        if not state.round:
            self.skipped[runner.candidate.label] = NO_TIME
            return
        held_out = self.seen.rows.taken(self.seen.split.held_out)
        chosen = cross_chosen(state.correct, seed=self.seed, groups=held_out.groups, labels=held_out.labels)
        better = state.best_check > 0 and chosen.accuracy > state.checks[0].accuracy
        self._row(
            runner.candidate,
            chosen.correct if better else state.correct[0],
            state.correct,
            runner.weights(best=better),
            runner.seconds,
            steps=(runner.steps, runner.most),
            ended_early=ended_early,
        )

    def comparison(self) -> Comparison:
        held_out = self.seen.rows.taken(self.seen.split.held_out)
        judged = judge(self.rows, seed=self.seed, groups=held_out.groups, labels=held_out.labels)
        order = sorted(range(len(self.rows)), key=lambda n: (-self.rows[n].accuracy, self.rows[n].seconds))
        advice = Candidate(strategy=self.found.strategy, scenario=self.found.scenario, recommended=True)
        found, seen, seed = self.found, self.seen, self.seed
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
            n_training=len(seen.split.training),
            n_held_out=len(seen.split.held_out),
            n_images=seen.n_images,
            is_sample=seen.is_sample,
            judged_by=seen.split.judged_by,
            augmentation=self.augmentation,
            curve=self.curve,
            curve_label=self.curve_label,
            advice=advice.label,
            interrupted=self.interrupted,
            budget=self.budget,
            seconds=time.perf_counter() - self.began,
            backbone=found.backbone,
            detect=lambda row: detector_of(row, found, seen, seed),
        )


def _loss(logits: npt.NDArray[np.float64], labels: npt.NDArray[np.int64]) -> float:
    return float(-log_softmax(logits, axis=1)[np.arange(len(labels)), labels].mean())
