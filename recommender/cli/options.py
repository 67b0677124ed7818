"""The options that sub-commands share, each defined once. Imports nothing heavy."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rich_click as click

from builders.export.formats import FORMATS
from recommender.limits import ENGINES, LARGEST_INPUT, LARGEST_SEED, SMALLEST_INPUT, SMALLEST_SAMPLE

_Decorator = Callable[[Any], Any]
# Inherited by every sub-command. The theme draws no boxes: the same help on a terminal and in a file.
SETTINGS: dict[str, Any] = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
    "show_default": True,
    "rich_help_config": {"theme": "default-slim", "text_paragraph_linebreaks": "\n\n"},
}
PATH = click.Path(path_type=Path)
command = functools.partial(click.command, context_settings=SETTINGS)


def together(*parts: _Decorator) -> _Decorator:
    """Several options as one decorator."""
    return lambda function: functools.reduce(lambda inner, part: part(inner), reversed(parts), function)


def _columns(_context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, str] | None:
    """NAME=COLUMN, repeated, as a dict."""
    for pair in given:
        if not all(pair.partition("=")):
            raise click.BadParameter(f"Expected NAME=COLUMN, as label=diagnosis. Received: {pair!r}.")
    return dict(pair.split("=", 1) for pair in given) or None


class _Size(click.ParamType[Any]):
    """A number of pixels, or one of some words."""

    name = "px"

    def __init__(self, *words: str) -> None:
        self.words = words

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        return (
            value if value in self.words else click.IntRange(SMALLEST_INPUT, LARGEST_INPUT).convert(value, param, ctx)
        )


data_panel, network_panel, answer_panel, training_panel, output_panel = (
    functools.partial(click.option, panel=title) for title in ("Data", "Network", "Answer", "Training", "Output")
)

_sample = click.IntRange(min=SMALLEST_SAMPLE)
_seed = click.IntRange(0, LARGEST_SEED)
sampling = together(
    data_panel("--max-images", type=_sample, default=1000, metavar="N", help="Measure at most N images."),
    data_panel("--seed", type=_seed, default=0, metavar="N", help="The same seed gives the same answer."),
)
trust = network_panel("--trust", is_flag=True, help="Run code and any operation that the network's file holds.")
_NETWORK = "a name of `recommend backbones`, kerashub:PRESET, a .keras or .h5 file, a SavedModel or a hub handle."
_backbone = functools.partial(network_panel, "--backbone", type=click.Path(readable=False))
backbone = _backbone(default="efficientnet_lite0", metavar="NAME|PATH", help=f"Pretrained network: {_NETWORK}")
backbones = _backbone(
    multiple=True,
    default=["efficientnet_lite0"],
    metavar="NAME|PATH|auto",
    help=f"Pretrained network: {_NETWORK} Given several times, or as auto for all whose weights are on this machine, "
    "the network that fits the images is chosen.",
)
weights_of_network = together(
    network_panel(
        "--weights",
        type=PATH,
        metavar="FILE",
        help="Weights for a name of keras.applications. By default Keras downloads those of ImageNet.",
    ),
    network_panel(
        "--pixels",
        type=click.Choice(["0..255", "0..1", "-1..1", "torch", "caffe"]),
        help="The pixel scaling that the network expects. Measured where it is not known.",
    ),
    trust,
)
size = network_panel(
    "--input-size", type=_Size(), metavar="PX", help="Side of the network's input. By default it follows the images."
)
column = data_panel(
    "--column",
    "columns",
    multiple=True,
    metavar="NAME=COLUMN",
    callback=_columns,
    help="The column that holds NAME: path, label, split, group or weight of a manifest; image or label of shards.",
)
data = together(
    click.argument("data", type=click.Path(readable=False)),
    column,
    sampling,
    backbones,
    weights_of_network,
    network_panel(
        "--input-size",
        type=_Size("auto"),
        metavar="PX|auto",
        help="Side of the network's input. By default it follows the images; auto tries two or three sizes, too.",
    ),
    network_panel(
        "--engine",
        type=click.Choice(ENGINES),
        default="auto",
        help="What runs the network over the images. By default LiteRT where the network can be converted to it.",
    ),
)
ray = data_panel(
    "--ray",
    is_flag=False,
    flag_value="auto",
    metavar="[ADDRESS]",
    help="Read the images and run the network on a Ray cluster: the one that this machine is part of, that at ADDRESS, "
    "or `local`, which starts Ray on this machine. Give it behind DATA.",
)
answer = together(
    answer_panel("--scenario", type=click.IntRange(1, 4), metavar="1..4", help="Override the choice of the scenario."),
    answer_panel("--verbose", is_flag=True, help="Print all details, the backbone stage by stage, too."),
)
build = together(
    output_panel(
        "--build",
        "target",
        type=PATH,
        metavar="MODEL.keras",
        help="Write the model, with MODEL.json, class names, a model card and an out-of-distribution detector next to "
        "it.",
    ),
    output_panel(
        "--export",
        "exports",
        multiple=True,
        type=click.Choice(list(FORMATS)),
        help="With --build: write the model in this format, too. May be repeated.",
    ),
)
report = together(
    output_panel(
        "--report",
        type=PATH,
        metavar="FILE.html",
        help="Write a report with charts and thumbnails: one HTML file that needs no other file and no network.",
    ),
    output_panel(
        "--no-thumbnails",
        "thumbnails",
        is_flag=True,
        flag_value=False,
        default=True,
        show_default=False,
        help="With --report: leave images out of it.",
    ),
)
form = together(
    output_panel("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else."),
    output_panel("--quiet", is_flag=True, help="Show no progress, and print the answer in one line."),
)
