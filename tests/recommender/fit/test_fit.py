"""Training what was recommended: split, judgement, and that it is never worse than the start."""

import os

import numpy as np
import pytest
from pictures import write_images

from builders.errors import BuildError
from recommender import recommend
from recommender.errors import RecommendError
from recommender.fit.result import FINE_TUNED, LINEAR_PROBE

SIZE = 32


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Sixty pictures of three classes that a linear probe on tiny pictures does not know perfectly."""
    return write_images(tmp_path_factory.mktemp("data") / "three", {"digit": 20, "flower": 20, "temple": 20})


@pytest.fixture(scope="module")
def network():
    """A small network, which trains in seconds; the tests of the command train the real one."""
    import keras

    keras.utils.set_random_seed(0)
    inputs = x = keras.Input((SIZE, SIZE, 3))
    for number, channels in enumerate((8, 16, 24, 32)):
        x = keras.layers.Conv2D(channels, 3, 2 if number else 1, "same", use_bias=False, name=f"conv_{number}")(x)
        x = keras.layers.BatchNormalization(name=f"norm_{number}")(x)
        x = keras.layers.ReLU(name=f"relu_{number}")(x)
    return keras.Model(inputs, x, name="small")


@pytest.fixture(scope="module")
def measured(folder, network):
    """A recommendation for the small network: `measured(scenario)`."""
    return lambda data=folder, **said: recommend(data, backbone=network, pixels="-1..1", input_size=SIZE, **said)


@pytest.fixture(scope="module")
def found(measured):
    return measured()


@pytest.fixture(scope="module")
def whole(measured):
    return measured(scenario=3)


@pytest.fixture(scope="module")
def fitted(found):
    return found.fit()


@pytest.fixture(scope="module")
def tuned(whole):
    return whole.fit(steps=12, augmentation=())


def pixels_of(found, names):
    from probes.images.decode import resize
    from probes.images.image_facts import open_picture

    return np.stack([resize(open_picture(found.index.store, name).pixels, SIZE).numpy() for name in names])


def test_where_the_backbone_is_frozen_the_linear_probe_on_all_images_is_the_training(found, fitted):
    assert fitted.chosen == LINEAR_PROBE
    assert fitted.plan.schedule is None
    assert fitted.plan.n_training == 60
    assert fitted.judged_by == "cross-validation"
    assert fitted.accuracy == pytest.approx(found.expected_accuracy)


def test_the_frozen_model_that_comes_back_is_the_one_that_is_built(found, fitted):
    pictures = pixels_of(found, found.features.files[:8])
    built, trained = (model.predict(pictures, verbose=0) for model in (found.build(), fitted.model))
    np.testing.assert_array_equal(built.argmax(1), trained.argmax(1))
    if fitted.temperature == 1.0:
        np.testing.assert_allclose(built, trained, atol=1e-3)


def test_a_fifth_of_the_images_is_held_out_and_no_image_is_on_both_sides(tuned):
    assert tuned.judged_by == "held-out part"
    assert tuned.plan.n_training + tuned.plan.n_held_out == 60
    assert 9 <= tuned.plan.n_held_out <= 15
    assert len({name for name, _ in tuned.held_out}) == tuned.plan.n_held_out
    assert {label for _, label in tuned.held_out} == {0, 1, 2}


def test_the_accuracy_told_is_that_of_the_model_on_the_held_out_images(whole, tuned):
    names, labels = zip(*tuned.held_out, strict=True)
    predicted = tuned.model.predict(pixels_of(whole, names), verbose=0).argmax(1)
    assert (predicted == np.array(labels)).mean() == pytest.approx(tuned.evaluation.accuracy, abs=1e-6)
    assert tuned.evaluation.confusion.sum() == len(names)


def test_it_is_never_worse_than_the_start_on_the_held_out_images(tuned):
    assert tuned.evaluation.accuracy >= tuned.start.accuracy


def test_where_fine_tuning_spoils_the_model_the_linear_probe_comes_back(whole):
    result = whole.fit(steps=4, learning_rate=10.0, optimizer="sgd", augmentation=())
    assert result.chosen == LINEAR_PROBE
    assert result.gain is None
    assert result.evaluation.accuracy >= result.start.accuracy
    assert result.accuracy == pytest.approx(result.start.accuracy)


def test_looks_begin_with_the_start_and_end_with_the_last_step(tuned):
    steps = [check.step for check in tuned.history]
    assert steps[0] == 0
    assert steps == sorted(steps)
    assert tuned.history[0].accuracy == pytest.approx(tuned.start.accuracy)
    assert steps[-1] == tuned.plan.schedule.steps or tuned.stopped_early


def test_the_same_seed_gives_the_same_model(whole, tuned):
    again = whole.fit(steps=12, augmentation=())
    for one, other in zip(tuned.model.weights, again.model.weights, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-6)


def test_what_is_read_anew_at_each_step_gives_what_the_cache_gives(measured):
    partly = measured(scenario=2)
    cached = partly.fit(steps=6, augmentation=())
    plain = partly.fit(steps=6, augmentation=(), cache=False)
    assert (cached.plan.cached, plain.plan.cached) == (True, False)
    for one, other in zip(cached.model.weights, plain.model.weights, strict=True):
        np.testing.assert_allclose(one.numpy(), other.numpy(), atol=1e-4)


def test_the_users_validation_split_judges_and_nothing_of_it_is_learnt_from(tmp_path, measured):
    for split, n in (("train", 8), ("val", 5)):
        write_images(tmp_path / "data" / split, {"flower": n, "temple": n}, seed=n)
    result = measured(tmp_path / "data", scenario=3).fit(steps=2, augmentation=())
    assert result.judged_by == "validation"
    assert result.plan.n_training <= 16
    assert all("val" in name for name, _ in result.held_out)


def test_where_no_image_can_be_held_out_the_linear_probe_comes_back(tmp_path, measured):
    folder = write_images(tmp_path / "one_each", {"flower": 1, "temple": 1})
    result = measured(folder, scenario=3).fit(steps=2)
    assert result.chosen == LINEAR_PROBE
    assert result.accuracy is None
    assert result.model.predict(np.zeros((1, 8, 8, 3)), verbose=0).shape == (1, 2)


def test_a_model_of_the_users_own_is_trained_in_place(whole):
    model = whole.build()
    result = whole.fit(model, steps=2, augmentation=())
    assert result.model is model


def test_a_changed_head_is_trained_with_the_rest(whole):
    import keras

    built = whole.build()
    x = keras.layers.Dense(16, activation="relu", name="extra")(built.layers[-1].input)
    model = keras.Model(built.input, keras.layers.Dense(3, activation="softmax", name="other")(x))
    before = model.get_layer("extra").kernel.numpy()
    result = whole.fit(model, steps=4, augmentation=(), learning_rate=1e-2)
    if result.chosen == FINE_TUNED:
        assert np.abs(model.get_layer("extra").kernel.numpy() - before).max() > 0
    assert result.evaluation.n == result.plan.n_held_out


def test_a_distribution_strategy_is_honoured(folder, network, run_python, tmp_path):
    network.save(tmp_path / "small.keras")
    code = """
