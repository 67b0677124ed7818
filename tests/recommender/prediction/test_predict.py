"""Predictions are those of the model itself; every file gets one, or an error; what does not fit is refused."""

import csv
import io
import json
import os
import shutil
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pytest
from data_forms import packed_webdataset, parquet_images, webdataset, write_items
from keras_free import run_without_keras
from pictures import write_images
from PIL import Image

from probes.evaluation.out_of_distribution import fit_detector
from probes.images.decode import read_picture
from recommender.atomic_files import write_model
from recommender.errors import RecommendError
from recommender.prediction.built_model import predictor_of
from recommender.prediction.detector_file import write_detector
from recommender.prediction.exported_model import needs_tensorflow
from recommender.prediction.predict import open_predictor, predict

SUFFIXES = (".keras", ".json", ".features.npz")


@pytest.fixture(scope="module")
def model(tiny_found):
    return tiny_found.build()


@pytest.fixture(scope="module")
def home(tiny_found, two_classes, model, tmp_path_factory):
    """A folder with a model, the files that go with it, and pictures to predict, one of them cut off."""
    home = tmp_path_factory.mktemp("home")
    write_model(model, tiny_found.to_dict(), home / "model.keras")
    pixels = np.stack([read_picture(path).pixels for path in sorted(two_classes.rglob("*.jpg"))])
    features = keras.Model(model.inputs, model.layers[-1].input).predict(pixels, verbose=0)
    write_detector(home / "model.features.npz", fit_detector([features]))
    write_images(home / "new", {"temple": 3, "flower": 3}, seed=9)
    (home / "odd").mkdir()
    (home / "odd" / "bro ken.jpg").write_bytes((home / "new/temple/0000.jpg").read_bytes()[:900])
    Image.open(home / "new/flower/0000.jpg").save(home / "odd" / "flower.png")
    (home / "odd" / "notes.txt").write_text("no picture")
    return home


@pytest.fixture(scope="module")
def predictor(home):
    return open_predictor(home / "model.keras")


@pytest.fixture
def _opened_once(monkeypatch, predictor):
    """Opening the model takes seconds: commands get the one that is open."""
    monkeypatch.setattr("recommender.prediction.predict.open_predictor", lambda *_, **__: predictor)


@pytest.fixture
def copied(home, tmp_path):
    for suffix in SUFFIXES:
        shutil.copy(home / f"model{suffix}", tmp_path)
    return tmp_path / "model.keras"


def expected(model, path):
    return model.predict(read_picture(Path(path)).pixels[None], verbose=0)[0]


# --- what is predicted


def test_probabilities_are_those_of_the_model_itself(home, model, predictor):
    found = list(predict(predictor, home / "new", top=2))
    assert len(found) == 6
    for prediction in found:
        own = dict(zip(["flower", "temple"], expected(model, prediction.file), strict=True))
        assert prediction.classes == tuple(sorted(own, key=own.get, reverse=True))
        assert prediction.probabilities == pytest.approx(sorted(own.values(), reverse=True), abs=1e-4)


def test_a_picture_is_out_of_distribution_beyond_the_threshold_of_the_detector(home, model, predictor):
    features = keras.Model(model.inputs, model.layers[-1].input)
    for prediction in predict(predictor, [home / "new", home / "odd/flower.png"]):
        row = features.predict(read_picture(Path(prediction.file)).pixels[None], verbose=0)
        assert prediction.distance == pytest.approx(predictor.detector.distance(row)[0], rel=1e-3)
        assert prediction.out_of_distribution == (prediction.distance > predictor.detector.threshold)


def test_pictures_are_turned_upright_as_in_measuring(home, tmp_path, model, predictor):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(home / "new/temple/0001.jpg").rotate(90, expand=True).save(tmp_path / "lying.png", exif=exif)
    (found,) = predict(predictor, tmp_path / "lying.png")
    assert found.probabilities[0] == pytest.approx(expected(model, home / "new/temple/0001.jpg").max(), abs=1e-4)


