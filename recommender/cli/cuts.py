"""`recommend cuts`."""

import rich_click as click

from recommender.cli import options
from recommender.cli.terminal import import_tensorflow


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

    for line in cut_table(cut_points(structure(backbone, trust=trust))):
        click.echo(line)
