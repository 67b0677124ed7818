"""`recommend predict` on real pictures: the same answers as the model's own, foreign pictures flagged, errors told."""

import csv
import io
import json
import os
import shutil
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from click.testing import CliRunner
from pictures import digit, write_images
from PIL import Image

from probes.errors import ProbeError
from probes.evaluation.out_of_distribution import fit_detector
from probes.images.decode import read_picture
from recommender import recommend
from recommender.atomic_files import write_model
from recommender.cli.recommend import main
from recommender.errors import RecommendError
from recommender.prediction.predict import predict
from recommender.prediction.detector_file import load_detector, write_detector as save_detector
from recommender.prediction.predictor import open_predictor

SIZE = (160, 120)
COMMAND = Path(sys.executable).with_name("recommend")


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """A folder with a model of temples and flowers, what lies beside it, and pictures to predict."""
    home = tmp_path_factory.mktemp("home")
    write_images(home / "data", {"temple": 30, "flower": 30}, size=SIZE)
    found = recommend(home / "data", scenario=1)
    model = found.build()
    write_model(model, found.to_dict(), home / "model.keras")
    pixels = np.stack([read_picture(path).pixels for path in sorted((home / "data").rglob("*.jpg"))])
    reading = keras.Model(model.inputs, model.layers[-1].input)
    save_detector(home / "model.features.npz", fit_detector(reading.predict(pixels, verbose=0)))
    write_images(home / "new", {"temple": 3, "flower": 3}, size=SIZE, seed=9)
    (home / "odd").mkdir()
    digit(np.random.default_rng(0), SIZE).save(home / "odd" / "digit.png")
    (home / "odd" / "bro ken.jpg").write_bytes((home / "new/temple/0000.jpg").read_bytes()[:900])
    Image.open(home / "new/flower/0000.jpg").save(home / "odd" / "flower.png")
    return home


@pytest.fixture(scope="module")
def model(home):
    return keras.models.load_model(home / "model.keras", compile=False)


@pytest.fixture(scope="module")
def predictor(home):
    return open_predictor(home / "model.keras")


@pytest.fixture(autouse=True)
def _opened_once(monkeypatch, home, predictor):
    """Opening the model takes seconds: commands get the one that is open; copies of the file are opened for real."""

    def opened(path, *, trust=False):
        return predictor if path == home / "model.keras" else open_predictor(path, trust=trust)

    monkeypatch.setattr("recommender.prediction.predictor.open_predictor", opened)


def copied(home, folder):
    for suffix in (".keras", ".json", ".features.npz"):
        shutil.copy(home / f"model{suffix}", folder)
    return folder / "model.keras"


def rows(text):
    return list(csv.DictReader(io.StringIO(text)))


def test_the_current_folder_is_no_model(invoke):
    run = invoke("predict", ".", "x.jpg")
    assert (run.returncode, run.stderr) == (
        1,
        "Error: Expected a .keras file. Received: '.', a folder. Name the file.\n",
    )


def test_probabilities_are_those_of_the_model_itself(home, model, predictor):
    found = list(predict(predictor, home / "new", top=2))
    assert len(found) == 6
    for prediction in found:
        own = model.predict(read_picture(home / prediction.file).pixels[None], verbose=0)[0]
        names = dict(zip(["flower", "temple"], own, strict=True))
        assert prediction.classes == tuple(sorted(names, key=names.get, reverse=True))
        assert prediction.probabilities == pytest.approx(sorted(own, reverse=True), abs=1e-4)
        assert prediction.classes[0] in prediction.file
        assert prediction.foreign is False


def test_pictures_are_turned_upright_as_in_measuring(home, tmp_path, model, predictor):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.open(home / "new/temple/0001.jpg").rotate(90, expand=True).save(tmp_path / "lying.png", exif=exif)
    (found,) = predict(predictor, tmp_path / "lying.png")
    own = model.predict(np.asarray(Image.open(home / "new/temple/0001.jpg"))[None], verbose=0)[0]
    assert found.probabilities[0] == pytest.approx(own.max(), abs=1e-4)


def test_a_table_tells_class_probability_and_what_is_foreign(home, tmp_path, invoke):
    run = invoke("predict", copied(home, tmp_path), home / "new", home / "odd/digit.png")
    lines = run.stdout.splitlines()
    assert (run.returncode, run.stderr) == (0, "")
    assert lines[0].split() == ["file", "class", "probability", "note"]
    assert len(lines) == 8
    assert [line.endswith("unlike the training pictures") for line in lines] == [False] * 7 + [True]
    assert "flower" in lines[1]
    assert "%" in lines[1]


def test_a_broken_picture_is_told_and_the_others_are_predicted(home, invoke):
    run = invoke("predict", home / "model.keras", home / "odd", home / "none.jpg")
    assert run.returncode == 1
    assert len(run.stdout.splitlines()) == 3
    broken, missing, total = run.stderr.splitlines()
    assert broken.startswith(f"{home}/odd/bro ken.jpg: ")
    assert missing == f"{home}/none.jpg: no such file"
    assert total == "Error: 2 of 4 pictures could not be read."


