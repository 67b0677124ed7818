"""Training what was recommended: trials that hold images out, judgement, and a frozen model that comes back."""

import json
import os

import keras
import numpy as np
import pytest
from pictures import write_images
from tiny import SIZE

from builders.errors import BuildError
from builders.training import schedule
from recommender import recommend
from recommender.errors import RecommendError
from recommender.explanation.text import percent
from recommender.fit.result import FINE_TUNED, LINEAR_PROBE


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sixty pictures of three classes that a linear probe on tiny pictures does not know perfectly."""
    return write_images(tmp_path_factory.mktemp("data") / "three", {"digit": 20, "flower": 20, "temple": 20})


@pytest.fixture(scope="module")
def measured(folder, tiny_file):
    """A recommendation for the tiny network: `measured(scenario=3)`."""
    return lambda data=folder, **options: recommend(data, backbone=tiny_file, **options)


@pytest.fixture(scope="module")
def found(measured):
    return measured(scenario=1)


@pytest.fixture(scope="module")
def partly(measured):
    return measured(scenario=2)


@pytest.fixture(scope="module")
def whole(measured):
    return measured(scenario=3)


@pytest.fixture(scope="module")
def fitted(found):
    return found.fit()


@pytest.fixture(scope="module")
def tuned(whole):
    return whole.fit(steps=4, augmentation=())


@pytest.fixture(scope="module")
def gained(measured):
    """A fit that gains: random filters see the direction of stripes badly, and training finds it."""
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 2
    rows, columns = np.mgrid[:SIZE, :SIZE]
    phase = rng.uniform(0, 2 * np.pi, (120, 1, 1))
    waves = np.sin((rows + np.where(labels, 1, -1)[:, None, None] * columns) * 1.2 + phase)
    images = np.clip(128 + 60 * waves + rng.normal(0, 140, waves.shape), 0, 255).astype(np.uint8)
    striped = measured((np.repeat(images[..., None], 3, 3), labels), scenario=3)
    usual = {"STEPS": 120, "STEPS_AT_IMAGES": 120, "LEARNING_RATE": 1e-2, "LEARNING_RATE_DISSIMILAR": 1e-2}
    with pytest.MonkeyPatch.context() as patch:
        for name, value in {**usual, "LEAST_STEPS": 120, "LEAST_STEPS_DISSIMILAR": 120}.items():
            patch.setattr(schedule, name, value)
        return striped, striped.fit(augmentation=())


def pixels_of(found, names):
    from probes.images.decode import resize
    from probes.images.image_facts import open_picture

    return np.stack([resize(open_picture(found.index.store, name).pixels, SIZE) for name in names])


def assert_same_weights(one, other, tolerance):
    for weight, twin in zip(one.model.weights, other.model.weights, strict=True):
        np.testing.assert_allclose(weight.numpy(), twin.numpy(), atol=tolerance)


def assert_is_built(found, result):
    """The model that came back is what `build` returns, bit for bit."""
    for weight, twin in zip(found.build().weights, result.model.weights, strict=True):
        np.testing.assert_array_equal(weight.numpy(), twin.numpy())


# --- frozen backbones


def test_with_a_frozen_backbone_the_linear_probe_on_all_images_is_the_training(found, fitted):
    assert fitted.chosen == LINEAR_PROBE
    assert fitted.plan.schedule is None
    assert fitted.plan.n_training == 60
    assert fitted.judged_by == "cross-validation"
    assert fitted.accuracy == pytest.approx(found.expected_accuracy)


def test_the_fitted_frozen_model_is_the_built_one(found, fitted):
    assert_is_built(found, fitted)


@pytest.mark.slow
def test_a_sample_is_measured_and_all_images_are_trained_on(measured):
    few = measured(scenario=1, max_images=20)
    result = few.fit()
    assert len(few.features.files) <= 20
    assert result.plan.n_training == 60


def test_options_without_effect_on_a_linear_probe_are_named(found):
    assert "epochs, augmentation" in found.fit(epochs=5, augmentation=("mirror",)).notes[0]


@pytest.mark.slow
def test_of_a_stream_the_kept_sample_is_trained_on(measured):
    import tensorflow as tf

    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    images = (rng.integers(0, 120, (80, 32, 32, 3)) + 100 * labels[:, None, None, None]).astype(np.uint8)
    few = measured(tf.data.Dataset.from_tensor_slices((images, labels)), max_images=20)
    result = few.fit()
    assert few.training.n_training <= 20
    assert result.plan.n_training <= 20
    assert "Of 80 training images" in result.notes[0]


# --- the judgement


def test_a_trial_holds_out_a_fifth_of_the_images(tuned):
    assert tuned.plan.n_training == 60
    assert 9 <= tuned.plan.n_held_out <= 15
    assert tuned.plan.trials == 3
    assert tuned.plan.refits


@pytest.mark.slow
def test_fine_tuning_that_helps_is_repeated_on_all_images_and_its_gain_is_reported(gained):
    found, result = gained
    assert result.chosen == FINE_TUNED
    assert result.judged_by == "held-out part"
    assert result.gain.difference >= 0
    assert found.expected_accuracy < result.accuracy < result.evaluation.accuracy  # less was expected
    assert result.share == result.plan.schedule.share
    assert result.evaluation.accuracy == pytest.approx(result.start.accuracy + result.gain.difference, abs=0.1)
    assert f"from {percent(result.evaluation.accuracy)} on" in str(result)
    assert result.evaluation.n == len({name for name, _ in result.held_out}) == result.trials * 24
    names, labels = zip(*result.held_out, strict=True)
    predicted = result.model.predict(pixels_of(found, names), verbose=0).argmax(1)
    assert (predicted == np.array(labels)).mean() > 0.95  # they are training images now
    assert result.detector is not None


def test_fine_tuning_that_spoils_the_model_returns_what_build_does(whole, tuned):
    spoilt = whole.fit(steps=4, learning_rate=10.0, augmentation=())
    for result in (spoilt, tuned):
        if result.chosen == LINEAR_PROBE:
            assert_is_built(whole, result)
            assert result.judged_by == "cross-validation"
            assert result.accuracy == pytest.approx(whole.expected_accuracy)
    assert spoilt.chosen == LINEAR_PROBE
    assert spoilt.gain.difference < 0
    assert "The frozen model is returned" in spoilt.notes[-1]


def test_force_returns_the_fine_tuned_model_whatever_the_images_show(whole):
    result = whole.fit(steps=2, learning_rate=1e-6, augmentation=(), force=True)
    assert result.chosen == FINE_TUNED
    assert result.trials == 1
    assert "You asked for the fine-tuned network" in result.notes[-1]
    moved = max(
        np.abs(a.numpy() - b.numpy()).max() for a, b in zip(whole.build().weights, result.model.weights, strict=True)
    )
    assert 0 < moved < 1e-3


@pytest.mark.parametrize("force", [False, True])
def test_a_training_that_diverges_returns_what_build_does(whole, force):
    result = whole.fit(steps=2, learning_rate=1e30, augmentation=(), force=force)
    assert_is_built(whole, result)
    assert any("diverged" in note for note in result.notes)


@pytest.mark.parametrize("force", [False, True])
def test_a_training_of_no_steps_is_the_frozen_model(whole, force):
    result = whole.fit(steps=0, augmentation=(), force=force)
    assert_is_built(whole, result)
    assert (result.trials, result.plan.trials, result.gain) == (0, 0, None)


def test_the_history_runs_from_the_start_to_the_last_step(tuned):
    steps = [check.step for check in tuned.history]
    assert steps[0] == 0
    assert steps == sorted(steps)
    assert steps[-1] == tuned.plan.schedule.steps


def test_the_returned_model_holds_its_batch_norm(tuned):
    norms = [layer for layer in tuned.model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    assert norms
    assert not any(norm.trainable for norm in norms)


@pytest.mark.slow
def test_the_users_validation_split_judges_and_is_not_trained_on(tmp_path, measured):
    for split, n in (("train", 8), ("val", 5)):
        write_images(tmp_path / "data" / split, {"flower": n, "temple": n}, seed=n)
    result = measured(tmp_path / "data", scenario=3).fit(steps=2, augmentation=())
    assert result.judged_by == "validation"
    assert result.plan.n_training <= 16
    assert (result.plan.trials, result.plan.refits) == (1, False)


def test_without_images_to_hold_out_the_linear_probe_is_returned(tmp_path, measured):
    folder = write_images(tmp_path / "one_each", {"flower": 1, "temple": 1})
    result = measured(folder, scenario=3).fit(steps=2)
    assert result.chosen == LINEAR_PROBE
    assert result.accuracy is None
    assert result.model.predict(np.zeros((1, 8, 8, 3)), verbose=0).shape == (1, 2)


def test_the_result_is_plain_data(tuned, fitted):
    for result in (tuned, fitted):
        described = json.loads(json.dumps(result.to_dict(), allow_nan=False))
        assert described["accuracy"] == pytest.approx(result.accuracy)
        assert len(described["history"]) == len(result.history)


# --- the training


@pytest.mark.slow
def test_the_same_seed_gives_the_same_model(whole):
    assert_same_weights(*(whole.fit(steps=12, augmentation=("shift",), force=True) for _ in range(2)), 1e-6)


@pytest.mark.slow
def test_without_a_cache_the_model_is_the_same(partly):
    """With augmented pictures, too: both ways draw the same views."""
    options = {"steps": 6, "augmentation": ("mirror", "shift"), "force": True}
    cached, plain = (partly.fit(**options, cache=cache) for cache in (True, False))
    assert (cached.plan.cached, plain.plan.cached) == (True, False)
    for one, other in zip(cached.history, plain.history, strict=True):
        assert one.held_out_loss == pytest.approx(other.held_out_loss, abs=1e-4)
    assert_same_weights(cached, plain, 1e-4)


@pytest.mark.slow
def test_frozen_weights_stay_as_they_were(partly):
    model = partly.build()
    frozen = {weight.path: weight.numpy() for weight in model.non_trainable_weights}
    partly.fit(model, steps=6, augmentation=(), force=True)
    assert frozen
    for weight in model.weights:
        if weight.path in frozen:
            np.testing.assert_array_equal(weight.numpy(), frozen[weight.path])


@pytest.mark.slow
def test_augmentation_is_measured_unless_it_is_given(whole):
    from recommender.fit.data import fitting_augmentation

    progress = []
    measured = fitting_augmentation(whole, lambda *at: progress.append(at))
    assert whole.fit(steps=1).plan.augmentation == measured
    assert progress[-1] == (60, 60)


def test_a_fit_is_observed_and_ctrl_c_returns_the_best_so_far(whole, tmp_path, monkeypatch):
    events, logged = [], tmp_path / "logs"

    class Interrupts(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            assert 0 <= logs["val_accuracy"] <= 1
            if epoch == 1:
                raise KeyboardInterrupt

    monkeypatch.setenv("NETGRAFT_DATA", str(tmp_path / "data"))
    result = whole.fit(
        steps=6,
        augmentation=(),
        callbacks=[Interrupts()],
        logs=logged,
        announce=lambda plan: events.append(("plan", plan.seconds)),
        on_check=lambda check, _: events.append(("check", check.step)),
        progress=lambda phase, *_: events.append((phase, None)),
    )
    assert result.interrupted
    assert [check.step for check in result.history] == [0, 1, 2]
    assert_is_built(whole, result)
    shown = [event for event in events if event[0] in {"plan", "check"}]
    assert shown[0][0] == "plan"
    assert shown[0][1] > 0
    assert shown[1:] == [("check", 0), ("check", 1), ("check", 2)]
    assert {phase for phase, _ in events} == {"images", "training", "plan", "check"}
    assert any(path.name.startswith("events") for path in logged.rglob("*"))
    assert list(tmp_path.rglob("state.npz"))  # to be resumed
    result.forget()
    assert not list(tmp_path.rglob("state.npz"))


def test_the_plan_comes_with_the_recommendation(found, whole, tuned):
    assert [phase.name for phase in found.training.phases] == ["linear_probe"]
    assert [phase.name for phase in whole.training.phases] == ["linear_probe", "fine_tune"]
    assert whole.training.n_training == tuned.plan.n_training
    assert whole.training.phases[1].trainable_parameters == tuned.plan.phases[1].trainable_parameters


@pytest.mark.slow
def test_half_precision_trains_and_the_returned_model_computes_in_full(whole):
    result = whole.fit(steps=2, augmentation=(), precision="mixed_bfloat16")
    assert result.plan.precision == "mixed_bfloat16"
    assert {layer.compute_dtype for layer in result.model.layers} == {"float32"}
    assert {weight.dtype for weight in result.model.trainable_weights} == {"float32"}


@pytest.mark.slow
def test_a_distribution_strategy_is_honoured(folder, tiny_file, run_python):
    code = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from recommender import recommend
found = recommend(sys.argv[1], backbone=sys.argv[2], scenario=3)
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    result = found.fit(steps=2, augmentation=())
print(type(result.model.trainable_variables[0].value).__name__, len(result.history))
"""
    done = run_python(code, folder, tiny_file)
    assert done.returncode == 0, done.stderr
    assert "3" in done.stdout.split()[-1]
    assert "Distributed" in done.stdout or "Mirrored" in done.stdout


