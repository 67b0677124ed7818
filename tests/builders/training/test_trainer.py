"""Training by gradient: what is frozen is computed once, runs repeat, break off and go on."""

import numpy as np
import pytest

from builders.backbones.load import load_backbone
from builders.build import build_model
from builders.errors import BuildError
from builders.strategy import HeadSpec, Strategy
from builders.surgery.frozen_split import split_frozen
from builders.training.examples import Examples, mixed
from builders.training.inputs import Pictures, Views
from builders.training.optimizers import WarmUpCosine, depths_of, optimizer_for
from builders.training.schedule import plan_schedule
from builders.training.state import StateFile
from builders.training.trainer import Trainer

SIZE, FREEZE = 32, "block5c_add"


def strategy(freeze, top="top_activation"):
    return Strategy(
        backbone="efficientnet_lite0",
        input_size=SIZE,
        cut=top,
        cut_depth=1.0,
        freeze=freeze,
        freeze_depth=0.0,
        train_batch_norm=False,
        learning_rate=1e-4,
        head=HeadSpec(levels=(top,), classes=2),
    )


@pytest.fixture(scope="module")
def backbone():
    return load_backbone("efficientnet_lite0", SIZE)


@pytest.fixture(scope="module")
def pixels():
    """Forty noisy pictures of two classes: bright above, or bright below."""
    rng = np.random.default_rng(0)
    found = rng.integers(0, 120, (40, SIZE, SIZE, 3)).astype(np.uint8)
    found[::2, : SIZE // 2] += 100
    found[1::2, SIZE // 2 :] += 100
    return found


LABELS = np.arange(40) % 2


def model_of(backbone, freeze):
    """A model whose prediction layer is the same each time."""
    model = build_model(strategy(freeze), None, backbone)
    kernel, bias = model.layers[-1].get_weights()
    rng = np.random.default_rng(1)
    model.layers[-1].set_weights([rng.normal(0, 0.02, kernel.shape), 0 * bias])
    return model


def examples(inputs, rows):
    return Examples(inputs=inputs, rows=rows, labels=LABELS[rows], weights=np.ones(len(rows)))


def trainer_of(model, inputs, *, steps=6, file=None, **said):
    frozen_split = split_frozen(model)
    schedule = plan_schedule(30, steps=steps, batch_size=8, **said)
    optimizer = optimizer_for(frozen_split.tail, schedule, depths_of(frozen_split.graph))
    training, held_out = examples(inputs, np.arange(30)), examples(inputs, np.arange(30, 40))
    return Trainer(frozen_split.tail, training, held_out, schedule, optimizer, file)


def frozen_output(model, pixels):
    import keras

    frozen_split = split_frozen(model)
    symbolic = frozen_split.graph.run(model.input, [frozen_split.split])[0]
    return keras.Model(model.input, symbolic).predict(pixels.astype(np.float32), verbose=0)


def values(model):
    return [weight.numpy() for weight in model.weights]


def largest_difference(one, other):
    return max(float(np.abs(a - b).max()) for a, b in zip(values(one), values(other), strict=True))


def test_a_model_is_parted_where_its_frozen_part_ends(backbone):
    frozen_split = split_frozen(model_of(backbone, FREEZE))
    assert frozen_split.graph.nodes[frozen_split.split].name == FREEZE
    assert not frozen_split.takes_pictures
    assert not frozen_split.solvable


def test_a_model_with_nothing_frozen_is_fed_with_prepared_pictures(backbone):
    frozen_split = split_frozen(model_of(backbone, None))
    assert frozen_split.takes_pictures
    assert frozen_split.tail.input_shape == (None, SIZE, SIZE, 3)


def test_a_frozen_backbone_leaves_the_prediction_layer_alone(backbone):
    assert split_frozen(model_of(backbone, "top_activation")).solvable


def test_the_parts_put_together_are_the_model(backbone, pixels):
    model = model_of(backbone, FREEZE)
    whole = model.predict(pixels.astype(np.float32), verbose=0)
    frozen_split = split_frozen(model).tail.predict(frozen_output(model, pixels), verbose=0)
    np.testing.assert_allclose(frozen_split, whole, atol=1e-5)


def test_the_cached_and_the_plain_way_agree_to_1e_4(backbone, pixels):
    cached, plain = model_of(backbone, FREEZE), model_of(backbone, FREEZE)
    trainer = trainer_of(cached, Views([frozen_output(cached, pixels)]))
    trainer.run(trainer.first_look())
    expected = plain_training(plain, pixels)
    assert largest_difference(cached, model_of(backbone, FREEZE)) > 1e-3
    assert largest_difference(cached, expected) < 1e-4


def plain_training(model, pixels):
    """The same steps on the whole model, from pictures, the best look kept: a naive oracle without parts or caches."""
    import keras

    frozen_split = split_frozen(model)
    schedule = plan_schedule(30, steps=6, batch_size=8)
    depths = depths_of(frozen_split.graph)
    model.compile(optimizer_for(model, schedule, depths), "sparse_categorical_crossentropy", jit_compile=False)
    order = np.concatenate([np.random.default_rng([0, epoch, 1]).permutation(30) for epoch in range(2)])
    best, kept = accuracy(model, pixels), values(model)
    for step in range(6):
        rows = order[8 * step : 8 * step + 8]
        model.train_on_batch(pixels[rows].astype(np.float32), LABELS[rows])
        if accuracy(model, pixels) > best:
            best, kept = accuracy(model, pixels), values(model)
    keras.tree.map_structure(lambda weight, value: weight.assign(value), model.weights, kept)
    return model


def accuracy(model, pixels):
    held_out = np.arange(30, 40)
    return (model.predict(pixels[held_out].astype(np.float32), verbose=0).argmax(1) == LABELS[held_out]).mean()


@pytest.mark.parametrize("freeze", [None, FREEZE])
def test_a_run_that_was_broken_off_ends_where_an_unbroken_one_ends(backbone, pixels, freeze, tmp_path):
    def trained(pauses):
        file = StateFile(tmp_path / f"{len(pauses)}" / "state.npz")
        for until in (*pauses, None):
            model = model_of(backbone, freeze)  # all that a new process has
            inputs = Views([frozen_output(model, pixels)]) if freeze else Pictures(pixels, mirror=True, crop=True)
            trainer = trainer_of(model, inputs, file=file)
            kept = file.read()
            done = trainer.run(trainer.first_look() if kept is None else kept, until=until)
        return model, done.state

    whole, state = trained(())
    broken, gone_on = trained((2, 3))
    assert largest_difference(whole, broken) < 1e-6
    assert [check.accuracy for check in state.checks] == [check.accuracy for check in gone_on.checks]
    np.testing.assert_array_equal(state.correct, gone_on.correct)


def test_timing_a_few_steps_changes_nothing(backbone, pixels):
    timed, untimed = model_of(backbone, None), model_of(backbone, None)
    for model, measured in ((timed, True), (untimed, False)):
        trainer = trainer_of(model, Pictures(pixels, mirror=False, crop=False))
        first = trainer.first_look()
        if measured:
            assert trainer.seconds_per_step() > 0
        trainer.run(first)
    assert largest_difference(timed, untimed) < 1e-6


def test_the_model_that_comes_back_is_the_best_look(backbone, pixels):
    trainer = trainer_of(model_of(backbone, None), Pictures(pixels, mirror=False, crop=False))
    done = trainer.run(trainer.first_look())
    accuracies = [check.accuracy for check in done.state.checks]
    found = (trainer.predict().argmax(1) == LABELS[30:]).mean()
    assert found == pytest.approx(max(accuracies))
    assert done.state.best_check == accuracies.index(max(accuracies))


def test_training_stops_where_looks_bring_nothing(backbone, pixels):
    trainer = trainer_of(model_of(backbone, None), Pictures(pixels, mirror=False, crop=False), steps=48)
    trainer.held_out.labels[:] = 1 - (trainer.predict().argmax(1))  # nothing is right at the start …
    trainer.held_out.labels[0] = 1 - trainer.held_out.labels[0]  # … but one
    first = trainer.first_look()
    trainer.schedule = type(trainer.schedule)(
        **{name: getattr(trainer.schedule, name) for name in trainer.schedule.__dataclass_fields__} | {"patience": 1}
    )
    done = trainer.run(first)
    assert done.stopped_early
    assert done.state.checks[-1].step < 48


def test_ctrl_c_ends_with_the_best_so_far(backbone, pixels):
    import keras

    class Interrupts(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):  # noqa: ARG002
            if epoch == 2:
                raise KeyboardInterrupt

    trainer = trainer_of(model_of(backbone, None), Pictures(pixels, mirror=False, crop=False))
    done = trainer.run(trainer.first_look(), callbacks=[Interrupts()])
    assert done.interrupted
    assert len(done.state.checks) == 4
    found = (trainer.predict().argmax(1) == LABELS[30:]).mean()
    assert found == pytest.approx(max(check.accuracy for check in done.state.checks))


def test_callbacks_are_told_of_the_held_out_accuracy(backbone, pixels):
    import keras

    told = []

    class Listens(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            told.append((epoch, logs["val_accuracy"], logs["learning_rate"]))

    trainer = trainer_of(model_of(backbone, None), Pictures(pixels, mirror=False, crop=False))
    done = trainer.run(trainer.first_look(), callbacks=[Listens()])
    assert [accuracy for _, accuracy, _ in told] == [check.accuracy for check in done.state.checks[1:]]


def test_lower_layers_move_less(backbone, pixels):
    model = model_of(backbone, None)
    before = {weight.path: weight.numpy() for weight in model.trainable_variables}
    trainer = trainer_of(model, Pictures(pixels, mirror=False, crop=False), steps=2)
    trainer.run(trainer.first_look())
    trainer.set_weights(trainer.weights())
    factors = trainer.optimizer.factors
    assert list(factors) == sorted(factors)
    assert factors[0] < 0.5 < factors[-1] == 1.0
    assert len(before) == len(factors)


def test_the_rate_rises_to_its_peak_and_falls_to_nothing():
    rate = WarmUpCosine(peak=1.0, warm_up=10, steps=100)
    over_time = [float(rate(step)) for step in range(101)]
    assert max(over_time) == pytest.approx(1.0, abs=1e-3)
    assert over_time.index(max(over_time)) == pytest.approx(10, abs=1)
    assert over_time[0] < 0.2
    assert over_time[100] == pytest.approx(0.0, abs=1e-6)


def test_batches_run_through_all_images_before_any_comes_again(backbone, pixels):
    trainer = trainer_of(model_of(backbone, None), Pictures(pixels, mirror=False, crop=False), steps=15)
    rows = np.concatenate([trainer._rows(step) for step in range(15)])
    for epoch in range(4):
        assert sorted(rows[30 * epoch : 30 * epoch + 30]) == list(range(30))


def test_a_state_file_is_whole_or_it_is_none(backbone, tmp_path):
    trainer = trainer_of(model_of(backbone, FREEZE), Views([np.zeros((40, 2, 2, 112), np.float32)]))
    file = StateFile(tmp_path / "run" / "state.npz")
    assert file.read() is None
    file.write(trainer.first_look())
    whole = file.path.read_bytes()
    assert file.read() is not None
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        file.path.write_bytes(whole[:length])
        assert file.read() is None
    file.remove()
    assert not file.path.parent.exists()


def test_a_cropped_picture_is_a_part_of_it_enlarged_and_a_mirrored_one_its_mirror():
    ramp = np.tile(np.arange(64, dtype=np.float32)[None, :, None], (64, 1, 3))[None]
    rng = np.random.default_rng(0)
    cropped = Pictures(ramp, mirror=False, crop=True)
    for _ in range(20):
        found = cropped.varied(np.array([0]), rng)[0, 32, :, 0]
        assert (np.diff(found) > 0).all()  # not mirrored
        assert 0.8 * 63 <= found[-1] - found[0] <= 63
    mirrored = Pictures(ramp, mirror=True, crop=False)
    seen = [mirrored.varied(np.array([0]), rng)[0, 0, 0, 0] for _ in range(40)]
    assert set(seen) == {0.0, 63.0}


def test_a_mixed_example_brings_its_own_weight_along():
    targets = np.eye(2, dtype=np.float32)[[0, 1]]
    inputs = np.array([[0.0], [1.0]], np.float32)
    weights = np.array([3.0, 0.0], np.float32)  # the second one is not to be learnt from
    x, y, w = mixed(inputs, targets, weights, 0.25, np.array([1, 0]))
    np.testing.assert_allclose(x[:, 0], [0.75, 0.25])
    np.testing.assert_allclose(y, [[1, 0], [1, 0]])
    np.testing.assert_allclose(w, [0.75, 2.25])
    _, y, w = mixed(inputs, targets, np.ones(2, np.float32), 0.25, np.array([1, 0]))
    np.testing.assert_allclose(y, [[0.25, 0.75], [0.75, 0.25]])
    np.testing.assert_allclose(w, [1, 1])


def test_dropout_behind_the_frozen_part_acts_and_dropout_inside_it_does_not(backbone):
    import keras

    model = model_of(backbone, "top_activation")
    x = keras.layers.Dropout(0.5, name="dropping")(model.layers[-1].input)
    x = keras.layers.Dense(8, activation="relu", name="hidden")(x)
    changed = keras.Model(model.input, keras.layers.Dense(2, activation="softmax")(x))
    frozen_split = split_frozen(changed)
    assert not frozen_split.takes_pictures
    assert any(isinstance(layer, keras.layers.Dropout) for layer in frozen_split.tail.layers)


def test_what_is_drawn_in_front_of_the_frozen_part_is_not_computed_once(backbone):
    import keras

    model = model_of(backbone, FREEZE)
    graph = split_frozen(model).graph
    inputs = keras.Input((SIZE, SIZE, 3))
    flipped = keras.layers.RandomFlip("horizontal")(inputs)
    outputs = graph.run(flipped, [len(graph.nodes) - 1], start=1)[0]
    assert split_frozen(keras.Model(inputs, outputs)).takes_pictures


def test_resizing_of_another_kind_is_not_taken_for_the_built_one(backbone):
    import keras

    graph = split_frozen(model_of(backbone, FREEZE)).graph
    inputs = keras.Input((None, None, 3))
    resized = keras.layers.Resizing(SIZE, SIZE, interpolation="nearest")(inputs)
    other = keras.Model(inputs, graph.run(resized, [len(graph.nodes) - 1], start=1)[0])
    with pytest.raises(BuildError, match="resizing that `build` puts there"):
        split_frozen(other)


def test_what_lies_in_front_of_the_network_is_part_of_what_trains(backbone, pixels):
    import keras

    graph = split_frozen(model_of(backbone, None)).graph
    inputs = keras.Input((SIZE, SIZE, 3))
    scaled = keras.layers.Rescaling(0.25, name="in_front")(inputs)
    model = keras.Model(inputs, graph.run(scaled, [len(graph.nodes) - 1], start=1)[0])
    x = pixels[:4].astype(np.float32)
    np.testing.assert_allclose(split_frozen(model).tail.predict(x, verbose=0), model.predict(x, verbose=0), atol=1e-6)


def test_scaling_of_pixels_by_fixed_numbers_is_no_frozen_part():
    import keras

    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Normalization(mean=[100.0] * 3, variance=[400.0] * 3)(inputs)
    learnt = keras.layers.Normalization(name="learnt")
    learnt.build((None, SIZE, SIZE, 3))
    x = keras.layers.GlobalAveragePooling2D()(keras.layers.Conv2D(4, 3)(learnt(x)))
    assert split_frozen(keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x))).takes_pictures


def test_views_of_an_image_are_drawn_and_the_first_is_plain():
    views = Views([np.zeros((5, 2)), np.ones((5, 2))])
    assert not views.plain(np.arange(5)).any()
    drawn = views.varied(np.zeros(200, np.int64), np.random.default_rng(0))
    assert 0.3 < drawn.mean() < 0.7
