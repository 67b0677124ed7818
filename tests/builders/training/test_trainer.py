"""Training agrees with a naive loop, and is resumed without a trace."""

import os
from functools import partial

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from paths import ROOT
from training import (
    FREEZE,
    HELD_OUT,
    LABELS,
    TRAINING,
    classifier,
    examples,
    inputs_of,
    largest_difference,
    pixels,
    trainer_of,
)

from builders.training.batches import predict
from builders.training.optimizers import optimizer_for, use_precision
from builders.training.schedule import plan_schedule
from builders.training.state import Check, TrainingState, read_state, remove_state, write_state
from builders.training.trainer import WholeModel, between


def parts(model, freeze=None, augmentation=()):
    """Examples to train on and held-out ones."""
    inputs = inputs_of(model, freeze, augmentation)
    return examples(inputs, TRAINING), examples(inputs, HELD_OUT)


def naive_training(model, pictures):
    """The same steps on the whole model, without a frozen part, caches or callbacks."""
    model.compile(
        optimizer_for(plan_schedule(30, steps=6, batch_size=8)), "sparse_categorical_crossentropy", jit_compile=False
    )
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

    model = classifier()
    trainer, (training, held_out) = trainer_of(model), parts(model)
    done = trainer.run(
        trainer.start(held_out),
        training,
        held_out,
        callbacks=[Listens()],
        progress=lambda *at: steps.append(at),
        on_check=lambda check, _: checks.append(check),
    )
    return trainer, done, (logged, steps, checks)


def test_training_the_tail_agrees_with_naive_training_of_the_whole_model():
    model = classifier(FREEZE)
    trainer, (training, _) = trainer_of(model), parts(model, FREEZE)
    trainer.run(trainer.start(), training)
    assert largest_difference(model, classifier(FREEZE)) > 1e-4
    assert largest_difference(model, naive_training(classifier(FREEZE), pixels())) < 1e-4


def interrupt_after(rounds, epoch, logs):  # noqa: ARG001
    if epoch + 1 == rounds:
        raise KeyboardInterrupt


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
            trainer = trainer_of(model)
            training, held_out = parts(model, freeze, () if freeze else ("mirror", "shift"))
            state = read_state(file) or trainer.start(held_out)
            pause = keras.callbacks.LambdaCallback(on_epoch_end=partial(interrupt_after, until))
            done = trainer.run(state, training, held_out, callbacks=[pause], file=file)
        return model, done.state

    (whole, state), (resumed, again) = trained(()), trained(pauses)
    assert largest_difference(whole, resumed) < 1e-6
    assert [check.accuracy for check in state.checks] == [check.accuracy for check in again.checks]


def test_timing_a_few_steps_changes_nothing(plain):
    model = classifier()
    trainer, (training, held_out) = trainer_of(model), parts(model)
    assert trainer.seconds_of_step(training) > 0
    trainer.run(trainer.start(held_out), training, held_out)
    assert largest_difference(trainer.model, plain[0].model) < 1e-6


def test_a_training_that_starts_again_is_the_same_training(plain):
    """No slot of the optimiser is left of what was trained before."""
    model = classifier()
    trainer, (training, _) = trainer_of(model), parts(model)
    first = trainer.weights()
    trainer.run(trainer.start(), training)
    trainer.set_weights(first)
    trainer.run(trainer.start(), training)
    assert largest_difference(trainer.model, plain[0].model) < 1e-6


def test_the_model_has_the_weights_of_the_last_check(plain):
    trainer, done, _ = plain
    held_out = parts(classifier())[1]
    found = (predict(trainer.model, held_out).argmax(1) == LABELS[HELD_OUT]).mean()
    assert found == pytest.approx(done.state.checks[-1].accuracy)


def test_ctrl_c_ends_at_the_last_check():
    class Interrupts(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):  # noqa: ARG002
            self.seen = getattr(self, "seen", 0) + 1
            if self.seen == 4:
                raise KeyboardInterrupt

    model = classifier()
    trainer, (training, held_out) = trainer_of(model), parts(model)
    done = trainer.run(trainer.start(held_out), training, held_out, callbacks=[Interrupts()])
    assert done.interrupted
    assert [check.step for check in done.state.checks] == [0, 1, 2, 3]
    for variable, value in zip(trainer.weights(), done.state.weights, strict=True):
        np.testing.assert_array_equal(variable, value)


class Vanishing:
    """Inputs of which the file has gone."""

    def plain(self, rows):
        raise OSError(f"no file {rows[0]}")

    def varied(self, rows, rng):  # noqa: ARG002
        return self.plain(rows)


