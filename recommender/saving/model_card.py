"""The model card: what a person who is handed the model should know, from the JSON output.

Mitchell et al., Model Cards for Model Reporting, arXiv 1810.03993; headings as in Hugging Face's template.
"""

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from builders.backbones.registry import BACKBONES
from probes.evaluation.intervals import z
from recommender.explanation.text import clean, data_name, duration
from recommender.rules.scenario import Scenario
from recommender.rules.thresholds import FEW_IMAGES

if TYPE_CHECKING:
    from jinja2 import Template

_MOST_CLASSES = 50  # in the table
_CLASSES_IN_CODE = 10
_MODES = {1: "L", 3: "RGB", 4: "RGBA"}  # of Pillow, by number of channels
_ALWAYS = re.compile(r"([\\`*\[\]<>|~$&#])")
_UNDERSCORE = re.compile(r"(?<![^\W_])_|_(?![^\W_])")  # inside a word it is harmless, and plain reads better
_ADDRESS = re.compile(r"(?i)(www)(?=\.)|(?<=\w)(?=://)")  # renderers make links of bare addresses


def escaped(text: str) -> str:
    """Text that a Markdown renderer shows as it is, on one line, whatever is in it."""
    plain = _UNDERSCORE.sub(r"\\_", _ALWAYS.sub(r"\\\1", clean(text).strip()))
    return _ADDRESS.sub(lambda found: found[0] + "\\", plain)


def labels_text(class_names: Sequence[str]) -> str:
    """The names of the classes, one a line, in the order of the model's outputs.

    Line breaks and backslashes in names are escaped as Python does it, so that line n always is class n.
    """

    def escape(found: re.Match[str]) -> str:
        return found[0].encode("unicode_escape").decode("ascii")

    return "".join(re.sub(r"[\\\x00-\x1f\x7f\x85\u2028\u2029]", escape, name) + "\n" for name in class_names)


def model_card(description: dict[str, Any], *, model_name: str, command: str | None) -> str:
    """A model card in Markdown, with Hugging Face's metadata in front, from `Recommendation.to_dict()`.

    The description may have "fit" and "exports". `model_name` is that of the file, as "model.keras"; `command` made it.
    """
    data, fit, stem = description["dataset"], description.get("fit"), model_name.removesuffix(".keras")
    names = list(data["class_counts"])
    paper, licence = _origin(description["backbone"])
    comparison = description.get("comparison") or {"rows": ()}
    compared = next((row for row in comparison["rows"] if row["label"] == comparison["preferred"]), None)
    n_judged = (fit or description)["n_held_out"] or description["separability"]["n_images"]
    if compared and not fit:
        n_judged = comparison["n_judged"]
    few = sorted((count, name) for name, count in data["class_counts"].items() if count < FEW_IMAGES)
    text = _template().render(
        {"fit": None, "comparison": None, "exports": (), **description},
        compared=compared,
        stem=stem,
        names=names,
        most_classes=_MOST_CLASSES,
        paper=paper,
        licence=licence,
        recipe=Scenario.numbered(description["scenario"]["id"]).recipe,
        python=_python(stem, names, description["backbone"]["channels"]),
        data_name=data_name(data["path"]),
        judged=(fit["accuracy"] if fit else description["expected_accuracy"]) is not None,
        judged_by=fit["judged_by"] if fit else description["accuracy_from"],
        n_judged=n_judged,
        z=z(),
        few=[f"{name} ({count:,})" for count, name in few],
        plentiful=FEW_IMAGES,
        command=command,
    )
    return re.sub(r"\n{3,}", "\n\n", text).strip() + "\n"


def _template() -> "Template":
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    # The output is Markdown: `finalize` escapes every value as such, but for those that the template marks as safe.
    environment = Environment(  # noqa: S701
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: value if isinstance(value, Markup) else escaped(str(value)),
    )
    environment.filters.update(code=_code, span=_span, duration=duration)
    environment.filters.update(
        commas=lambda number: f"{number:,}" if isinstance(number, int) else f"{number:,g}", percent="{:.1%}".format
    )
    return environment.from_string(Path(__file__).with_name("model_card.md.jinja").read_text(encoding="utf-8"))


def _span(name: str) -> str:
    """A name in a code span, which has no escapes of its own."""
    return "`" + re.sub(r"[`|]", "?", clean(name)) + "`"


def _code(text: str, language: str) -> str:
    """A block of code, fenced by more backticks than stand in a row in it."""
    fence = "`" * max(3, 1 + max(map(len, re.findall(r"`+", text)), default=0))
    return f"{fence}{language}\n{text}\n{fence}"


def _origin(backbone: dict[str, Any]) -> tuple[str | None, str]:
    """Paper and licence; a network that merely has a registered name is not the registered one."""
    spec = BACKBONES.get(backbone["name"])
    if spec is None or spec.title != backbone["title"]:
        return None, "not known"
    return spec.paper, spec.licence if backbone["source"] else "not known (weights from elsewhere)"


def _python(stem: str, names: list[str], channels: int) -> str:
    """A program that predicts the class of one picture."""
    model, described = (json.dumps(stem + suffix, ensure_ascii=False) for suffix in (".keras", ".json"))
    imports, classes = "import keras", json.dumps(names, ensure_ascii=False)
    if len(names) > _CLASSES_IN_CODE:
        imports = "import json\nfrom pathlib import Path\n\nimport keras"
        classes = f'list(json.loads(Path({described}).read_text())["dataset"]["class_counts"])'
    return f"""{imports}
from PIL import Image, ImageOps

model = keras.models.load_model({model})
picture = ImageOps.exif_transpose(Image.open("picture.jpg")).convert("{_MODES[channels]}")  # upright
picture = keras.utils.img_to_array(picture)
probabilities = model.predict(picture[None])[0]
print({classes}[probabilities.argmax()], probabilities.max())"""
