"""The model card: everything known is in it, nothing unknown is, and names can't break it."""

import copy
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from markdown_it import MarkdownIt
from pictures import write_images
from recommender.saving.markdown import escaped

from probes.evaluation.evaluation import wilson
from recommender import recommend
from recommender.saving.model_card import labels_text, model_card

FIT = {
    "chosen": "fine_tuned",
    "judged_by": "held-out part",
    "n_held_out": 120,
    "accuracy": 0.9417,
    "interval": [0.884, 0.972],
    "start_accuracy": 0.9,
    "balanced_accuracy": 0.93,
    "calibration_error": 0.0213,
    "gain": {"difference": 0.0417, "interval": [0.005, 0.08]},
    "seconds": {"training": 61.2, "judging": 3.0},
    "plan": {
        "n_training": 480,
        "augmentation": ["mirror", "crop"],
        "precision": "float32",
        "phases": [
            {"name": "linear_probe", "what": "the prediction layer", "steps": 0, "learning_rate": None},
            {"name": "fine_tune", "what": "the last 40% of the layers", "steps": 200, "learning_rate": 0.001},
        ],
    },
}
EXPORTS = [
    {"format": "saved_model", "file": "m_saved_model", "largest_difference": 0.0},
    {
        "format": "litert_int8",
        "file": "m_int8.tflite",
        "largest_difference": 0.0654,
        "accuracy": 0.915,
        "same_class": 0.98,
    },
]
NASTY = [
    "<script>alert(1)</script>",
    "a|b",
    "*bold* _em_ `code`",
    "[link](http://evil.example)",
    "![](http://evil.example/x.png)",
    "http://bare.example www.bare.example",
    "# heading",
    "line\nbreak\r\n## second",
    "back\\slash &amp; ~~gone~~ $x$",
    "```",
    "\u202eright to left",
    "köter_犬_1",
]


@pytest.fixture(scope="module")
def known(tmp_path_factory):
    folder = write_images(tmp_path_factory.mktemp("card") / "my_photos", {"temple": 14, "flower": 30}, seed=3)
    return recommend(folder, scenario=1).to_dict()


def render(card):
    """HTML as GitHub makes it, by and large."""
    return MarkdownIt("gfm-like", {"linkify": False}).render(card.split("---\n", 2)[2])


def renamed(known, names):
    description = copy.deepcopy(known)
    description["dataset"]["class_counts"] = {name: 30 + place for place, name in enumerate(names)}
    return description


def test_a_real_run_is_told_with_its_figures(known):
    card = model_card(known, model_name="pets.keras", command="recommend my_photos --build pets.keras")
    assert card.startswith("---\nlibrary_name: keras\n")
    assert "# Model Card for pets\n" in card
    assert "[arXiv 1905.11946](https://arxiv.org/abs/1905.11946)" in card
    assert "**Licence of the pretrained weights:** Apache-2.0" in card
    assert "| 1 | temple | 14 |" in card
    assert "**Name:** my_photos (folder)" in card
    assert f"| Accuracy | {known['expected_accuracy']:.1%} |" in card
    assert "By cross-validation over 44 images in 5 folds" in card
    assert "fewer than 20 images, and knows little: temple (14)" in card
    assert "recommend my_photos --build pets.keras" in card
    assert f"tensorflow {known['versions']['tensorflow']}" in card
    for reason in known["reasons"]:
        assert escaped(reason) in card
    for finding in known["findings"]:
        assert card.count(escaped(finding["message"])) == 1


def test_headings_are_those_of_the_usual_template_and_follow_each_other(known):
    card = model_card({**known, "fit": FIT, "exports": EXPORTS}, model_name="m.keras", command="recommend d")
    assert [line[3:] for line in card.splitlines() if line.startswith("## ")] == [
        "Model Details",
        "Uses",
        "How to Get Started with the Model",
        "Training Details",
        "Evaluation",
        "Bias, Risks, and Limitations",
        "Other formats",
        "Making it again",
    ]


