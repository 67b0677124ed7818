"""The report: nine sections, whole for any data, safe with any name, and without a request."""

import io
import json
import re
from base64 import b64decode
from dataclasses import replace
from html.parser import HTMLParser
from itertools import pairwise

import numpy as np
import pytest
from PIL import Image

from builders.training.schedule import plan_schedule
from builders.training.state import Check
from probes.evaluation.evaluation import evaluate
from probes.images.decode import UnreadableImage
from probes.quality.findings import Finding
from recommender.comparison.compare import compare
from recommender.errors import RecommendError
from recommender.fit.result import FitResult, Predictions, TrainingPlan
from recommender.reports.html.report import report
from recommender.reports.html.words import next_steps
from recommender.rules.scenario import Scenario

SECTIONS = ["answer", "mistakes", "health", "images", "compared", "amount", "drift", "cut", "repeat"]
VOID = {"meta", "link", "img", "br", "path"}
NASTY = (
    "<script>alert(1)</script>",
    "\"><img src=x onerror='alert(1)'>",
    "صورة قطة",
    "line\nbreak \u202e right to left",
    "</script><!-- {{ names }} & é" + "very long " * 40,
)


class Page(HTMLParser):
    """The elements of a page, as (tag, attributes), and the text of each element that has an id."""

    def __init__(self, text):
        super().__init__()
        self.elements, self.text_of, self.open = [], {}, []
        self.feed(text)
        assert not self.open, "every element ends"

    def handle_starttag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append((tag, dict(attributes).get("id")))

    def handle_startendtag(self, tag, attributes):
        self.elements.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        assert self.open.pop()[0] == tag

    def handle_data(self, data):
        for name in {name for _, name in self.open if name} | {self.open[-1][0] if self.open else ""}:
            self.text_of[name] = self.text_of.get(name, "") + data

    def all(self, tag):
        return [attributes for name, attributes in self.elements if name == tag]


class Pixels:
    """A store of grey squares; names of `lost` images are not there."""

    def __init__(self, lost=(), size=(20, 30)):
        self.lost, self.size, self.opened = set(lost), size, []

    def open(self, name):
        self.opened.append(name)
        if name in self.lost:
            raise UnreadableImage("no such file", "missing")
        return np.full((*self.size, 3), 90, np.uint8)


