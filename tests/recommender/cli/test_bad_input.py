"""What users get wrong and what their files do wrong: one clear line, or a warning beside the answer."""

import json
import os
import re
import signal
import subprocess
import sys
import unicodedata
import urllib.error

import numpy as np
import pytest
from conftest import COMMAND
from pictures import photograph, png, write_images
from PIL import Image

from builders import BuildError
from recommender import atomic_files as files
from recommender.errors import RecommendError

WITHOUT_TENSORFLOW = """
import sys
sys.modules["tensorflow"] = sys.modules["keras"] = None  # importing them fails
from recommender.cli.recommend import main
main(prog_name="recommend")
"""


def assert_refused(done):
    assert (done.returncode, done.stdout) == (1, "")
    assert re.fullmatch(r"Error: [^\n]+\n", done.stderr)
    assert "Traceback" not in done.stderr


@pytest.fixture
def here(tmp_path):
    """The folder in which the command is run; a refusal leaves it empty."""
    here = tmp_path / "here"
    here.mkdir()
    return here


@pytest.fixture
def refusal(run_cli, run_python, here):
    """Runs a command that must be refused at once, with and without TensorFlow, and returns what it says."""

    def refusal(*arguments):
        done = run_cli(*arguments, cwd=here)
        assert_refused(done)
        assert run_python(WITHOUT_TENSORFLOW, *arguments, cwd=here) == done
        assert not list(here.iterdir())
        return done.stderr

    return refusal


def test_a_missing_folder_is_refused(refusal):
    assert "'nowhere', no such file or folder" in refusal("nowhere")


def test_a_missing_folder_of_an_odd_name_is_refused_in_one_line(refusal):
    message = refusal(os.fsdecode(b"caf\xe9\n\x1b[31m\xe2\x80\xa8"))
    assert message.isascii()
    assert "\x1b" not in message


def test_a_file_of_no_known_form_is_refused(refusal, tmp_path):
    (tmp_path / "cat.jpg").touch()
    assert "cat.jpg', a file of another kind" in refusal(tmp_path / "cat.jpg")


def test_an_empty_folder_is_refused(refusal, tmp_path):
    (tmp_path / "data").mkdir()
    assert "an empty folder" in refusal(tmp_path / "data")


def test_images_without_class_folders_are_refused(refusal, tmp_path):
    assert "3 images and no class folders" in refusal(write_images(tmp_path, {"data": 3}) / "data")


def test_a_single_class_is_refused(refusal, tmp_path):
    assert "at least two classes" in refusal(write_images(tmp_path / "data", {"flower": 3}))


def test_folders_without_images_are_refused(refusal, tmp_path):
    for name in ("cat", "dog"):
        (tmp_path / "data" / name).mkdir(parents=True)
        (tmp_path / "data" / name / "notes.txt").touch()
    assert "2 sub-folders and no image in them (2 .txt)" in refusal(tmp_path / "data")


def test_an_unknown_backbone_is_refused_with_the_nearest_names(refusal, two_classes):
    message = refusal(two_classes, "--backbone", "EfficientNet-Lite_9")
    assert "'EfficientNet-Lite_9'. Nearest: efficientnet_lite" in message
    assert "Nearest: resnet50" in refusal(two_classes, "--backbone", "resnet51")


def test_a_backbone_that_is_no_file_is_refused(refusal, two_classes):
    assert "'./none.keras', which is none" in refusal(two_classes, "--backbone", "./none.keras")


def test_weights_that_can_not_be_fetched_tell_which_file_to_put_where(monkeypatch, tmp_path):
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


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "Expected one of DATA, --list-cuts and --make-reference. Received: none."),
        (("folder", "--list-cuts", "vgg16"), "Received: DATA and --list-cuts."),
        (("folder", "--pixels", "0..7"), "is not one of"),
    ],
)
def test_a_command_that_asks_for_nothing_or_for_two_things_is_a_usage_error(invoke, arguments, message):
    done = invoke(*arguments)
    assert done.returncode == 2
    assert message in done.stderr


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("missing/model.keras", "whose folder does not exist"),
        ("file.txt/model.keras", "whose folder does not exist"),
        ("model.h5", "Give it the suffix .keras"),
        ("model", "Give it the suffix .keras"),
        ("folder.keras", "a folder. Name a file"),
        ("taken.keras", "taken.json', a folder. Name a file"),
        ("x" * 300 + ".keras", "File name too long"),
    ],
)
def test_a_model_that_can_not_be_written_is_refused_before_anything_is_measured(
    refusal, two_classes, tmp_path, target, expected
):
    (tmp_path / "file.txt").touch()
    (tmp_path / "folder.keras").mkdir()
    (tmp_path / "taken.json").mkdir()
    assert expected in refusal(two_classes, "--build", tmp_path / target)


