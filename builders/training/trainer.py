"""Fine-tune a model, look at held-out images now and then, and keep the best; a run can be gone on with."""

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from builders.training.examples import Examples, mixed, outputs_of
from builders.training.inputs import FloatArray
from builders.training.schedule import Schedule
from builders.training.state import Check, StateFile, TrainingState

Progress = Callable[[int, int], None]
OnCheck = Callable[[Check, Schedule], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trained:
    """What a run brought; the model has the weights of the best look.

    Attributes:
        state: looks, and what was right at each.
        interrupted: whether Ctrl-C ended it.
        stopped_early: whether it ended for want of gain.
        unsaved: why the state could not be kept in its file; None where it could, or there is none.
        seconds: that this run took.
    """

    state: TrainingState
    interrupted: bool
    stopped_early: bool
    unsaved: str | None
    seconds: float


class Trainer:
    """Trains one model on one set of examples.

    Args:
        model: a `keras.Model` from the inputs to probabilities of shape (batch, classes), frozen as it shall be.
        training: what it learns from.
        held_out: what judges it.
        schedule: how.
        optimizer: of `builders.training.optimizers.optimizer_for`.
        file: where the state is kept after each look; None keeps it in memory alone.
    """

    def __init__(
        self,
        model: Any,
        training: Examples,
        held_out: Examples,
        schedule: Schedule,
        optimizer: Any,
        file: StateFile | None = None,
    ) -> None:
        self.model, self.training, self.held_out = model, training, held_out
        self.schedule, self.file = schedule, file
        self.classes = int(model.output_shape[-1])
        model.compile(
            optimizer=optimizer,
            loss=keras.losses.CategoricalCrossentropy(label_smoothing=schedule.label_smoothing),
            jit_compile=False,  # on a CPU, XLA makes a depthwise network ten times slower
        )
        self.optimizer = model.optimizer  # wrapped to scale the loss where layers compute in half precision
        self.optimizer.build(model.trainable_variables)

    def slot_shapes(self) -> list[tuple[int, ...]]:
        """Shapes of what the optimiser keeps."""
        return [tuple(variable.shape) for variable in self.optimizer.variables]

    def first_look(self) -> TrainingState:
        """The state before any step: the model as it is."""
        probabilities = self.predict()
        return TrainingState.start(self.weights(), self._correct(probabilities), self._loss(probabilities))

    def weights(self) -> list[npt.NDArray[Any]]:
        """Values of all that training changes."""
        return [variable.numpy() for variable in self._moving()]

    def set_weights(self, values: Sequence[npt.NDArray[Any]]) -> None:
        for variable, value in zip(self._moving(), values, strict=True):
            variable.assign(value)

    def _moving(self) -> list[Any]:
        """Variables of the layers that train; statistics of BatchNorm and states of Dropout among them."""
        layers = [layer for layer in self.model._flatten_layers() if layer is not self.model]
        found = [variable for layer in layers for variable in layer._trainable_variables if layer.trainable]
        found += [variable for layer in layers for variable in layer._non_trainable_variables if layer.trainable]
        found += [layer.seed_generator.state for layer in layers if hasattr(layer, "seed_generator")]
        return list({id(variable): variable for variable in found}.values())

    def predict(self) -> FloatArray:
        """Probabilities of the held-out images, of shape (n, classes)."""
        return self.predict_on(self.held_out)

    def predict_on(self, examples: Examples) -> FloatArray:
        """Probabilities of examples, of shape (n, classes)."""
        return outputs_of(self.model, examples)

    def seconds_per_step(self, steps: int = 2) -> float:
        """Time a few steps; the model and the optimiser are left as they were."""
        before, slots = self.weights(), [variable.numpy() for variable in self.optimizer.variables]
        stream = self._batches(0)
        self.model.train_on_batch(*next(stream))  # traces
        began = time.perf_counter()
        for _ in range(steps):
            self.model.train_on_batch(*next(stream))
        seconds = (time.perf_counter() - began) / steps
        self.set_weights(before)
        for variable, value in zip(self.optimizer.variables, slots, strict=True):
            variable.assign(value)
        self.model.reset_metrics()
        return seconds

    def run(
        self,
        state: TrainingState,
        *,
        until: int | None = None,
        callbacks: Sequence[Any] = (),
        progress: Progress | None = None,
        on_check: OnCheck | None = None,
    ) -> Trained:
        """Train from a state on, and leave the weights of the best look in the model.

        Args:
            state: where to start; `first_look()`, or one that was kept.
            until: number of looks after which to pause; all of the schedule by default.
            callbacks: of the user's.
            progress: called with the steps done and the steps wanted.
            on_check: called after each look.
        """
        began = time.perf_counter()
        checks = self.schedule.steps // self.schedule.check_every if self.schedule.steps else 0
        until = checks if until is None else min(until, checks)
        judge = _Judge(self, state, progress, on_check)
        interrupted = False
        if state.round < until and not self.is_over(state):
            self.resume(state)
            try:
                self.model.fit(
                    self._dataset(state.round * self.schedule.check_every),
                    steps_per_epoch=self.schedule.check_every,
                    initial_epoch=state.round,
                    epochs=until,
                    callbacks=[judge, *callbacks],
                    shuffle=False,  # the batches come in their order
                    verbose=0,
                )
            except KeyboardInterrupt:
                interrupted = True
        self.set_weights(judge.state.best)
        return Trained(
            state=judge.state,
            interrupted=interrupted,
            stopped_early=self.is_over(judge.state) and judge.state.round < checks,
            unsaved=judge.unsaved,
            seconds=time.perf_counter() - began,
        )

    def is_over(self, state: TrainingState) -> bool:
        """Whether so many looks in a row brought nothing that it stops."""
        return state.round - state.best_check >= self.schedule.patience

    def resume(self, state: TrainingState) -> None:
        """Put the model and the optimiser where a state has them."""
        self.set_weights(state.weights)
        if state.slots is not None:
            for variable, value in zip(self.optimizer.variables, state.slots, strict=True):
                variable.assign(value)

    def look(self, state: TrainingState, loss: float, rate: float, seconds: float) -> TrainingState:
        """The state after another round of steps."""
        probabilities = self.predict()
        check = Check(
            step=(state.round + 1) * self.schedule.check_every,
            accuracy=float(self._correct(probabilities).mean()),
            held_out_loss=self._loss(probabilities),
            loss=loss,
            learning_rate=rate,
            seconds=seconds,
        )
        slots = [variable.numpy() for variable in self.optimizer.variables]
        return state.after(check, self.weights(), slots, self._correct(probabilities))

    def _correct(self, probabilities: FloatArray) -> npt.NDArray[np.bool_]:
        return np.asarray(probabilities.argmax(1) == self.held_out.labels)

    def _loss(self, probabilities: FloatArray) -> float:
        given = probabilities[np.arange(len(probabilities)), self.held_out.labels]
        return float(-np.log(np.maximum(given, 1e-7)).mean())

    def _dataset(self, first_step: int) -> Any:
        import tensorflow as tf

        shape = tuple(self.model.input_shape[1:])
        signature = (
            tf.TensorSpec((None, *shape), tf.float32),
            tf.TensorSpec((None, self.classes), tf.float32),
            tf.TensorSpec((None,), tf.float32),
        )
        return tf.data.Dataset.from_generator(lambda: self._batches(first_step), output_signature=signature).prefetch(2)

    def _batches(self, first_step: int) -> Iterator[tuple[Any, ...]]:
        """Batches from a step on. What is in a batch follows from the seed and the step alone."""
        for step in itertools.count(first_step):
            rows = self._rows(step)
            rng = np.random.default_rng([self.schedule.seed, step])
            inputs = self.training.inputs.varied(self.training.rows[rows], rng)
            targets = np.zeros((len(rows), self.classes), np.float32)
            targets[np.arange(len(rows)), self.training.labels[rows]] = 1.0
            weights = self.training.weights[rows].astype(np.float32)
            if self.schedule.mixup:
                share = float(rng.beta(self.schedule.mixup, self.schedule.mixup))
                inputs, targets, weights = mixed(inputs, targets, weights, share, rng.permutation(len(rows)))
            yield inputs, targets, weights

    def _rows(self, step: int) -> npt.NDArray[np.int64]:
        """Rows of a step: the rows run through one shuffle after the other, without a break between them."""
        n, size = len(self.training), self.schedule.batch_size
        places = np.arange(step * size, (step + 1) * size)
        rows = np.empty(size, np.int64)
        for epoch in np.unique(places // n):
            order = np.random.default_rng([self.schedule.seed, int(epoch), 1]).permutation(n)
            here = places // n == epoch
            rows[here] = order[places[here] % n]
        return rows


class _Judge(keras.callbacks.Callback):  # type: ignore[misc]
    """Looks at the held-out images after each round, keeps the best weights and writes the state down."""

    def __init__(
        self, trainer: Trainer, state: TrainingState, progress: Progress | None, on_check: OnCheck | None
    ) -> None:
        super().__init__()
        self.trainer, self.state, self.progress, self.on_check = trainer, state, progress, on_check
        self.unsaved: str | None = None
        self._before = state.checks[-1].seconds
        self._began = 0.0

    def on_train_begin(self, logs: Any = None) -> None:  # noqa: ARG002
        self._began = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        if self.progress is not None:
            steps = self.trainer.schedule
            done = self.state.round * steps.check_every + batch + 1
            self.progress(done, steps.steps)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        loss = float((logs or {}).get("loss", np.nan))
        rate = float(keras.ops.convert_to_numpy(self.trainer.optimizer.learning_rate))
        seconds = self._before + time.perf_counter() - self._began
        self.state = self.trainer.look(self.state, loss, rate, seconds)
        if self.trainer.file is not None and self.unsaved is None:
            try:
                self.trainer.file.write(self.state)
            except OSError as error:  # hours of training must not end for want of disk
                self.unsaved = error.strerror or str(error)
        check = self.state.checks[-1]
        if self.on_check is not None:
            self.on_check(check, self.trainer.schedule)
        if logs is not None:
            logs |= {"val_accuracy": check.accuracy, "val_loss": check.held_out_loss, "learning_rate": rate}
        if self.trainer.is_over(self.state):
            self.model.stop_training = True
