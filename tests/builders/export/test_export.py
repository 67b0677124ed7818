"""Exports: each runs on its own, agrees with the model, or is not there."""

import importlib.util
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import saved_modules
from sklearn.datasets import load_sample_images

from builders.backbones.backbone import bare_backbone
from builders.backbones.load import load_backbone, open_backbone
from builders.backbones.pixel_scaling import SCALINGS
from builders.build import build_model
from builders.errors import BuildError
from builders.export import export
from builders.export.export import FORMATS, check_format, export_model, run_exported, target_of
from builders.export.fixed_size import behind_resizing, resized
from builders.strategy import HeadSpec, Strategy

SIZE = 96
CUT = "block3b_add"
without_onnx = [name for name in ("onnx", "onnxruntime", "tf2onnx") if importlib.util.find_spec(name) is None]
needs_onnx = pytest.mark.skipif(bool(without_onnx), reason=f"needs the extra onnx: no {', '.join(without_onnx)}")
EVERY_FORMAT = [pytest.param(name, marks=needs_onnx) if name == "onnx" else name for name in FORMATS]


def strategy(cut, size, *, classes=3, pooling="average"):
    return Strategy(
        backbone="network",
        input_size=size,
        cut=cut,
        cut_depth=0.5,
        freeze=None,
        freeze_depth=0.0,
        train_batch_norm=True,
        learning_rate=1e-3,
        head=HeadSpec(levels=(cut,), classes=classes, pooling=pooling),
    )


@pytest.fixture(scope="module")
def pictures():
    """Crops of photographs, none of them of the model's size, of shape (12, 110, 140, 3)."""
    photographs, rng = load_sample_images().images, np.random.default_rng(0)
    places = [(rng.integers(300), rng.integers(450)) for _ in range(12)]
    crops = [photographs[n % 2][top : top + 110, left : left + 140] for n, (top, left) in enumerate(places)]
    return np.array(crops, np.float32)


