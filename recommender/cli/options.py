"""The options that sub-commands share, each defined once. Imports nothing heavy."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import rich_click as click

from builders.export.formats import FORMATS
from recommender.limits import LARGEST_SEED, SMALLEST_INPUT, SMALLEST_SAMPLE

_Decorator = Callable[[Any], Any]
# Inherited by every sub-command. The theme draws no boxes: the same help on a terminal and in a file.
SETTINGS: dict[str, Any] = {
    "help_option_names": ["-h", "--help"],
    "max_content_width": 100,
    "rich_help_config": {"theme": "default-slim", "text_paragraph_linebreaks": "\n\n"},
}
command = functools.partial(click.command, context_settings=SETTINGS)


def together(*parts: _Decorator) -> _Decorator:
    """Several options as one decorator."""
    return lambda function: functools.reduce(lambda inner, part: part(inner), reversed(parts), function)


def _columns(_context: click.Context, _parameter: click.Parameter, given: tuple[str, ...]) -> dict[str, str] | None:
    """NAME=COLUMN, repeated, as a dict."""
    parts = [pair.partition("=") for pair in given]
    for name, equals, column in parts:
        if not (name and equals and column):
            raise click.BadParameter(f"Expected NAME=COLUMN, as label=diagnosis. Received: {name!r}.")
    return {name: column for name, _, column in parts} or None


_data, _network, _answer, output = (
    functools.partial(click.option, panel=title) for title in ("Data", "Network", "Answer", "Output")
)

sampling = together(
    _data(
        "--max-images",
        type=click.IntRange(min=SMALLEST_SAMPLE),
        default=1000,
        show_default=True,
        metavar="N",
        help="Measure at most N images.",
    ),
    _data(
        "--seed",
        type=click.IntRange(0, LARGEST_SEED),
        default=0,
        show_default=True,
        metavar="N",
        help="The same seed gives the same answer.",
    ),
)
trust = _network("--trust", is_flag=True, help="Run code and any operation that the network's file holds.")
network = together(
    _network(
        "--backbone",
        type=click.Path(readable=False),
        default="efficientnet_lite0",
        show_default=True,
        metavar="NAME|PATH",
        help="Pretrained network: a name of `recommend backbones`, a .keras or .h5 file, a SavedModel or a hub handle.",
    ),
    _network(
        "--weights",
        type=click.Path(path_type=Path),
        metavar="FILE",
        help="Weights for a name of keras.applications. By default Keras downloads those of ImageNet.",
    ),
    _network(
        "--pixels",
        type=click.Choice(["0..255", "0..1", "-1..1", "torch", "caffe"]),
        help="The pixel scaling that the network expects. Measured where it is not known.",
    ),
    trust,
    _network(
        "--input-size",
        type=click.IntRange(min=SMALLEST_INPUT),
        metavar="PX",
        help="Side of the network's input. By default it follows the images.",
    ),
)
data = together(
    click.argument("data", type=click.Path(readable=False)),
    _data(
        "--column",
        "columns",
        multiple=True,
        metavar="NAME=COLUMN",
        callback=_columns,
        help="The column of a manifest that holds NAME: path, label, split, group or weight.",
    ),
    sampling,
    network,
)
answer = together(
    _answer("--scenario", type=click.IntRange(1, 4), metavar="1..4", help="Override the choice of the scenario."),
    _answer("--verbose", is_flag=True, help="Describe the backbone stage by stage, too."),
)
build = together(
    output(
        "--build",
        "target",
        type=click.Path(path_type=Path),
        metavar="MODEL.keras",
        help="Write the model, with MODEL.json, class names, a model card and an out-of-distribution detector next to "
        "it.",
    ),
    output(
        "--export",
        "exports",
        multiple=True,
        type=click.Choice(list(FORMATS)),
        help="With --build: write the model in this format, too. May be repeated.",
    ),
)
form = together(
    output("--json", "as_json", is_flag=True, help="Print one JSON object and nothing else."),
    output("--quiet", is_flag=True, help="Show no progress, and print the answer in one line."),
)