def test_more_pictures_than_are_held_keep_their_order(home, predictor):
    names = [home / "odd/bro ken.jpg", home / "odd/flower.png", *[home / "new/temple/0001.jpg"] * 5] * 20
    asked = []

    def stream():
        for name in names:
            asked.append(name)
            yield name

    found = predict(predictor, stream())
    first = next(found)
    assert first.error is not None
    assert (first.classes, first.out_of_distribution, first.distance) == ((), None, None)
    assert len(asked) < len(names)  # the rest is not read yet
    assert [prediction.file for prediction in (first, *found)] == [str(name) for name in names]


@pytest.mark.parametrize("form", [webdataset, packed_webdataset, parquet_images], ids=lambda form: form.__name__)
def test_pictures_in_shards_are_predicted_as_files_are(form, predictor, tmp_path):
    items = write_items(tmp_path / "items", {"train": 4})
    plain = sorted(one.probabilities for one in predict(predictor, [item.path for item in items]))
    (tmp_path / "shards").mkdir()
    data, _ = form(items, tmp_path / "shards")
    found = list(predict(predictor, data))
    np.testing.assert_allclose(sorted(one.probabilities for one in found), plain, atol=1e-6)
    assert len({one.file for one in found}) == len(items)
    (again,) = predict(predictor, found[-1].file)  # by its name
    assert again.classes == found[-1].classes


def test_what_is_not_there_has_an_error_of_its_own(predictor, tmp_path):
    webdataset(write_items(tmp_path / "items", {"train": 4}), tmp_path)
    shard = min(tmp_path.glob("*.tar"))
    other, gone = f"{shard}/another.png", f"{tmp_path}/gone.tar/000000.png"
    pattern = f"{tmp_path}/{{train-0000,train-0009}}.tar"
    found = list(predict(predictor, [f"{shard}/000000.png", other, gone, pattern]))
    assert found[0].classes
    errors = {one.file: one.error for one in found if one.error}
    assert list(errors) == [other, gone, pattern]
    assert "missing from their set: 1" in errors[pattern]


def test_a_picture_at_an_address_needs_no_suffix(home, predictor):
    [found] = predict(predictor, f"file://{shutil.copy(home / 'new/temple/0000.jpg', home / 'plain')}")
    assert found.classes


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_manifest_names_pictures_beside_it(suffix, home, predictor):
    names = ["new/temple/0000.jpg", "new/flower/0000.jpg"]
    table, manifest = pd.DataFrame({"file": [*names, None]}), home / f"table{suffix}"
    table.to_parquet(manifest) if suffix == ".parquet" else table.to_csv(manifest, index=False)
    *found, last = predict(predictor, manifest, columns={"path": "file", "image": "pixels"})
    assert [one.file for one in found] == [str(home / name) for name in names]
    assert [one.classes for one in found] == [one.classes for one in predict(predictor, [home / n for n in names])]
    assert last.error is not None
    assert last.error.startswith("rows without a path: 1")


