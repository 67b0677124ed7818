"""Every format of exports passes the same checks: the file runs and agrees with the model, or it is not there."""

import importlib.util
import os
import shutil
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from toy_export import KerasHDF5

from builders.errors import BuildError
from builders.export import export
from builders.export.export import behind_resizing, export_model, run_exported
from builders.export.formats import FORMATS, check_format, resized, target_of

SIZE = 16
TOY = KerasHDF5()
EVERY_FORMAT = {**FORMATS, TOY.name: TOY}


def network(layer=lambda x: x):
    """Three classes of pictures of any size, as `build_model` makes it, with a layer behind the resizing."""
    inputs = keras.Input((None, None, 3))
    x = layer(keras.layers.Resizing(SIZE, SIZE, antialias=True)(inputs, training=False))
    x = keras.layers.Rescaling(1 / 127.5, -1)(x)
    x = keras.layers.Conv2D(8, 3, 2, activation="relu", kernel_initializer=keras.initializers.HeNormal(0))(x)
    x = keras.layers.GlobalAveragePooling2D()(x)
    kernel = keras.initializers.RandomNormal(stddev=3, seed=1)
    return keras.Model(inputs, keras.layers.Dense(3, activation="softmax", kernel_initializer=kernel)(x))


@pytest.fixture(scope="module")
def pictures():
    """Shades with noise, of shape (12, 20, 24, 3)."""
    rng = np.random.default_rng(0)
    shades = rng.integers(0, 256, (12, 1, 1, 3))
    return np.clip(shades + rng.normal(0, 20, (12, 20, 24, 3)), 0, 255).astype(np.float32)


@pytest.fixture(scope="module")
def model():
    return network()


