"""The sub-commands that start from a network: backbones, cuts and reference."""

import json
from pathlib import Path
from typing import Any

import rich_click as click

from recommender.cli import options
from recommender.cli.terminal import import_tensorflow, loading_quietly, progress


@options.command("backbones")
def backbones() -> None:
    """List the networks that have a name."""
    from builders.backbones.registry import BACKBONES

    for spec in BACKBONES.values():
        click.echo(f"{spec.name:22} {spec.native_size} px  {spec.paper:16}  {spec.availability}")


@options.command("cuts")
@click.argument("backbone", metavar="NAME|PATH")
@options.trust
def cuts(backbone: str, trust: bool) -> None:
    """List the cut points of a network: the layers at which it can be cut or frozen."""
    from builders.backbones.registry import check_backbone

    check_backbone(backbone)
    import_tensorflow()
    from builders.backbones.load import structure
    from builders.surgery.cut import cut_points
    from recommender.reports.recommendation_page import cut_table

    click.echo("\n".join(cut_table(cut_points(structure(backbone, trust=trust)))))


@options.command("reference")
@click.argument("images", type=options.PATH)
@options.sampling
@options.network
@options.form
def reference(images: Path, as_json: bool, quiet: bool, **arguments: Any) -> None:
    """Measure images of the data that --backbone was trained on.

    IMAGES is a folder of a few hundred such images. Their statistics are kept under the fingerprint of the network's
    weights, and later runs measure the similarity of other images against them. Networks without BatchNorm need this.
    """
    from recommender.pipeline.make_reference import make_reference

    with progress(shown=not (quiet or as_json)) as show:
        path = make_reference(images, progress=loading_quietly(show), **arguments)
    click.echo(json.dumps({"reference": str(path)}) if as_json else f"Wrote {path}")
