"""Train a model with Keras' own loop on any of its backends, pause, resume, and look at held-out images on the way."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

from builders.training.batches import TrainingBatches, predict
from builders.training.data import Examples, FloatArray
from builders.training.optimizers import optimizer_for
from builders.training.schedule import Schedule
from builders.training.state import Arrays, Check, TrainingState, write_state

TIMED_STEPS = 3
_LEAST_PROBABILITY = 1e-7  # a smaller probability counts as this

Progress = Callable[[int, int], None]
OnCheck = Callable[[Check, Schedule], None]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Trained:
    """The result of a run; the model has the weights of its state."""

    state: TrainingState
    interrupted: bool  # by Ctrl-C
    unsaved: str | None  # why the state could not be written


class Trainer:
    """Trains a `keras.Model` that ends in probabilities of shape (batch, classes), with its frozen layers frozen.

    `place`: a Keras variable, the step of the schedule whose learning rate is used.
    """

    def __init__(self, model: Any, schedule: Schedule, *, place: Any = None) -> None:
        self.model, self.schedule = model, schedule
        model.compile(
            optimizer=optimizer_for(schedule, place),
            loss=keras.losses.SparseCategoricalCrossentropy(),
            jit_compile=False if keras.backend.backend() == "tensorflow" else "auto",  # slow there on a CPU
        )
        self.optimizer = model.optimizer  # wrapped to scale the loss where layers compute in half precision
        self.optimizer.build(model.trainable_variables)
        self._fresh = self._slots()

    def start(self, held_out: Examples | None = None) -> TrainingState:
        """The state before the first step of a training from the model's present weights."""
        check = self._check(held_out, step=0)
        return TrainingState(checks=(check,), weights=self.weights(), slots=self._fresh)

    def weights(self) -> Arrays:
        """Values of the variables that training changes."""
        return tuple(_value(variable) for variable in self._changing())

    def set_weights(self, values: Sequence[npt.NDArray[Any]]) -> None:
        """Assign what `weights` returned."""
        _assign(self._changing(), values)

    def _changing(self) -> list[Any]:
        """Variables of trainable layers, with statistics of BatchNorm, and random states, as of Dropout."""
        layers = [layer for layer in self.model._flatten_layers() if layer is not self.model]
        found = [variable for layer in layers for variable in layer._trainable_variables if layer.trainable]
        found += [variable for layer in layers for variable in layer._non_trainable_variables if layer.trainable]
        found += [layer.seed_generator.state for layer in layers if hasattr(layer, "seed_generator")]
        return list({id(variable): variable for variable in found}.values())

    def _slots(self) -> Arrays:
        return tuple(_value(variable) for variable in self.optimizer.variables)

    def seconds_of_step(self, training: Examples) -> float:
        """Seconds of a step, tracing not counted; weights and optimiser are as before afterwards."""
        state, schedule = self.start(), self.schedule
        self.schedule = replace(schedule, steps=TIMED_STEPS, check_every=TIMED_STEPS)
        try:
            for _ in range(2):  # the first run traces graphs and fills caches
                timed = self.run(state, training)
                if timed.interrupted:
                    raise KeyboardInterrupt
        finally:
            self.schedule = schedule
            self.set_weights(state.weights)
        return timed.state.checks[-1].seconds / TIMED_STEPS

    def run(
        self,
        state: TrainingState,
        training: Examples,
        held_out: Examples | None = None,
        *,
        file: Path | None = None,
        callbacks: Sequence[Any] = (),
        progress: Progress | None = None,
        on_check: OnCheck | None = None,
    ) -> Trained:
        """Train on from a state.

        `file`: where the state is written after each check. An epoch of the Keras callbacks is the steps between two
        checks. `progress` is called with steps done and wanted.
        """
        schedule = self.schedule
        rounds = schedule.steps // schedule.check_every if schedule.steps else 0
        checking = _Checks(self, state, held_out, file, progress, on_check)
        interrupted = False
        self.set_weights(state.weights)
        _assign(self.optimizer.variables, state.slots)
        if state.round < rounds:
            first = state.round * schedule.check_every
            batches = TrainingBatches(training, schedule.batch_size, schedule.seed, first)
            try:
                with batches.read():
                    self.model.fit(
                        batches,
                        steps_per_epoch=schedule.check_every,
                        initial_epoch=state.round,
                        epochs=rounds,
                        callbacks=[checking, *callbacks],
                        shuffle=False,
                        verbose=0,
                    )
            except KeyboardInterrupt:
                interrupted = True
                self.set_weights(checking.state.weights)
        return Trained(state=checking.state, interrupted=interrupted, unsaved=checking.unsaved)

    def after(self, state: TrainingState, held_out: Examples | None, *, loss: float, seconds: float) -> TrainingState:
        """The state after another `check_every` steps."""
        check = self._check(
            held_out,
            step=(state.round + 1) * self.schedule.check_every,
            loss=loss,
            learning_rate=float(_value(self.optimizer.learning_rate)),
            seconds=seconds,
        )
        return replace(state, checks=(*state.checks, check), weights=self.weights(), slots=self._slots())

    def _check(self, held_out: Examples | None, **known: Any) -> Check:
        if held_out is None:
            return Check(**known)
        probabilities, labels = predict(self.model, held_out), held_out.labels
        loss = -np.log(np.maximum(probabilities[np.arange(len(labels)), labels], _LEAST_PROBABILITY)).mean()
        return Check(accuracy=float((probabilities.argmax(1) == labels).mean()), held_out_loss=float(loss), **known)

    def predictions(self, weights: Sequence[npt.NDArray[Any]], of: Examples) -> FloatArray:
        """What the model says with these weights, of shape (n, classes)."""
        self.set_weights(weights)
        return predict(self.model, of)


