"""`recommend DATA --fit`, what it writes, and that a killed training goes on where it was."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from paths import ROOT
from pictures import write_images

COMMAND = Path(sys.executable).with_name("recommend")
SMALL = ("--input-size", "32", "--scenario", "3", "--steps", "12")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("data") / "my pictures", {"flower": 15, "temple": 15})


@pytest.fixture(scope="module")
def run(folder, invoke, tmp_path_factory):
    """One run with everything, its model and its output."""
    target = tmp_path_factory.mktemp("built") / "model.keras"
    return invoke(folder, *SMALL, "--fit", "--build", target, "--export", "saved_model"), target


def test_the_plan_comes_before_the_looks_and_the_result_after_them(run):
    done, _ = run
    assert done.returncode == 0, done.stderr
    words = ("Scenario 3", "fine tune", " of 12   held-out", "95% interval", "Wrote")
    places = [done.stdout.index(word) for word in words]
    assert places == sorted(places)
    assert "held out to judge" in done.stdout
    assert "Precision" in done.stdout


def test_beside_the_model_lies_what_describes_it(run):
    _, target = run
    written = {path.name for path in target.parent.iterdir()}
    assert written == {
        "model.keras",
        "model.json",
        "model.labels.txt",
        "model.md",
        "model.features.npz",
        "model_saved_model",
    }
    assert target.with_suffix(".labels.txt").read_text(encoding="utf-8").split() == ["flower", "temple"]
    card = target.with_suffix(".md").read_text(encoding="utf-8")
    assert "--fit" in card
    assert "Apache" in card


def test_the_json_beside_the_model_tells_of_training_and_exports(run):
    _, target = run
    told = json.loads(target.with_suffix(".json").read_text(encoding="utf-8"))
    assert told["fit"]["plan"]["schedule"]["steps"] == 12
    assert told["fit"]["history"][-1]["step"] == 12 or told["fit"]["stopped_early"]
    (export,) = told["exports"]
    assert export["format"] == "saved_model"
    assert export["largest_difference"] < 1e-3
    assert export["accuracy"] == pytest.approx(export["model_accuracy"])


def test_json_is_one_object_that_keeps_to_its_schema(folder, invoke):
    jsonschema = pytest.importorskip("jsonschema")
    done = invoke(folder, *SMALL, "--fit", "--json")
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    schema = ROOT / "docs" / "recommendation.schema.json"
    jsonschema.validate(told, json.loads(schema.read_text(encoding="utf-8")))
    assert told["fit"]["n_held_out"] == 6


def test_a_comparison_at_the_command_line_keeps_to_its_schema_too(folder, invoke, tmp_path):
    jsonschema = pytest.importorskip("jsonschema")
    target = tmp_path / "best.keras"
    plot = tmp_path / "rivals.svg"
    arguments = ("--input-size", "32", "--compare", "--budget", "5s", "--json", "--build", target, "--plot", plot)
    done = invoke(folder, *arguments)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    schema = ROOT / "docs" / "recommendation.schema.json"
    jsonschema.validate(told, json.loads(schema.read_text(encoding="utf-8")))
    assert told["comparison"]["preferred"] in [row["label"] for row in told["comparison"]["rows"]]
    assert plot.read_text(encoding="utf-8").lstrip().startswith("<?xml")
    assert weights(target)


def test_exports_of_an_older_model_are_told(folder, invoke, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"of an older model")
    done = invoke(folder, "--input-size", "32", "--build", tmp_path / "model.keras")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("model.onnx is of an older model")
    assert (tmp_path / "model.onnx").exists()


def test_quiet_is_one_line(folder, invoke):
    done = invoke(folder, *SMALL, "--fit", "--quiet")
    assert len(done.stdout.splitlines()) == 1
    assert "accuracy" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("--steps", "3"), "--steps to come with --fit"),
        (("--resume",), "--resume to come with --fit"),
        (("--fit", "--steps", "3", "--epochs", "1"), "--epochs or --steps"),
        (("--budget", "10m"), "--budget to come with --compare"),
        (("--compare", "--budget", "soon"), "as 90s, 10m or 1h"),
        (("--export", "litert"), "--export to come with --build"),
        (("--fit", "--check"), "--check"),
        (("--fit", "--epochs", "-1"), "--epochs"),
    ],
)
def test_options_that_do_not_go_together_are_usage_errors(folder, invoke, arguments, named):
    done = invoke(folder, *arguments)
    assert done.returncode == 2
    assert named in done.stderr


@pytest.mark.parametrize("epochs", ["nan", "inf"])
def test_endless_epochs_are_refused_in_one_line_before_anything_is_measured(folder, invoke, epochs):
    done = invoke(folder, "--fit", "--epochs", epochs)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "`epochs`" in done.stderr


def test_logs_that_can_not_be_written_are_refused_before_anything_is_measured(folder, invoke, tmp_path):
    (tmp_path / "file").write_text("in the way")
    done = invoke(folder, "--fit", "--logs", tmp_path / "file" / "logs")
    assert done.returncode == 1
    assert "`--logs`" in done.stderr


def test_a_folder_in_the_place_of_the_model_card_is_told_before_anything_is_measured(folder, invoke, tmp_path):
    (tmp_path / "m.md").mkdir()
    done = invoke(folder, "--build", tmp_path / "m.keras")
    assert done.returncode == 1
    assert "m.md" in done.stderr


def test_names_that_are_no_unicode_end_up_in_card_and_labels_as_escapes(invoke, tmp_path):
    data = os.fsencode(tmp_path) + b"/data"
    for number, name in enumerate((b"caf\xe9", b"tea")):
        write_images(Path(os.fsdecode(data)), {os.fsdecode(name): 6}, seed=number)
    target = tmp_path / "model.keras"
    done = invoke(os.fsdecode(data), "--input-size", "32", "--build", target)
    assert done.returncode == 0, done.stderr
    assert "caf" in target.with_suffix(".labels.txt").read_text(encoding="utf-8")


def weights(target):
    """Every array in a .keras file but the optimiser's."""
    h5py = pytest.importorskip("h5py")
    found = []
    with zipfile.ZipFile(target) as archive, archive.open("model.weights.h5") as inner, h5py.File(inner) as file:
        file["layers"].visititems(lambda _, item: found.append(item[()]) if isinstance(item, h5py.Dataset) else None)
    return found


