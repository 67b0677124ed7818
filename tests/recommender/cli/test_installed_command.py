"""The installed command, in processes of its own, with the real weights of the default backbone."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from pictures import photograph, png, write_images
from PIL import Image

COMMAND = Path(sys.executable).with_name("recommend")
BAD_FILES = {
    "flower/bomb.png": "a decompression bomb",
    "flower/empty.jpg": "empty file",
    "temple/text.jpg": "not a picture in a known format",
    "temple/truncated.jpg": "truncated",
}


def with_sigint():
    """Ctrl-C has its default effect in the child, even where a parent ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def start(*arguments, **options):
    return subprocess.Popen(
        [COMMAND, *arguments], stdout=subprocess.PIPE, encoding="utf-8", preexec_fn=with_sigint, **options
    )


@pytest.fixture(scope="module")
def trained(run_cli, tmp_path_factory):
    """One run that trains, builds and exports, on pictures of which some are bad: (the JSON, the model's path)."""
    folder = write_images(tmp_path_factory.mktemp("bad") / "data", {"digit": 6, "flower": 6, "temple": 6}, seed=1)
    whole = (folder / "temple" / "0000.jpg").read_bytes()
    (folder / "flower" / "bomb.png").write_bytes(png(30_000, 30_000))
    (folder / "flower" / "empty.jpg").touch()
    (folder / "temple" / "text.jpg").write_text("this is a temple")
    (folder / "temple" / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "temple" / "notes.txt").touch()
    (folder / "drafts").mkdir()
    target = tmp_path_factory.mktemp("here") / "model.keras"
    options = ("--input-size", "96", "--json", "--build", "model.keras", "--export", "saved_model")
    done = run_cli("fit", folder, *options, cwd=target.parent, timeout=900)
    assert (done.returncode, done.stderr) == (0, "")  # nothing is said of bad files on standard error
    return json.loads(done.stdout), target


def test_training_evaluates_the_model_and_the_export_agrees_with_it(trained):
    description, target = trained
    assert description["fit"]["chosen"] == "linear_probe"
    assert 0.5 < description["fit"]["accuracy"] <= 1
    (export,) = description["exports"]
    assert export["largest_difference"] < 1e-3
    assert {path.suffix for path in target.parent.iterdir()} == {".keras", ".json", ".txt", ".md", ".npz", ""}


def test_plain_keras_loads_the_model_without_netgraft(trained, tmp_path):
    _, target = trained
    code = f"""
import sys
for name in ("recommender", "builders", "probes"):
    sys.modules[name] = None
import keras, numpy as np
model = keras.models.load_model({str(target)!r})
print(*model.predict(np.zeros((2, 50, 60, 3)), verbose=0).sum(1))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert [float(total) for total in done.stdout.split()] == pytest.approx([1, 1], abs=1e-5)


def test_bad_files_are_named_with_their_reasons(trained):
    unreadable = trained[0]["dataset"]["unreadable"]
    assert sorted(unreadable) == sorted(BAD_FILES)
    assert all(reason in unreadable[name] for name, reason in BAD_FILES.items())


def test_bad_files_raise_warnings(trained):
    warnings = trained[0]["warnings"]
    for name, reason in BAD_FILES.items():
        assert any(f"the first {name!r}: " in warning and reason in warning for warning in warnings)
    assert any(warning.startswith("'drafts': ") for warning in warnings)
    assert any("1 .txt" in warning for warning in warnings)


def test_bad_files_are_not_counted(trained):
    dataset = trained[0]["dataset"]
    assert dataset["class_counts"] == {"digit": 6, "flower": 6, "temple": 6}
    assert (dataset["n_images"], dataset["n_sampled"], dataset["ignored"]) == (18, 18, {".txt": 1})
    assert dataset["n_checked"] == 22


@pytest.mark.parametrize("module", ["rich_click", "recommender.cli.options", "numpy", "tensorflow"])
def test_ctrl_c_while_something_is_imported_ends_in_one_line(module, run_python, two_classes, tmp_path):
    code = f"""
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
class Interrupt:
    def find_spec(name, path=None, target=None):
        if name == "{module}":
            os.write(2, b"native log\\n" if name == "tensorflow" else b"")
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Interrupt)
from recommender.cli import run
run()
"""
    done = run_python(code, two_classes, "--build", "model.keras", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (130, "")
    assert done.stderr == "Error: Interrupted. Nothing was written.\n"
    assert not list(tmp_path.iterdir())


def read_all(terminal, until=None):
    """What a program writes to a terminal, up to some text or to the end."""
    said = b""
    while until is None or until not in said:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # on Linux: the other end is closed
            break
        if not part:
            break
        said += part
    return said


@pytest.mark.slow
def test_ctrl_c_at_work_ends_in_one_line_and_leaves_nothing_behind(tmp_path, tiny_file):
    pty = pytest.importorskip("pty")
    folder = write_images(tmp_path / "data", {"flower": 300, "temple": 300}, size=(320, 240))
    here = tmp_path / "here"
    here.mkdir()
    ours, theirs = pty.openpty()
    process = start(folder, "--backbone", tiny_file, "--build", "m.keras", cwd=here, stderr=theirs)
    os.close(theirs)
    try:
        said = read_all(ours, until=b"Running the network")
        process.send_signal(signal.SIGINT)
        said += read_all(ours)
        output, _ = process.communicate(timeout=120)
    finally:
        process.kill()
        os.close(ours)
    plain = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", said).decode().replace("\r\n", "\n")
    assert (process.returncode, output) == (130, "")
    assert plain.endswith("Error: Interrupted. Nothing was written.\n")
    assert (plain.count("Error"), plain.count("Traceback")) == (1, 0)
    assert not list(here.iterdir())


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("data") / "pictures", {"flower": 15, "temple": 15})


def kept(state):
    """Whether there is a state that a training can be resumed from."""
    return any(state.rglob("state.npz"))


def wait_for_state(process, state):
    until = time.monotonic() + 240
    while not kept(state) and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)


def weights(target):
    """Every array in a .keras file but the optimiser's."""
    import h5py

    found = []
    with zipfile.ZipFile(target) as archive, archive.open("model.weights.h5") as inner, h5py.File(inner) as file:
        file["layers"].visititems(lambda _, item: found.append(item[()]) if isinstance(item, h5py.Dataset) else None)
    return found


