"""Each sub-command at work, in this process, with a tiny network."""

import io
import json
import os
import re
import sys
import unicodedata
import zipfile
from dataclasses import replace
from pathlib import Path

import jsonschema
import numpy as np
import pytest
from paths import ROOT
from pictures import write_images

from builders.build import build_model
from recommender.comparison.compare import compare
from recommender.rules.scenario import Scenario

SCHEMA = json.loads((ROOT / "docs" / "recommendation.schema.json").read_text(encoding="utf-8"))
DETECTED = (".keras", ".json", ".labels.txt", ".md", ".features.npz")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_images(tmp_path_factory.mktemp("data") / "my pictures", {"flower": 15, "temple": 15})


@pytest.fixture(scope="module")
def tiny(tiny_file):
    return ("--backbone", tiny_file)


@pytest.fixture
def measured(monkeypatch, tiny_found):
    """In place of measuring, a recommendation that was measured before; a list of what it was asked with."""
    asked = []

    def recommend(data, **arguments):
        asked.append({"data": data, **arguments})
        return tiny_found

    monkeypatch.setattr("recommender.recommendation.recommend", recommend)
    return asked


def weights(target):
    """Every array in a .keras file but the optimiser's."""
    import h5py

    found = []
    with zipfile.ZipFile(target) as archive, archive.open("model.weights.h5") as inner, h5py.File(inner) as file:
        file["layers"].visititems(lambda _, item: found.append(item[()]) if isinstance(item, h5py.Dataset) else None)
    return found


@pytest.fixture(scope="module")
def fitted(folder, tiny, invoke, tmp_path_factory):
    """`recommend DATA --fit` in the older spelling, with a model and an export: (run, the model's path)."""
    target = tmp_path_factory.mktemp("built") / "model.keras"
    older = ("--scenario", "3", "--steps", "4", "--fit", "--build", target, "--export", "saved_model")
    return invoke(folder, *tiny, *older), target


def test_the_plan_comes_before_the_checks_and_the_result_after_them(fitted):
    done, _ = fitted
    assert done.returncode == 0, done.stderr
    words = ("Scenario 3", "fine tune", "held out show", "held-out accuracy", "Calibration", "Recall", "Wrote")
    places = [done.stdout.index(word) for word in words]
    assert places == sorted(places)


def test_an_older_spelling_costs_one_line_on_standard_error(fitted):
    done, _ = fitted
    assert re.fullmatch(
        r"Deprecated: use `recommend fit '.*' .*--steps 4 --build \S+ --export saved_model`.\n", done.stderr
    )


def test_the_files_next_to_the_model_describe_it(fitted):
    _, target = fitted
    assert {path.name for path in target.parent.iterdir()} == {
        *(f"model{suffix}" for suffix in DETECTED),
        "model_saved_model",
    }
    assert target.with_suffix(".labels.txt").read_text(encoding="utf-8").split() == ["flower", "temple"]
    assert "recommend fit" in target.with_suffix(".md").read_text(encoding="utf-8")
    assert weights(target)


def test_the_json_next_to_the_model_has_the_training_and_the_export(fitted):
    _, target = fitted
    description = json.loads(target.with_suffix(".json").read_text(encoding="utf-8"))
    assert description["fit"]["plan"]["schedule"]["steps"] == 4
    assert description["fit"]["history"][-1]["step"] == 4
    (export,) = description["exports"]
    assert export["format"] == "saved_model"
    assert export["largest_difference"] < 1e-3
    assert export["accuracy"] == pytest.approx(export["model_accuracy"])