# --- resuming


def test_a_resumed_fit_ends_where_an_unbroken_one_ends(partly, tmp_path, monkeypatch):
    class Interrupts(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):  # noqa: ARG002
            if epoch == 2:
                raise KeyboardInterrupt

    monkeypatch.setenv("NETGRAFT_DATA", str(tmp_path))
    options = {"steps": 6, "augmentation": ("mirror",), "force": True}
    whole = partly.fit(**options)
    assert not list(tmp_path.rglob("state.npz"))
    assert partly.fit(**options, callbacks=[Interrupts()]).interrupted
    resumed = partly.fit(**options, resume=True)
    assert (resumed.resumed_at, resumed.plan.resumed_at) == (3, 3)
    assert resumed.trials == whole.trials
    assert [check.held_out_loss for check in whole.history] == pytest.approx(
        [check.held_out_loss for check in resumed.history], abs=1e-6
    )
    assert_same_weights(whole, resumed, 1e-6)
    assert not list(tmp_path.rglob("state.npz"))


@pytest.mark.slow
def test_a_disk_that_keeps_no_state_does_not_end_the_training(whole, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("NETGRAFT_DATA", str(tmp_path / "file"))
    result = whole.fit(steps=2, augmentation=())
    assert len(result.history) == 3
    assert any("could not be kept" in note for note in result.notes)


@pytest.mark.slow
def test_old_states_are_removed_other_files_stay_and_a_finished_state_is_kept_on_request(whole, tmp_path, monkeypatch):
    monkeypatch.setenv("NETGRAFT_DATA", str(tmp_path))
    old, own = (tmp_path / "training-states" / name for name in ("0123456789abcdef" * 2, "galaxies"))
    for folder, name in ((old, "state.npz"), (own, "m31.fits")):
        folder.mkdir(parents=True)
        (folder / name).write_text("content")
        os.utime(folder, (0, 0))
    result = whole.fit(steps=1, augmentation=(), keep_state=True, resume=True)
    assert (result.resumed_at, result.plan.resumed_at) == (None, 0)  # there was nothing to resume
    assert not old.exists()
    assert (own / "m31.fits").read_text() == "content"
    assert len(list(tmp_path.rglob("state.npz"))) == 1


# --- the user's own models


@pytest.mark.parametrize(
    "head",
    [
        "hidden layer",
        pytest.param("softmax layer", marks=pytest.mark.slow),
        pytest.param("no bias", marks=pytest.mark.slow),
    ],
)
def test_a_model_of_the_user_with_another_head_is_trained_in_place(whole, head):
    built = whole.build()
    x = built.layers[-1].input
    if head == "hidden layer":
        x = keras.layers.Dense(16, activation="relu", name="extra")(x)
        outputs = keras.layers.Dense(3, activation="softmax", name="last")(x)
    elif head == "no bias":
        outputs = keras.layers.Dense(3, activation="softmax", use_bias=False, name="last")(x)
    else:
        outputs = keras.layers.Softmax(name="last")(keras.layers.Dense(3, name="logits")(x))
    model = keras.Model(built.input, outputs)
    before = [weight.numpy() for weight in model.weights]
    result = whole.fit(model, steps=4, augmentation=(), learning_rate=1e-2, force=True)
    assert result.model is model
    assert result.share == 1.0  # what was random at the start is no part of it
    assert result.evaluation.n == result.plan.n_held_out
    if head != "hidden layer":
        assert result.chosen in {"as_given", FINE_TUNED}
        assert result.temperature == 1.0
    moved = max(np.abs(a - b.numpy()).max() for a, b in zip(before, model.weights, strict=True))
    assert moved > 0 or result.chosen == "as_given"
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):  # the user froze it
            assert not layer.trainable


# --- refusals


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"epochs": 1, "steps": 1}, "both"),
        ({"augmentation": ("rotate",)}, "'rotate'"),
        ({"precision": "float8"}, "'float8'"),
        ({"callbacks": ["early"]}, "'early' among them"),
        ({"learning_rate": -1.0}, "`learning_rate`"),
        ({"seed": -1}, "`seed`"),
    ],
)
def test_an_option_out_of_range_is_refused_in_one_line(whole, arguments, named):
    with pytest.raises((RecommendError, BuildError), match=named) as caught:
        whole.fit(**arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(("units", "named"), [(7, "each of 3 classes"), (3, "softmax")])
def test_a_model_of_another_kind_is_refused(whole, units, named):
    layers = [keras.Input((SIZE, SIZE, 3)), keras.layers.Flatten(), keras.layers.Dense(units)]
    with pytest.raises(RecommendError, match=named):
        whole.fit(keras.Sequential(layers))
