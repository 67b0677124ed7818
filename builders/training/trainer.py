"""Fine-tune a model with validation checks on held-out images, keep the best weights, and resume an earlier run."""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from builders.training.data import Examples, FloatArray, mixup, predict
from builders.training.schedule import Schedule
from builders.training.state import Arrays, Check, TrainingState, write_state

TIMED_STEPS = 3
TIMED_IMAGES = 64  # of a timed check

Progress = Callable[[int, int], None]
OnCheck = Callable[[Check, Schedule], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trained:
    """The result of a run; the model has the weights of the best check."""

    state: TrainingState
    interrupted: bool  # by Ctrl-C
    stopped_early: bool  # because the checks brought no gain
    unsaved: str | None  # why the state could not be written
    seconds: float  # of this run


class Trainer:
    """Trains a `keras.Model` from inputs to probabilities of shape (batch, classes), with its layers frozen.

    Validation checks run on the held-out examples.
    """

    def __init__(self, model: Any, training: Examples, held_out: Examples, schedule: Schedule, optimizer: Any) -> None:
        self.model, self.training, self.held_out, self.schedule = model, training, held_out, schedule
        self.classes = int(model.output_shape[-1])
        model.compile(
            optimizer=optimizer,
            loss=keras.losses.CategoricalCrossentropy(label_smoothing=schedule.label_smoothing),
            jit_compile=False,  # on a CPU, XLA makes a depthwise network ten times slower
        )
        self.optimizer = model.optimizer  # wrapped to scale the loss where layers compute in half precision
        self.optimizer.build(model.trainable_variables)

    def start(self, probabilities: FloatArray) -> TrainingState:
        """The state before the first step, with what the model predicts of the held-out images."""
        check, correct = self._check(probabilities, step=0)
        weights, slots = self._values()
        return TrainingState(checks=(check,), correct=correct[None], weights=weights, slots=slots, best=weights)

    def predict(self) -> FloatArray:
        """Probabilities of the held-out images, of shape (n, classes)."""
        return predict(self.model, self.held_out)

    def set_weights(self, values: Sequence[npt.NDArray[Any]]) -> None:
        """Assign weights of a state."""
        _assign(self._changing(), values)

    def _changing(self) -> list[Any]:
        """Variables of trainable layers, with statistics of BatchNorm, and random states, as of Dropout."""
        layers = [layer for layer in self.model._flatten_layers() if layer is not self.model]
        found = [variable for layer in layers for variable in layer._trainable_variables if layer.trainable]
        found += [variable for layer in layers for variable in layer._non_trainable_variables if layer.trainable]
        found += [layer.seed_generator.state for layer in layers if hasattr(layer, "seed_generator")]
        return list({id(variable): variable for variable in found}.values())

    def timed(self, state: TrainingState) -> tuple[float, float]:
        """Seconds of a step and of a validation check, tracing not counted; `run` restores what this changes."""
        schedule, held_out = self.schedule, self.held_out
        size = min(len(held_out), TIMED_IMAGES)
        self.schedule = replace(schedule, steps=TIMED_STEPS, check_every=TIMED_STEPS)
        self.held_out = held_out.take(slice(size))
        try:
            for _ in range(2):  # the first run traces graphs and fills caches
                timed = self.run(replace(state, correct=state.correct[:, :size]))
                if timed.interrupted:
                    raise KeyboardInterrupt
        finally:
            self.schedule, self.held_out = schedule, held_out
        steps = timed.state.checks[-1].seconds - state.checks[-1].seconds
        return steps / TIMED_STEPS, (timed.seconds - steps) * len(held_out) / size

    def run(
        self,
        state: TrainingState,
        *,
        until: int | None = None,
        file: Path | None = None,
        callbacks: Sequence[Any] = (),
        progress: Progress | None = None,
        on_check: OnCheck | None = None,
    ) -> Trained:
        """Train on from a state, and leave the weights of the best check in the model.

        `until`: number of checks after which to pause. `file`: where the state is written after each check. An epoch of
        the Keras callbacks is the steps between two checks. `progress` is called with steps done and wanted.
        """
        began = time.perf_counter()
        checks = self.schedule.steps // self.schedule.check_every if self.schedule.steps else 0
        until = checks if until is None else min(until, checks)
        checking = _Checks(self, state, file, progress, on_check)
        interrupted = False
        if state.round < until and not self.is_over(state):
            self.set_weights(state.weights)
            _assign(self.optimizer.variables, state.slots)
            try:
                self.model.fit(
                    self._dataset(state.round * self.schedule.check_every),
                    steps_per_epoch=self.schedule.check_every,
                    initial_epoch=state.round,
                    epochs=until,
                    callbacks=[checking, *callbacks],
                    shuffle=False,
                    verbose=0,
                )
            except KeyboardInterrupt:
                interrupted = True
        self.set_weights(checking.state.best)
        return Trained(
            state=checking.state,
            interrupted=interrupted,
            stopped_early=self.is_over(checking.state) and checking.state.round < checks,
            unsaved=checking.unsaved,
            seconds=time.perf_counter() - began,
        )

    def is_over(self, state: TrainingState) -> bool:
        """Whether the checks have brought no gain for as long as the schedule's patience."""
        return state.round - state.best_check >= self.schedule.patience

    def after(self, state: TrainingState, *, loss: float, seconds: float) -> TrainingState:
        """The state after another `check_every` steps."""
        check, correct = self._check(
            self.predict(),
            step=(state.round + 1) * self.schedule.check_every,
            loss=loss,
            learning_rate=float(keras.ops.convert_to_numpy(self.optimizer.learning_rate)),
            seconds=seconds,
        )
        return state.after(check, correct, *self._values())

    def _check(self, probabilities: FloatArray, **known: Any) -> tuple[Check, npt.NDArray[np.bool_]]:
        """A validation check, and whether each held-out image is right."""
        labels = self.held_out.labels
        correct = np.asarray(probabilities.argmax(1) == labels)
        loss = -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], 1e-7)).mean()
        return Check(accuracy=float(correct.mean()), held_out_loss=float(loss), **known), correct

    def _values(self) -> tuple[Arrays, Arrays]:
        """Values of the variables that training changes, and of the optimiser's."""
        changing, slots = self._changing(), self.optimizer.variables
        return tuple(variable.numpy() for variable in changing), tuple(variable.numpy() for variable in slots)

    def _dataset(self, first_step: int) -> Any:
        import tensorflow as tf

        shapes = (tuple(self.model.input_shape[1:]), (self.classes,), ())
        signature = tuple(tf.TensorSpec((None, *shape), tf.float32) for shape in shapes)
        return tf.data.Dataset.from_generator(lambda: self._batches(first_step), output_signature=signature).prefetch(2)

    def _batches(self, first_step: int) -> Iterator[tuple[FloatArray, FloatArray, FloatArray]]:
        """Batches from a step on. A batch depends on the seed and the step alone, so that a run can be resumed."""
        for step in itertools.count(first_step):
            rows = self.rows_of(step)
            rng = np.random.default_rng([self.schedule.seed, step])
            inputs = self.training.inputs.varied(self.training.rows[rows], rng)
            targets = np.eye(self.classes, dtype=np.float32)[self.training.labels[rows]]
            weights = self.training.weights[rows].astype(np.float32)
            if self.schedule.mixup:
                share = float(rng.beta(self.schedule.mixup, self.schedule.mixup))
                inputs, targets, weights = mixup(inputs, targets, weights, share, rng.permutation(len(rows)))
            yield inputs, targets, weights

    def rows_of(self, step: int) -> npt.NDArray[np.int64]:
        """Training examples of a step: one shuffle of all follows another, and batches may lie across two."""
        n, size = len(self.training), self.schedule.batch_size
        epochs, places = np.divmod(np.arange(step * size, (step + 1) * size), n)
        orders = {
            int(epoch): np.random.default_rng([self.schedule.seed, int(epoch), 1]).permutation(n)
            for epoch in np.unique(epochs)
        }
        return np.array([orders[epoch][place] for epoch, place in zip(epochs.tolist(), places, strict=True)], np.int64)