def test_options_reach_the_library(invoke, measured):
    options = ("--column", "label=kind", "--seed", "7", "--max-images", "20", "--input-size", "64", "--pixels", "0..1")
    options = (*options, "--engine", "litert")
    invoke("data", *options, "--backbone", "vgg16", "--weights", "w.h5", "--trust", "--scenario", "2", "--quiet")
    invoke("check", "data", "--full", "--quiet")
    first, second = measured
    del first["progress"]
    assert first == {
        "data": "data",
        "columns": {"label": "kind"},
        "seed": 7,
        "max_images": 20,
        "input_size": 64,
        "pixels": "0..1",
        "backbone": ("vgg16",),
        "weights": Path("w.h5"),
        "trust": True,
        "engine": "litert",
        "scenario": 2,
        "check": None,
        "ray": None,
        "trial": False,
    }
    assert (second["check"], second["backbone"], second["max_images"]) == ("full", ("efficientnet_lite0",), 1000)


@pytest.mark.usefixtures("measured")
def test_training_is_one_line_where_it_is_to_be_quiet(invoke):
    done = invoke("fit", "data", "--quiet")
    assert re.fullmatch(r"linear_probe: accuracy [^\n]*90 % interval [^\n]*\n", done.stdout)


@pytest.mark.usefixtures("measured")
def test_a_comparison_keeps_to_the_schema_and_is_plotted(invoke, tmp_path):
    older = ("--compare", "--budget", "2s", "--plot", tmp_path / "rivals.svg", "--json")
    done = invoke("data", *older)
    assert done.returncode == 0, done.stderr
    description = json.loads(done.stdout)
    jsonschema.validate(description, SCHEMA)
    assert description["comparison"]["preferred"] in [row["label"] for row in description["comparison"]["rows"]]
    assert (tmp_path / "rivals.svg").read_text(encoding="utf-8").lstrip().startswith("<?xml")