def test_a_damaged_shard_costs_no_more_than_its_pictures(predictor, tmp_path):
    webdataset(write_items(tmp_path / "items", {"train": 4}), tmp_path)
    first, second = sorted(tmp_path.glob("*.tar"))
    whole = [one.file for one in predict(predictor, first)]
    first.write_bytes(first.read_bytes()[: first.stat().st_size // 2])
    (tmp_path / "none.tar").write_text("no tar")
    (tmp_path / "none.csv").write_text("label\nant\n")
    given = [first, tmp_path / "none.tar", tmp_path / "gone.tar", tmp_path / "none.csv", second]
    found = list(predict(predictor, given))
    assert {one.file for one in found if one.classes} < {*whole, *(one.file for one in predict(predictor, second))}
    errors = {Path(one.file).name: one.error for one in found if one.error}
    assert list(errors) == [path.name for path in given[:-1]]
    assert "damaged after" in errors[first.name]
    assert "no tar file" in errors["none.tar"]
    assert "no such file" in errors["gone.tar"].lower()
    assert "path" in errors["none.csv"]


def test_a_model_in_memory_predicts_as_its_file_does(home, model, predictor):
    path = home / "new/flower/0001.jpg"
    (from_file,) = predict(predictor, path)
    (from_memory,) = predict(model, [path], class_names=["flower", "temple"], detector=predictor.detector)
    assert from_memory.classes == from_file.classes
    assert from_memory.distance == pytest.approx(from_file.distance, rel=1e-3)


def test_a_model_alone_predicts_numbers_and_notes_what_is_missing(home, tmp_path):
    shutil.copy(home / "model.keras", tmp_path / "alone.keras")
    predictor = open_predictor(tmp_path / "alone.keras")
    assert [note.split(" with")[0] for note in predictor.notes] == ["No alone.json", "No alone.features.npz"]
    (found,) = predict(predictor, home / "new/temple/0000.jpg")
    assert found.classes[0] in ("0", "1")
    assert (found.out_of_distribution, found.distance) == (None, None)


def test_a_folder_that_can_not_be_listed_is_reported(tmp_path, predictor, monkeypatch):
    def refuse(folder):
        raise PermissionError(13, "Permission denied", folder)
        yield

    monkeypatch.setattr("recommender.prediction.pictures.files_below", refuse)
    (found,) = predict(predictor, tmp_path)
    assert found.error == "the folder can't be listed: permission denied"


# --- at the command line


@pytest.mark.usefixtures("_opened_once")
def test_csv_has_a_row_a_picture(home, invoke):
    run = invoke("predict", home / "model.keras", home / "odd", "--csv", "--top", "9")
    assert run.returncode == 1
    broken, flower = csv.DictReader(io.StringIO(run.stdout))
    assert list(flower) == [
        "file",
        "class",
        "probability",
        "class_2",
        "probability_2",
        "out_of_distribution",
        "distance",
        "error",
    ]
    assert float(flower["probability"]) + float(flower["probability_2"]) == pytest.approx(1, abs=1e-5)
    assert [row["out_of_distribution"] in ("true", "false") for row in (broken, flower)] == [False, True]
    assert [bool(row["error"]) for row in (broken, flower)] == [True, False]


@pytest.mark.usefixtures("_opened_once")
def test_json_is_one_array_of_objects(home, invoke):
    run = invoke("predict", home / "model.keras", home / "odd", "--json")
    broken, flower = json.loads(run.stdout)
    assert broken["error"]
    assert (broken["classes"], broken["out_of_distribution"], broken["distance"]) == ([], None, None)
    assert 0.5 <= flower["classes"][0]["probability"] <= 1
    assert set(flower) == {"file", "classes", "out_of_distribution", "distance", "error"}


@pytest.mark.usefixtures("_opened_once")
def test_json_lines_are_an_object_a_picture(home, invoke):
    run = invoke("predict", home / "model.keras", home / "odd", "--json-lines")
    array = invoke("predict", home / "model.keras", home / "odd", "--json")
    assert [json.loads(line) for line in run.stdout.splitlines()] == json.loads(array.stdout)


def test_two_forms_of_output_are_a_usage_error(home, invoke):
    assert invoke("predict", home / "model.keras", home / "odd", "--json", "--csv").returncode == 2


@pytest.mark.usefixtures("_opened_once")
def test_names_that_are_no_unicode_are_predicted(home, tmp_path, invoke):
    name = os.fsencode(tmp_path) + b"/gr\xfcn.jpg"
    try:
        shutil.copy(os.fsencode(home / "new/flower/0000.jpg"), name)
    except OSError:
        pytest.skip("this file system wants names in Unicode")
    run = invoke("predict", home / "model.keras", os.fsdecode(name), tmp_path, "--json")
    assert run.returncode == 0
    assert [one["file"] for one in json.loads(run.stdout)] == [f"{tmp_path}/gr\\xfcn.jpg"] * 2


# --- what is refused


def test_no_picture_at_all_is_an_error(tmp_path, predictor):
    (tmp_path / "notes.txt").write_text("nothing")
    with pytest.raises(RecommendError, match=r"folders that hold some\. Received: none"):
        list(predict(predictor, tmp_path))


def test_no_classes_at_all_are_refused(predictor):
    with pytest.raises(RecommendError, match="Expected `top` to be at least 1"):
        predict(predictor, [], top=0)


def test_pictures_that_are_no_paths_are_refused(predictor):
    with pytest.raises(RecommendError, match=r"Expected paths of pictures or folders\. Received: a ndarray"):
        list(predict(predictor, [np.zeros((4, 4, 3), np.uint8)]))
    with pytest.raises(RecommendError, match=r"Expected paths of pictures or folders\. Received: int"):
        predict(predictor, 3)


@pytest.mark.parametrize(
    ("name", "what"), [("none.keras", "no such file"), ("odd", "a folder"), ("no.onnx", "no such file")]
)
def test_a_model_that_is_not_there_is_refused_before_tensorflow_loads(name, what, home):
    with pytest.raises(RecommendError, match=rf"a folder with a SavedModel. Received: .*{name}', {what}"):
        needs_tensorflow(home / name)


@pytest.mark.parametrize("name", [".", "odd/flower.png", "odd", "none.keras", "model.json", "broken.keras"])
def test_what_is_no_model_is_refused_in_one_line(name, home, monkeypatch, invoke):
    (home / "broken.keras").write_bytes((home / "model.keras").read_bytes()[:5000])
    monkeypatch.chdir(home)
    run = invoke("predict", name, home / "new")
    assert (run.returncode, run.stdout) == (1, "")
    assert run.stderr.startswith("Error: Expected")
    assert run.stderr.count("\n") == 1


def network(output, size=(None, None, 3), resized=32):
    inputs = keras.Input(size)
    x = keras.layers.Resizing(resized, resized, antialias=True)(inputs) if resized else inputs
    return keras.Model(inputs, output(keras.layers.Flatten()(x) if len(size) == 3 and resized else x))


OTHERS = {
    "logits": lambda: network(keras.layers.Dense(2)),
    "one number": lambda: network(keras.layers.Dense(1, activation="sigmoid")),
    "a picture": lambda: network(keras.layers.Reshape((32, 32, 3))),
    "two channels": lambda: network(keras.layers.Dense(2, activation="softmax"), size=(None, None, 2)),
    "no picture": lambda: network(keras.layers.Dense(2, activation="softmax"), size=(7,), resized=None),
    "no size": lambda: network(keras.layers.GlobalAveragePooling2D(), resized=None),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_models_of_another_kind_are_refused(kind, home):
    with pytest.raises(RecommendError, match=r"\AExpected .*\Z"):
        list(predict(OTHERS[kind](), home / "new"))


def test_code_in_a_model_runs_only_when_it_is_trusted(home, tmp_path, invoke):
    keras.utils.clear_session()
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Flatten()(keras.layers.Lambda(lambda x: x / 255, output_shape=(32, 32, 3))(inputs))
    keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x)).save(tmp_path / "code.keras")
    refused = invoke("predict", tmp_path / "code.keras", home / "new", "--quiet")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "--trust" in refused.stderr
    assert len(list(predict(tmp_path / "code.keras", home / "new", trust=True))) == 6


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"dataset": 5}', '{"dataset": {"class_counts": {"one": 1}}}', '{"dataset": null}']
)
def test_a_description_that_does_not_fit_is_refused(text, copied, monkeypatch, model):
    monkeypatch.setattr("builders.backbones.keras_model.load_keras_file", lambda *_, **__: model)
    copied.with_suffix(".json").write_text(text)
    with pytest.raises(RecommendError, match=r"Expected .*\.json"):
        open_predictor(copied)


