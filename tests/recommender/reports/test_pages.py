"""The pages: what they say, as plain text and on a terminal, for any width."""

import io
import re
import sys
from dataclasses import replace
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from rich.console import Console

from builders.training.schedule import Phase, plan_schedule
from probes.evaluation.evaluation import evaluate
from probes.evaluation.intervals import Gain
from probes.quality.findings import EXAMPLES, SEVERITIES, Finding, finding
from recommender.comparison.compare import compare
from recommender.fit.result import FitResult, TrainingPlan
from recommender.reports import comparison_page, data_check_page, fit_page, recommendation_page
from recommender.reports.console import console
from recommender.reports.summary import repeat_command
from recommender.rules.scenario import Scenario


def plain(write, *records, width=100):
    """A page as it is printed to a file."""
    out = io.StringIO()
    write(*records, Console(file=out, width=width))
    return out.getvalue()


def words(write, *records, width=100):
    return " ".join(plain(write, *records, width=width).split())


FINDINGS = tuple(
    Finding(
        kind=f"kind {number}",
        severity=severity,
        n_files=number,
        examples=tuple(f"{number}/{name}.jpg" for name in range(7)),
        message=f"{number} files are odd\n.",
        done="Left out.",
        advice="Remove them.",
    )
    for number, severity in enumerate(SEVERITIES)
)


@pytest.fixture(scope="module")
def found(tiny_found):
    """A recommendation with everything that a page may show."""
    size = replace(
        tiny_found.measurements.size,
        splits={"train": 16, "test": 4},
        class_names=tuple(f"class {number}" for number in range(12)),
        class_counts=tuple(range(1, 13)),
        n_checked=18,
        grey_share=0.25,
    )
    similarity = replace(
        tiny_found.measurements.similarity,
        source="ImageNet",
        frechet=12.34,
        kid=0.56,
        source_confidence=0.78,
        looks_like=((("ant", 0.55), ("bee", 0.02)), *((),) * 11),
    )
    measurements = replace(tiny_found.measurements, size=size, similarity=similarity, findings=FINDINGS)
    verdict = replace(tiny_found.verdict, overridden=Scenario.LINEAR_PROBE, close=True)
    return replace(tiny_found, measurements=measurements, verdict=verdict)


@pytest.fixture(scope="module")
def comparison(tiny_found):
    return compare(tiny_found, budget=2.0)


@pytest.fixture(scope="module")
def plan():
    return TrainingPlan(
        phases=(
            Phase(
                name="linear_probe", what="the prediction layer", steps=0, learning_rate=None, trainable_parameters=34
            ),
            Phase(name="fine_tune", what="the network", steps=48, learning_rate=1e-3, trainable_parameters=5722),
        ),
        schedule=plan_schedule(1000, steps=48),
        augmentation=("mirror", "shift"),
        n_training=1000,
        n_held_out=200,
        trials=2,
        refits=True,
        class_weight=(0.5, 1.5),
        cached=True,
        precision="mixed_float16",
        seconds=300.0,
        resumed_at=20,
    )


@pytest.fixture(scope="module")
def result(plan):
    rng = np.random.default_rng(0)
    labels = np.arange(120) % 12
    probabilities = rng.dirichlet(np.ones(12), 120) + 0.3 * np.eye(12)[labels]
    evaluation = evaluate(probabilities / probabilities.sum(1, keepdims=True), labels)
    return FitResult(
        model=None,
        plan=plan,
        chosen="fine_tuned",
        judged_by="held-out part",
        evaluation=evaluation,
        accuracy=0.875,
        interval=(0.8, 0.925),
        gain=Gain(difference=0.05, low=-0.01, high=0.11),
        trials=2,
        share=0.75,
        temperature=1.3,
        calibration=(0.08, 0.03),
        notes=("One\nnote.",),
        seconds={"training": 200.0},
        peak_memory=3 * 2**30,
    )


@pytest.fixture(scope="module")
def pages(found, comparison, plan, result):
    """Name -> what writes the page, and what it is of."""
    names = [f"class {number}" for number in range(12)]
    return {
        "recommendation": (recommendation_page.print_page, found),
        "verbose": (partial(recommendation_page.print_page, verbose=True), found),
        "check": (data_check_page.print_page, found),
        "findings": (data_check_page.print_findings, FINDINGS),
        "comparison": (comparison_page.print_comparison, comparison),
        "plan": (fit_page.print_plan, plan),
        "result": (fit_page.print_result, result, names),
    }