def test_a_folder_that_may_not_be_written_to_is_refused(refusal, two_classes, tmp_path, forbid):
    (tmp_path / "locked").mkdir()
    forbid(tmp_path / "locked")
    assert "Permission denied" in refusal(two_classes, "--build", tmp_path / "locked" / "model.keras")


def test_a_class_without_a_readable_image_is_refused(run_cli, here, tmp_path):
    folder = write_images(tmp_path / "data", {"flower": 4, "temple": 2})
    for path in (folder / "temple").iterdir():
        path.write_text("no picture")
    done = run_cli(folder, cwd=here)
    assert_refused(done)
    assert "the class 'temple'" in done.stderr
    assert "2 files, none readable" in done.stderr
    assert "not a picture in a known format" in done.stderr
    assert not list(here.iterdir())


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["data", "more"],
        ["data", "--scenario", "5"],
        ["data", "--scenario", "0"],
        ["data", "--max-images", "1"],
        ["data", "--max-images", "many"],
        ["data", "--input-size", "8"],
        ["data", "--seed", "-1"],
        ["data", "--seed", "4294967296"],
        ["data", "--build"],
        ["data", "--no-such-option"],
    ],
)
def test_usage_errors_exit_with_2_and_do_not_wait_for_tensorflow(run_python, here, arguments):
    done = run_python(WITHOUT_TENSORFLOW, *arguments, cwd=here)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines()[-1].startswith("Error: ")
    assert "Traceback" not in done.stderr
    assert not list(here.iterdir())


BAD_FILES = {
    "flower/bomb.png": "a decompression bomb",
    "flower/empty.jpg": "empty file",
    "temple/text.jpg": "not a picture in a known format",
    "temple/truncated.jpg": "truncated",
}