def test_a_detector_of_another_model_is_refused(model):
    detector = fit_detector([np.random.default_rng(0).random((20, 7))])
    with pytest.raises(RecommendError, match="Received: one of 7 features"):
        predictor_of(model, detector=detector)


# --- exported models


FULL_PRECISION = ("saved_model", "litert", "onnx")


@pytest.fixture(scope="module")
def exports(home, model):
    """Format -> the path of the export beside the model and its other files."""
    from builders.export.export import export_model

    pictures = np.stack([read_picture(path).pixels for path in sorted((home / "new").rglob("*.jpg"))])
    return {name: export_model(model, home / "model", name, pictures).path for name in (*FULL_PRECISION, "litert_int8")}


@pytest.fixture
def exported(exports):
    return exports["litert"]


@pytest.mark.parametrize("name", FULL_PRECISION)
def test_an_export_predicts_as_the_model_does(name, exports, home, predictor):
    opened = open_predictor(exports[name])
    assert opened.notes == ()
    files = [home / "new", home / "odd/flower.png"]
    for ours, theirs in zip(predict(opened, files, top=2), predict(predictor, files, top=2), strict=True):
        assert (ours.file, ours.classes, ours.error) == (theirs.file, theirs.classes, theirs.error)
        assert ours.out_of_distribution == theirs.out_of_distribution
        assert ours.probabilities == pytest.approx(theirs.probabilities, abs=1e-3)
        assert ours.distance == pytest.approx(theirs.distance, rel=1e-3)