def test_csv_has_a_row_a_picture(home, invoke):
    run = invoke("predict", home / "model.keras", home / "odd", "--csv", "--top", "9")
    broken, strange, flower = rows(run.stdout)
    assert list(flower) == ["file", "class", "probability", "class_2", "probability_2", "foreign", "distance", "error"]
    assert flower["class"] == "flower"
    assert float(flower["probability"]) + float(flower["probability_2"]) == pytest.approx(1, abs=1e-5)
    assert [row["foreign"] for row in (broken, strange, flower)] == ["", "true", "false"]
    assert float(strange["distance"]) > 2 * float(flower["distance"])
    assert [bool(row["error"]) for row in (broken, strange, flower)] == [True, False, False]


def test_json_is_one_array_of_objects(home, invoke):
    run = invoke("predict", home / "model.keras", home / "odd", "--json")
    broken, strange, flower = json.loads(run.stdout)
    assert broken["error"]
    assert (broken["classes"], broken["foreign"], broken["distance"]) == ([], None, None)
    assert strange["foreign"] is True
    assert [one["name"] for one in flower["classes"]] == ["flower"]
    assert 0.5 < flower["classes"][0]["probability"] <= 1
    assert set(flower) == {"file", "classes", "foreign", "distance", "error"}


def test_paths_come_from_standard_input(home):
    listed = f"{home}/new/temple/0000.jpg\n\n{home}/odd/bro ken.jpg\r\n{home}/new/flower\n"
    run = CliRunner().invoke(main, ["predict", str(home / "model.keras"), "-", "--csv"], input=listed)
    assert run.exit_code == 1
    assert [row["file"].removeprefix(f"{home}/") for row in rows(run.stdout)] == [
        "new/temple/0000.jpg",
        "odd/bro ken.jpg",
        *(f"new/flower/000{number}.jpg" for number in range(3)),
    ]


def test_more_pictures_than_are_held_keep_their_order(home, predictor):
    names = [home / "odd/bro ken.jpg", home / "odd/digit.png", *[home / "new/temple/0001.jpg"] * 5] * 20
    asked = []

    def stream():
        for name in names:
            asked.append(name)
            yield name

    found = predict(predictor, stream())
    first = next(found)
    assert first.error is not None
    assert len(asked) < len(names)  # the rest is not read yet
    rest = list(found)
    assert [prediction.file for prediction in (first, *rest)] == [str(name) for name in names]
    assert {prediction.foreign for prediction in rest} == {None, True, False}


def test_a_model_alone_predicts_numbers_and_says_what_is_missing(home, tmp_path, invoke):
    shutil.copy(home / "model.keras", tmp_path / "alone.keras")
    run = invoke("predict", tmp_path / "alone.keras", home / "new/temple/0000.jpg", "--csv")
    assert run.returncode == 0
    assert [line.split(" with")[0] for line in run.stderr.splitlines()] == [
        "No alone.json",
        "No alone.features.npz",
    ]
    (row,) = rows(run.stdout)
    assert (row["class"], row["foreign"], row["distance"]) == ("1", "", "")


def test_a_model_in_memory_predicts_as_its_file_does(home, model, predictor):
    path = home / "new/flower/0001.jpg"
    (from_file,) = predict(predictor, path)
    (from_memory,) = predict(model, [path], class_names=["flower", "temple"], detector=predictor.detector)
    assert from_memory.classes == from_file.classes
    assert from_memory.distance == pytest.approx(from_file.distance, rel=1e-3)


def test_names_that_are_no_unicode_are_predicted(home, tmp_path, invoke):
    name = os.fsencode(tmp_path) + b"/gr\xfcn.jpg"
    try:
        shutil.copy(os.fsencode(home / "new/flower/0000.jpg"), name)
    except OSError:
        pytest.skip("this file system wants names in Unicode")
    run = invoke("predict", home / "model.keras", os.fsdecode(name), tmp_path, "--json")
    assert run.returncode == 0
    assert [one["file"] for one in json.loads(run.stdout)] == [f"{tmp_path}/gr\\xfcn.jpg"] * 2
    assert run.stderr == ""


@pytest.mark.skipif(sys.platform == "win32", reason="needs a shell with pipes")
def test_a_closed_pipe_ends_it_without_a_traceback(home, run_python):
    code = (
        "import subprocess, sys\n"
        "command = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE, stderr=subprocess.PIPE)\n"
        "command.stdout.close()\n"
        "print(command.wait(), command.stderr.read().decode())"
    )
    run = run_python(code, COMMAND, "predict", home / "model.keras", home / "new")
    assert run.stdout.split() == ["1"]