PAGES = ("recommendation", "verbose", "check", "findings", "comparison", "plan", "result")


@pytest.mark.parametrize("width", [80, 100, 200])
@pytest.mark.parametrize("page", PAGES)
def test_a_page_in_a_file_is_plain_text_that_keeps_to_the_width(pages, page, width):
    text = plain(*pages[page], width=width)
    assert "\x1b" not in text
    assert all(len(line) <= width and line == line.rstrip() for line in text.splitlines())


@pytest.mark.parametrize("page", PAGES)
def test_a_page_on_a_terminal_has_the_same_words_in_colours(pages, page):
    write, *records = pages[page]
    out = io.StringIO()
    write(*records, Console(file=out, width=100, force_terminal=True, color_system="standard"))
    assert "\x1b[" in out.getvalue()
    assert re.sub(r"\x1b\[[0-9;]*m", "", out.getvalue()).split() == plain(*pages[page]).split()


@pytest.mark.parametrize(
    ("page", "expected"),
    [
        ("recommendation", "Confidence you asked for this scenario; the rules would choose 1 LINEAR_PROBE"),
        ("recommendation", "78 images in 12 classes, 1 to 12 a class; "),
        ("recommendation", "Images 16 measured; median 64 × 48 px, run at 32 px; 25 % are grey"),
        ("recommendation", "the ImageNet classifier gives its first guess a probability of 0.78 on average"),
        ("recommendation", "Classified as class 0 → ant 55 %, bee 2 %"),
        ("recommendation", "class 1 → not in the sample"),
        ("recommendation", "… and 2 more classes (all with --verbose)"),
        ("recommendation", "Data check 1 error, 1 warning, 1 note; first: 0 files are odd"),
        ("recommendation", "◀ chosen: the network is kept up to here"),
        ("verbose", "Fréchet distance of the last features 12.3, kernel distance (KID) 0.56: 0 for equal images"),
        ("verbose", "Head global average pooling"),
        ("verbose", "class 11 → not in the sample"),
        ("recommendation", "Warnings • 0 files are odd"),
        ("recommendation", "`recommend check` lists the files"),
        ("check", "16 train, 4 test images in 12 classes; 18 checked: 1 error, 1 warning, 1 note"),
        ("check", "… and 2 more (all with --json) Done: Left out. You may: Remove them."),
        ("check", "Only a sample was checked; `recommend check --full` checks every image."),
        ("findings", r"error 0 files are odd\n. 0/0.jpg"),
        ("comparison", "strategies, evaluated by cross-validation on the same 16 images;"),
        ("comparison", "on images that did not make the choice"),
        ("comparison", "so its own accuracy is too high."),
        ("comparison", "advice"),
        ("plan", "1 linear probe the prediction layer; 34 parameters"),
        ("plan", "48 steps of 32 images; Adam, learning rate up to 0.0003; warm-up over"),
        ("plan", "then cosine to 0; a validation check every"),
        (
            "plan",
            "1,000; up to 2 trials with 200 held out show whether fine-tuning helps; if it helps, all images train",
        ),
        ("plan", "mirrored left to right, shifted and zoomed"),
        ("plan", "Frozen part computed once"),
        ("plan", "weighted equally, since they are unbalanced"),
        ("plan", "mixed_float16"),
        ("plan", "at step 20"),
        ("plan", "up to about 5 min on this machine"),
        ("result", "Model fine-tuned, averaged with its start (75 % of the trained weights)"),
        ("result", "Accuracy 87.5 %, 90 % interval 80.0 to 92.5 %, on 120 images that were held out"),
        ("result", "off by 3.0 % on average, scaled by a temperature of 1.30"),
        ("result", "+5.0 points by fine-tuning over the whole backbone, frozen (90 % interval -1.0 to"),
        ("result", r"Note One\nnote."),
        ("result", "3 min, 3.0 GiB at the peak"),
        ("result", "… and 2 more (all with --json)"),
    ],
)
def test_a_page_says_what_was_measured(pages, page, expected):
    assert expected in words(*pages[page])


def test_what_the_encoding_of_a_terminal_lacks_is_written_in_ascii(found, monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding="ascii"))
    recommendation_page.print_page(found, console(), verbose=True)
    sys.stdout.flush()
    page = raw.getvalue().decode("ascii")
    assert "#" in page
    assert "?" not in page


