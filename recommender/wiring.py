"""Where builders' backbones meet the probes."""

from builders.backbones import Backbone
from builders.surgery import cut_points
from probes.features import Network


def probed_network(backbone: Backbone) -> Network:
    """A backbone as the probes see it: every cut point is pooled, every block's last BatchNorm layer gives drift."""
    points = cut_points(backbone.network)
    return Network(
        model=backbone.network,
        input_size=backbone.input_size,
        scale=backbone.spec.scale,
        offset=backbone.spec.offset,
        cuts=tuple(point.layer for point in points),
        norms=tuple(point.batch_norm for point in points if point.batch_norm),
    )
