"""The model card: what a person who is handed the model should know, from the data that stand beside it.

Reference:
    Mitchell et al., Model Cards for Model Reporting, arXiv 1810.03993; headings as in Hugging Face's template.
"""

import json
import re
from typing import Any

from recommender.rules.scenario import Scenario
from recommender.saving.card_evaluation import evaluation, limits
from recommender.saving.card_training import MOST_CLASSES, training
from recommender.saving.markdown import code, escaped, facts, span, table

_CLASSES_NAMED = 8  # in a sentence
_CLASSES_IN_CODE = 10
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}


def model_card(description: dict[str, Any], *, model_name: str, command: str | None) -> str:
    """A model card in Markdown.

    Args:
        description: `Recommendation.to_dict()`, perhaps with "fit", "exports" and "seed". What is missing is left out.
        model_name: of the model's file, as "model.keras".
        command: that made the model; None leaves it out.

    Returns:
        The card, with Hugging Face's metadata in front.
    """
    stem = model_name.removesuffix(".keras")
    sections = [
        ("Model Details", _details(description)),
        ("Uses", _uses(description)),
        ("How to Get Started with the Model", _start(description, stem)),
        ("Training Details", training(description)),
        ("Evaluation", evaluation(description)),
        ("Bias, Risks, and Limitations", limits(description)),
        ("Other formats", _exports(description)),
        ("Making it again", _again(description, command)),
    ]
    card = [_metadata(), f"# Model Card for {escaped(stem)}", _summary(description)]
    card += [f"## {title}\n\n{text}" for title, text in sections if text]
    return "\n\n".join(card) + "\n"


def labels_text(class_names: list[str] | tuple[str, ...]) -> str:
    """The names of the classes, one a line, in the order of the model's outputs.

    Line breaks and backslashes in names are escaped as Python does it, so that line n always is class n.
    """
    return "".join(re.sub(r"[\\\x00-\x1f\x7f\x85\u2028\u2029]", _escape, name) + "\n" for name in class_names)


def _escape(found: re.Match[str]) -> str:
    return found[0].encode("unicode_escape").decode("ascii")


def _metadata() -> str:
    return "---\nlibrary_name: keras\npipeline_tag: image-classification\ntags:\n- transfer-learning\n- netgraft\n---"


def _class_names(description: dict[str, Any]) -> list[str]:
    return list(description.get("dataset", {}).get("class_counts", {}))


def _summary(description: dict[str, Any]) -> str:
    names = _class_names(description)
    if not names:
        return "Puts pictures into classes."
    shown = [escaped(name) for name in names[:_CLASSES_NAMED]]
    more = f" and {len(names) - len(shown):,} more" if len(names) > len(shown) else ""
    return f"Tells which of {len(names):,} classes a picture shows: {', '.join(shown)}{more}."


def _details(description: dict[str, Any]) -> str:
    backbone, strategy = description.get("backbone", {}), description.get("strategy", {})
    size, channels = strategy.get("input_size"), backbone.get("channels", 3)
    colours = {1: "grey", 3: "RGB", 4: "RGB and alpha"}.get(channels, f"{channels} channels")
    paper, licence = _origin(backbone)
    source, n_classes = backbone.get("source"), len(_class_names(description))
    to = f" to {size} × {size} px" if size else ""
    order = "below" if n_classes <= MOST_CLASSES else "of the JSON beside the model"
    return facts(
        (
            ("Model type", "image classifier, a `keras.Model`"),
            ("Backbone", f"{escaped(str(backbone['title']))}{f' ({paper})' if paper else ''}" if backbone else None),
            ("Pretrained on", (escaped(source) if source else "not known") if backbone else None),
            ("Licence of the pretrained weights", licence if backbone else None),
            ("Input", f"pictures of any size, {colours}, pixels from 0 to 255; resized{to} and scaled inside"),
            ("Output", f"a probability for each of {n_classes:,} classes, in the order {order}" if n_classes else None),
            ("Way of transfer learning", _scenario(description)),
        )
    )


def _origin(backbone: dict[str, Any]) -> tuple[str | None, str]:
    """The paper as a link and the licence; a network that merely has a registered name is not the registered one."""
    from builders.backbones.registry import find_backbone
    from builders.errors import BuildError

    try:
        spec = find_backbone(str(backbone.get("name", "")))
    except BuildError:
        return None, "not known"
    if (spec.name, spec.title) != (backbone.get("name"), backbone.get("title")):
        return None, "not known"
    number = spec.paper.removeprefix("arXiv:")
    paper = f"[arXiv {number}](https://arxiv.org/abs/{number})" if number != spec.paper else escaped(spec.paper)
    return paper, escaped(spec.licence) if backbone.get("source") else "not known (weights from elsewhere)"