def test_a_network_without_batch_norm_has_no_similarity(found):
    bare = replace(found, measurements=replace(found.measurements, similarity=None))
    assert "not measured: the network has fewer than 4 BatchNorm layers" in words(recommendation_page.print_page, bare)


def test_classes_of_one_size_and_colour_are_said_in_few_words(tiny_found):
    text = words(recommendation_page.print_page, tiny_found)
    assert "16 images in 2 classes, 8 a class; " in text
    assert "16 measured; median 64 × 48 px, run at 32 px" in text
    assert "grey" not in text


def test_a_sound_data_set_has_nothing_found(tiny_found):
    sound = replace(tiny_found, measurements=replace(tiny_found.measurements, findings=()))
    assert data_check_page.one_line(sound) == "nothing found"
    assert "checked: nothing found" in words(data_check_page.print_page, sound)


def test_the_worst_finding_is_in_the_line_of_a_check(found):
    assert data_check_page.one_line(found) == r"1 error, 1 warning, 1 note; first: 0 files are odd\n."


def test_of_more_examples_than_are_kept_the_page_promises_those_that_are():
    many = finding("small_class", [f"class {number}" for number in range(EXAMPLES + 1)], "Small.", "Measured.", "Add.")
    assert "… and more (the first 1,000 with --json)" in words(data_check_page.print_findings, [many])


def test_fine_tuning_is_announced_with_its_length(tiny_found):
    strategy = replace(tiny_found.strategy, freeze=None, cut="block4_add", cut_depth=1.0)
    verdict = replace(tiny_found.verdict, scenario=Scenario.FULL_FINE_TUNE)
    found = replace(tiny_found, plan=replace(tiny_found.plan, strategy=strategy), verdict=verdict)
    text = words(partial(recommendation_page.print_page, verbose=True), found)
    assert "Start from the pretrained weights of the whole of tiny, and train all of it" in text
    assert re.search(r"`fit` trains for \d+ steps of \d+ images", text)
    assert "Freeze nothing" in text


PLANS = {
    "nothing can be held out": ({"n_held_out": 0, "trials": 0}, "to train on, none can be held out"),
    "cross-validation": ({"n_held_out": 0, "schedule": None}, "to train on; the accuracy: cross-validated"),
    "a validation split": ({"trials": 1, "refits": False}, "1,000; a trial with 200 held out shows whether"),
    "no augmentation": ({"augmentation": ()}, "Augmentation none"),
    "a large frozen part": ({"cached": False}, "computed at each step: too large to keep"),
    "nothing to resume": ({"resumed_at": 0}, "no: there is no earlier state"),
}


@pytest.mark.parametrize("special", PLANS)
def test_the_plan_says_what_is_special(plan, special):
    changes, expected = PLANS[special]
    assert expected in words(fit_page.print_plan, replace(plan, **changes))


RESULTS = {
    "no gain": (
        {"chosen": "linear_probe"},
        "on a frozen backbone: held-out images don't show that fine-tuning is better",
    ),
    "no gain over a given model": ({"chosen": "as_given"}, "as given: held-out images don't show"),
    "interrupted": ({"interrupted": True, "share": 1.0}, "fine-tuned; interrupted (--resume continues)"),
    "not calibrated": ({"calibration": None}, "Calibration not measured"),
    "calibrated without a temperature": ({"temperature": 1.0}, "off by 8.0 % on average Gain"),
    "cross-validated": ({"judged_by": "cross-validation"}, "on 120 images by cross-validation"),
    "a validation split": ({"judged_by": "validation"}, "on 120 images of your validation split"),
    "no memory": ({"peak_memory": None}, "Time 3 min Class"),
}


@pytest.mark.parametrize("special", RESULTS)
def test_the_result_says_what_is_special(result, special):
    changes, expected = RESULTS[special]
    names = [f"class {number}" for number in range(12)]
    assert expected in words(fit_page.print_result, replace(result, **changes), names)


def test_the_line_of_a_result_has_accuracy_and_interval(result):
    assert fit_page.one_line(result) == "fine_tuned: balanced accuracy {:.3f}, 90 % interval {:.3f} to {:.3f}".format(
        result.evaluation.balanced_accuracy, *result.evaluation.balanced_interval
    )
    balanced = replace(result, plan=replace(result.plan, class_weight=None))
    assert fit_page.one_line(balanced) == "fine_tuned: accuracy 0.875, 90 % interval 0.800 to 0.925"
    assert "accuracy unknown" in fit_page.one_line(replace(result, accuracy=None))