def test_training_takes_the_place_of_the_figures_before_it(known):
    card = model_card({**known, "fit": FIT}, model_name="m.keras", command=None)
    assert "| Accuracy | 94.2% | 88.4% to 97.2% |" in card
    assert "| Accuracy before fine-tuning | 90.0% |" in card
    assert "| Gain by fine-tuning, points | +4.2 | +0.5 to +8.0 |" in card
    assert "On 120 images held out of the training data at random." in card
    assert "**Fine-tuning:** the last 40% of the layers, at most 200 steps, learning rate up to 0.001" in card
    assert "**Time:** 64 s" in card
    assert "has not been trained" not in card
    assert f"| Accuracy | {known['expected_accuracy']:.1%} |" not in card


def test_exports_are_listed_with_what_is_known_of_them(known):
    card = model_card({**known, "exports": EXPORTS}, model_name="m.keras", command=None)
    assert "| Format | File | Largest difference | Same class | Accuracy |" in card
    assert "| litert_int8 | m_int8.tflite | 0.07 | 98% | 91.5% |" in card
    assert "Takes" not in card


@pytest.mark.parametrize("key", ["dataset", "similarity", "scenario", "strategy", "reasons", "findings", "versions"])
def test_what_is_missing_is_left_out(key, known):
    description = {name: value for name, value in known.items() if name != key}
    card = model_card(description, model_name="m.keras", command=None)
    assert "None" not in card.replace("picture[None]", "")
    assert "## Model Details" in card
    assert len(card) < len(model_card(known, model_name="m.keras", command=None))


def test_a_card_can_be_made_of_nothing():
    card = model_card({}, model_name="m.keras", command=None)
    assert card.count("None") == card.count("picture[None]")
    assert not re.search(r"\b0 classes|:\*\* *$|\[\]", card)


def test_an_accuracy_that_nobody_measured_is_said_to_be_unknown(known):
    nothing = {name: None for name in known if name.startswith("expected_")}
    card = model_card({**known, **nothing}, model_name="m.keras", command=None)
    assert "## Evaluation" not in card
    assert "Nobody knows how often it is right" in card


def test_no_error_among_few_images_is_no_certainty(known):
    perfect = {"expected_accuracy": 1.0, "expected_accuracy_standard_error": 0.0}
    card = model_card({**known, **perfect}, model_name="m.keras", command=None)
    low, _ = wilson(44, 44)
    assert f"| Accuracy | 100.0% | {low:.1%} to 100.0% |" in card
    assert low < 0.95


@pytest.mark.parametrize(
    ("change", "licence"),
    [
        ({"name": "my_network", "title": "my_network", "source": None}, "not known"),
        ({"name": "efficientnet_lite0", "title": "efficientnet_lite0"}, "not known"),
        ({"name": "resnet50", "title": "ResNet50"}, "see keras.io/api/applications"),
        ({"name": "resnet50", "title": "ResNet50", "source": None}, "not known (weights from elsewhere)"),
        ({"name": "mobilenet_0.75", "title": "MobileNet 0.75"}, "see keras.io/api/applications"),
    ],
)
def test_the_licence_is_told_of_registered_weights_alone(change, licence, known):
    description = {**known, "backbone": {**known["backbone"], **change}}
    card = model_card(description, model_name="m.keras", command=None)
    assert f"**Licence of the pretrained weights:** {licence}\n" in card


@pytest.mark.parametrize("name", NASTY)
def test_names_are_shown_as_they_are_and_do_nothing(name, known):
    from recommender.explanation.text import clean

    description = renamed(known, [name, "other"])
    description["dataset"]["path"] = name.replace("/", ":")
    description["reasons"] = [f"Since {name}."]
    html = render(model_card(description, model_name=f"{name}.keras".replace("/", ":"), command=None))
    plain = render(model_card(renamed(known, ["x", "other"]), model_name="m.keras", command=None))
    for tag in ("<script", "<a ", "<img", "<em>", "<h2>", "<h1>", "<pre>", "<s>", "<td"):
        assert html.count(tag) == plain.count(tag), tag
    shown = clean(name).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert f">{shown}</td>" in html


