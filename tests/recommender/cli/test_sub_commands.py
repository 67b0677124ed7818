"""What every sub-command has in common: help, options, completion, older spellings, errors."""

import errno
import re
import shlex

import pytest
from click import UsageError
from click.shell_completion import BashComplete
from hypothesis import given, settings
from hypothesis import strategies as st

from probes.errors import ProbeError
from recommender.cli.recommend import OLDER_SPELLINGS, in_sub_commands, main

NAMES = tuple(main.commands)
DATA, NETWORK = (
    {"--column", "--max-images", "--seed"},
    {"--backbone", "--weights", "--pixels", "--trust", "--input-size"},
)
OUTPUT, MODEL = {"--json", "--quiet"}, {"--build", "--export", "--report", "--no-thumbnails"}
ANSWER = {"--scenario", "--verbose"}
MEASURED = NETWORK | {"--engine"}
OWN = {
    "recommend": DATA | MEASURED | ANSWER | MODEL | OUTPUT | {"--ray", "--trial"},
    "check": DATA | MEASURED | OUTPUT | {"--full", "--ray"},
    "fit": DATA
    | MEASURED
    | ANSWER
    | MODEL
    | OUTPUT
    | {"--epochs", "--steps", "--resume", "--logs", "--augment", "--force", "--ray", "--embeddings"},
    "compare": DATA | MEASURED | ANSWER | MODEL | OUTPUT | {"--budget", "--plot"},
    "predict": OUTPUT | {"--top", "--csv", "--json-lines", "--trust", "--column", "--output", "--ray", "--embeddings"},
    "backbones": set(),
    "cuts": {"--trust"},
    "reference": NETWORK | OUTPUT | {"--max-images", "--seed"},
}


@pytest.mark.parametrize("name", NAMES)
def test_help_lists_the_options_of_the_sub_command_and_no_others(invoke, name):
    done = invoke(name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert set(re.findall(r"^ *(?:-h +)?(--[a-z][a-z-]+)", done.stdout, re.MULTILINE)) == OWN[name] | {"--help"}


@pytest.mark.parametrize("name", NAMES)
def test_the_group_lists_the_sub_command_with_its_purpose(invoke, name):
    assert re.search(rf"^ +{name} +[A-Z]\w+ ", invoke("--help").stdout, re.MULTILINE)


def test_options_of_the_default_command_come_in_groups(invoke):
    text = invoke("data", "--help").stdout
    places = [text.index(f"\n{group}:") for group in ("Data", "Network", "Answer", "Output", "Options")]
    assert places == sorted(places)


def test_the_version_is_printed(invoke):
    assert re.fullmatch(r"netgraft \d+\.\d+\.\d+\n", invoke("--version").stdout)


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("data --check", "check data"),
        ("data --check=sample", "check data"),
        ("data --check=full --json", "check --full data --json"),
        ("--check data", "check data"),
        ("data --fit --build m.keras --export litert", "fit data --build m.keras --export litert"),
        ("data --compare --budget 5s --build m.keras", "compare data --budget 5s --build m.keras"),
        ("data --seed 1 --fit --resume", "fit data --seed 1 --resume"),
        ("--list-cuts vgg16 --trust", "cuts vgg16 --trust"),
        ("--list-cuts", "cuts"),
        ("--list-backbones", "backbones"),
        ("--make-reference images --backbone vgg16 --json", "reference images --backbone vgg16 --json"),
        ("--quiet --fit -- --check", "fit --quiet -- --check"),
    ],
)
def test_an_older_spelling_is_the_sub_command(older, newer):
    assert in_sub_commands(older.split()) == newer.split()


@pytest.mark.parametrize(("one", "other"), [("--check", "--fit"), ("--fit", "--compare")])
def test_two_older_spellings_exclude_each_other(one, other):
    with pytest.raises(UsageError, match="Run one after the other"):
        in_sub_commands(["data", one, other])


@settings(deadline=None, max_examples=50)
@given(st.lists(st.text()))
def test_arguments_without_an_older_spelling_stay_as_they_are(arguments):
    plain = [argument for argument in arguments if argument not in OLDER_SPELLINGS]
    assert in_sub_commands(plain) == plain