def between(start: Sequence[npt.NDArray[Any]], end: Sequence[npt.NDArray[Any]], share: float) -> Arrays:
    """The average of two weights with a share of the end (Wortsman et al., WiSE-FT, arXiv 2109.01903)."""
    return tuple(
        (a + share * (b - a)).astype(a.dtype) if np.issubdtype(a.dtype, np.floating) else b
        for a, b in zip(start, end, strict=True)
    )


def _value(variable: Any) -> npt.NDArray[Any]:
    return np.array(keras.ops.convert_to_numpy(variable))


def _assign(variables: Sequence[Any], values: Sequence[npt.NDArray[Any]]) -> None:
    for variable, value in zip(variables, values, strict=True):
        variable.assign(value)


class _Checks(keras.callbacks.Callback):  # type: ignore[misc]
    """Looks at the held-out images at the end of each epoch, and writes the state."""

    def __init__(
        self,
        trainer: Trainer,
        state: TrainingState,
        held_out: Examples | None,
        file: Path | None,
        progress: Progress | None,
        on_check: OnCheck | None,
    ) -> None:
        super().__init__()
        self.trainer, self.state, self.held_out, self.file = trainer, state, held_out, file
        self.progress, self.on_check = progress, on_check
        self.unsaved: str | None = None
        self._began = time.perf_counter() - state.checks[-1].seconds

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:  # noqa: ARG002
        if self.progress is not None:
            schedule = self.trainer.schedule
            self.progress(self.state.round * schedule.check_every + batch + 1, schedule.steps)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:  # noqa: ARG002
        logs = {} if logs is None else logs
        self.trainer.model = self.model  # the same; with JAX, reading it brings the variables up to date
        seconds, loss = time.perf_counter() - self._began, float(logs.get("loss", np.nan))
        self.state = self.trainer.after(self.state, self.held_out, loss=loss, seconds=seconds)
        if self.file is not None and self.unsaved is None:
            try:
                write_state(self.file, self.state)
            except OSError as error:  # a full disk must not end hours of training
                self.unsaved = error.strerror or str(error)
        check = self.state.checks[-1]
        if self.on_check is not None:
            self.on_check(check, self.trainer.schedule)
        logs["learning_rate"] = check.learning_rate
        if check.accuracy is not None:
            logs |= {"val_accuracy": check.accuracy, "val_loss": check.held_out_loss}


class WholeModel(keras.callbacks.Callback):  # type: ignore[misc]
    """Lets a callback of the user see the whole model, where a part of it trains; it can end the training."""

    def __init__(self, callback: Any, whole: Any) -> None:
        super().__init__()
        self._callback, self._whole = callback, whole

    def set_model(self, model: Any) -> None:
        super().set_model(model)
        self._whole.stop_training = False
        self._whole.optimizer = model.optimizer
        self._callback.set_model(self._whole)

    def set_params(self, params: Any) -> None:
        self._callback.set_params(params)

    def __getattribute__(self, name: str) -> Any:
        if not name.startswith("on_"):
            return super().__getattribute__(name)
        call = getattr(self._callback, name)

        def hook(*arguments: Any, **keywords: Any) -> None:
            model = self.model  # with JAX, reading it brings the variables up to date
            call(*arguments, **keywords)
            if self._whole.stop_training:
                model.stop_training = True

        return hook
