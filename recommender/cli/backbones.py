"""`recommend backbones`."""

import rich_click as click

from recommender.cli.options import command


@command("backbones")
def backbones() -> None:
    """List the networks that have a name."""
    from builders.backbones.registry import BACKBONES

    for spec in BACKBONES.values():
        click.echo(f"{spec.name:22} {spec.native_size} px  {spec.paper:16}  {spec.availability}")
