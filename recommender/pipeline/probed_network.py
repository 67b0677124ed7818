"""A backbone, from `builders`, as the network that the probes see: by LiteRT or by TensorFlow."""

from collections.abc import Sequence

from builders.backbones.backbone import Backbone
from probes.network.features import Network, Norm, about
from probes.network.readout import FloatArray, Run, read, with_constant_weights
from recommender.pipeline.programs import Program


def probed_network(backbone: Backbone, norms: Sequence[Norm] | None = None, program: Program | None = None) -> Network:
    """A backbone as the probes see it: every cut point is pooled, and drift is measured.

    `norms` are cut points with the source's moments; by default drift is measured at the last BatchNorm layer before
    each cut point. TensorFlow runs the network if there is no program.
    """
    cuts, size, channels = tuple(point.layer for point in backbone.points), backbone.input_size, backbone.channels
    if program is not None:
        taps = program.facts.taps if norms is None else tuple(norms)
        runner, n_kept = program.runner(size), len(cuts) + 2 * len(taps)

        def run(pixels: FloatArray) -> list[FloatArray]:
            outputs = runner(pixels)
            moments = outputs[len(cuts) : n_kept]
            if norms is not None:  # the program does not know their centres
                pairs = zip(taps, moments[::2], moments[1::2], strict=True)
                moments = [part for tap, mean, square in pairs for part in about(tap.centre, mean, square)]
            return [*outputs[: len(cuts)], *moments, outputs[-1]]

        found: Run = run
    else:
        from recommender.pipeline.keras_network import batch_norms, forward_of

        taps = batch_norms(backbone) if norms is None else tuple(norms)
        forward = forward_of(backbone, taps, at_cuts=norms is not None)
        found = with_constant_weights(lambda pixels: read(forward(pixels), len(cuts)), (size, size, channels))
    return Network(
        run=found,
        engine="tensorflow" if program is None else "litert",
        input_size=size,
        channels=channels,
        cuts=cuts,
        norms=taps,
    )