@settings(deadline=None, max_examples=50)
@given(st.lists(st.sampled_from([*OLDER_SPELLINGS, "data", "--json"])))
def test_what_follows_two_dashes_is_data(arguments):
    after = ["--", *arguments]
    assert in_sub_commands(after) == after


def test_an_option_of_another_sub_command_is_attributed_to_it(invoke):
    done = invoke("data", "--epochs", "3")
    assert done.returncode == 2
    assert "No such option '--epochs'. It is an option of: fit." in done.stderr


def test_an_older_spelling_names_the_new_one_on_standard_error(invoke):
    older, newer = invoke("--list-backbones"), invoke("backbones")
    assert older.stderr == "Deprecated: use `recommend backbones`.\n"
    assert (older.returncode, older.stdout, newer.stderr) == (0, newer.stdout, "")
    assert "efficientnet_lite0" in newer.stdout


COMPLETIONS = [
    ("recommend ch", "check"),
    ("recommend check data --fu", "--full"),
    ("recommend data --bui", "--build"),
    ("recommend --bui", "--build"),
    ("recommend data --fit --step", "--steps"),
    ("recommend fit data --pixels to", "torch"),
    ("recommend compare data --export on", "onnx"),
]


@pytest.mark.parametrize(("typed", "expected"), COMPLETIONS)
def test_the_shell_completes_names_options_and_values(typed, expected):
    *before, last = shlex.split(typed)
    found = BashComplete(main, {}, "recommend", "_RECOMMEND_COMPLETE").get_completions(before[1:], last)
    assert expected in {item.value for item in found}


@pytest.mark.parametrize("typed", [["pho"], ["check", "pho"], ["predict", "m.k"], ["data", "--backbone", "m.k"]])
def test_the_shell_completes_paths(typed):
    found = BashComplete(main, {}, "recommend", "_RECOMMEND_COMPLETE").get_completions(typed[:-1], typed[-1])
    assert [item.type for item in found] == ["file"]


WORK = {  # sub-command -> what does its work, and arguments
    "recommend": ("recommender.recommendation.recommend", ["data"]),
    "check": ("recommender.recommendation.recommend", ["check", "data"]),
    "fit": ("recommender.recommendation.recommend", ["fit", "data"]),
    "compare": ("recommender.recommendation.recommend", ["compare", "data"]),
    "predict": ("recommender.prediction.predict.open_predictor", ["predict", __file__, "x.jpg"]),  # any file
    "cuts": ("builders.backbones.load.structure", ["cuts", "vgg16"]),
    "reference": ("recommender.pipeline.make_reference.make_reference", ["reference", "images"]),
}


def failing(monkeypatch, name, error):
    def fail(*_arguments, **_options):
        raise error

    place, arguments = WORK[name]
    monkeypatch.setattr(place, fail)
    return arguments


@pytest.mark.parametrize("name", WORK)
def test_ctrl_c_ends_in_one_line_with_exit_code_130(invoke, monkeypatch, name):
    done = invoke(*failing(monkeypatch, name, KeyboardInterrupt()))
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (130, "", 1)
    assert done.stderr.startswith("Error: Interrupted. ")


@pytest.mark.parametrize("name", WORK)
def test_an_error_of_the_user_is_one_line_that_can_not_disturb_a_terminal(invoke, monkeypatch, name):
    done = invoke(*failing(monkeypatch, name, ProbeError("Expected this.\n\x1b[31mReceived that.")))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "Error: Expected this.\\n\\x1b[31mReceived that.\n"


@pytest.mark.parametrize("name", WORK)
def test_a_full_disk_is_one_line(invoke, monkeypatch, name):
    done = invoke(*failing(monkeypatch, name, OSError(errno.ENOSPC, "No space left on device")))
    assert (done.returncode, done.stdout.count("Traceback")) == (1, 0)
    assert done.stderr == (
        "Error: Expected room to write. Received: no space left on device. Make room, or write elsewhere.\n"
    )


@pytest.mark.parametrize("name", WORK)
def test_an_error_of_ours_shows_its_traceback(invoke, monkeypatch, name):
    with pytest.raises(ZeroDivisionError):
        invoke(*failing(monkeypatch, name, ZeroDivisionError()))