def _assign(variables: Sequence[Any], values: Sequence[npt.NDArray[Any]]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


class _Checks(keras.callbacks.Callback):  # type: ignore[misc]
    """Runs a validation check at the end of each epoch and writes the state."""

    def __init__(
        self,
        trainer: Trainer,
        state: TrainingState,
        file: Path | None,
        progress: Progress | None,
        on_check: OnCheck | None,
    ) -> None:
        super().__init__()
        self.trainer, self.state, self.file, self.progress, self.on_check = trainer, state, file, progress, on_check
        self.unsaved: str | None = None
        self._began = time.perf_counter() - state.checks[-1].seconds

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        if self.progress is not None:
            schedule = self.trainer.schedule
            self.progress(self.state.round * schedule.check_every + batch + 1, schedule.steps)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        logs = {} if logs is None else logs
        seconds = time.perf_counter() - self._began
        self.state = self.trainer.after(self.state, loss=float(logs.get("loss", np.nan)), seconds=seconds)
        if self.file is not None and self.unsaved is None:
            try:
                write_state(self.file, self.state)
            except OSError as error:  # a full disk must not end hours of training
                self.unsaved = error.strerror or str(error)
        check = self.state.checks[-1]
        if self.on_check is not None:
            self.on_check(check, self.trainer.schedule)
        logs |= {"val_accuracy": check.accuracy, "val_loss": check.held_out_loss, "learning_rate": check.learning_rate}
        if self.trainer.is_over(self.state):
            self.model.stop_training = True
