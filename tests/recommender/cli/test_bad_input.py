"""What users get wrong: one line that says what was expected, before TensorFlow is imported and without a trace."""

import json
import os
import re
import urllib.error

import pytest
from pictures import write_images

from builders import BuildError

USER, USAGE = 1, 2  # exit codes
BAD = {  # what is wrong -> arguments, exit code, what the line says
    "no such folder": (["nowhere"], USER, "'nowhere', no such file or folder"),
    "no such folder, to train on": (["fit", "nowhere"], USER, "'nowhere', no such file or folder"),
    "no such folder, to compare on": (["compare", "nowhere"], USER, "'nowhere', no such file or folder"),
    "no such folder, to check": (["check", "nowhere"], USER, "'nowhere', no such file or folder"),
    "no such folder, for a reference": (["reference", "nowhere"], USER, "'nowhere'"),
    "a name that could disturb a terminal": (
        [os.fsdecode(b"caf\xe9\n\x1b[31m\xe2\x80\xa8")],
        USER,
        r"caf\udce9\n\x1b[31m\u2028', no such",
    ),
    "an older spelling with such a name": (["no\nwhere", "--fit"], USER, "no such file or folder"),
    "a file of no known form": (["cat.jpg"], USER, "cat.jpg', a file of another kind"),
    "an empty folder": (["empty"], USER, "Received: 'empty'"),
    "images without class folders": (["flat"], USER, "3 images and no class folders"),
    "a single class": (["single"], USER, "at least two classes"),
    "folders without images": (["notes"], USER, "(2 .txt)"),
    "an unknown backbone": (["data", "--backbone", "resnet51"], USER, "'resnet51'. Nearest: resnet50"),
    "an unknown backbone, to list cuts": (["cuts", "resnet51"], USER, "Nearest: resnet50"),
    "a backbone that is no file": (["data", "--backbone", "./none.keras"], USER, "'./none.keras', which is none"),
    "a backbone given twice": (
        ["data", "--backbone", "resnet50", "--backbone", "ResNet-50"],
        USER,
        "named once. Received: 'resnet50' twice",
    ),
    "weights for no network": (["data", "--backbone", "auto", "--weights", "w.h5"], USER, "Name the one that the file"),
    "an unknown one of several backbones": (
        ["data", "--backbone", "auto", "--backbone", "resnet51"],
        USER,
        "Nearest: resnet50",
    ),
    "several backbones for a reference": (
        ["reference", "nowhere", "--backbone", "auto"],
        USER,
        "Received: 'auto'. Nearest",
    ),
    "a model in a missing folder": (["data", "--build", "missing/m.keras"], USER, "whose folder does not exist"),
    "a model below a file": (["data", "--build", "file.txt/m.keras"], USER, "whose folder does not exist"),
    "a model of another suffix": (["data", "--build", "m.h5"], USER, "Give it the suffix .keras"),
    "a model without suffix": (["data", "--build", "m"], USER, "Give it the suffix .keras"),
    "a model in the place of a folder": (["data", "--build", "folder.keras"], USER, "a folder. Name a file"),
    "a description in the place of a folder": (["data", "--build", "taken.keras"], USER, "taken.json', a folder"),
    "a card in the place of a folder": (["data", "--build", "carded.keras"], USER, "carded.md', a folder"),
    "a model of too long a name": (["data", "--build", "x" * 300 + ".keras"], USER, "File name too long"),
    "logs below a file": (["fit", "data", "--logs", "file.txt/logs"], USER, "`--logs`"),
    "a plot of another kind": (["compare", "data", "--plot", "plot.txt"], USER, "`--plot`"),
    "a report of another kind": (["data", "--report", "report.pdf"], USER, "Give it the suffix .html"),
    "a report in a missing folder": (["data", "--report", "missing/r.html"], USER, "whose folder does not exist"),
    "a report in the place of a folder": (["fit", "data", "--report", "folder.html"], USER, "a folder. Name a file"),
    "endless epochs": (["fit", "data", "--epochs", "inf"], USER, "`epochs`"),
    "epochs that are no number": (["fit", "data", "--epochs", "nan"], USER, "`epochs`"),
    "no data": (["--json"], USAGE, "Missing argument 'DATA'"),
    "no data for a sub-command": (["check"], USAGE, "Missing argument 'DATA'"),
    "two data": (["data", "more"], USAGE, "unexpected extra argument (more)"),
    "no network to list cuts of": (["cuts"], USAGE, "Missing argument"),
    "no pictures to predict": (["predict", "m.keras"], USAGE, "Missing argument 'IMAGES...'"),
    "two forms of a prediction": (
        ["predict", "m", "x", "--csv", "--json"],
        USAGE,
        "one of --csv, --json and --json-lines",
    ),
    "a scenario above 4": (["data", "--scenario", "5"], USAGE, "'--scenario'"),
    "a scenario below 1": (["data", "--scenario", "0"], USAGE, "'--scenario'"),
    "a scenario and a trial": (["data", "--scenario", "2", "--trial"], USER, "`scenario` to be left to the trial"),
    "a trial of a comparison": (["compare", "data", "--trial"], USAGE, "It is an option of: recommend"),
    "too small a sample": (["data", "--max-images", "1"], USAGE, "'--max-images'"),
    "a sample that is no number": (["data", "--max-images", "many"], USAGE, "'--max-images'"),
    "too small an input": (["data", "--input-size", "8"], USAGE, "'--input-size'"),
    "too small a seed": (["data", "--seed", "-1"], USAGE, "'--seed'"),
    "too large a seed": (["data", "--seed", "4294967296"], USAGE, "'--seed'"),
    "an unknown pixel scaling": (["data", "--pixels", "0..7"], USAGE, "is not one of"),
    "a column without a name": (["data", "--column", "diagnosis"], USAGE, "Expected NAME=COLUMN"),
    "an input size that is none": (["data", "--input-size", "large"], USAGE, "is not a valid integer"),
    "a budget that is no time": (["compare", "data", "--budget", "soon"], USAGE, "as 90s, 10m or 1h"),
    "a budget of less than a second": (["compare", "data", "--budget", "0.5s"], USAGE, "at least 1 s"),
    "negative epochs": (["fit", "data", "--epochs", "-1"], USAGE, "'--epochs'"),
    "epochs and steps": (["fit", "data", "--steps", "3", "--epochs", "1"], USAGE, "--epochs or --steps"),
    "an unknown export": (["data", "--build", "m.keras", "--export", "gif"], USAGE, "is not one of"),
    "an export without a model": (["data", "--export", "litert"], USAGE, "--export to come with --build"),
    "an option without its value": (["data", "--build"], USAGE, "requires an argument"),
    "an unknown option": (["data", "--no-such-option"], USAGE, "No such option '--no-such-option'."),
    "steps without training": (["data", "--steps", "3"], USAGE, "No such option '--steps'"),
    "a budget for training": (["fit", "data", "--budget", "10m"], USAGE, "No such option '--budget'"),
    "a check and training": (["data", "--fit", "--check"], USAGE, "Run one after the other"),
    "a check of another kind": (["data", "--check=some"], USAGE, "No such option '--check'"),
    "data and a list of cuts": (["data", "--list-cuts", "vgg16"], USAGE, "unexpected extra argument (vgg16)"),
}
RUN_ALL = """
import json, sys
sys.modules["tensorflow"] = sys.modules["keras"] = sys.modules["sklearn"] = None  # importing them fails
from click.testing import CliRunner
from recommender.cli.recommend import main
runs = [CliRunner().invoke(main, arguments) for arguments in json.load(sys.stdin)]
print(json.dumps([(run.exit_code, run.stdout, run.stderr) for run in runs]))
"""