def renamed(found, classes, *, store=None, per_class=4, findings=()):
    """The recommendation with other classes, images and findings; what was measured is made up, too."""
    labels = np.repeat(np.arange(len(classes)), per_class)
    files = tuple(f"{classes[label]}/{number}.jpg" for number, label in enumerate(labels))
    rng, n = np.random.default_rng(0), len(labels)
    features = replace(
        found.features,
        files=files,
        labels=labels,
        sizes=np.full((n, 2), 20),
        facts=(),
        pooled={layer: rng.normal(size=(n, 8)) for layer in found.features.pooled},
    )
    counts = (per_class,) * len(classes)
    size = replace(
        found.measurements.size, class_names=tuple(classes), class_counts=counts, file_counts=counts, n_sampled=n
    )
    index = replace(
        found.index,
        class_names=tuple(classes),
        files=tuple(
            tuple(file for file, own in zip(files, labels, strict=True) if own == label)
            for label in range(len(classes))
        ),
        store=store or Pixels(),
    )
    judged = replace(
        found.probe.judged,
        rows=np.arange(n),
        probabilities=rng.dirichlet(np.ones(len(classes)), n),
        correct=(True, False) * (n // 2) + (True,) * (n % 2),
    )
    rows = type(found.rows).of(labels)
    measurements = replace(found.measurements, size=size, findings=tuple(findings))
    return replace(
        found,
        features=features,
        index=index,
        rows=rows,
        probe=replace(found.probe, judged=judged),
        measurements=measurements,
    )


def finding(kind, *examples, severity="warning"):
    return Finding(
        kind=kind,
        severity=severity,
        n_files=len(examples),
        examples=examples,
        message=f"A {kind}.",
        done="Kept.",
        advice="Look.",
    )


def fitted(found, *, n_checks=4):
    """A made-up training of the recommendation."""
    features, n_classes = found.features, len(found.index.class_names)
    probabilities = np.random.default_rng(0).dirichlet(np.ones(n_classes), len(features.files))
    evaluation = evaluate(probabilities, features.labels)
    history = tuple(
        Check(
            step=10 * n,
            accuracy=0.5 + n / 20,
            held_out_loss=1 / (n + 1),
            loss=2.0 if n else None,
            learning_rate=0.1,
            seconds=1.0,
        )
        for n in range(n_checks)
    )
    plan = TrainingPlan(phases=(), schedule=plan_schedule(100, steps=30), n_training=16, class_weight=None, cached=True)
    return FitResult(
        model=None,
        plan=plan,
        chosen="fine_tuned",
        judged_by="held-out part",
        evaluation=evaluation,
        accuracy=evaluation.accuracy,
        interval=evaluation.interval,
        predictions=Predictions.of(features.files, features.labels, probabilities),
        found=found,
        history=history,
        calibration=(0.1, 0.1),
        notes=("A <b>note</b>.",),
        seconds={"training": 12.0},
        peak_memory=None,
    )


@pytest.fixture(scope="module")
def comparison(tiny_found):
    return compare(tiny_found, budget=2.0)


@pytest.fixture(scope="module")
def plain(tiny_found):
    return report(tiny_found, command="recommend 'my data'")


def test_nine_sections_stand_in_their_order_and_say_what_they_show(plain):
    page = Page(plain)
    assert [attributes["id"] for attributes in page.all("section")] == SECTIONS
    assert [attributes["href"] for attributes in page.all("a")] == [f"#{name}" for name in SECTIONS]
    for section in re.findall(r"<section.*?</section>", plain, re.DOTALL):
        assert re.match(r'<section id="\w+">\s*<h2>\d [^<]+</h2>\s*<p class="lead">[A-Z].+?\.', section)


def test_the_answer_says_what_it_means_and_what_to_do_next(tiny_found, plain):
    answer = Page(plain).text_of["answer"]
    assert answer.count("pretrained network") == 1
    assert "recommend fit 'my data' --build model.keras" in answer
    assert "recommend predict model.keras NEW_IMAGES" in answer
    assert "found.fit()" in Page(report(tiny_found)).text_of["answer"]


@pytest.mark.parametrize("command", ["recommend fit data --epochs 3", "recommend compare data --budget 3s"])
def test_the_next_command_has_no_options_of_another_sub_command(tiny_found, comparison, command):
    found = replace(tiny_found, verdict=replace(tiny_found.verdict, overridden=None))
    after = {"fit": fitted(found)} if " fit " in command else {"comparison": comparison}
    steps = next_steps(found, after.get("fit"), after.get("comparison"), command)
    assert all("--epochs" not in step.command and "--budget" not in step.command for step in steps)


def test_a_scenario_that_was_asked_for_is_not_called_close(tiny_found):
    verdict = replace(tiny_found.verdict, overridden=Scenario.LINEAR_PROBE, confidence=0.03)
    answer = Page(report(replace(tiny_found, verdict=verdict))).text_of["answer"]
    assert "too close to call" not in answer
    assert "netgraft.compare(found)" not in answer


def test_headings_images_and_tables_are_accessible(tiny_found, comparison):
    page = Page(report(tiny_found, fit=fitted(tiny_found), comparison=comparison))
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in pairwise(levels))
    assert all(
        attributes.get("aria-hidden") == "true" or len(attributes["aria-label"]) > 20 for attributes in page.all("svg")
    )
    assert all(attributes["alt"] for attributes in page.all("img"))
    assert all(attributes.get("scope") in ("col", "row") for attributes in page.all("th"))
    ids = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(ids) == len(set(ids))