def test_an_error_in_reading_is_raised_as_it_is():
    trainer = trainer_of(classifier())
    state = trainer.start()
    with pytest.raises(OSError, match=r"^no file \d"):
        trainer.run(state, examples(Vanishing(), TRAINING))
    with pytest.raises(OSError, match=r"^no file 30"):
        predict(trainer.model, examples(Vanishing(), HELD_OUT))


def test_callbacks_and_progress_see_every_check_and_step(plain):
    _, done, (logged, steps, checks) = plain
    assert logged == [(check.accuracy, check.held_out_loss, check.learning_rate) for check in done.state.checks[1:]]
    assert steps == [(step, 6) for step in range(1, 7)]
    assert tuple(checks) == done.state.checks[1:]


def test_a_users_callback_sees_the_whole_model_and_can_end_the_training():
    model, seen = classifier(FREEZE), []

    class Stops(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):  # noqa: ARG002
            seen.append(self.model)
            self.model.stop_training = epoch == 1

    trainer, (training, held_out) = trainer_of(model), parts(model, FREEZE)
    done = trainer.run(trainer.start(held_out), training, held_out, callbacks=[WholeModel(Stops(), model)])
    assert seen == [model, model]
    assert done.state.round == 2


def test_averages_of_weights_lie_between_start_and_end(plain):
    trainer, done, _ = plain
    start, end = trainer_of(classifier()).weights(), done.state.weights
    for a, middle, b in zip(start, between(start, end, 0.25), end, strict=True):
        np.testing.assert_allclose(middle, a + 0.25 * (b - a) if a.dtype.kind == "f" else b, atol=1e-6)
    held_out = parts(classifier())[1]
    before, after = (trainer.predictions(weights, held_out) for weights in (start, end))
    np.testing.assert_allclose(before, predict(classifier(), held_out), atol=1e-6)
    assert np.abs(after - before).max() > 1e-4
    trainer.set_weights(end)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_training_runs_on_another_backend_and_agrees(backend, run_python, plain, tmp_path):
    pytest.importorskip(backend)
    classifier().save_weights(tmp_path / "start.weights.h5")  # the same seed draws others there
    code = """
import sys
sys.path[:0] = ["tests/helpers"]
import numpy as np
from training import HELD_OUT, TRAINING, classifier, examples, inputs_of, trainer_of
import keras
model = classifier()
model.load_weights(sys.argv[1])
inputs = inputs_of(model, None)
trainer, held_out = trainer_of(model), examples(inputs, HELD_OUT)
done = trainer.run(trainer.start(held_out), examples(inputs, TRAINING), held_out)
print(keras.backend.backend(), *(check.held_out_loss for check in done.state.checks))
"""
    done = run_python(code, tmp_path / "start.weights.h5", cwd=ROOT, env={**os.environ, "KERAS_BACKEND": backend})
    assert done.returncode == 0, done.stderr
    name, *losses = done.stdout.split()[-8:]
    assert name == backend
    expected = [check.held_out_loss for check in plain[1].state.checks]
    assert [float(loss) for loss in losses] == pytest.approx(expected, rel=1e-2)


def test_layers_compute_in_the_precision_only_inside():
    model = classifier()
    with use_precision(model, "mixed_bfloat16"):
        assert {layer.compute_dtype for layer in model.layers[1:-1]} == {"bfloat16"}
        assert model.layers[-1].compute_dtype == "float32"
    assert {layer.compute_dtype for layer in model.layers} == {"float32"}


def state_of(seed=0):
    rng = np.random.default_rng(seed)
    weights = tuple(rng.normal(size=(2, number)).astype(np.float32) for number in range(12))
    return TrainingState(
        checks=(Check(step=0, accuracy=0.5, held_out_loss=1.0),),
        weights=weights,
        slots=(np.int64(3) * np.ones((), np.int64),),
        predictions=(rng.random((5, 4, 2)).astype(np.float32),),
        history=(Check(step=3, loss=0.5),),
        threshold=1.25,
    )


def test_a_state_is_read_as_it_was_written(tmp_path):
    file, state = tmp_path / "run" / "state.npz", state_of()
    assert read_state(file) is None
    for written in (state_of(1), state):
        write_state(file, written)
    kept = read_state(file)
    assert repr((kept.checks, kept.history, kept.threshold)) == repr((state.checks, state.history, state.threshold))
    assert kept.fits(state)
    for one, other in zip(
        (*kept.weights, *kept.slots, *kept.predictions),
        (*state.weights, *state.slots, *state.predictions),
        strict=True,
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