def test_an_export_in_8_bits_predicts_without_the_detector(exports, home):
    opened = open_predictor(exports["litert_int8"])
    assert [note.split(":")[0] for note in opened.notes] == [
        "The file computes in 8 bits, or does not end in a dense layer"
    ]
    assert {found.out_of_distribution for found in predict(opened, home / "new")} == {None}


@pytest.mark.parametrize("name", ["litert", "onnx"])
def test_an_export_predicts_without_tensorflow(name, exports, home, run_python):
    assert "temple" in run_without_keras(run_python, "predict", exports[name], home / "new")


def test_an_export_with_another_models_detector_predicts_without_it(exports, home, tmp_path):
    shutil.copy(exports["litert"], tmp_path / "model.tflite")
    shutil.copy(home / "model.json", tmp_path)
    write_detector(tmp_path / "model.features.npz", fit_detector([np.random.default_rng(0).random((20, 7))]))
    opened = open_predictor(tmp_path / "model.tflite")
    assert opened.detector is None
    assert "for 7 features" in opened.notes[0]


def test_a_saved_model_without_its_description_is_refused(exports, tmp_path):
    shutil.copytree(exports["saved_model"], tmp_path / "model_saved_model")
    with pytest.raises(RecommendError, match=r"Expected model\.json next to .* Received: no such file"):
        open_predictor(tmp_path / "model_saved_model")


def test_without_its_packages_an_onnx_file_says_what_to_install(exports, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(RecommendError, match=r"pip install 'netgraft\[onnx\]'\.$"):
        open_predictor(exports["onnx"])


@pytest.mark.parametrize("name", ["broken.onnx", "broken.tflite", "broken_saved_model"])
def test_a_broken_export_is_refused_in_one_line(name, exports, tmp_path):
    path = tmp_path / name
    if name.endswith("saved_model"):
        path.mkdir()
        (path / "saved_model.pb").write_bytes(b"no model")
    else:
        whole = exports["onnx" if name.endswith("onnx") else "litert"].read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(RecommendError, match=r"\AExpected '.*broken.*' to be a .*\. Export the model again\.\Z"):
        open_predictor(path)


def test_an_exported_model_without_its_description_numbers_the_classes(exported, tmp_path):
    shutil.copy(exported, tmp_path / "model.tflite")
    opened = open_predictor(tmp_path / "model.tflite")
    assert opened.classes == ("0", "1")
    assert any("by number" in note for note in opened.notes)


def test_the_suffix_of_an_exported_model_may_be_in_upper_case(exported, home, tmp_path):
    shutil.copy(exported, tmp_path / "model.TFLITE")
    shutil.copy(home / "model.json", tmp_path)
    assert open_predictor(tmp_path / "model.TFLITE").classes == ("flower", "temple")


@pytest.mark.parametrize(
    ("content", "expected"), [(b"", "LiteRT model"), (b"TFL3" * 100, "LiteRT model"), (None, "no such file")]
)
def test_a_file_that_is_no_exported_model_is_refused(tmp_path, content, expected):
    if content is not None:
        (tmp_path / "model.tflite").write_bytes(content)
    with pytest.raises(RecommendError, match=expected):
        open_predictor(tmp_path / "model.tflite")
