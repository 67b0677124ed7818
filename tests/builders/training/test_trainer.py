"""Training agrees with a naive loop, is resumed without a trace, and returns the best weights."""

from dataclasses import replace

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from training import (
    FREEZE,
    HELD_OUT,
    LABELS,
    classifier,
    inputs_of,
    largest_difference,
    pixels,
    trainer_of,
)

from builders.surgery.frozen_split import split_frozen
from builders.training.data import Examples, Pictures
from builders.training.optimizers import depths_of, optimizer_for, use_precision
from builders.training.schedule import plan_schedule
from builders.training.state import Check, TrainingState, read_state, remove_state, write_state
from builders.training.trainer import Trainer


def started(trainer):
    return trainer.start(trainer.predict())


def naive_training(model, pictures):
    """The same steps on the whole model, without a frozen part, caches or callbacks."""
    schedule = plan_schedule(30, steps=6, batch_size=8)
    optimizer = optimizer_for(model, schedule, depths_of(split_frozen(model).graph))
    model.compile(optimizer, "sparse_categorical_crossentropy", jit_compile=False)
    order = np.concatenate([np.random.default_rng([0, epoch, 1]).permutation(30) for epoch in range(2)])
    for rows in order[:48].reshape(6, 8):
        model.train_on_batch(pictures[rows].astype(np.float32), LABELS[rows])
    return model


@pytest.fixture(scope="module")
def plain():
    """A finished training of six steps: the trainer, what it returned and what was reported meanwhile."""
    logged, steps, checks = [], [], []

    class Listens(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):  # noqa: ARG002
            logged.append((logs["val_accuracy"], logs["val_loss"], logs["learning_rate"]))

    trainer = trainer_of(classifier(), inputs_of(None, None))
    done = trainer.run(
        started(trainer),
        callbacks=[Listens()],
        progress=lambda *at: steps.append(at),
        on_check=lambda check, _: checks.append(check),
    )
    return trainer, done, (logged, steps, checks)


def test_training_the_tail_agrees_with_naive_training_of_the_whole_model():
    model = classifier(FREEZE)
    trainer = trainer_of(model, inputs_of(model, FREEZE))
    trainer.set_weights(trainer.run(started(trainer)).state.weights)
    assert largest_difference(model, classifier(FREEZE)) > 1e-4
    assert largest_difference(model, naive_training(classifier(FREEZE), pixels())) < 1e-4


@pytest.mark.parametrize(
    ("freeze", "pauses"),
    [
        pytest.param(None, (2,), id="whole"),
        pytest.param(FREEZE, (1, 5), id="frozen part", marks=pytest.mark.slow),
        pytest.param(None, (2, 3, 6), id="many pauses", marks=pytest.mark.slow),
    ],
)
def test_a_resumed_training_ends_where_an_unbroken_one_ends(freeze, pauses, tmp_path):
    def trained(pauses):
        file = tmp_path / f"{len(pauses)}" / "state.npz"
        for until in (*pauses, None):
            model = classifier(freeze)  # all that a new process has
            trainer = trainer_of(model, inputs_of(model, freeze, mirror=not freeze, crop=not freeze))
            done = trainer.run(read_state(file) or started(trainer), until=until, file=file)
        return model, done.state

    (whole, state), (resumed, again) = trained(()), trained(pauses)
    assert largest_difference(whole, resumed) < 1e-6
    assert [check.accuracy for check in state.checks] == [check.accuracy for check in again.checks]
    np.testing.assert_array_equal(state.correct, again.correct)


def test_timing_a_few_steps_changes_nothing(plain):
    trainer = trainer_of(classifier(), inputs_of(None, None))
    first = started(trainer)
    step, check = trainer.timed(first)
    assert step > 0 < check
    trainer.run(first)
    assert largest_difference(trainer.model, plain[0].model) < 1e-6


def test_ctrl_c_while_timing_interrupts():
    trainer = trainer_of(classifier(), inputs_of(None, None))
    first = started(trainer)
    trainer.training = replace(trainer.training, inputs=None)
    trainer._dataset = lambda _: (_ for _ in ()).throw(KeyboardInterrupt)
    with pytest.raises(KeyboardInterrupt):
        trainer.timed(first)


def test_the_model_has_the_weights_of_the_best_check(plain):
    trainer, done, _ = plain
    accuracies = [check.accuracy for check in done.state.checks]
    assert (trainer.predict().argmax(1) == LABELS[HELD_OUT]).mean() == pytest.approx(max(accuracies))
    assert done.state.best_check == accuracies.index(max(accuracies))