def _scenario(description: dict[str, Any]) -> str | None:
    found = description.get("scenario")
    if found is None:
        return None
    scenario = Scenario.numbered(found["id"])
    chosen = f", confidence {found['confidence']:.0%}" if found.get("confidence") is not None else ""
    asked = " (as the user asked)" if found.get("overridden") else chosen
    return f"scenario {scenario.id}, `{scenario.name}`{asked}: {scenario.recipe}"


def _uses(description: dict[str, Any]) -> str:
    size, grey = description.get("dataset", {}).get("median_size_px"), ""
    if size:
        share = description["dataset"].get("grey_share", 0.0)
        grey = f" The median picture has {size[0]:,} × {size[1]:,} px; {share:.0%} are without colour."
    return (
        "**Direct use.** Pictures of the same kind as those it was made from, taken in the same way, each of which "
        f"shows one of the classes.{grey}\n\n"
        "**Out of scope.** It answers with one of its classes whatever it is shown; it has no answer for pictures of "
        "something else. Decisions that weigh on people need a judgement of their own: nothing here was tested for "
        "that."
    )


def _start(description: dict[str, Any], stem: str) -> str:
    backbone = description.get("backbone", {})
    names, mode = _class_names(description), _MODES.get(backbone.get("channels", 3), "RGB")
    short = len(names) <= _CLASSES_IN_CODE
    beside = f"{stem}.json"
    reading = f"json.loads(Path({_quoted(beside)}).read_text())"
    listed = json.dumps(names, ensure_ascii=False) if short else f'list({reading}["dataset"]["class_counts"])'
    best = f"{listed}[probabilities.argmax()], probabilities.max()" if names else "probabilities"
    lines = [
        "import keras" if short else "import json\nfrom pathlib import Path\n\nimport keras",
        "from PIL import Image, ImageOps",
        "",
        f"model = keras.models.load_model({_quoted(f'{stem}.keras')})",
        f'picture = ImageOps.exif_transpose(Image.open("picture.jpg")).convert("{mode}")  # upright',
        "picture = keras.utils.img_to_array(picture)",
        "probabilities = model.predict(picture[None])[0]",
        f"print({best})",
    ]
    text = code("\n".join(lines), "python")
    if backbone and _origin(backbone)[0] is None:
        text += "\n\n"
        text += "If loading asks for a `GraphSegment`: install netgraft and `import builders.graph_segment` first."
    return text


def _quoted(name: str) -> str:
    return json.dumps(name, ensure_ascii=False)


def _exports(description: dict[str, Any]) -> str:
    found = description.get("exports")
    if not found:
        return ""
    rows = [
        (
            escaped(str(each["format"])),
            escaped(str(each["file"])),
            f"{each['largest_difference']:.1g}" if each.get("largest_difference") is not None else "",
            f"{each['same_class']:.0%}" if each.get("same_class") is not None else "",
            f"{each['accuracy']:.1%}" if each.get("accuracy") is not None else "",
            escaped(str(each.get("takes", ""))),
        )
        for each in found
    ]
    header = ("Format", "File", "Largest difference", "Same class", "Accuracy", "Takes")
    used = [column for column in range(len(header)) if any(row[column] for row in rows)]
    shown = table([header[column] for column in used], ([row[column] for column in used] for row in rows))
    return f"Each was run on real pictures; the difference is of a probability, to the Keras model's.\n\n{shown}"


def _again(description: dict[str, Any], command: str | None) -> str:
    parts = [] if command is None else [code(command, "sh")]
    versions = description.get("versions") or {}
    seed = description.get("seed")
    lines = [
        ("Seed", None if seed is None else f"{seed}"),
        ("Versions", ", ".join(f"{escaped(name)} {escaped(number)}" for name, number in versions.items()) or None),
        ("Backbone's weights", _fingerprint(description)),
    ]
    parts.append(facts(lines))
    return "\n\n".join(part for part in parts if part)


def _fingerprint(description: dict[str, Any]) -> str | None:
    digest = description.get("backbone", {}).get("fingerprint")
    return None if not digest else f"SHA-256 fingerprint {span(str(digest)[:16])}…"