def test_the_lowest_recall_comes_first_with_what_it_is_confused_with(result):
    names = [f"class {number}" for number in range(12)]
    lines = plain(fit_page.print_result, result, names, width=160).splitlines()
    rows = lines[next(number for number, line in enumerate(lines) if "Confused with" in line) + 1 :][:10]
    recalls = [int(re.findall(r"(\d+) %", row)[-1]) for row in rows]
    assert recalls == sorted(recalls)
    worst = int(np.argmin(result.evaluation.recall))
    others = result.evaluation.confusion[worst].copy()
    others[worst] = 0
    assert re.search(rf"class {worst} .*class \d+ \({others.max()}×\)", rows[0])


def test_there_is_a_line_for_each_validation_check(plan):
    lines = [plain(fit_page.print_check, SimpleNamespace(step=step, accuracy=0.625), plan.schedule) for step in (0, 4)]
    assert lines == [
        "  step  0 of 48   held-out accuracy 62.5 % (the frozen model, before a trial)\n",
        "  step  4 of 48   held-out accuracy 62.5 %\n",
    ]


def test_cut_points_without_a_known_size_are_listed():
    point = SimpleNamespace(layer="a\nb", depth=0.5, shape=(None, None, 8), stride=None, parameters=1234)
    header, row = recommendation_page.cut_table([point])
    assert row.split() == [r"a\nb", "50.0%", "?×?×8", "1,234"]
    assert len(row) == len(header)


def comparisons(comparison):
    """Name -> comparison that is special, what its page says."""
    row = replace(comparison.winner, recommended=False)
    strategies = [replace(row.strategy, cut=f"{number}", freeze=f"{number}", cut_depth=0.5) for number in range(20)]
    many = tuple(
        replace(row, strategy=strategy, scenario=Scenario.SHALLOW_FEATURES, accuracy=0.9 - number / 100)
        for number, strategy in enumerate(strategies)
    )
    gap = Gain(difference=0.0, low=-0.1, high=0.1)
    other = many[1]
    tied = replace(
        comparison, rows=many, gaps=(gap,) * 20, winner=many[0], preferred=many[1], recommended=None, regret=None
    )
    tuned = replace(row, steps=7, full_steps=20, share=0.5)
    trained = {"rows": (tuned,), "gaps": (gap,), "winner": tuned, "preferred": tuned, "recommended": tuned}
    curve = SimpleNamespace(
        points=(SimpleNamespace(accuracy=0.8),), doubled=SimpleNamespace(accuracy=0.85), gain=(0.01, 0.09)
    )
    return {
        "many rows": (tied, "… and 6 more (all with --json)"),
        "many ties": (
            tied,
            f"Tied with {many[0].label}: {many[1].label}; {many[2].label};",
        ),
        "advice that was not trained": (
            replace(tied, skipped={comparison.advice: "for want of time"}),
            "was right is not known: it was not trained, for want of time (budget: 2 s). Of 20 others",
        ),
        "a sample": (replace(comparison, is_sample=True, n_images=5000), "images, a sample of 5,000;"),
        "a validation split": (replace(comparison, judged_by="validation"), "images of your validation split;"),
        "an interruption": (replace(comparison, interrupted=True), "; interrupted"),
        "strategies without time": (
            replace(comparison, skipped={"2 from a": "no time", "3": "no time"}),
            "Not trained, no time: 2 from a; 3.",
        ),
        "fine-tuning": (
            replace(comparison, **trained, augmentation=("mirror", "shift")),
            "Fine-tuned with mirror and shift, each through a whole schedule of as many steps as the budget allows; "
            "`recommend fit` takes more.",
        ),
        "what fine-tuned rows are judged on": (
            replace(comparison, **trained, n_training=90, n_held_out=22),
            "Fine-tuned ones learned from 90 images; their accuracy is estimated by comparing them with a frozen one "
            "on 22 that were held out",
        ),
        "fine-tuning that may not help": (replace(comparison, **trained), "no sure gain"),
        "few images": (
            replace(comparison, winner=row, recommended=row, regret=Gain(difference=0.0, low=-0.07, high=0.07)),
            f"Too few images to tell whether the advice, {row.label}, was right. It leads.",
        ),
        "right advice": (
            replace(comparison, winner=row, recommended=row, regret=Gain(difference=0.0, low=-0.01, high=0.01)),
            f"The advice was right: {row.label} is the best of",
        ),
        "a tie": (
            replace(comparison, recommended=other, winner=row, regret=Gain(difference=0.01, low=-0.01, high=0.03)),
            f"The advice, {other.label}, ties with the best, {row.label}: choosing the best would gain 1.0 points",
        ),
        "a learning curve": (
            replace(comparison, curve=curve, curve_label="4 cut at a"),
            "Twice the images would take 4 cut at a from 80.0 % to about 85.0 %: +1.0 to +9.0 points (90 % interval)",
        ),
    }


