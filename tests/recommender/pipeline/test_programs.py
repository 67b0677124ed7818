"""Backbones as LiteRT programs: the same numbers and facts as Keras's, kept in a cache that can't do harm."""

import threading

import hub_models
import keras
import numpy as np
import pytest
import saved_modules
from keras_free import run_without_keras
from makes import vision_transformer
from pictures import write_images
from sklearn.datasets import load_sample_images
from tiny import SIZE, tiny_network

from builders.backbones.kind import OpenOptions
from builders.backbones.load import open_backbone
from builders.backbones.registry import kind_of
from builders.errors import BuildError
from probes.errors import ProbeError
from probes.images.decode import resize
from probes.network.features import Norm
from recommender import recommend
from recommender.pipeline import programs
from recommender.pipeline.probed_network import probed_network
from recommender.pipeline.programs import find_program, make_program

SLOW = pytest.mark.slow


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache folder."""
    monkeypatch.setenv("NETGRAFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "programs"


def photographs(n, size, channels):
    """Real photographs, shifted, of 1, 3 or 4 channels."""
    pixels = [np.roll(load_sample_images().images[number % 2], 37 * number, axis=1) for number in range(n)]
    squares = np.stack([resize(each, size) for each in pixels])
    if channels == 1:
        return squares.mean(-1, keepdims=True)
    return np.concatenate([squares, np.full((*squares.shape[:3], channels - 3), 255, np.float32)], axis=-1)


def of_channels(channels):
    def make(_folder):
        inputs = keras.Input((SIZE, SIZE, channels))
        x = keras.layers.Conv2D(6, 3, 2, "same", use_bias=False)(keras.layers.Rescaling(1 / 255)(inputs))
        x = keras.layers.ReLU()(keras.layers.BatchNormalization()(x))
        return keras.Model(inputs, keras.layers.Conv2D(8, 3, 2, "same")(x), name=f"channels{channels}")

    return make


def file_for_any_size(folder):
    tiny_network(size=None).save(folder / "tiny.keras")
    return folder / "tiny.keras"


def saved_model(folder):
    saved_modules.save_keras3(folder / "module")
    return folder / "module"


def whole_module(folder):
    saved_modules.save_module(saved_modules.plain, folder / "plain")
    return folder / "plain"


def application(_folder):
    keras.utils.set_random_seed(0)
    return keras.applications.EfficientNetB0(weights=None, include_top=False, input_shape=(64, 64, 3))


def preset(make):
    return lambda folder: hub_models.saved(hub_models.seeded(make), folder, **hub_models.SCALED)


BACKBONES = {
    "a model in memory": lambda _: tiny_network(),
    "a .keras file for any size": file_for_any_size,
    "grey": of_channels(1),
    "with alpha": of_channels(4),
    "a vision transformer": lambda _: vision_transformer(),
    "a SavedModel": saved_model,
    "a SavedModel of TensorFlow alone": whole_module,
    "a network of keras.applications": application,
    **{f"{make.__name__} of KerasHub": preset(make) for make in (hub_models.mobilenet, hub_models.vit)},
}
MARKS = dict.fromkeys(
    (
        *("a SavedModel of TensorFlow alone", "a network of keras.applications", "a vision transformer", "with alpha"),
        *(name for name in BACKBONES if name.endswith("KerasHub")),
    ),
    SLOW,
)


@pytest.fixture(scope="module", params=[pytest.param(name, marks=MARKS.get(name, ())) for name in BACKBONES])
def converted(request, tmp_path_factory):
    """A backbone that Keras loaded, its program, and both as the probes see them."""
    opened = open_backbone(BACKBONES[request.param](tmp_path_factory.mktemp("backbone")), scaling=None)
    backbone = opened.at(opened.native_size)
    if backbone.scaling is None:
        from builders.backbones.loaded import scaled
        from builders.backbones.pixel_scaling import SCALINGS

        backbone = scaled(backbone, SCALINGS["0..1"])
    program = make_program(backbone, opened, None)
    return backbone, program, (probed_network(backbone), probed_network(backbone, program=program))


@pytest.mark.parametrize("n", [1, 8, 11])
def test_both_engines_read_the_same_numbers(converted, n):
    backbone, _, (theirs, ours) = converted
    pixels = photographs(n, backbone.input_size, backbone.channels)
    assert (theirs.engine, ours.engine) == ("tensorflow", "litert")
    assert (theirs.cuts, theirs.channels, theirs.input_size) == (ours.cuts, ours.channels, ours.input_size)
    assert [norm.layer for norm in theirs.norms] == [norm.layer for norm in ours.norms]
    for expected, found in zip(theirs.run(pixels), ours.run(pixels), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


def test_the_facts_are_those_of_the_loaded_network(converted):
    backbone, program, _ = converted
    again = program.opened(lambda _: pytest.fail("Keras was asked")).at(backbone.input_size)
    for name in ("name", "title", "source", "native_size", "channels", "scaling", "points", "fingerprint", "whole"):
        assert getattr(again, name) == getattr(backbone, name), name


def test_drift_from_moments_of_the_source_is_the_same_without_batch_norm():
    inputs = keras.Input((SIZE, SIZE, 3))
    x = keras.layers.Conv2D(16, 3, 2, "same", activation="relu")(keras.layers.Rescaling(1 / 255)(inputs))
    opened = open_backbone(keras.Model(inputs, keras.layers.Conv2D(16, 3, 2, "same", activation="relu")(x)))
    backbone = opened.at(SIZE)
    program = make_program(backbone, opened, None)
    norms = tuple(
        Norm(layer=point.layer, centre=np.linspace(-1, 1, 16), scale=np.linspace(0.5, 2, 16))
        for point in backbone.points
    )
    pixels = photographs(3, SIZE, 3)
    pairs = zip(
        probed_network(backbone, norms).run(pixels), probed_network(backbone, norms, program).run(pixels), strict=True
    )
    for expected, found in pairs:
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4 * np.abs(expected).max())


@pytest.fixture(scope="module", params=["tiny", pytest.param("efficientnet_lite0", marks=SLOW)])
def of_any_size(request):
    """A backbone for any input size, and its program."""
    opened = open_backbone(tiny_network(size=None) if request.param == "tiny" else request.param)
    return opened, make_program(opened.at(96), opened, None)


@pytest.mark.parametrize("size", [64, 97, 160])
def test_one_program_serves_all_sizes(of_any_size, size):
    opened, program = of_any_size
    expected = opened.at(size)
    found = program.opened(lambda _: pytest.fail("Keras was asked")).at(size)
    assert found.points == expected.points
    assert found.native_size == expected.native_size == 224
    pixels = photographs(2, size, 3)
    for ours, theirs in zip(
        probed_network(found, program=program).run(pixels), probed_network(expected).run(pixels), strict=True
    ):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-4 * np.abs(theirs).max())


@SLOW
def test_an_input_below_the_smallest_is_refused_as_without_a_program():
    opened = open_backbone("efficientnet_lite0")
    program = make_program(opened.at(96), opened, None)
    with pytest.raises(BuildError, match="at least 32 px"):
        program.opened(opened.at).at(16)


# --- the cache


@pytest.fixture
def file(cache):
    """A .keras file that has no program in the cache."""
    path = cache.parents[1] / "tiny.keras"
    tiny_network().save(path)
    return path


@pytest.fixture(scope="module")
def tiny():
    """A tiny backbone, and its program."""
    opened = open_backbone(tiny_network())
    backbone = opened.at(SIZE)
    return backbone, opened, make_program(backbone, opened, None)


@pytest.fixture
def stored(tiny, cache, monkeypatch):
    """The file of a stored program, and its identity."""
    backbone, opened, program = tiny
    monkeypatch.setattr(programs, "convert", lambda *_: program.content)
    make_program(backbone, opened, "tiny")
    return next(cache.iterdir()), "tiny"


@pytest.fixture
def measure(two_classes, file):
    def measure(**options):
        phases = []
        found = recommend(
            two_classes, **{"backbone": file, "progress": lambda phase, *_: phases.append(phase), **options}
        )
        return found, phases

    return measure


def test_the_second_run_takes_the_program_and_gives_the_same_answer(measure, cache):
    first, phases = measure()
    assert "converting" in phases
    assert len(list(cache.iterdir())) == 1
    second, phases = measure()
    assert not {"converting", "loading"} & set(phases)
    assert (first.network.engine, second.network.engine) == ("litert", "litert")
    assert second.measurements == first.measurements
    assert second.parameters == first.parameters
    assert [weight.tolist() for weight in second.build().get_weights()] == [
        weight.tolist() for weight in first.build().get_weights()
    ]


def test_the_engine_can_be_named(measure, cache):
    found, phases = measure(engine="tensorflow")
    assert found.network.engine == "tensorflow"
    assert "converting" not in phases
    assert not cache.exists()
    assert found.to_dict()["backbone"]["engine"] == "tensorflow"


def test_a_model_in_memory_is_converted_only_if_that_is_asked_for(measure, cache):
    assert measure(backbone=tiny_network())[0].network.engine == "tensorflow"
    assert measure(backbone=tiny_network(), engine="litert")[0].network.engine == "litert"
    assert not cache.exists()  # nothing cheap says that another model is the same


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: content[:-100],
        lambda content: content[:2000] + b"\0" + content[2001:],
        lambda _: b"",
        bytes.upper,
    ],
    ids=["cut short", "altered", "empty", "another format"],
)
def test_a_damaged_program_is_not_taken(stored, damage, caplog):
    file, identity = stored
    whole = file.read_bytes()
    assert find_program(identity) is not None
    file.write_bytes(damage(whole))
    assert find_program(identity) is None
    assert "is damaged. It is made again." in caplog.text


@SLOW
def test_what_is_damaged_is_made_again(measure, cache):
    first, _ = measure()
    (file,) = cache.iterdir()
    file.write_bytes(file.read_bytes()[:-100])
    second, phases = measure()
    assert "converting" in phases
    assert second.measurements == first.measurements


def test_a_program_of_another_version_is_not_taken(stored, monkeypatch):
    monkeypatch.setattr(programs, "_FORMAT", programs._FORMAT + 1)
    assert find_program(stored[1]) is None


@SLOW
def test_another_file_of_the_same_name_has_another_program(measure, file):
    measure()
    tiny_network(seed=1).save(file)
    assert "converting" in measure()[1]


def test_a_cache_that_can_not_be_written_is_done_without(measure, cache):
    cache.parent.mkdir()
    cache.write_text("a file where the folder should be")
    found, phases = measure()
    assert "converting" in phases
    assert found.network.engine == "litert"


@pytest.mark.usefixtures("cache")
def test_two_may_convert_at_the_same_time(tiny):
    backbone, opened, _ = tiny
    threads = [threading.Thread(target=make_program, args=(backbone, opened, "tiny")) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert find_program("tiny").facts.fingerprint == backbone.fingerprint


def test_the_oldest_programs_are_removed_beyond_the_limit(tiny, stored, monkeypatch, cache):
    backbone, opened, _ = tiny
    most = 3 * stored[0].stat().st_size
    monkeypatch.setattr(programs, "MOST_BYTES", most)
    for name in ("second", "third", "fourth"):
        make_program(backbone, opened, name)
    assert find_program("tiny") is None
    assert find_program("fourth") is not None
    assert sum(path.stat().st_size for path in cache.iterdir()) <= most


# --- where there is no program


def test_without_litert_tensorflow_runs_the_network(measure, monkeypatch):
    monkeypatch.setattr("recommender.pipeline.loading.has_litert", lambda: False)
    assert measure()[0].network.engine == "tensorflow"
    with pytest.raises(BuildError, match="pip install ai-edge-litert"):
        measure(engine="litert")


def test_a_network_that_can_not_be_converted_is_run_by_tensorflow(measure, monkeypatch):
    def fail(*_):
        raise ValueError("no such operation")

    monkeypatch.setattr(programs, "convert", fail)
    assert measure()[0].network.engine == "tensorflow"
    with pytest.raises(BuildError, match="no such operation"):
        measure(engine="litert")


def test_a_program_with_other_numbers_is_not_taken(measure, monkeypatch):
    monkeypatch.setattr(programs, "_agrees", lambda *_: False)
    assert measure()[0].network.engine == "tensorflow"


def test_a_network_whose_outputs_are_not_finite_is_refused_on_both_engines(two_classes):
    model = tiny_network()
    layer = model.get_layer("block2_conv")
    layer.set_weights([np.full(layer.kernel.shape, np.nan, np.float32)])
    for engine in ("tensorflow", "litert"):
        with pytest.raises(Exception, match=r"Expected finite outputs|LiteRT program"):
            recommend(two_classes, backbone=model, engine=engine)


def test_an_interrupted_conversion_leaves_nothing(measure, cache, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(programs, "convert", interrupt)
    with pytest.raises(KeyboardInterrupt):
        measure()
    assert not cache.exists()


@pytest.mark.parametrize("command", [(), pytest.param(("check",), marks=SLOW)], ids=["recommend", "check"])
def test_a_stored_program_needs_neither_tensorflow_nor_keras(run_python, two_classes, tiny_file, command):
    recommend(two_classes, backbone=tiny_file)
    run_without_keras(run_python, *command, two_classes, "--backbone", tiny_file)


# --- the input size


@pytest.fixture(scope="module")
def open_file(tmp_path_factory):
    """A .keras file for any input size."""
    path = tmp_path_factory.mktemp("network") / "open.keras"
    tiny_network(size=None).save(path)
    return path


@pytest.mark.parametrize("engine", ["litert", pytest.param("tensorflow", marks=SLOW)])
def test_the_measured_size_is_one_of_those_tried_and_is_what_is_built(two_classes, open_file, engine):
    phases = []
    found = recommend(
        two_classes,
        backbone=open_file,
        input_size="auto",
        engine=engine,
        progress=lambda phase, *_: phases.append(phase),
    )
    choice = found.measurements.extra["input_size"]
    assert choice.prior == 224  # the pictures have 48 px
    assert [each.size for each in choice.tried] == [160, 224]
    assert choice.n_images == 16
    assert all(each.seconds > 0 for each in choice.tried)
    assert "sizes" in phases
    assert found.strategy.input_size == found.network.input_size == choice.size
    assert found.build().get_layer("resizing").height == choice.size
    written = found.to_dict()["probes"]["input_size"]
    assert [each["size"] for each in written["tried"]] == [160, 224]


def test_a_network_of_one_size_has_nothing_to_choose(two_classes, tiny_file):
    found = recommend(two_classes, backbone=tiny_file, input_size="auto")
    assert found.strategy.input_size == SIZE
    assert "input_size" not in found.measurements.extra


def test_without_images_to_hold_out_the_rule_decides(tmp_path, open_file):
    write_images(tmp_path / "data", {"flower": 1, "temple": 1})
    found = recommend(tmp_path / "data", backbone=open_file, input_size="auto")
    assert found.strategy.input_size == 224
    assert "input_size" not in found.measurements.extra


def test_sizes_are_not_compared_on_images_that_can_not_be_read(tmp_path, open_file):
    for name in ("flower", "temple"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "0.jpg").write_text("no picture")
    with pytest.raises(ProbeError, match="to hold a readable image"):
        recommend(tmp_path, backbone=open_file, input_size="auto")


def test_a_folder_that_holds_no_model_is_not_read(tmp_path):
    (tmp_path / "large.bin").write_bytes(b"x")
    assert kind_of(tmp_path).identity(tmp_path, OpenOptions()) is None
