"""The model card: everything known is in it, and names can't break it."""

import copy
import json
import re
import subprocess
import sys

import numpy as np
import pytest
from descriptions import EXPORTS, FIT
from hypothesis import example, given
from hypothesis import strategies as st
from markdown_it import MarkdownIt
from pictures import write_images

from probes.evaluation.intervals import wilson
from recommender.explanation.text import clean
from recommender.saving.model_card import escaped, labels_text, model_card

HEADINGS = [
    "Model Details",
    "Uses",
    "How to Get Started with the Model",
    "Training Details",
    "Evaluation",
    "Bias, Risks, and Limitations",
    "Other formats",
    "Making it again",
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
    "{{ names }} {% if %}",
    "```",
    "\u202eright to left",
    "köter_犬_1",
]


@pytest.fixture(scope="module")
def known(tiny_found):
    return tiny_found.to_dict()


def card_of(description, *, model_name="m.keras", command=None):
    return model_card(description, model_name=model_name, command=command)


def render(card):
    """HTML as GitHub makes it, by and large."""
    return MarkdownIt("gfm-like", {"linkify": False}).render(card.split("---\n", 2)[2])


def renamed(known, names):
    description = copy.deepcopy(known)
    description["dataset"]["class_counts"] = {name: 30 + place for place, name in enumerate(names)}
    return description


def test_a_real_run_is_described_with_its_figures(known):
    card = card_of(known, model_name="pets.keras", command="recommend my_photos --build pets.keras")
    assert card.startswith("---\nlibrary_name: keras\n")
    assert "# Model Card for pets\n" in card
    assert "| 1 | temple | 8 |" in card
    assert "**Name:** two_classes (folder)" in card
    assert f"| Accuracy | {known['expected_accuracy']:.1%} |" in card
    assert "By cross-validation over 16 images in 5 folds" in card
    assert "fewer than 20 images: flower (8), temple (8)" in card
    assert "recommend my_photos --build pets.keras" in card
    assert f"tensorflow {known['versions']['tensorflow']}" in card
    assert "has not been trained" in card
    for reason in known["reasons"]:
        assert escaped(reason) in card
    for finding in known["findings"]:
        assert card.count(escaped(finding["message"])) == 1


def test_headings_are_those_of_the_usual_template(known):
    card = card_of({**known, "fit": FIT, "exports": EXPORTS}, command="recommend d")
    assert [line[3:] for line in card.splitlines() if line.startswith("## ")] == HEADINGS
    assert [line[3:] for line in card_of(known).splitlines() if line.startswith("## ")] == [
        heading for heading in HEADINGS if heading != "Other formats"
    ]


def test_the_figures_of_training_replace_those_before_it(known):
    card = card_of({**known, "fit": FIT})
    assert "| Accuracy | 94.2% | 88.4% to 97.2% |" in card
    assert "| Accuracy on the held-out images alone | 93.3% |" in card
    assert "| Accuracy of the frozen model on the same images | 90.0% |" in card
    assert "| Gain by fine-tuning, points | +4.2 | +0.5 to +8.0 |" in card
    assert "| Expected calibration error | 0.021 |" in card
    assert "On 120 images held out of the training data at random." in card
    assert "**Fine-tuning:** the last 40% of the layers, at most 200 steps, learning rate up to 0.001" in card
    assert "**Time:** 64 s" in card
    assert "has not been trained" not in card
    assert f"| Accuracy | {known['expected_accuracy']:.1%} |" not in card


def test_exports_are_listed_with_their_figures(known):
    card = card_of({**known, "exports": EXPORTS})
    assert "| litert_int8 | m_int8.tflite | 0.07 | 98% | 91.5% | one picture at a time |" in card
    assert "| saved_model | m_saved_model | 0 | 100% |  | a batch of pictures of any size |" in card


def test_an_accuracy_that_was_not_measured_is_unknown(known):
    nothing = {name: None for name in known if name.startswith("expected_")} | {"accuracy_from": None}
    unjudged = {**FIT, "judged_by": "nothing", **dict.fromkeys(("accuracy", "interval", "balanced_accuracy"))}
    for description in ({**known, **nothing}, {**known, "fit": unjudged}):
        card = card_of(description)
        assert "## Evaluation" not in card
        assert "Its accuracy is not known" in card


def test_no_error_among_few_images_is_no_certainty(known):
    low, high = wilson(16, 16)
    card = card_of({**known, "expected_accuracy": 1.0, "expected_accuracy_interval": [low, high]})
    assert f"| Accuracy | 100.0% | {low:.1%} to 100.0% |" in card
    assert low < 0.95


def test_facts_that_are_null_are_worded(known):
    strategy = {**known["strategy"], "freeze": {**known["strategy"]["freeze"], "layer": None}}
    card = card_of(
        {**known, "similarity": None, "strategy": strategy, "backbone": {**known["backbone"], "source": None}}
    )
    assert "could not be measured" in card
    assert "**Frozen:** nothing" in card
    assert "**Pretrained on:** not known" in card
    assert "None" not in card.replace("picture[None]", "")


