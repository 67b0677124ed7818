"""The backbone at an input size that fits the images, and what runs it."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any

from builders.backbones.backbone import Backbone, OpenedBackbone
from builders.backbones.load import resolve
from builders.backbones.pixel_scaling import SCALINGS
from builders.errors import BuildError
from probes.data.image_index import ImageIndex
from probes.data.sampling import Sample
from probes.images.decode import quiet_decoders
from probes.images.prepare import Skipped, median_short_side, readable
from probes.similarity.pixel_scaling import PICTURES, ScalingChoice, choose_scaling
from recommender.pipeline.probed_network import probed_network
from recommender.pipeline.programs import Program, find_program, has_litert, make_program
from recommender.progress import Progress
from recommender.rules.input_size_rule import input_size

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedBackbone:
    """A backbone at an input size, and what runs it."""

    backbone: Backbone
    opened: OpenedBackbone  # gives it at other sizes
    scaling: ScalingChoice | None  # how the scaling of pixels was found; None if it was known
    program: Program | None  # None if TensorFlow runs it
    choices: Mapping[str, Any] = field(default_factory=dict)  # records of what was chosen by measuring, by name

    def at(self, size: int) -> "LoadedBackbone":
        """The same backbone at another size in px, with the same scaling."""
        opened = self.program.opened(self.opened.at) if self.program else self.opened
        backbone = opened.at(size)
        if backbone.scaling is None:
            from builders.backbones.loaded import scaled

            backbone = scaled(backbone, SCALINGS[self.scaling.name]) if self.scaling else backbone
        program = self.program if self.program and self.program.takes(size) else None
        return replace(self, backbone=backbone, program=program)


@dataclass(frozen=True, slots=True, kw_only=True)
class Loader:
    """Loads a backbone for some images; attributes as the arguments of `recommender.recommend`."""

    index: ImageIndex
    sample: Sample
    backbone: Any
    weights: Any
    pixels: str | None
    trust: bool
    engine: str
    seed: int
    progress: Progress

    def load(self, size: int | None = None) -> LoadedBackbone:
        """The backbone at an input size in px, by default that of the rule.

        Keras is needed for that only if there is no program of the network, or none is wanted.
        """
        kind, options = resolve(self.backbone, weights=self.weights, scaling=self.pixels, trust=self.trust)
        identity = kind.identity(self.backbone, options)
        identity = identity and f"{identity} {self.pixels}"
        stored = find_program(identity) if identity and self.engine != "tensorflow" and has_litert() else None
        if stored is None:
            self.progress("loading", 0, 1)
            opened = kind.open(self.backbone, options)
        else:
            opened = stored.opened(lambda px: kind.open(self.backbone, options).at(px))
        if size is None:
            side = None if opened.fixed else median_short_side(self.index, self.sample.train)
            size = opened.native_size if side is None else input_size(side, opened.native_size)
            size = size if opened.fixed else max(size, opened.smallest_size)
        backbone, scaling = with_scaling(opened.at(size), self.index, self.sample)
        program = stored if stored and stored.takes(size) else None
        # What is only in memory, or has a scaling that depends on the images, can't be found again.
        lasting = identity if scaling is None else None
        if program is None and (self.engine == "litert" or (self.engine == "auto" and lasting)):
            self.progress("converting", 0, 1)
            program = _converted(backbone, opened, lasting, self.engine)
        return LoadedBackbone(backbone=backbone, opened=opened, scaling=scaling, program=program)


def _converted(backbone: Backbone, opened: OpenedBackbone, identity: str | None, engine: str) -> Program | None:
    """The backbone's program; None if it can't be converted and TensorFlow may run it."""
    if not has_litert():
        if engine == "auto":
            _LOG.warning("Without the package ai-edge-litert TensorFlow runs the network, which takes longer.")
            return None
        raise BuildError(
            "Expected the package ai-edge-litert to be installed. Received: no such package. Install it with "
            "`pip install ai-edge-litert`, or leave out --engine."
        )
    try:
        return make_program(backbone, opened, identity)
    except BuildError:
        if engine == "litert":
            raise
        return None


def with_scaling(backbone: Backbone, index: ImageIndex, sample: Sample) -> tuple[Backbone, ScalingChoice | None]:
    """The backbone with the scaling of its pixels in front; measured if it is not known."""
    if backbone.scaling is not None:
        return backbone, None
    from builders.backbones.loaded import scaled

    network = probed_network(backbone)
    if not network.norms:
        raise BuildError(
            f"Expected to know how {backbone.name} wants its pixels scaled. Received: a network without BatchNorm to "
            f"measure it by, and without a scaling layer. Name it with --pixels (`pixels=`): {', '.join(SCALINGS)}."
        )
    with quiet_decoders():
        pictures = readable(index, sample.train, network.input_size, network.channels, Skipped())
        shown = [picture.pixels for picture in islice(pictures, PICTURES)]
    candidates = {name: scaling.apply for name, scaling in SCALINGS.items()}
    choice = choose_scaling(network, candidates, shown)
    return scaled(backbone, SCALINGS[choice.name]), choice