@pytest.fixture(scope="module")
def _registered():
    """The toy is a format like all others."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(FORMATS, TOY.name, TOY)
        yield


@pytest.fixture(scope="module", params=EVERY_FORMAT)
def known(request, _registered):
    """Each format whose packages are there."""
    found = EVERY_FORMAT[request.param]
    missing = [package for package in found.packages if importlib.util.find_spec(package) is None]
    if missing:
        pytest.skip(f"needs the extra {found.extra}: no {', '.join(missing)}")
    return found


@pytest.fixture(scope="module")
def exported(known, model, pictures, tmp_path_factory):
    """The export, which is made once."""
    return export_model(model, tmp_path_factory.mktemp("exports") / "model.v1", known.name, pictures)


@pytest.fixture
def _remade(known, exported, monkeypatch):
    """Writing takes no time: the export that was made once is copied."""

    def copy(_, path, __):
        (shutil.copytree if exported.path.is_dir() else shutil.copy)(exported.path, path)

    monkeypatch.setattr(known, "write", copy)


@pytest.fixture
def older(known, _remade, model, pictures, tmp_path):
    """An export from before."""
    return export_model(model, tmp_path / "m", known.name, pictures)


def content(path):
    return {part.relative_to(path): part.read_bytes() for part in (path, *path.rglob("*")) if part.is_file()}


def test_the_target_is_the_stem_with_the_suffix_whatever_dots_are_in_it(known, exported):
    assert exported.path == target_of(exported.path.parent / "model.v1", known.name)
    assert exported.path.name == f"model.v1{known.suffix}"
    assert exported.path.is_dir() == bool(known.folder)


@pytest.mark.parametrize("size", [(20, 24), (SIZE, SIZE), (10, 33)])
def test_it_agrees_with_the_model_on_pictures_of_any_size(size, known, exported, model, pictures):
    other = resized(pictures, *size)
    expected = model.predict(other, verbose=0)
    assert np.ptp(expected, axis=0).max() > 0.3  # predictions that differ, or agreement would show nothing
    tolerance = 0.1 if known.quantised else 1e-3
    assert run_exported(exported.path, known.name, other) == pytest.approx(expected, abs=tolerance)


def test_layers_that_are_random_in_training_are_left_out(known, pictures, tmp_path):
    model = network(lambda x: keras.layers.GaussianNoise(0.5)(keras.layers.RandomFlip()(x)))
    exported = export_model(model, target_of(tmp_path / "m", known.name), known.name, pictures)
    assert exported.largest_difference < 0.1


def test_the_figures_of_the_export_are_right(known, exported, model, pictures):
    there, expected = run_exported(exported.path, known.name, pictures), model.predict(pictures, verbose=0)
    assert exported.largest_difference == pytest.approx(np.abs(there - expected).max(), abs=1e-6)
    assert exported.same_class == (there.argmax(1) == expected.argmax(1)).mean()
    assert exported.size_bytes == sum(map(len, content(exported.path).values()))
    assert ("of any size" in exported.takes) == known.any_size
    assert (f"{SIZE} × {SIZE} px" in exported.takes) == (not known.any_size)
    assert ("one picture at a time" in exported.takes) == known.one_by_one


def test_a_second_export_replaces_the_first_and_leaves_nothing_else(known, older, model, pictures, tmp_path):
    export_model(model, tmp_path / "m", known.name, pictures)
    assert list(tmp_path.iterdir()) == [older.path]
    mask = os.umask(0)
    os.umask(mask)
    assert older.path.stat().st_mode & 0o777 == (0o777 if known.folder else 0o666) & ~mask


def test_an_export_that_disagrees_leaves_the_older_one(known, older, model, pictures, tmp_path, monkeypatch):
    before = content(older.path)
    turned = np.roll(model.predict(pictures, verbose=0), 1, axis=1)
    monkeypatch.setattr(known, "run", lambda *_: turned)
    with pytest.raises(BuildError, match=r"Received: .*Nothing was written"):
        export_model(model, tmp_path / "m", known.name, pictures)
    assert content(tmp_path) == {older.path.relative_to(tmp_path) / name: data for name, data in before.items()}


@pytest.mark.usefixtures("_remade")
def test_probabilities_that_are_no_numbers_are_refused(known, model, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr(known, "run", lambda *_: np.full((12, 3), np.nan, np.float32))
    with pytest.raises(BuildError, match="Expected finite probabilities"):
        export_model(model, tmp_path / "m", known.name, pictures)
    assert not list(tmp_path.iterdir())


def test_a_full_disk_leaves_the_older_export(known, older, model, pictures, tmp_path, monkeypatch):
    before, replace = content(older.path), Path.replace

    def full(self, target):
        if self.parent != tmp_path and self.name == older.path.name:
            raise OSError(28, "No space left on device")
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(BuildError, match="Received: No space left on device"):
        export_model(model, tmp_path / "m", known.name, pictures)
    assert content(older.path) == before
    assert list(tmp_path.iterdir()) == [older.path]


@pytest.mark.parametrize("shape", [(0, SIZE, SIZE, 3), (SIZE, SIZE, 3), (2, SIZE, SIZE, 1)])
def test_pictures_of_another_shape_are_refused(shape, known, model, tmp_path):
    with pytest.raises(BuildError, match=r"Expected pictures of shape \(n, height, width, 3\)"):
        export_model(model, tmp_path / "m", known.name, np.zeros(shape, np.float32))


def test_what_is_no_older_export_is_not_replaced(known, model, pictures, tmp_path):
    target = target_of(tmp_path / "m", known.name)
    if known.folder:
        target.write_text("mine")
    else:
        target.mkdir()
    with pytest.raises(BuildError, match=rf"an older export\. Received: a {'file' if known.folder else 'folder'}"):
        export_model(model, tmp_path / "m", known.name, pictures)
    if known.folder:
        target.unlink()
        target.mkdir()
        (target / "thesis.txt").write_text("mine")
        with pytest.raises(BuildError, match="a folder with other things in it"):
            export_model(model, tmp_path / "m", known.name, pictures)
        assert (target / "thesis.txt").read_text() == "mine"
    assert list(tmp_path.iterdir()) == [target]


@pytest.mark.usefixtures("_remade")
def test_a_missing_folder_is_reported(known, model, pictures, tmp_path):
    with pytest.raises(BuildError, match=r"Expected to write .* Received: No such file or directory"):
        export_model(model, tmp_path / "no" / "m", known.name, pictures)


def test_a_missing_or_damaged_export_is_reported_in_one_line(known, pictures, tmp_path):
    path = target_of(tmp_path / "m", known.name)
    with pytest.raises(BuildError, match=r"Received: nothing there\. Export it first"):
        run_exported(path, known.name, pictures)
    if known.folder:
        path.mkdir()
    (path / known.folder if known.folder else path).write_bytes(b"no model")
    with pytest.raises(BuildError, match=r"Expected .* Received: [^\n]*\Z"):
        run_exported(path, known.name, pictures)


def test_what_a_converter_raises_is_reported_in_one_line(known, model, pictures, tmp_path, monkeypatch, capfd):
    def broken(*_):
        os.write(2, b"native log\n")
        raise RuntimeError("\nfirst line\nsecond line")

    monkeypatch.setattr(known, "write", broken)
    with pytest.raises(BuildError, match=rf"Expected a model that {known.title} .*RuntimeError: first line\. Choose"):
        export_model(model, tmp_path / "m", known.name, pictures)
    assert not list(tmp_path.iterdir())
    assert capfd.readouterr().err == ""


@pytest.mark.usefixtures("exported")
def test_the_model_is_unchanged(model):
    assert all(len(layer._inbound_nodes) == 1 for layer in model.layers)
    assert model.trainable_weights


def test_a_missing_package_is_reported_with_what_to_install(known, monkeypatch):
    for missing in known.packages:
        monkeypatch.setattr(importlib.util, "find_spec", lambda name, missing=missing: name != missing or None)
        with pytest.raises(BuildError, match=rf"no {missing}\. Install with: pip install 'netgraft\[{known.extra}\]'"):
            check_format(known.name)


def test_an_unknown_format_is_reported_with_the_nearest():
    with pytest.raises(BuildError, match=r"one of saved_model, .* Received: 'litert8'\. Nearest: litert"):
        check_format("litert8")


def test_nothing_is_written_to_the_terminal(model, pictures, tmp_path, capfd):
    model.predict(pictures, verbose=0)
    capfd.readouterr()  # what TensorFlow logs when it first computes is not of the export
    export_model(model, tmp_path / "m", "litert", pictures)
    assert capfd.readouterr() == ("", "")


def test_an_open_size_without_resizing_is_refused():
    inputs = keras.Input((None, None, 3))
    with pytest.raises(BuildError, match="with a Resizing layer in front, or of a fixed input size"):
        behind_resizing(keras.Model(inputs, keras.layers.GlobalAveragePooling2D()(inputs)))


def test_pillow_resizes_as_an_export_wants_it(pictures):
    from PIL import Image

    for picture, ours in zip(pictures, resized(pictures, 9, 13), strict=True):
        image = Image.fromarray(picture.astype(np.uint8))
        theirs = np.asarray(image.resize((13, 9), Image.Resampling.BILINEAR), np.float32)
        assert np.abs(theirs - ours).max() <= 2  # Pillow rounds, and the pixels were truncated


@given(turned=st.integers(0, 20), margin=st.floats(0.02, 0.5))
def test_a_quantised_export_may_differ_only_where_the_model_is_unsure(turned, margin):
    expected = np.tile(np.array([0.5 + margin / 2, 0.5 - margin / 2, 0], np.float32), (20, 1))
    found = expected.copy()
    found[:turned, :2] = found[:turned, 1::-1]
    known = FORMATS["litert_int8"]
    if turned > 5 and margin > 0.11:
        with pytest.raises(BuildError, match=rf"at least 75% of 20 pictures .* Received: {1 - turned / 20:.0%}\."):
            export._compared(expected, found, known)
    elif turned <= 5 or margin < 0.09:
        assert export._compared(expected, found, known)[1] == pytest.approx(1 - turned / 20)


def test_formats_are_checked_without_tensorflow():
    code = (
        "import sys, importlib.util; from builders.export.export import FORMATS, check_format\n"
        "[check_format(name) for name in FORMATS if name != 'onnx']\n"
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