def test_a_training_that_is_killed_goes_on_and_ends_as_an_unbroken_one(folder, tmp_path):
    def start(target, state):
        environment = {**os.environ, "NETGRAFT_DATA": str(tmp_path / state)}
        return subprocess.Popen(
            [COMMAND, folder, *SMALL, "--fit", "--resume", "--build", target],
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=environment,
            encoding="utf-8",
        )

    def kept(state):
        return any((tmp_path / state).rglob("state.npz"))

    unbroken, broken = tmp_path / "unbroken.keras", tmp_path / "broken.keras"
    whole = start(unbroken, "unbroken")
    whole.communicate()
    assert whole.returncode == 0
    assert not kept("unbroken")  # what is over leaves nothing
    for _ in range(2):  # as soon as there is a look, and a moment later
        process = start(broken, "broken")
        until = time.monotonic() + 120
        while not kept("broken") and process.poll() is None and time.monotonic() < until:
            time.sleep(0.02)
        time.sleep(random.random())
        process.send_signal(signal.SIGKILL)
        process.communicate()
        assert not broken.exists() or weights(broken)
    last = start(broken, "broken")
    last.communicate()
    assert last.returncode == 0
    told = json.loads(broken.with_suffix(".json").read_text(encoding="utf-8"))
    assert told["fit"]["resumed_at"] is not None
    for one, other in zip(weights(unbroken), weights(broken), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_ctrl_c_while_training_writes_the_best_model_so_far(folder, tmp_path):
    target = tmp_path / "model.keras"
    process = subprocess.Popen(
        [COMMAND, folder, *SMALL[:4], "--steps", "600", "--fit", "--build", target],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, "NETGRAFT_DATA": str(tmp_path / "state")},
    )
    until = time.monotonic() + 120
    while not any((tmp_path / "state").rglob("state.npz")) and time.monotonic() < until:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert "interrupted, the best until then" in output
    assert weights(target)


def test_the_whole_way_on_real_pictures(shared_datasets, tmp_path, invoke):
    """Recommend, train, export, predict: twenty pictures of each of two flowers."""
    data = tmp_path / "flowers"
    for name in sorted(path.name for path in (shared_datasets / "flowers5").iterdir() if path.is_dir())[:2]:
        (data / name).mkdir(parents=True)
        for path in sorted((shared_datasets / "flowers5" / name).iterdir())[:20]:
            (data / name / path.name).symlink_to(path)
    target = tmp_path / "flowers.keras"
    done = invoke(data, "--input-size", "96", "--fit", "--build", target, "--export", "litert")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "flowers.tflite").stat().st_size > 10**6
    seen = invoke("predict", target, next((data / "daisy").iterdir()), "--json")
    assert seen.returncode == 0, seen.stderr
    assert json.loads(seen.stdout)[0]["classes"][0]["name"] in {"daisy", "dandelion"}