def test_training_stops_when_checks_bring_no_gain():
    trainer = trainer_of(classifier(), inputs_of(None, None), steps=48)
    trainer.held_out.labels[:] = trainer.predict().argmax(1)  # all are right at the start
    trainer.schedule = replace(trainer.schedule, patience=1)
    done = trainer.run(started(trainer))
    assert done.stopped_early
    assert done.state.checks[-1].step < 48


def test_ctrl_c_ends_with_the_best_so_far():
    class Interrupts(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):  # noqa: ARG002
            if epoch == 2:
                raise KeyboardInterrupt

    trainer = trainer_of(classifier(), inputs_of(None, None))
    done = trainer.run(started(trainer), callbacks=[Interrupts()])
    assert done.interrupted
    assert len(done.state.checks) == 4
    found = (trainer.predict().argmax(1) == LABELS[HELD_OUT]).mean()
    assert found == pytest.approx(max(check.accuracy for check in done.state.checks))


def test_callbacks_and_progress_see_every_check_and_step(plain):
    _, done, (logged, steps, checks) = plain
    assert logged == [(check.accuracy, check.held_out_loss, check.learning_rate) for check in done.state.checks[1:]]
    assert steps == [(step, 6) for step in range(1, 7)]
    assert tuple(checks) == done.state.checks[1:]


def test_lower_layers_have_lower_rates(plain):
    factors = plain[0].optimizer.factors
    assert list(factors) == sorted(factors)
    assert factors[0] < 0.5 < factors[-1] == 1.0


def test_layers_compute_in_the_precision_only_inside():
    model = classifier()
    with use_precision(model, "mixed_bfloat16"):
        assert {layer.compute_dtype for layer in model.layers[1:-1]} == {"bfloat16"}
        assert model.layers[-1].compute_dtype == "float32"
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}


@settings(deadline=None, max_examples=25)
@given(n=st.integers(1, 40), size=st.integers(1, 12))
def test_every_image_is_seen_once_before_any_is_seen_again(n, size):
    size = min(n, size)
    trainer = object.__new__(Trainer)
    trainer.schedule = plan_schedule(n, batch_size=size, steps=1)
    trainer.training = Examples(
        inputs=Pictures(pixels=None), rows=np.arange(n), labels=np.zeros(n, np.int64), weights=np.ones(n)
    )
    rows = np.concatenate([trainer.rows_of(step) for step in range(-(-3 * n // size))])
    for epoch in range(3):
        assert sorted(rows[n * epoch : n * epoch + n]) == list(range(n))


def state_of(seed=0):
    rng = np.random.default_rng(seed)
    weights = tuple(rng.normal(size=(2, number)).astype(np.float32) for number in range(12))
    return TrainingState(
        checks=(Check(step=0, accuracy=0.5, held_out_loss=1.0),),
        correct=np.array([[True, False]]),
        weights=weights,
        slots=(np.int64(3) * np.ones((), np.int64),),
        best=weights[::-1],
    )


def test_a_state_is_read_as_it_was_written(tmp_path):
    file, state = tmp_path / "run" / "state.npz", state_of()
    assert read_state(file) is None
    for written in (state_of(1), state):
        write_state(file, written)
    kept = read_state(file)
    assert repr(kept.checks) == repr(state.checks)
    assert kept.fits(state)
    for one, other in zip(
        (*kept.weights, *kept.slots, *kept.best), (*state.weights, *state.slots, *state.best), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    (file.parent / "killed.part").touch()
    remove_state(file)
    assert not file.parent.exists()


@settings(deadline=None, max_examples=25)
@given(share=st.floats(0, 1, exclude_max=True))
def test_a_truncated_state_file_holds_no_state(tmp_path_factory, share):
    file = tmp_path_factory.mktemp("run") / "state.npz"
    write_state(file, state_of())
    whole = file.read_bytes()
    file.write_bytes(whole[: int(share * len(whole))])
    assert read_state(file) is None


def test_the_best_weights_are_those_of_the_earliest_best_check():
    state = state_of()
    for step, value in enumerate((0.4, 0.8, 0.8), start=1):
        check = Check(step=step, accuracy=value, held_out_loss=1.0)
        state = state.after(check, np.array([True, True]), (np.array(step),), (np.array(0),))
    assert state.best_check == 2
    assert [int(array) for array in state.best] == [2]
    assert state.correct.shape == (4, 2)