@pytest.fixture(scope="module")
def with_bad_files(tmp_path_factory):
    folder = write_images(tmp_path_factory.mktemp("survived") / "data", {"digit": 6, "flower": 6, "temple": 6}, seed=1)
    whole = (folder / "temple" / "0000.jpg").read_bytes()
    (folder / "flower" / "bomb.png").write_bytes(png(30_000, 30_000))
    (folder / "flower" / "empty.jpg").touch()
    (folder / "temple" / "text.jpg").write_text("this is a temple")
    (folder / "temple" / "truncated.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "temple" / "notes.txt").touch()
    (folder / "drafts").mkdir()
    return folder


@pytest.fixture(scope="module")
def survived(run_cli, with_bad_files, tmp_path_factory):
    """One run of the installed command over the folder with bad files."""
    here = tmp_path_factory.mktemp("here")
    done = run_cli(with_bad_files, "--json", cwd=here)
    assert not list(here.iterdir())
    return done


def test_bad_files_are_survived_in_silence_on_standard_error(survived):
    assert (survived.returncode, survived.stderr) == (0, "")


def test_bad_files_are_named_with_their_reasons(survived):
    unreadable = json.loads(survived.stdout)["dataset"]["unreadable"]
    assert sorted(unreadable) == sorted(BAD_FILES)
    assert all(reason in unreadable[name] for name, reason in BAD_FILES.items())


def test_bad_files_are_warned_of(survived):
    warnings = json.loads(survived.stdout)["warnings"]
    for name, reason in BAD_FILES.items():
        assert any(f"the first {name!r}: " in warning and reason in warning for warning in warnings)
    assert "'drafts': no images in it; not taken for a class." in warnings
    assert "Skipped, since they are not images: 1 .txt." in warnings


def test_bad_files_are_not_counted(survived):
    dataset = json.loads(survived.stdout)["dataset"]
    assert dataset["class_counts"] == {"digit": 6, "flower": 6, "temple": 6}
    assert (dataset["n_images"], dataset["n_sampled"], dataset["ignored"]) == (18, 18, {".txt": 1})
    assert dataset["n_checked"] == 22


def test_a_second_run_gives_the_same_answer_apart_from_the_seconds(survived, with_bad_files, invoke):
    first, second = json.loads(survived.stdout), json.loads(invoke(with_bad_files, "--json").stdout)
    assert first.pop("seconds").keys() == second.pop("seconds").keys()
    assert first == second


@pytest.fixture(scope="module")
def many_kinds(tmp_path_factory, invoke):
    """One run over two classes, each with one picture of every odd kind."""
    folder = tmp_path_factory.mktemp("kinds") / "data"
    rng = np.random.default_rng(0)
    for source, name in enumerate(("temple", "flower")):
        below = folder / name
        below.mkdir(parents=True)
        photo, other = (photograph(rng, (64, 48), source) for _ in range(2))
        wide = np.asarray(photo.convert("L")).astype(np.uint16) * 257
        see_through = photo.convert("RGBA")
        see_through.putalpha(128)
        photo.convert("L").save(below / "grey.jpg")
        photo.convert("1").save(below / "bits.png")
        photo.quantize(16).save(below / "palette.png", transparency=3)
        photo.convert("CMYK").save(below / "inks.jpg")
        Image.fromarray(wide).save(below / "wide.png")
        see_through.save(below / "alpha.PNG")
        photo.save(below / "animated.gif", save_all=True, append_images=[other])
        photo.save(below / "animated.webp", save_all=True, append_images=[other])
    return invoke(folder, "--json")


def test_pictures_of_every_kind_are_measured(many_kinds):
    assert (many_kinds.returncode, many_kinds.stderr) == (0, "")
    dataset = json.loads(many_kinds.stdout)["dataset"]
    assert (dataset["n_sampled"], dataset["unreadable"]) == (16, {})
    assert dataset["grey_share"] == pytest.approx(3 / 8)


ODD_NAMES = {  # how the page shows them
    "two words": "two words",
    "it's": "it's",
    'a "b"': 'a "b"',
    "new\nline": r"new\nline",
    "кошка": "кошка",
    "[red]x": "[red]x",
    "\x1b[31mred": r"\x1b[31mred",
    os.fsdecode(b"caf\xe9"): r"caf\xe9",
}
LINUX = pytest.mark.skipif(sys.platform != "linux", reason="other file systems refuse some of these names")


@pytest.fixture(scope="module")
def odd_names(tmp_path_factory, invoke):
    """One run that builds a model, every name in it odd, one class of a single image: (the page, the model's path)."""
    folder = tmp_path_factory.mktemp("odd")
    data = write_images(folder / "[bold]data\x1b[2J", {**dict.fromkeys(ODD_NAMES, 2), "lonely": 1})
    (data / "it's" / "\x1b]0;title\x07\n.jpg").write_text("no picture")
    target = folder / os.fsdecode(b"\x1b[31mmod\xe9l.keras")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "600")  # so that no line is wrapped
        return invoke(data, "--build", target), target


@LINUX
def test_any_name_is_shown_in_a_way_that_can_not_disturb_a_terminal(odd_names):
    page, _ = odd_names
    assert (page.returncode, page.stderr) == (0, "")
    assert {char for char in page.stdout if unicodedata.category(char)[0] == "C"} == {"\n"}
    for shown in ODD_NAMES.values():
        assert f"{shown} → " in page.stdout
    assert r"[bold]data\x1b[2J" in page.stdout
    assert r"\x1b]0;title\x07\n.jpg" in page.stdout


@LINUX
def test_a_model_of_any_name_is_written(odd_names):
    page, target = odd_names
    assert target.stat().st_size > 1_000_000
    counts = json.loads(target.with_suffix(".json").read_text())["dataset"]["class_counts"]
    assert len(counts) == len(ODD_NAMES) + 1
    assert r"\x1b[31mmod\xe9l.keras" in page.stdout.splitlines()[-1]