@pytest.mark.usefixtures("measured")
def test_a_comparison_follows_the_recommendation_and_its_best_model_is_written(invoke, tmp_path):
    done = invoke("compare", "data", "--budget", "2s", "--build", tmp_path / "best.keras")
    assert done.stdout.index("Scenario") < done.stdout.index("Compared") < done.stdout.index("preferred")
    assert "Wrote" in done.stdout
    assert weights(tmp_path / "best.keras")


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("tuned", [False, True])
def test_model_card_and_json_describe_the_preferred_model(invoke, tmp_path, monkeypatch, tiny_found, tuned):
    import keras

    whole = compare(tiny_found, budget=3.0)
    rows = [row for row in whole.rows if not row.recommended]
    preferred = replace(rows[0], accuracy=0.8125, interval=(0.6, 0.9))
    if tuned:
        strategy = replace(preferred.strategy, cut=tiny_found.plan.cuts[-1].layer, cut_depth=1.0, freeze=None)
        strategy = replace(strategy, head=replace(strategy.head, levels=(strategy.cut,)), freeze_depth=0.0)
        model = build_model(strategy, None, tiny_found.backbone)
        preferred = replace(
            preferred, strategy=strategy, scenario=Scenario.FULL_FINE_TUNE, steps=30, full_steps=240, share=0.5
        )
        preferred = replace(preferred, weights=tuple(weight + 0.25 for weight in model.get_weights()))
    shown = replace(whole, rows=(preferred, *rows[1:], whole.recommended), preferred=preferred)
    shown = replace(shown, gaps=shown.gaps[:1] * len(shown.rows), detect=lambda _: None)
    monkeypatch.setattr("recommender.comparison.compare.compare", lambda *_, **__: shown)
    done = invoke("compare", "data", "--build", tmp_path / "best.keras")
    assert done.returncode == 0, done.stderr

    description = json.loads((tmp_path / "best.json").read_text(encoding="utf-8"))
    jsonschema.validate(description, SCHEMA)
    scenario, strategy = preferred.scenario, preferred.strategy
    assert description["scenario"]["id"] == scenario.id
    assert description["strategy"]["cut"]["layer"] == strategy.cut
    assert description["strategy"]["freeze"]["layer"] == strategy.freeze
    assert description["strategy"]["head"]["levels"] == list(strategy.head.levels)
    assert description["expected_accuracy"] == 0.8125
    assert description["comparison"]["preferred"] == preferred.label
    assert description["comparison"]["recommended"] == whole.advice != preferred.label

    card = (tmp_path / "best.md").read_text(encoding="utf-8")
    assert f"scenario {scenario.id}, `{scenario.name}` (preferred by a comparison)" in card
    assert f"**Kept:** up to `{strategy.cut}`" in card
    assert "| Accuracy | 81.2% | 60.0% to 90.0% |" in card
    assert ("fine-tuned for 30 steps" in card) == tuned

    model = keras.models.load_model(tmp_path / "best.keras")
    width = sum(int(cut.shape[-1]) for cut in tiny_found.plan.cuts if cut.layer in strategy.head.levels)
    assert model.layers[-1].kernel.shape[0] == width
    stored = model.get_weights() if tuned else model.layers[-1].get_weights()
    for one, other in zip(stored, preferred.weights, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("form", [[], ["--quiet"], ["--json"]])
def test_an_interrupted_comparison_prints_what_there_is_and_exits_with_130(invoke, monkeypatch, tiny_found, form):
    whole = replace(compare(tiny_found, budget=1.0), interrupted=True)
    monkeypatch.setattr("recommender.comparison.compare.compare", lambda *_, **__: whole)
    done = invoke("compare", "data", *form)
    assert done.returncode == 130
    assert whole.winner.label in done.stdout


@pytest.mark.usefixtures("measured")
def test_an_interrupted_training_prints_its_result_and_exits_with_130(invoke, monkeypatch, tiny_found):
    result = replace(tiny_found.fit(), interrupted=True)
    monkeypatch.setattr(type(tiny_found), "fit", lambda *_, **__: result)
    done = invoke("fit", "data", "--quiet")
    assert done.returncode == 130
    assert done.stdout.startswith("linear_probe: accuracy")


@pytest.mark.usefixtures("measured")
def test_exports_of_an_older_model_are_named(invoke, tmp_path):
    (tmp_path / "model.onnx").write_bytes(b"of an older model")
    done = invoke("data", "--build", tmp_path / "model.keras")
    assert done.returncode == 0, done.stderr
    assert any(line.startswith("model.onnx is of an older model") for line in done.stdout.splitlines())
    assert (tmp_path / "model.onnx").exists()


@pytest.mark.usefixtures("measured")
@pytest.mark.parametrize("form", [[], ["--quiet"], ["--json"]])
def test_the_older_check_gives_what_the_sub_command_gives(invoke, form):
    older, newer = invoke("data", "--check", *form), invoke("check", "data", *form)
    assert (older.returncode, older.stdout, newer.stderr) == (0, newer.stdout, "")
    assert older.stderr == f"Deprecated: use `{' '.join(['recommend', 'check', 'data', *form])}`.\n"


@pytest.mark.slow
def test_a_full_check_reads_every_image(two_classes, tiny, invoke, monkeypatch, tmp_path):
    monkeypatch.setenv("NETGRAFT_DATA", str(tmp_path))
    sample, full = (invoke("check", two_classes, *tiny, "--max-images", "4", *more) for more in ([], ["--full"]))
    assert "4 checked" in sample.stdout
    assert "`recommend check --full` checks every image" in sample.stdout
    assert "16 checked" in full.stdout


def test_cut_points_are_listed_as_a_table(tiny_file, invoke):
    done = invoke("cuts", tiny_file)
    header, *rows = done.stdout.splitlines()
    assert header.split() == ["layer", "depth", "shape", "stride", "parameters"]
    assert rows[-1].split()[:2] == ["block4_add", "100.0%"]
    assert len({len(row) for row in (header, *rows)}) == 1


def test_a_reference_is_made_from_images_of_the_source(tiny, invoke, monkeypatch, tmp_path):
    monkeypatch.setenv("NETGRAFT_DATA", str(tmp_path / "own"))
    images = write_images(tmp_path / "images", {"flower": 60}, size=(32, 32))
    done = invoke("reference", images, *tiny, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    made = Path(json.loads(done.stdout)["reference"])
    assert list((tmp_path / "own" / "references").iterdir()) == [made]


@pytest.mark.usefixtures("measured")
def test_the_page_describes_the_backbone_where_that_is_asked(invoke):
    done = invoke("data", "--verbose")
    assert done.stdout.index("Scenario") < done.stdout.index("What is built") < done.stdout.index("stage 1")


@pytest.mark.usefixtures("measured")
def test_the_first_screen_ends_with_the_commands_for_the_same_data(invoke):
    done = invoke("data", "--seed", "3")
    _, after = done.stdout.split("\nNext\n")
    commands = [line.split("  # ")[0].strip() for line in after.splitlines()[:3]]
    assert commands == [
        "recommend fit data --seed 3 --build model.keras",
        "recommend predict model.keras NEW_IMAGES",
        "recommend compare data --seed 3",
    ]
    assert "Next" not in invoke("compare", "data", "--budget", "2s").stdout


@pytest.mark.usefixtures("measured")
def test_the_answer_is_one_line_where_it_is_to_be_quiet(invoke):
    done = invoke("--quiet", "data")
    assert re.fullmatch(r"\d [A-Z_]+: tiny\S* at 32 px, cut \w+, freeze \w+, expected [^\n]+\n", done.stdout)


def test_characters_that_the_output_lacks_do_not_cost_the_answer(tiny_found, monkeypatch):
    from recommender.reports import recommendation_page
    from recommender.reports.console import console

    ascii_only = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", ascii_only)
    recommendation_page.print_page(tiny_found, console())
    ascii_only.flush()
    assert b"Similarity" in ascii_only.buffer.getvalue()


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
def odd_names(tmp_path_factory, invoke, tiny):
    """One run that builds a model, every name in it odd, one class of a single image: (the page, the model's path)."""
    folder = tmp_path_factory.mktemp("odd")
    data = write_images(folder / "[bold]data\x1b[2J", {**dict.fromkeys(ODD_NAMES, 2), "lonely": 1})
    (data / "it's" / "\x1b]0;title\x07\n.jpg").write_text("no picture")
    target = folder / os.fsdecode(b"\x1b[31mmod\xe9l.keras")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COLUMNS", "600")  # so that no line is wrapped
        return invoke(data, *tiny, "--build", target), target


@LINUX
def test_no_name_can_disturb_a_terminal(odd_names):
    page, _ = odd_names
    assert (page.returncode, page.stderr) == (0, "")
    assert {char for char in page.stdout if unicodedata.category(char)[0] == "C"} == {"\n"}
    assert r"[bold]data\x1b[2J" in page.stdout
    assert r"\x1b]0;title\x07\n.jpg" in page.stdout
    assert "'lonely': one image, which can't be cross-validated." in " ".join(page.stdout.split())


@LINUX
def test_a_model_of_any_name_is_written_with_classes_of_any_name(odd_names):
    page, target = odd_names
    counts = json.loads(target.with_suffix(".json").read_text(encoding="utf-8"))["dataset"]["class_counts"]
    assert len(counts) == len(ODD_NAMES) + 1
    assert "\ncaf" in target.with_suffix(".labels.txt").read_text(encoding="utf-8")
    assert r"\x1b[31mmod\xe9l.keras" in page.stdout.splitlines()[-1]


@pytest.mark.usefixtures("measured")
def test_a_report_is_written_after_the_answer(invoke, tmp_path):
    done = invoke("data", "--report", tmp_path / "found.html", "--no-thumbnails")
    assert done.returncode == 0
    assert done.stdout.endswith(f"\nWrote {tmp_path / 'found.html'}\n")
    text = (tmp_path / "found.html").read_text(encoding="utf-8")
    assert "recommend data --report" in text
    assert "data:image" not in text
    invoke("data", "--report", tmp_path / "found.html", "--json")
    assert "data:image" in (tmp_path / "found.html").read_text(encoding="utf-8")
    assert [path.name for path in tmp_path.iterdir()] == ["found.html"]
