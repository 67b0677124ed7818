"""A model is written with all the files that go with it, and its exports."""

import json

import jsonschema
import keras
import numpy as np
import pytest
from paths import ROOT
from toy_export import KerasHDF5

from builders.errors import BuildError
from builders.export.formats import FORMATS
from probes.images.decode import read_picture
from recommender.errors import RecommendError
from recommender.prediction.predict import predict
from recommender.saving.bundle import detector_of, write_bundle

SCHEMA = json.loads((ROOT / "docs" / "recommendation.schema.json").read_text(encoding="utf-8"))


@pytest.fixture(autouse=True)
def _toy(monkeypatch):
    """A format that is written in no time."""
    monkeypatch.setitem(FORMATS, "h5", KerasHDF5())


@pytest.fixture(scope="module")
def model(tiny_found):
    return tiny_found.build()


@pytest.fixture(scope="module")
def result(tiny_found):
    """A training of which only the held-out images matter here."""
    from recommender.fit.result import FitResult

    held_out = tuple((name, label) for label, name in enumerate(["flower/0000.jpg", "temple/0000.jpg"]))
    return FitResult(
        model=None,
        plan=tiny_found.training,
        chosen="fine_tuned",
        judged_by="held-out part",
        held_out=held_out,
        seconds={},
        peak_memory=None,
    )


@pytest.fixture
def write(tiny_found, model, tmp_path):
    def write(**options):
        options = {"detector": None, **options}
        return write_bundle(tiny_found, model, tmp_path / "m.keras", tiny_found.to_dict(), **options)

    return write


@pytest.fixture
def detector(tiny_found):
    return detector_of(tiny_found)


def test_everything_is_written_and_predicts(write, detector, model, result, two_classes, tmp_path):
    written = write(detector=detector, result=result, exports=["h5"], command="recommend data --build m.keras")
    assert [path.name for path in written.paths] == [
        "m.keras",
        "m.json",
        "m.labels.txt",
        "m.md",
        "m.features.npz",
        "m.h5",
    ]
    assert {path.name for path in tmp_path.iterdir()} == {path.name for path in written.paths}
    document = json.loads((tmp_path / "m.json").read_text())
    jsonschema.validate(document, SCHEMA)
    assert (tmp_path / "m.labels.txt").read_text() == "flower\ntemple\n"
    card = (tmp_path / "m.md").read_text(encoding="utf-8")
    assert "recommend data --build m.keras" in card
    assert "| h5 | m.h5 |" in card
    (found,) = predict(tmp_path / "m.keras", two_classes / "flower/0000.jpg")
    own = model.predict(read_picture(two_classes / "flower/0000.jpg").pixels[None], verbose=0)[0]
    assert found.classes == (["flower", "temple"][own.argmax()],)
    assert found.out_of_distribution is False


def test_exports_are_judged_on_the_held_out_images(write, result, model, two_classes, tmp_path):
    (line,) = write(result=result, exports=["h5"]).lines
    (export,) = json.loads((tmp_path / "m.json").read_text())["exports"]
    pixels = [read_picture(two_classes / name).pixels for name, _ in result.held_out]
    own = model.predict(np.stack(pixels), verbose=0).argmax(1)
    assert export["accuracy"] == export["model_accuracy"] == (own == [0, 1]).mean()
    assert export["size_bytes"] == (tmp_path / "m.h5").stat().st_size
    assert line.startswith("m.h5: 0.")
    assert "on 2 held-out images" in line


def test_without_held_out_images_an_export_has_no_accuracy(write, tmp_path):
    (line,) = write(exports=["h5"]).lines
    (export,) = json.loads((tmp_path / "m.json").read_text())["exports"]
    assert (export["accuracy"], export["model_accuracy"]) == (None, None)
    assert "accuracy" not in line


@pytest.mark.parametrize("name", [*FORMATS, "h5"])
def test_an_export_of_an_older_model_is_reported_and_stays(name, write, tmp_path):
    target = tmp_path / f"m{FORMATS[name].suffix}"
    target.write_bytes(b"older")
    assert write().lines == (f"{target.name} is of an older model: export it again, or remove it.",)
    assert target.read_bytes() == b"older"


def test_the_detector_of_an_older_model_is_removed(write, detector, tmp_path):
    write(detector=detector)
    assert "m.features.npz" not in [path.name for path in write().paths]
    assert not (tmp_path / "m.features.npz").exists()


def failing(error):
    def fail(*_):
        raise error

    return fail


@pytest.mark.parametrize(
    ("error", "raised"), [(ValueError("no"), BuildError), (KeyboardInterrupt(), KeyboardInterrupt)]
)
def test_an_export_that_fails_leaves_the_model_written(error, raised, write, tmp_path, monkeypatch):
    monkeypatch.setattr(FORMATS["h5"], "write", failing(error))
    with pytest.raises(raised, match=r"m\.keras'?( is written|\.)"):
        write(exports=["h5"])
    assert {path.name for path in tmp_path.iterdir()} == {"m.keras", "m.json", "m.labels.txt", "m.md"}
    assert "exports" not in json.loads((tmp_path / "m.json").read_text())


def test_a_disk_that_fills_up_after_the_exports_is_reported(write, tmp_path, monkeypatch):
    from recommender.saving import bundle

    write_model, calls = bundle.files.write_model, []

    def once(*arguments):
        calls.append(arguments)
        if len(calls) > 1:
            raise RecommendError("Expected to write 'm'. Received: No space. Nothing was written.")
        return write_model(*arguments)

    monkeypatch.setattr(bundle.files, "write_model", once)
    with pytest.raises(RecommendError, match="their description does not name the exports"):
        write(exports=["h5"])
    assert (tmp_path / "m.h5").exists()


def test_a_detector_accepts_the_training_images(detector, model, two_classes):
    pixels = np.stack([read_picture(path).pixels for path in sorted(two_classes.rglob("*.jpg"))])
    features = keras.Model(model.inputs, model.layers[-1].input).predict(pixels, verbose=0)
    assert (detector.distance(features) <= detector.threshold).all()


def test_too_few_images_make_no_detector(tiny_found, monkeypatch):
    monkeypatch.setattr("recommender.fit.finish.FEWEST", 17)
    assert detector_of(tiny_found) is None