@pytest.mark.slow
def test_a_training_that_is_killed_resumes_and_ends_as_an_unbroken_one(folder, tiny_file, tmp_path):
    def training(name):
        environment = {**os.environ, "NETGRAFT_DATA": str(tmp_path / name)}
        options = ("--backbone", tiny_file, "--scenario", "3", "--steps", "12", "--resume")
        target = tmp_path / f"{name}.keras"
        return start("fit", folder, *options, "--build", target, stderr=subprocess.DEVNULL, env=environment)

    whole = training("unbroken")
    whole.communicate()
    assert whole.returncode == 0
    assert not kept(tmp_path / "unbroken")  # a finished training leaves nothing to resume
    target = tmp_path / "broken.keras"
    for _ in range(2):  # as soon as there is a state, and a moment later
        process = training("broken")
        wait_for_state(process, tmp_path / "broken")
        time.sleep(random.random() / 2)
        process.kill()
        process.communicate()
        assert not target.exists() or weights(target)
    last = training("broken")
    last.communicate()
    assert last.returncode == 0
    assert json.loads(target.with_suffix(".json").read_text(encoding="utf-8"))["fit"]["resumed_at"] is not None
    for one, other in zip(weights(tmp_path / "unbroken.keras"), weights(target), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.slow
def test_ctrl_c_while_training_writes_the_best_model_so_far(folder, tmp_path):
    target, state = tmp_path / "model.keras", tmp_path / "state"
    options = ("--input-size", "32", "--scenario", "3", "--steps", "600", "--build", target)
    environment = {**os.environ, "NETGRAFT_DATA": str(state)}
    process = start("fit", folder, *options, stderr=subprocess.PIPE, env=environment)
    wait_for_state(process, state)
    process.send_signal(signal.SIGINT)
    output, errors = process.communicate(timeout=240)
    assert process.returncode == 130, errors
    assert "interrupted (--resume continues)" in " ".join(output.split())
    assert weights(target)


@pytest.mark.slow
def test_pictures_of_every_kind_are_measured(tmp_path, invoke, tiny_file):
    rng = np.random.default_rng(0)
    for source, name in enumerate(("temple", "flower")):
        below = tmp_path / "data" / name
        below.mkdir(parents=True)
        photo, other = (photograph(rng, (64, 48), source) for _ in range(2))
        see_through = photo.convert("RGBA")
        see_through.putalpha(128)
        photo.convert("L").save(below / "grey.jpg")
        photo.convert("1").save(below / "bits.png")
        photo.quantize(16).save(below / "palette.png", transparency=3)
        photo.convert("CMYK").save(below / "inks.jpg")
        Image.fromarray(np.asarray(photo.convert("L")).astype(np.uint16) * 257).save(below / "wide.png")
        see_through.save(below / "alpha.PNG")
        photo.save(below / "animated.gif", save_all=True, append_images=[other])
        photo.save(below / "animated.webp", save_all=True, append_images=[other])
    done = invoke(tmp_path / "data", "--json", "--backbone", tiny_file)
    assert (done.returncode, done.stderr) == (0, "")
    dataset = json.loads(done.stdout)["dataset"]
    assert (dataset["n_sampled"], dataset["unreadable"]) == (16, {})
    assert dataset["grey_share"] == pytest.approx(3 / 8)


@pytest.mark.slow
def test_the_same_seed_gives_the_same_answer_apart_from_the_seconds(folder, invoke):
    first, second = (json.loads(invoke(folder, "--json", "--input-size", "32").stdout) for _ in range(2))
    assert first.pop("seconds").keys() == second.pop("seconds").keys()
    assert first == second


@pytest.mark.slow
def test_the_smallest_sample_spans_two_classes_and_gives_an_answer(folder, run_cli):
    """On a terminal that knows only ASCII."""
    done = run_cli(folder, "--max-images", "2", env={**os.environ, "PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.isascii()
    assert "2 measured" in " ".join(done.stdout.split())


@pytest.mark.slow
def test_the_whole_way_on_real_pictures(shared_datasets, tmp_path, invoke):
    """Recommend, train, export, predict: twenty pictures of each of two flowers."""
    data = tmp_path / "flowers"
    for name in ("daisy", "dandelion"):
        (data / name).mkdir(parents=True)
        for path in sorted((shared_datasets / "flowers5" / name).iterdir())[:20]:
            (data / name / path.name).symlink_to(path)
    target = tmp_path / "flowers.keras"
    done = invoke("fit", data, "--input-size", "96", "--steps", "24", "--build", target, "--export", "litert")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "flowers.tflite").stat().st_size > 10**6
    seen = invoke("predict", target, next((data / "daisy").iterdir()), "--json")
    assert seen.returncode == 0, seen.stderr
    assert json.loads(seen.stdout)[0]["classes"][0]["name"] in {"daisy", "dandelion"}