def test_nothing_is_requested(tiny_found, comparison):
    text = report(tiny_found, fit=fitted(tiny_found), comparison=comparison)
    page = Page(text)
    for _, attributes in page.elements:
        for name in ("src", "href", "srcset", "action", "data", "poster"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
    assert not re.search(r"url\(|@import|https?://|fetch\(|XMLHttp", text)
    assert "default-src 'none'" in next(a["content"] for a in page.all("meta") if "http-equiv" in a)


def test_the_recommendation_is_inside_for_programs(tiny_found, plain, comparison):
    assert json.loads(Page(plain).text_of["recommendation"]) == tiny_found.to_dict()
    inside = json.loads(
        Page(report(tiny_found, fit=fitted(tiny_found), comparison=comparison)).text_of["recommendation"]
    )
    assert inside["comparison"] == comparison.to_dict()
    assert inside["fit"]["accuracy"] == fitted(tiny_found).accuracy


def test_no_name_can_break_the_page(tiny_found):
    images = [f"{name}/{4 * number}.jpg" for number, name in enumerate(NASTY)]
    found = renamed(
        tiny_found,
        NASTY,
        findings=[
            finding("label_error", f"{images[0]}: {NASTY[0]!r}, looks like {NASTY[1]!r} (90% sure)"),
            finding("blank", images[1]),
        ],
    )
    text = report(found, fit=fitted(found), command=f"recommend '{NASTY[0]}'")
    page = Page(text)
    assert [attributes.get("id") for attributes in page.all("script")] == ["shots", "recommendation", None]
    assert {attributes.get("src", "data:image")[:10] for attributes in page.all("img")} == {"data:image"}
    assert not any(name.startswith("on") for _, attributes in page.elements for name in attributes)
    assert list(json.loads(page.text_of["recommendation"])["dataset"]["class_counts"]) == list(NASTY)
    assert NASTY[0] in page.text_of["repeat"]
    assert "صورة قطة" in page.text_of["repeat"]
    assert "\u202e" not in page.text_of["repeat"]
    assert "A <b>note</b>." in page.text_of["mistakes"]


def test_images_are_small_and_each_is_read_once(tiny_found):
    store = Pixels(size=(300, 200))
    found = renamed(tiny_found, ["a", "b"], store=store, per_class=90)
    text = report(found)
    shots = json.loads(Page(text).text_of["shots"])
    sides = [Image.open(io.BytesIO(b64decode(uri.split(",")[1]))).size for uri in shots.values()]
    assert set(sides) == {(64, 96)}
    assert len(store.opened) == len(set(store.opened)) == 150
    assert len(text) < 1_000_000


def test_the_worst_images_come_first_where_few_may_be_read(tiny_found):
    found = renamed(tiny_found, ["a", "b"], per_class=90, findings=[finding("blank", "a/7.jpg")])
    found = replace(found, features=replace(found.features, sizes=np.full((180, 2), 6000)))
    report(found)
    assert found.index.store.opened[0] == "a/7.jpg"
    assert len(found.index.store.opened) == 2  # 72 million pixels


def test_images_that_have_vanished_leave_a_note(tiny_found):
    store = Pixels(lost=["a/0.jpg"])
    found = renamed(tiny_found, ["a", "b"], store=store, findings=[finding("blank", "a/0.jpg", "a/1.jpg")])
    health = Page(report(found)).text_of["health"]
    assert health.count("can’t be read now") == 1


def test_thumbnails_may_be_left_out(tiny_found):
    found = renamed(tiny_found, ["a", "b"], findings=[finding("blank", "a/0.jpg")])
    text = report(found, thumbnails=False)
    assert "data:image" not in text
    assert found.index.store.opened == []
    assert "It holds no image." in text


def test_a_thousand_classes_are_folded(tiny_found):
    found = renamed(tiny_found, [f"class {number:04}" for number in range(1000)], per_class=3)
    text = report(found, fit=fitted(found))
    page = Page(text)
    assert len(text.encode()) < 5_000_000
    assert text.count('class="confusion"') == 1
    assert text.count('<td class="miss"') == 20 * 19
    assert "And 976 more" in page.text_of["repeat"]
    assert "the other 976" in page.text_of["images"]
    assert "Only the 20 classes" in page.text_of["mistakes"]


def test_what_was_not_measured_is_said(tiny_found):
    probe = replace(tiny_found.probe, judged=None, calibration=None)
    separability = replace(tiny_found.measurements.separability, per_cut=(), groups=(), folds=0)
    measurements = replace(tiny_found.measurements, similarity=None, separability=separability, findings=())
    found = replace(tiny_found, probe=probe, measurements=measurements)
    page = Page(report(found))
    assert [attributes["id"] for attributes in page.all("section")] == SECTIONS
    assert "not known: no class has two images" in page.text_of["answer"]
    assert "was not measured" in page.text_of["drift"]
    assert "No accuracy was measured" in page.text_of["cut"]
    assert "No comparison ran" in page.text_of["compared"]
    assert "Nothing was found" in page.text_of["health"]
    assert "Nothing is known of its mistakes" in page.text_of["mistakes"]


def test_a_single_image_of_a_class_is_shown(tiny_found):
    page = Page(report(renamed(tiny_found, ["alone", "also alone"], per_class=1)))
    assert len([a for a in page.all("path") if "data-row" in a]) == 2


def test_training_adds_its_curves_and_mistakes(tiny_found):
    result = fitted(tiny_found)
    text = report(tiny_found, fit=result)
    wrong = int((result.predictions.predicted != result.predictions.labels).sum())
    assert "<h2>2 Training and mistakes</h2>" in text
    assert text.count("predicted <bdi>") == min(wrong, 24)
    assert "Held-out accuracy over 4 validation checks" in text
    assert "Loss of the first trial" in text


def test_a_comparison_adds_all_of_its_rows(tiny_found, comparison):
    page = Page(report(tiny_found, comparison=comparison))
    assert all(row.label in page.text_of["compared"] for row in comparison.rows)
    assert comparison.sentence in page.text_of["compared"]


def test_the_report_of_a_result_and_of_a_comparison(tiny_found, comparison, tmp_path):
    fitted(tiny_found).save_report(tmp_path / "fit.html", thumbnails=False)
    comparison.save_report(tmp_path / "compared.html", thumbnails=False)
    assert "Training and mistakes" in (tmp_path / "fit.html").read_text(encoding="utf-8")
    assert comparison.rows[0].label in (tmp_path / "compared.html").read_text(encoding="utf-8")


def test_a_report_that_can_not_be_written_leaves_nothing(tiny_found, tmp_path):
    for path, reason in ((tmp_path / "report.txt", "suffix .html"), (tmp_path / "none" / "r.html", "does not exist")):
        with pytest.raises(RecommendError, match=reason):
            tiny_found.save_report(path)
    assert list(tmp_path.iterdir()) == []