import sys
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from recommender import recommend
found = recommend(sys.argv[1], backbone=sys.argv[2], pixels="-1..1", input_size=32, scenario=3)
with tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"]).scope():
    result = found.fit(steps=2, augmentation=())
print(type(result.model.trainable_variables[0].value).__name__, len(result.history))
"""
    done = run_python(code, folder, tmp_path / "small.keras")
    assert done.returncode == 0, done.stderr
    assert "3" in done.stdout.split()[-1]
    assert "Distributed" in done.stdout or "Mirrored" in done.stdout


def test_what_was_frozen_stays_as_it_was(measured):
    partly = measured(scenario=2)
    model = partly.build()
    frozen = {weight.path: weight.numpy() for weight in model.non_trainable_weights}
    partly.fit(model, steps=6, augmentation=())
    assert frozen
    for weight in model.weights:
        if weight.path in frozen:
            np.testing.assert_array_equal(weight.numpy(), frozen[weight.path])


def test_the_plan_is_announced_before_the_first_step(whole):
    told = []
    whole.fit(
        steps=2,
        augmentation=(),
        announce=lambda plan: told.append(("plan", plan.seconds)),
        on_check=lambda check, _: told.append(("look", check.step)),
    )
    assert told[0][0] == "plan"
    assert told[0][1] > 0
    assert [step for kind, step in told[1:]] == [0, 1, 2]


def test_the_plan_comes_with_the_recommendation(found, whole, tuned):
    assert [phase.name for phase in found.training.phases] == ["linear_probe"]
    assert [phase.name for phase in whole.training.phases] == ["linear_probe", "fine_tune"]
    assert whole.training.n_training == tuned.plan.n_training
    assert whole.training.phases[1].trainable_parameters == tuned.plan.phases[1].trainable_parameters


def test_augmentation_is_measured_where_it_is_not_said(whole, monkeypatch):
    import recommender.fit.augmentation

    monkeypatch.setattr(recommender.fit.augmentation, "fitting_augmentation", lambda *_: ("mirror",))
    assert whole.fit(steps=1).plan.augmentation == ("mirror",)


def test_half_precision_trains_and_the_model_that_comes_back_computes_in_full(whole):
    result = whole.fit(steps=2, augmentation=(), precision="mixed_bfloat16")
    assert result.plan.precision == "mixed_bfloat16"
    assert {layer.compute_dtype for layer in result.model.layers} == {"float32"}
    assert {weight.dtype for weight in result.model.trainable_weights} == {"float32"}


def test_the_result_is_plain_data(tuned, fitted):
    import json

    for result in (tuned, fitted):
        told = json.loads(json.dumps(result.to_dict(), allow_nan=False))
        assert told["accuracy"] == pytest.approx(result.accuracy)
        assert len(told["history"]) == len(result.history)


def test_logs_for_tensorboard_are_written(whole, tmp_path):
    whole.fit(steps=2, augmentation=(), logs=tmp_path / "logs")
    assert any(path.name.startswith("events") for path in (tmp_path / "logs").rglob("*"))


def test_a_disk_that_keeps_no_state_costs_the_state_and_not_the_training(whole, tmp_path, monkeypatch):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("NETGRAFT_DATA", str(tmp_path / "file"))
    result = whole.fit(steps=2, augmentation=())
    assert len(result.history) == 3
    assert "could not be kept" in result.notes[0]


def test_what_the_user_keeps_where_states_are_kept_stays(whole, tmp_path, monkeypatch):
    monkeypatch.setenv("NETGRAFT_DATA", str(tmp_path))
    own = tmp_path / "training-states" / "galaxies" / "m31.fits"
    own.parent.mkdir(parents=True)
    own.write_text("mine")
    os.utime(own.parent, (0, 0))
    whole.fit(steps=1, augmentation=())
    assert own.read_text() == "mine"


def test_a_state_is_kept_until_it_is_forgotten_where_that_is_asked(whole, tmp_path, monkeypatch):
    monkeypatch.setenv("NETGRAFT_DATA", str(tmp_path))
    result = whole.fit(steps=1, augmentation=(), keep_state=True)
    assert list(tmp_path.rglob("state.npz"))
    again = whole.fit(steps=1, augmentation=(), resume=True)
    assert again.resumed_at == 1
    assert [check.accuracy for check in again.history] == [check.accuracy for check in result.history]
    assert not list(tmp_path.rglob("state.npz"))


def test_what_has_no_effect_on_a_frozen_backbone_is_told(found):
    assert "epochs, augmentation" in found.fit(epochs=5, augmentation=("mirror",)).notes[0]


def test_of_a_stream_the_sample_at_hand_is_learnt_from_and_that_is_told(measured):
    import tensorflow as tf

    rng = np.random.default_rng(0)
    labels = np.arange(80) % 2
    images = (rng.integers(0, 120, (80, 32, 32, 3)) + 100 * labels[:, None, None, None]).astype(np.uint8)
    stream = tf.data.Dataset.from_tensor_slices((images, labels))
    few = measured(stream, max_images=20)
    result = few.fit()
    assert few.training.n_training <= 20
    assert result.plan.n_training <= 20
    assert "Of 80 training images" in result.notes[0]


@pytest.mark.parametrize("head", ["softmax layer", "no bias"])
def test_other_heads_train_too(whole, head):
    import keras

    built = whole.build()
    x = built.layers[-1].input
    if head == "no bias":
        outputs = keras.layers.Dense(3, activation="softmax", use_bias=False, name="last")(x)
    else:
        outputs = keras.layers.Softmax(name="last")(keras.layers.Dense(3, name="logits")(x))
    result = whole.fit(keras.Model(built.input, outputs), steps=2, augmentation=())
    assert result.chosen in {"as_given", FINE_TUNED}
    assert result.temperature == 1.0


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"epochs": 1, "steps": 1}, "both"),
        ({"augmentation": ("rotate",)}, "'rotate'"),
        ({"precision": "float8"}, "'float8'"),
        ({"learning_rate": -1.0}, "`learning_rate`"),
    ],
)
def test_what_is_out_of_range_is_refused_before_any_image_is_read(whole, arguments, named):
    with pytest.raises((RecommendError, BuildError), match=named) as caught:
        whole.fit(**arguments)
    assert "\n" not in str(caught.value)


def test_a_model_for_other_classes_is_refused(whole):
    import keras

    other = keras.Sequential([keras.Input((SIZE, SIZE, 3)), keras.layers.Flatten(), keras.layers.Dense(7)])
    with pytest.raises(RecommendError, match="each of 3 classes"):
        whole.fit(other)


def test_a_model_without_softmax_is_refused(whole):
    import keras

    other = keras.Sequential([keras.Input((SIZE, SIZE, 3)), keras.layers.Flatten(), keras.layers.Dense(3)])
    with pytest.raises(RecommendError, match="softmax"):
        whole.fit(other)


def test_a_model_that_is_frozen_as_a_whole_is_refused(whole):
    model = whole.build()
    model.trainable = False
    with pytest.raises(BuildError, match="layers that train"):
        whole.fit(model)
