"""Exports of real networks and of networks of other kinds, and the properties that single formats promise."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import saved_modules
from sklearn.datasets import load_sample_images

from builders.backbones.load import load_backbone, open_backbone
from builders.backbones.loaded import bare_backbone, scaled
from builders.backbones.pixel_scaling import SCALINGS
from builders.build import build_model
from builders.export.export import export_model
from builders.export.formats import FORMATS
from builders.strategy import HeadSpec, Strategy

SIZE = 96
CUT = "block3b_add"
pytestmark = pytest.mark.slow


def strategy(cut, size, *, pooling="average"):
    return Strategy(
        backbone="network",
        input_size=size,
        cut=cut,
        cut_depth=0.5,
        freeze=None,
        freeze_depth=0.0,
        train_batch_norm=True,
        learning_rate=1e-3,
        head=HeadSpec(levels=(cut,), classes=3, pooling=pooling),
    )


@pytest.fixture(scope="module")
def pictures():
    """Crops of photographs, none of them of the model's size, of shape (12, 110, 140, 3)."""
    photographs, rng = load_sample_images().images, np.random.default_rng(0)
    places = [(rng.integers(300), rng.integers(450)) for _ in range(12)]
    crops = [photographs[n % 2][top : top + 110, left : left + 140] for n, (top, left) in enumerate(places)]
    return np.array(crops, np.float32)


@pytest.fixture(scope="module")
def model(pictures):
    """The first blocks of EfficientNet-Lite0, with a head that separates the two photographs."""
    built = build_model(strategy(CUT, SIZE), backbone=load_backbone("efficientnet_lite0", SIZE))
    features = keras.Model(built.input, built.layers[-2].output).predict(pictures, verbose=0)
    apart = features[::2].mean(0) - features[1::2].mean(0)
    kernel = np.stack([apart, -apart, 0 * apart], axis=1) * (3 / (apart @ apart))
    built.layers[-1].set_weights([kernel, -(features.mean(0) @ kernel)])
    return built


@pytest.fixture(scope="module")
def exported(model, pictures, tmp_path_factory):
    folder = tmp_path_factory.mktemp("exports")
    for name in ("onnx", "onnxruntime", "tf2onnx"):
        pytest.importorskip(name)
    return {name: export_model(model, folder / "m", name, pictures) for name in FORMATS}


def test_every_format_agrees_on_photographs(exported):
    for name, found in exported.items():
        assert found.same_class == 1
        assert found.largest_difference < (0.1 if FORMATS[name].quantised else 1e-5)


def test_quantised_files_are_smaller_and_differ_more(exported):
    plain, dynamic, integer = (exported[name] for name in ("litert", "litert_dynamic", "litert_int8"))
    assert max(dynamic.size_bytes, integer.size_bytes) < 0.7 * plain.size_bytes
    assert plain.largest_difference < integer.largest_difference


def test_the_integer_file_computes_in_integers_alone(exported):
    import tensorflow as tf

    with pytest.warns(UserWarning, match="deprecated"):
        interpreter = tf.lite.Interpreter(str(exported["litert_int8"].path))
    interpreter.allocate_tensors()
    edges = [interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]]
    floats = [each for each in interpreter.get_tensor_details() if each["dtype"] == np.float32]
    assert [each["index"] for each in floats] == edges


def test_a_saved_model_runs_without_netgraft_and_keras(exported, model, pictures, tmp_path):
    np.save(tmp_path / "x.npy", pictures)
    code = (
        "import sys\n"
        "for name in ('recommender', 'builders', 'probes', 'keras'): sys.modules[name] = None\n"
        "import tensorflow as tf, numpy\n"
        "served = tf.saved_model.load(sys.argv[1])\n"
        "numpy.save('y.npy', served.serve(tf.constant(numpy.load('x.npy'))).numpy())\n"
    )
    call = [sys.executable, "-c", code, str(exported["saved_model"].path)]
    subprocess.run(call, check=True, cwd=tmp_path, capture_output=True)
    assert np.load(tmp_path / "y.npy") == pytest.approx(model.predict(pictures, verbose=0), abs=1e-5)


def test_an_onnx_file_takes_batches_and_is_valid(exported):
    import onnx

    found = onnx.load(exported["onnx"].path)
    onnx.checker.check_model(found)
    (taken,) = found.graph.input
    assert taken.name == "image"
    assert [side.dim_value for side in taken.type.tensor_type.shape.dim] == [0, SIZE, SIZE, 3]


NETWORKS = {
    "a Keras 3 SavedModel": ("keras 3", 3, "average"),
    "a plain SavedModel": ("tf.Module", 3, "average"),
    "grey pictures": (None, 1, "average"),
    "four channels and attention": (None, 4, "attention"),
}


@pytest.mark.parametrize("name", ["litert_int8", "onnx"])
@pytest.mark.parametrize("network", NETWORKS)
def test_other_networks_are_exported_too(network, name, tmp_path):
    for package in FORMATS[name].packages:
        pytest.importorskip(package)
    keras.utils.set_random_seed(0)
    writer, channels, pooling = NETWORKS[network]
    if writer is None:
        inputs = keras.Input((16, 16, channels))
        x = keras.layers.Conv2D(8, 3, 2, activation="relu", name="first")(inputs)
        outputs = keras.layers.Conv2D(8, 3, name="second")(x)
        backbone = scaled(bare_backbone(keras.Model(inputs, outputs), "network", 16), SCALINGS["-1..1"])
    else:
        saved_modules.WRITERS[writer](tmp_path / "module")
        backbone = open_backbone(tmp_path / "module", scaling="-1..1").at(16)
    model = build_model(strategy(backbone.points[-1].layer, 16, pooling=pooling), backbone=backbone)
    assert writer is None or any(type(layer).__name__ == "GraphSegment" for layer in model.layers)
    noise = np.random.default_rng(0).integers(0, 256, (6, 20, 24, channels)).astype(np.float32)
    assert export_model(model, tmp_path / "m", name, noise).largest_difference < 0.05