@pytest.fixture
def drawn():
    """Noise, of shape (6, 20, 24, 3)."""
    return np.random.default_rng(0).integers(0, 256, (6, 20, 24, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def model(pictures):
    """The first blocks of EfficientNet-Lite0, with a head that tells the two photographs apart."""
    built = build_model(strategy(CUT, SIZE), backbone=load_backbone("efficientnet_lite0", SIZE))
    features = keras.Model(built.input, built.layers[-2].output).predict(pictures, verbose=0)
    apart = features[::2].mean(0) - features[1::2].mean(0)
    kernel = np.stack([apart, -apart, 0 * apart], axis=1) * (3 / (apart @ apart))
    built.layers[-1].set_weights([kernel, -(features.mean(0) @ kernel)])
    return built


@pytest.fixture(scope="module")
def exported(model, pictures, tmp_path_factory):
    """Makes each export once."""
    folder, made = tmp_path_factory.mktemp("exports"), {}

    def make(name):
        if name not in made:
            made[name] = export_model(model, folder / "model.v1", name, pictures)
        return made[name]

    return make


@pytest.mark.parametrize("name", EVERY_FORMAT)
def test_an_export_agrees_with_the_model_on_pictures_of_any_size(name, exported, model, pictures):
    found = exported(name)
    assert found.path == target_of(found.path.parent / "model.v1", name)
    assert found.path.exists()
    for other in (pictures, pictures[:, ::2, :77], resized(pictures, SIZE, SIZE)):
        expected = model.predict(other, verbose=0)
        assert np.ptp(expected, axis=0).max() > 0.5  # answers that differ, or agreement would show nothing
        assert run_exported(found.path, name, other) == pytest.approx(expected, abs=0.1 if "_" in name[2:] else 1e-3)


@pytest.mark.parametrize("name", EVERY_FORMAT)
def test_what_is_told_of_an_export_is_so(name, exported, model, pictures):
    found = exported(name)
    there = run_exported(found.path, name, pictures)
    expected = model.predict(pictures, verbose=0)
    assert found.largest_difference == pytest.approx(np.abs(there - expected).max(), abs=1e-6)
    assert found.same_class == (there.argmax(1) == expected.argmax(1)).mean() == 1
    assert found.n_pictures == 12
    files = [found.path] if found.path.is_file() else [path for path in found.path.rglob("*") if path.is_file()]
    assert found.size_bytes == sum(path.stat().st_size for path in files)
    assert ("of any size" in found.takes) == (name == "saved_model")
    assert ("96 × 96 px" in found.takes) == (name != "saved_model")


def test_quantised_files_are_smaller_and_differ_more(exported):
    plain, dynamic, integer = (exported(name) for name in ("litert", "litert_dynamic", "litert_int8"))
    assert max(dynamic.size_bytes, integer.size_bytes) < 0.7 * plain.size_bytes
    assert plain.largest_difference < 1e-5 < integer.largest_difference


def test_the_integer_file_computes_in_integers_alone(exported):
    import tensorflow as tf

    with pytest.warns(UserWarning, match="deprecated"):
        interpreter = tf.lite.Interpreter(str(exported("litert_int8").path))
    interpreter.allocate_tensors()
    edges = [interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]]
    floats = [each for each in interpreter.get_tensor_details() if each["dtype"] == np.float32]
    assert [each["index"] for each in floats] == edges


def test_a_saved_model_runs_where_netgraft_is_not(exported, model, pictures, tmp_path):
    np.save(tmp_path / "x.npy", pictures)
    code = (
        "import sys\n"
        "for name in ('recommender', 'builders', 'probes', 'keras'): sys.modules[name] = None\n"
        "import tensorflow as tf, numpy\n"
        "served = tf.saved_model.load(sys.argv[1])\n"
        "numpy.save('y.npy', served.serve(tf.constant(numpy.load('x.npy'))).numpy())\n"
    )
    call = [sys.executable, "-c", code, str(exported("saved_model").path)]
    subprocess.run(call, check=True, cwd=tmp_path, capture_output=True)
    assert np.load(tmp_path / "y.npy") == pytest.approx(model.predict(pictures, verbose=0), abs=1e-5)


@needs_onnx
def test_an_onnx_file_takes_batches_and_is_valid(exported):
    import onnx

    found = onnx.load(exported("onnx").path)
    onnx.checker.check_model(found)
    (taken,) = found.graph.input
    assert taken.name == "image"
    assert [side.dim_value for side in taken.type.tensor_type.shape.dim] == [0, SIZE, SIZE, 3]


def test_pillow_resizes_as_an_export_wants_it(pictures):
    from PIL import Image

    for picture, ours in zip(pictures, resized(pictures, 64, 80), strict=True):
        image = Image.fromarray(picture.astype(np.uint8))
        theirs = np.asarray(image.resize((80, 64), Image.Resampling.BILINEAR), np.float32)
        assert np.abs(theirs - ours).max() <= 1  # Pillow rounds


def test_the_model_is_unchanged(exported, model, pictures, tmp_path):
    exported("litert")
    assert all(len(layer._inbound_nodes) == 1 for layer in model.layers)
    assert model.optimizer is not None
    assert len(model.trainable_weights) > 2
    model.save(tmp_path / "m.keras")
    again = keras.models.load_model(tmp_path / "m.keras")
    assert again.predict(pictures, verbose=0) == pytest.approx(model.predict(pictures, verbose=0), abs=1e-6)


def test_nothing_is_written_to_the_terminal(drawn, tmp_path, capfd):
    model = tiny()
    model.predict(drawn, verbose=0)
    capfd.readouterr()  # what TensorFlow says when it first computes is not of the export
    export_model(model, tmp_path / "m", "litert", drawn)
    run_exported(tmp_path / "m.tflite", "litert", drawn)
    assert capfd.readouterr() == ("", "")


NETWORKS = {
    "a Keras 3 SavedModel": ("keras 3", 3, "average"),
    "a plain SavedModel": ("tf.Module", 3, "average"),
    "grey pictures": (None, 1, "average"),
    "four channels and attention": (None, 4, "attention"),
}


@pytest.mark.parametrize("name", ["litert_int8", pytest.param("onnx", marks=needs_onnx)])
@pytest.mark.parametrize("network", NETWORKS)
def test_other_networks_are_exported_too(network, name, tmp_path):
    writer, channels, pooling = NETWORKS[network]
    if writer is None:
        inputs = keras.Input((16, 16, channels))
        x = keras.layers.Conv2D(8, 3, 2, activation="relu", name="first")(inputs)
        outputs = keras.layers.Conv2D(8, 3, name="second")(x)
        backbone = bare_backbone(keras.Model(inputs, outputs), "network", 16).scaled(SCALINGS["-1..1"])
    else:
        saved_modules.WRITERS[writer](tmp_path / "module")
        backbone = open_backbone(tmp_path / "module", scaling="-1..1").at(16)
    model = build_model(strategy(backbone.points[-1].layer, 16, pooling=pooling), backbone=backbone)
    assert writer is None or any(type(layer).__name__ == "GraphSegment" for layer in model.layers)
    drawn = np.random.default_rng(0).integers(0, 256, (6, 20, 24, channels)).astype(np.float32)
    assert export_model(model, tmp_path / "m", name, drawn).largest_difference < 0.05


@pytest.mark.parametrize("name", ["saved_model", "litert"])
def test_a_second_export_takes_the_place_of_the_first(name, drawn, tmp_path):
    for _ in range(2):
        found = export_model(tiny(), tmp_path / "m", name, drawn)
    assert [path.name for path in tmp_path.iterdir()] == [found.path.name]
    assert found.path.stat().st_mode & 0o777 == (0o777 if found.path.is_dir() else 0o666) & ~umask()


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def tiny(layer=None):
    inputs = keras.Input((None, None, 3))
    x = keras.layers.Resizing(16, 16, antialias=True)(inputs, training=False)
    x = keras.layers.Conv2D(4, 3, 2, activation="relu")(x if layer is None else layer(x))
    outputs = keras.layers.Dense(3, activation="softmax")(keras.layers.GlobalAveragePooling2D()(x))
    return keras.Model(inputs, outputs)


class Unlike(keras.layers.Layer):
    """Means something else each time it is traced."""

    traced = 0

    def call(self, x):
        Unlike.traced += 1
        return x / 255 * Unlike.traced


def test_an_export_that_disagrees_leaves_what_was_there(drawn, tmp_path):
    older = export_model(tiny(), tmp_path / "m", "saved_model", drawn)
    answers = run_exported(older.path, "saved_model", drawn)
    with pytest.raises(BuildError, match=r"agree with the Keras model to 0\.001\. Received: a probability"):
        export_model(tiny(Unlike()), tmp_path / "m", "saved_model", drawn)
    assert list(tmp_path.iterdir()) == [older.path]
    assert np.array_equal(run_exported(older.path, "saved_model", drawn), answers)


def test_a_disk_that_refuses_leaves_what_was_there(drawn, tmp_path, monkeypatch):
    older = export_model(tiny(), tmp_path / "m", "saved_model", drawn)
    answers, rename = run_exported(older.path, "saved_model", drawn), Path.replace

    def full(self, target):
        if self.parent.name.startswith(".m_saved_model.") and self.name == "m_saved_model":
            raise OSError(28, "No space left on device")
        return rename(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(BuildError, match="Received: No space left on device"):
        export_model(tiny(), tmp_path / "m", "saved_model", drawn)
    assert list(tmp_path.iterdir()) == [older.path]
    assert np.array_equal(run_exported(older.path, "saved_model", drawn), answers)


SURE = [[0.9, 0.1, 0.0]] * 4
UNSURE = [[0.36, 0.33, 0.31]] * 4


@pytest.mark.parametrize(
    ("expected", "turned", "refused"),
    [(SURE, 0, False), (SURE, 1, False), (SURE, 2, True), (SURE, 4, True), (UNSURE, 4, False)],
)
def test_a_quantised_export_may_answer_otherwise_only_where_the_model_is_unsure(expected, turned, refused):
    expected = np.array(expected, np.float32)
    found = expected.copy()
    found[:turned] = np.roll(found[:turned], 1, axis=1)
    known = FORMATS["litert_int8"]
    if not refused:
        assert export._compared(expected, found, known)[1] == 1 - turned / 4
        return
    with pytest.raises(BuildError, match=rf"at least 75% of 4 pictures .* Received: {1 - turned / 4:.0%}\..*Lite"):
        export._compared(expected, found, known)


def test_a_quantised_export_that_is_refused_leaves_nothing(drawn, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_run", lambda *_: np.eye(3, dtype=np.float32)[[2] * 6])
    model = tiny()
    model.layers[-1].set_weights([np.zeros((4, 3)), np.array([9.0, 0.0, 0.0])])
    with pytest.raises(BuildError, match=r"Received: 0%\. Nothing was written"):
        export_model(model, tmp_path / "m", "litert_dynamic", drawn)
    assert not list(tmp_path.iterdir())


def test_a_result_that_is_no_number_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(export, "_run", lambda *_: np.full((1, 3), np.nan, np.float32))
    with pytest.raises(BuildError, match="Expected finite probabilities"):
        export_model(tiny(), tmp_path / "m", "litert", np.zeros((1, 16, 16, 3), np.float32))
    assert not list(tmp_path.iterdir())


def test_what_a_format_can_not_express_is_told_in_one_line(tmp_path, capfd):
    model = tiny(keras.layers.Resizing(20, 20, antialias=True))
    with pytest.raises(BuildError, match=r"Expected a model that LiteRT can hold and run\. Received: Conv") as caught:
        export_model(model, tmp_path / "m", "litert", np.zeros((1, 16, 16, 3), np.float32))
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr().err == ""


def test_an_open_size_without_resizing_is_refused():
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs))
    with pytest.raises(BuildError, match="with a Resizing layer in front, or of a fixed input size"):
        behind_resizing(model)


@pytest.mark.parametrize(("name", "make"), [("m_saved_model", "write_text"), ("m.tflite", "mkdir")])
def test_a_file_is_not_replaced_by_a_folder_nor_a_folder_by_a_file(name, make, tmp_path):
    getattr(tmp_path / name, make)(*(["x"] if make == "write_text" else []))
    kind = "saved_model" if make == "write_text" else "litert"
    with pytest.raises(BuildError, match=r"or free\. Received: a (file|folder)"):
        export_model(tiny(), tmp_path / "m", kind, np.zeros((1, 16, 16, 3), np.float32))
    assert (tmp_path / name).exists()


def test_a_folder_of_other_things_is_not_replaced(tmp_path):
    (tmp_path / "m_saved_model").mkdir()
    (tmp_path / "m_saved_model" / "thesis.txt").write_text("mine")
    with pytest.raises(BuildError, match="a folder with other things in it"):
        export_model(tiny(), tmp_path / "m", "saved_model", np.zeros((1, 16, 16, 3), np.float32))
    assert (tmp_path / "m_saved_model" / "thesis.txt").read_text() == "mine"


def test_a_folder_that_is_not_there_is_told(tmp_path):
    with pytest.raises(BuildError, match=r"Expected to write .* Received: No such file or directory"):
        export_model(tiny(), tmp_path / "no" / "m", "litert", np.zeros((1, 16, 16, 3), np.float32))


@pytest.mark.parametrize("shape", [(0, 16, 16, 3), (16, 16, 3), (2, 16, 16, 1)])
def test_pictures_of_another_make_are_refused(shape, tmp_path):
    with pytest.raises(BuildError, match=r"Expected pictures of shape \(n, height, width, 3\)"):
        export_model(tiny(), tmp_path / "m", "litert", np.zeros(shape, np.float32))


def test_running_what_is_not_there_or_broken_is_told_in_one_line(tmp_path):
    with pytest.raises(BuildError, match=r"Received: nothing there\. Export it first"):
        run_exported(tmp_path / "m.tflite", "litert", np.zeros((1, 16, 16, 3), np.float32))
    (tmp_path / "m.tflite").write_bytes(b"no model")
    with pytest.raises(BuildError, match=r"Expected a model that LiteRT can hold and run\. Received: "):
        run_exported(tmp_path / "m.tflite", "litert", np.zeros((1, 16, 16, 3), np.float32))


def test_an_unknown_format_is_told_with_the_nearest():
    with pytest.raises(BuildError, match=r"one of saved_model, .* Received: 'litert8'\. Nearest: litert"):
        check_format("litert8")


@pytest.mark.parametrize("missing", FORMATS["onnx"].packages)
def test_a_missing_package_is_told_with_what_to_install(missing, monkeypatch):
    real = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else real(name) or True)
    with pytest.raises(BuildError, match=rf"no {missing}\. Install with: pip install 'netgraft\[onnx\]'"):
        check_format("onnx")


def test_an_old_keras_is_told(monkeypatch):
    from builders.export import formats as export_formats

    monkeypatch.setattr(export_formats.metadata, "version", lambda _: "3.12.1")
    with pytest.raises(BuildError, match=r"Expected Keras 3\.13 or later for LiteRT\. Received: 3\.12\.1"):
        check_format("litert")
    check_format("saved_model")


def test_formats_are_checked_without_tensorflow():
    code = (
        "import sys\nfrom builders.export.export import FORMATS, check_format\n"
        "from builders.errors import BuildError\n"
        "for name in FORMATS:\n"
        "    try: check_format(name)\n"
        "    except BuildError as error: print(error)\n"
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