@pytest.fixture(scope="module")
def answers(run_python, tmp_path_factory):
    """What is wrong -> (exit code, standard output, standard error); all in one process, which has no TensorFlow."""
    here = tmp_path_factory.mktemp("here")
    for name in ("cat.jpg", "file.txt"):
        (here / name).touch()
    for name in ("empty", "folder.keras", "folder.html", "taken.json", "carded.md"):
        (here / name).mkdir()
    for name in ("cat", "dog"):
        (here / "notes" / name).mkdir(parents=True)
        (here / "notes" / name / "notes.txt").touch()
    write_images(here, {"flat": 3})
    write_images(here / "single", {"flower": 3})
    write_images(here / "data", {"flower": 2, "temple": 2})
    before = sorted(here.rglob("*"))
    asked = json.dumps([arguments for arguments, *_ in BAD.values()])
    done = run_python(RUN_ALL, input=asked, cwd=here)
    assert done.returncode == 0, done.stderr
    assert sorted(here.rglob("*")) == before  # a refusal leaves nothing behind
    return dict(zip(BAD, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("wrong", BAD)
def test_bad_input_is_refused_at_once_in_one_line(answers, wrong):
    _, expected, message = BAD[wrong]
    code, output, errors = answers[wrong]
    assert (code, output) == (expected, "")
    *before, line = errors.rstrip("\n").split("\n")
    assert re.match(r"Error: \S", line)
    assert line.isprintable()
    assert message in line
    if expected == USER:
        assert all(early.startswith("Deprecated: ") for early in before)


@pytest.mark.parametrize("backend", ["tensroflow", "torch"])
def test_a_backend_that_keras_can_not_load_is_refused_before_anything_is_measured(invoke, monkeypatch, backend):
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    monkeypatch.setenv("KERAS_BACKEND", backend)
    done = invoke("data")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (USER, "", 1)
    assert f"Received: '{backend}'. Unset it" in done.stderr


def test_without_arguments_there_is_help(invoke):
    done = invoke()
    assert done.returncode == 2
    assert "recommend DATA" in done.stderr


def test_a_folder_that_may_not_be_written_to_is_refused(invoke, two_classes, tmp_path, forbid):
    (tmp_path / "locked").mkdir()
    forbid(tmp_path / "locked")
    done = invoke(two_classes, "--build", tmp_path / "locked" / "model.keras")
    assert done.returncode == USER
    assert "Permission denied" in done.stderr


def test_a_class_without_a_readable_image_is_refused(invoke, tiny_file, tmp_path):
    folder = write_images(tmp_path / "data", {"flower": 4, "temple": 2})
    for path in (folder / "temple").iterdir():
        path.write_text("no picture")
    done = invoke("check", folder, "--backbone", tiny_file)
    assert (done.returncode, done.stderr.count("\n")) == (USER, 1)
    assert "2 files can't be read as images" in done.stdout
    for words in ("the class 'temple'", "none readable of 2", "not a picture in a known format"):
        assert words in done.stderr
    as_json = json.loads(invoke("check", folder, "--json", "--backbone", tiny_file).stdout)
    assert [finding["kind"] for finding in as_json["findings"]] == ["unreadable"]


def test_weights_that_can_not_be_fetched_name_the_file_and_its_place(monkeypatch, tmp_path):
    from keras.src.utils import file_utils

    from builders.backbones.load import open_backbone

    def unreachable(*_arguments, **_options):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr(file_utils, "urlretrieve", unreachable)
    monkeypatch.setattr(file_utils.config, "keras_home", lambda: str(tmp_path))
    with pytest.raises(
        BuildError, match=r"ImageNet weights of vgg16. Received: no file.*Fetch https://.*notop.h5 and put"
    ):
        open_backbone("vgg16").at(64)


def test_what_tensorflow_logs_is_shown_if_it_can_not_be_loaded(run_python, two_classes, tmp_path):
    code = """
import os, sys
class Broken:
    def find_spec(name, path=None, target=None):
        if name == "tensorflow":
            os.write(2, b"native log\\n")
            raise ImportError("broken installation")
sys.meta_path.insert(0, Broken)
from recommender.cli.recommend import main
main()
"""
    done = run_python(code, two_classes, "--build", "model.keras", cwd=tmp_path)  # measuring alone may not need it
    assert done.returncode == 1
    assert done.stderr.startswith("native log\n")
    assert "broken installation" in done.stderr