@LINUX
def test_a_class_of_one_image_is_measured_with_a_warning(odd_names):
    page, _ = odd_names
    assert "'lonely': one image, which can't be cross-validated." in page.stdout


@pytest.fixture(scope="module")
def smallest(run_cli, two_classes):
    """The smallest sample, told to a terminal that knows only ASCII."""
    return run_cli(two_classes, "--max-images", "2", env={**os.environ, "PYTHONIOENCODING": "ascii"})


def test_the_smallest_sample_spans_two_classes_and_gives_an_answer(smallest):
    assert (smallest.returncode, smallest.stderr) == (0, "")
    assert "2 measured" in " ".join(smallest.stdout.split())


def test_characters_that_a_terminal_lacks_do_not_cost_the_answer(smallest):
    assert "Scenario" in smallest.stdout
    assert smallest.stdout.isascii()


INTERRUPTED = "Error: Interrupted. Nothing was written.\n"


def test_ctrl_c_while_tensorflow_loads_shows_one_line(run_python, here, two_classes):
    code = """
import os, signal, sys
class Interrupt:
    def find_spec(name, path=None, target=None):
        if name == "tensorflow":
            os.write(2, b"native log\\n")
            signal.raise_signal(signal.SIGINT)
sys.meta_path.insert(0, Interrupt)
from recommender.cli.recommend import main
main()
"""
    done = run_python(code, two_classes, "--build", "model.keras", cwd=here)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", INTERRUPTED)
    assert not list(here.iterdir())


def test_what_tensorflow_logs_is_shown_if_it_can_not_be_loaded(run_python, two_classes):
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
    done = run_python(code, two_classes)
    assert done.returncode == 1
    assert done.stderr.startswith("native log\n")
    assert "broken installation" in done.stderr


def read_all(terminal, until=None):
    """What a program writes to a terminal, up to some text or to the end."""
    said = b""
    while until is None or until not in said:
        try:
            part = os.read(terminal, 4096)
        except OSError:  # how Linux says that the other end is closed
            break
        if not part:
            break
        said += part
    return said


def test_ctrl_c_at_work_shows_one_line_and_leaves_nothing_behind(here, tmp_path):
    pty = pytest.importorskip("pty")
    folder = write_images(tmp_path / "data", {"flower": 150, "temple": 150}, size=(320, 240))
    ours, theirs = pty.openpty()
    process = subprocess.Popen([COMMAND, folder, "--build", "m.keras"], cwd=here, stdout=subprocess.PIPE, stderr=theirs)
    os.close(theirs)
    try:
        said = read_all(ours, until=b"Running the network")
        process.send_signal(signal.SIGINT)
        said += read_all(ours)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        os.close(ours)
    plain = re.sub(rb"\x1b\[[0-9;?]*[A-Za-z]", b"", said).decode().replace("\r\n", "\n")
    assert (process.returncode, output) == (1, b"")
    assert plain.endswith(INTERRUPTED)
    assert (plain.count("Error"), plain.count("Traceback")) == (1, 0)
    assert not list(here.iterdir())


class HalfWritten:
    """A model whose saving breaks off half-way."""

    def __init__(self, error):
        self.error = error

    def save(self, path):
        path.write_bytes(b"half a model")
        raise self.error


@pytest.mark.parametrize("error", [KeyboardInterrupt(), RuntimeError("a bug"), OSError(28, "No space left on device")])
def test_a_model_is_written_whole_or_not_at_all(here, error):
    (here / "model.keras").write_bytes(b"an older model")
    (here / "model.json").write_bytes(b"{}")
    with pytest.raises((KeyboardInterrupt, RuntimeError, RecommendError)):
        files.write_model(HalfWritten(error), {}, here / "model.keras")
    assert {path.name: path.read_bytes() for path in here.iterdir()} == {
        "model.keras": b"an older model",
        "model.json": b"{}",
    }


def test_a_full_disk_is_told_with_what_was_to_be_written(here):
    error = OSError(28, "No space left on device")
    with pytest.raises(
        RecommendError, match=r"model\.keras'. Received: No space left on device. Nothing was written\."
    ):
        files.write_model(HalfWritten(error), {}, here / "model.keras")