def test_an_interruption_is_told_in_one_line(home, invoke, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("recommender.prediction.predict.predict", interrupted)
    run = invoke("predict", home / "model.keras", home / "new", "--json")
    assert run.returncode == 1
    assert run.stderr == "Error: Interrupted. Not all pictures were predicted.\n"
    assert json.loads(run.stdout) == []


def test_no_picture_at_all_is_an_error(home, tmp_path, invoke):
    (tmp_path / "notes.txt").write_text("nothing")
    run = invoke("predict", home / "model.keras", tmp_path)
    assert run.returncode == 1
    assert run.stderr == "Error: Expected pictures, or folders that hold some. Received: none. Check the paths.\n"


@pytest.mark.parametrize("name", ["odd/digit.png", "odd", "none.keras", "model.json", "broken.keras"])
def test_what_is_no_model_is_refused_in_one_line(name, home, invoke):
    (home / "broken.keras").write_bytes((home / "model.keras").read_bytes()[:5000])
    run = invoke("predict", home / name, home / "new")
    assert run.returncode == 1
    assert run.stdout == ""
    assert run.stderr.count("\n") == 1
    assert run.stderr.startswith("Error: Expected")


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
def test_models_of_another_kind_are_refused(kind, home, tmp_path, invoke):
    OTHERS[kind]().save(tmp_path / "other.keras")
    run = invoke("predict", tmp_path / "other.keras", home / "new", "--quiet")
    assert run.returncode == 1
    assert run.stderr.startswith("Error: Expected")
    assert run.stderr.count("\n") == 1


def test_code_in_a_model_runs_only_when_it_is_trusted(home, tmp_path, invoke):
    keras.utils.clear_session()
    inputs = keras.Input((32, 32, 3))
    x = keras.layers.Flatten()(keras.layers.Lambda(lambda x: x / 255, output_shape=(32, 32, 3))(inputs))
    keras.Model(inputs, keras.layers.Dense(2, activation="softmax")(x)).save(tmp_path / "code.keras")
    refused = invoke("predict", tmp_path / "code.keras", home / "new", "--quiet")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "--trust" in refused.stderr
    trusted = invoke("predict", tmp_path / "code.keras", home / "new", "--quiet", "--trust")
    assert trusted.returncode == 0
    assert len(trusted.stdout.splitlines()) == 7


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"dataset": 5}', '{"dataset": {"class_counts": {"one": 1}}}', '{"dataset": null}']
)
def test_a_description_that_does_not_fit_is_refused(text, home, tmp_path, invoke):
    path = copied(home, tmp_path)
    path.with_suffix(".json").write_text(text)
    run = invoke("predict", path, home / "new")
    assert run.returncode == 1
    assert run.stderr.startswith("Error: Expected")
    assert ".json" in run.stderr


def test_a_detector_of_another_model_is_refused(home, tmp_path, invoke):
    path = copied(home, tmp_path)
    save_detector(path.with_suffix(".features.npz"), fit_detector(np.random.default_rng(0).random((20, 7))))
    run = invoke("predict", path, home / "new")
    assert run.returncode == 1
    assert "Received: one of 7 features" in run.stderr


def test_a_broken_detector_is_refused_and_pickles_are_never_read(tmp_path):
    path = tmp_path / "model.features.npz"
    save_detector(path, fit_detector(np.random.default_rng(0).random((20, 7))))
    whole = path.read_bytes()
    np.savez(tmp_path / "pickle.npz", mean=np.array([print], dtype=object))
    others = [b"", b"x", whole[:300], whole[:-40], whole[:200] + whole[260:]]
    for content in (*others, (tmp_path / "pickle.npz").read_bytes()):
        path.write_bytes(content)
        with pytest.raises(RecommendError, match=r"Expected .* to be a detector of out-of-distribution pictures"):
            load_detector(path)


def test_a_detector_comes_back_from_its_file(tmp_path):
    features = np.random.default_rng(0).random((30, 9))
    detector = fit_detector(features)
    save_detector(tmp_path / "m.features.npz", detector)
    assert np.array_equal(load_detector(tmp_path / "m.features.npz").distance(features), detector.distance(features))
    with pytest.raises(ProbeError):
        detector.distance(features[:, 1:])


@pytest.mark.parametrize("top", [0, -1])
def test_no_classes_at_all_are_refused(top, predictor):
    with pytest.raises(RecommendError, match="Expected `top` to be at least 1"):
        predict(predictor, [], top=top)


def test_pictures_that_are_no_paths_are_refused(predictor):
    with pytest.raises(RecommendError, match=r"Expected paths of pictures or folders\. Received: a ndarray"):
        list(predict(predictor, [np.zeros((4, 4, 3), np.uint8)]))


def test_help_and_wrong_arguments_come_without_tensorflow(run_python):
    code = (
        "import sys\nfrom click.testing import CliRunner\nfrom recommender.cli.predict import predict\n"
        "given = ['-h'], ['m.keras'], ['m', 'x', '--csv', '--json']\n"
        "runs = [CliRunner().invoke(predict, arguments) for arguments in given]\n"
        "print([run.exit_code for run in runs], 'tensorflow' in sys.modules, 'MODEL' in runs[0].stdout)"
    )
    assert run_python(code).stdout == "[0, 2, 2] False True\n"