def test_bare_addresses_are_no_links():
    html = MarkdownIt("commonmark").render(escaped("http://a.example and www.b.example"))
    assert html == "<p>http://a.example and www.b.example</p>\n"
    assert "http:" not in escaped("http://a.example")
    assert "www." not in escaped("www.b.example")


def test_a_command_with_backticks_stays_in_its_block(known):
    command = "recommend d --build 'm```.keras'"
    html = render(model_card(known, model_name="m.keras", command=command))
    assert "recommend d --build 'm```.keras'" in html
    assert html.count("<pre>") == 2


def test_unbalanced_classes_are_told_once(known):
    finding = {"kind": "imbalance", "message": "The largest class, 'a', has 4 times the images of 'b'.", "done": ""}
    weighted = {**known, "class_weight": [0.4, 1.6], "warnings": []}
    for findings in ([], [finding]):
        card = model_card({**weighted, "findings": findings}, model_name="m.keras", command=None)
        assert card.count("- The largest class") == 1


def test_many_classes_are_counted_and_not_listed(known):
    description = renamed(known, [f"class {number}" for number in range(51)])
    card = model_card(description, model_name="m.keras", command=None)
    assert "and 43 more" in card
    assert "| class 50 |" not in card
    assert 'json.loads(Path("m.json").read_text())["dataset"]["class_counts"]' in card
    assert "| class 49 |" in model_card(renamed(known, [f"class {n}" for n in range(50)]), model_name="m", command=None)


@pytest.mark.parametrize("n_classes", [2, 12])
def test_the_code_runs_as_it_stands(n_classes, known, tmp_path, monkeypatch, capsys):
    """With the classes in the code, and with the classes in the JSON; the model is a stand-in that knows the answer."""
    import keras

    names = [f'it\'s "{number}"\n' for number in range(n_classes)]
    description = renamed(known, names)
    inputs = keras.Input((None, None, 3))
    pooled = keras.layers.GlobalAveragePooling2D()(inputs)
    layer = keras.layers.Dense(n_classes, activation="softmax", kernel_initializer="zeros")
    model = keras.Model(inputs, layer(pooled))
    layer.bias.assign(np.eye(n_classes)[1])
    model.save(tmp_path / 'my "model.keras')
    (tmp_path / 'my "model.json').write_text(json.dumps(description))
    write_images(tmp_path / "p", {"a": 1})
    (tmp_path / "p" / "a" / "0000.jpg").rename(tmp_path / "picture.jpg")
    monkeypatch.chdir(tmp_path)
    code = model_card(description, model_name='my "model.keras', command=None).split("```python\n")[1].split("```")[0]
    exec(code, {})
    assert names[1] in capsys.readouterr().out


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_the_code_reads_pictures_as_the_network_wants_them(channels, mode, known):
    description = {**known, "backbone": {**known["backbone"], "channels": channels}}
    assert f'.convert("{mode}")' in model_card(description, model_name="m.keras", command=None)


def test_labels_are_one_a_line_whatever_they_are():
    names = ["ants", "two\nlines", "back\\slash", "\x85\u2028", "köter", "with \\n in it"]
    text = labels_text(names)
    assert text.splitlines() == ["ants", "two\\nlines", "back\\\\slash", "\\x85\\u2028", "köter", "with \\\\n in it"]
    assert labels_text(["a", "b"]) == "a\nb\n"


def test_a_card_needs_no_tensorflow():
    code = (
        "import sys\nfrom recommender.saving.model_card import model_card\n"
        "model_card({'backbone': {'name': 'resnet50', 'title': 'ResNet50'}}, model_name='m', command=None)\n"
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