@pytest.mark.parametrize(
    ("change", "licence"),
    [
        ({"name": "my_network", "title": "my_network", "source": None}, "not known"),
        ({"name": "efficientnet_lite0", "title": "efficientnet_lite0"}, "not known"),
        ({"name": "efficientnet_lite0", "title": "EfficientNet-Lite0", "source": "ImageNet"}, "Apache-2.0"),
        ({"name": "resnet50", "title": "ResNet50", "source": "ImageNet"}, "see keras.io/api/applications"),
        ({"name": "resnet50", "title": "ResNet50", "source": None}, "not known (weights from elsewhere)"),
    ],
)
def test_only_registered_weights_have_a_licence(change, licence, known):
    card = card_of({**known, "backbone": {**known["backbone"], **change}})
    assert f"**Licence of the pretrained weights:** {licence}\n" in card
    assert ("https://arxiv.org/abs/" in card) == ("GraphSegment" not in card)


@pytest.mark.parametrize("name", NASTY)
def test_names_are_shown_as_they_are_and_do_nothing(name, known):
    description = renamed(known, [name, "other"])
    description["dataset"]["path"] = name.replace("/", ":")
    description["reasons"] = [f"Since {name}."]
    html = render(card_of(description, model_name=f"{name}.keras".replace("/", ":")))
    plain = render(card_of({**renamed(known, ["x", "other"]), "reasons": ["Since x."]}))
    for tag in ("<script", "<a ", "<img", "<em>", "<h2>", "<h1>", "<pre>", "<s>", "<td"):
        assert html.count(tag) == plain.count(tag), tag
    shown = clean(name).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    assert f">{shown}</td>" in html


@given(text=st.text())
@example(text="http://a.example and www.b.example")
def test_escaped_text_renders_as_a_plain_line(text):
    html = MarkdownIt("gfm-like", {"linkify": False}).render(f"x {escaped(text)} x")
    shown = re.sub(r"<[^>]*>", "", html)
    assert not re.search(r"<(?!/?p>)", html)
    assert "\n" not in shown.strip()
    assert "http:" not in escaped(text)
    assert "www." not in escaped(text).lower()


def test_a_command_with_backticks_stays_in_its_block(known):
    command = "recommend d --build 'm```.keras'"
    html = render(card_of(known, command=command))
    assert "recommend d --build 'm```.keras'" in html
    assert html.count("<pre>") == 2


def test_unbalanced_classes_are_reported_once(known):
    finding = {"kind": "imbalance", "message": "The largest class, 'a', has 4 times the images of 'b'.", "done": ""}
    weighted = {**known, "class_weight": [0.4, 1.6], "warnings": []}
    for findings in ([], [finding]):
        assert card_of({**weighted, "findings": findings}).count("- The largest class") == 1


def test_many_classes_are_counted_and_not_listed(known):
    card = card_of(renamed(known, [f"class {number}" for number in range(51)]))
    assert "and 43 more" in card
    assert "| class 50 |" not in card
    assert 'json.loads(Path("m.json").read_text())["dataset"]["class_counts"]' in card
    assert "| class 49 |" in card_of(renamed(known, [f"class {number}" for number in range(50)]))


@pytest.mark.parametrize("n_classes", [2, 12])
def test_the_code_runs_as_it_stands(n_classes, known, tmp_path, monkeypatch, capsys):
    """With the classes in the code, and with the classes in the JSON; the model is a stand-in that knows the class."""
    import keras

    names = [f'it\'s "{number}"\n' for number in range(n_classes)]
    description = renamed(known, names)
    inputs = keras.Input((None, None, 3))
    layer = keras.layers.Dense(n_classes, activation="softmax", kernel_initializer="zeros")
    model = keras.Model(inputs, layer(keras.layers.GlobalAveragePooling2D()(inputs)))
    layer.bias.assign(np.eye(n_classes)[1])
    model.save(tmp_path / 'my "model.keras')
    (tmp_path / 'my "model.json').write_text(json.dumps(description))
    (write_images(tmp_path / "p", {"a": 1}) / "a" / "0000.jpg").rename(tmp_path / "picture.jpg")
    monkeypatch.chdir(tmp_path)
    code = card_of(description, model_name='my "model.keras').split("```python\n")[1].split("```")[0]
    exec(code, {})
    assert names[1] in capsys.readouterr().out


@pytest.mark.parametrize(("channels", "mode"), [(1, "L"), (3, "RGB"), (4, "RGBA")])
def test_the_code_reads_pictures_as_the_network_wants_them(channels, mode, known):
    assert f'.convert("{mode}")' in card_of({**known, "backbone": {**known["backbone"], "channels": channels}})


@given(names=st.lists(st.text(), max_size=5))
@example(names=["two\nlines", "back\\slash", "\x85\u2028", "with \\n in it"])
def test_labels_are_one_a_line_whatever_they_are(names):
    text = labels_text(names)
    assert text.count("\n") == len(text.splitlines()) == len(names)
    lines = text.splitlines()
    assert len(set(lines)) == len(set(names))
    assert [line for line, name in zip(lines, names, strict=True) if name.isalnum()] == list(filter(str.isalnum, names))


def test_a_card_needs_no_tensorflow(known, tmp_path):
    (tmp_path / "known.json").write_text(json.dumps(known))
    code = (
        "import json, sys\nfrom recommender.saving.model_card import model_card\n"
        "model_card(json.load(open(sys.argv[1])), model_name='m', command=None)\n"
        "sys.exit('tensorflow' in sys.modules or 'keras' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code, tmp_path / "known.json"], check=False).returncode == 0