def test_the_comparison_says_what_is_special(comparison):
    for special, (changed, expected) in comparisons(comparison).items():
        assert expected in words(comparison_page.print_comparison, changed, width=160), special


def of_two_cuts(found, earlier, chosen):
    """The recommendation with the results of two cut points; the others have none."""
    cuts = found.measurements.separability.per_cut
    results = {found.plan.cuts[0].layer: earlier, found.strategy.cut: chosen}
    evidence = tuple(
        replace(cut, correct=results[cut.cut], accuracy=float(np.mean(results[cut.cut])))
        for cut in cuts
        if cut.cut in results
    )
    separability = replace(found.measurements.separability, per_cut=evidence, groups=tuple(range(len(chosen))))
    return replace(found, measurements=replace(found.measurements, separability=separability))


def test_a_better_row_within_noise_is_named_with_the_difference(tiny_found):
    found = of_two_cuts(tiny_found, (True,) * 15 + (False,), (True,) * 14 + (False,) * 2)
    text = words(recommendation_page.print_page, found)
    layer = found.plan.cuts[0].layer
    assert f"Not {layer} at" in text
    assert "with 93.8 % against 87.5 %: +6.2 points (90 % interval" in text
    assert "is within noise." in text


def test_nothing_is_said_where_the_chosen_row_is_the_best(tiny_found):
    found = of_two_cuts(tiny_found, (True,) * 8 + (False,) * 8, (True,) * 16)
    assert "is within noise" not in words(recommendation_page.print_page, found)


def test_the_first_screen_says_what_is_built_and_not_what_the_scenario_is_called(tiny_found):
    cuts = tiny_found.plan.cuts
    earlier = replace(tiny_found.strategy, cut=cuts[1].layer, cut_depth=0.61, freeze=cuts[1].layer, freeze_depth=0.61)
    verdict = replace(tiny_found.verdict, scenario=Scenario.LINEAR_PROBE)
    found = replace(tiny_found, plan=replace(tiny_found.plan, strategy=earlier), verdict=verdict)
    assert f"Keep the first 61 % of tiny, up to {cuts[1].layer}, freeze it" in words(
        recommendation_page.print_page, found
    )


def test_balanced_accuracy_leads_where_the_classes_have_equal_weight(tiny_found):
    size = replace(tiny_found.measurements.size, file_counts=(90, 10))
    found = replace(tiny_found, measurements=replace(tiny_found.measurements, size=size))
    assert "Accuracy balanced accuracy" in words(recommendation_page.print_page, found)
    assert "expected balanced accuracy" in recommendation_page.one_line(found)
    assert re.search(
        r"Accuracy [\d.]+ % of new images right \(90 % interval", words(recommendation_page.print_page, tiny_found)
    )


def test_the_commands_to_type_next_stand_on_one_line_each_however_long(found):
    commands = (
        repeat_command(f"recommend '{'my photos ' * 12}' --json --build=a.keras --export onnx --seed 3", "fit"),
    )
    page = plain(partial(recommendation_page.print_page, commands=commands), found, width=80)
    assert f"  recommend fit '{'my photos ' * 12}' --seed 3\n" in page


@pytest.mark.parametrize(
    ("typed", "repeated"),
    [
        ("recommend photos/", "recommend compare photos/"),
        ("recommend recommend photos/ --verbose", "recommend compare photos/"),
        ("recommend 'a b' --build m.keras --backbone resnet50", "recommend compare 'a b' --backbone resnet50"),
    ],
)
def test_a_command_is_repeated_for_the_same_data_without_its_output(typed, repeated):
    assert repeat_command(typed, "compare") == repeated


def test_a_class_without_a_letter_is_quoted(found):
    size = replace(found.measurements.size, class_names=tuple(str(number) for number in range(12)))
    digits = replace(found, measurements=replace(found.measurements, size=size))
    assert "Classified as '0' → ant 55 %" in words(recommendation_page.print_page, digits)
