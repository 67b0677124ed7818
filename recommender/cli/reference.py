"""`recommend reference`."""

import json
from pathlib import Path
from typing import Any

import rich_click as click

from recommender.cli import options
from recommender.cli.terminal import loading_quietly, progress


@options.command("reference")
@click.argument("images", type=click.Path(path_type=Path))
@options.sampling
@options.network
@options.as_json
@options.quiet
def reference(images: Path, as_json: bool, quiet: bool, **arguments: Any) -> None:
    """Measure images of the data that --backbone was trained on.

    IMAGES is a folder of a few hundred such images. Their statistics are kept under the fingerprint of the network's
    weights, and later runs measure the similarity of other images against them. Networks without BatchNorm need this.
    """
    from recommender.pipeline.make_reference import make_reference

    with progress(shown=not (quiet or as_json)) as show:
        path = make_reference(images, progress=loading_quietly(show), **arguments)
    click.echo(json.dumps({"reference": str(path)}) if as_json else f"Wrote {path}")
