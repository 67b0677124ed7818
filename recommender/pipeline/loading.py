"""The backbone at an input size that fits the images, and what runs it."""

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from builders.backbones.backbone import Backbone, OpenedBackbone
from builders.backbones.kind import BackboneKind, OpenOptions
from builders.backbones.load import resolve
from builders.backbones.pixel_scaling import SCALINGS
from builders.errors import BuildError
from probes.data.image_index import ImageIndex
from probes.data.sampling import Sample, draw_splits
from probes.data.splits import Rows, held_out_splits
from probes.images.decode import quiet_decoders
from probes.images.prepare import Skipped, median_short_side, readable
from probes.network.features import extract
from probes.separability.linear_probe import cross_validate, joined, judged_rows
from probes.similarity.pixel_scaling import PICTURES, ScalingChoice, choose_scaling
from recommender.pipeline.probed_network import probed_network
from recommender.pipeline.programs import Program, find_program, has_litert, make_program
from recommender.progress import Progress
from recommender.rules.cut_rule import head_levels
from recommender.rules.input_size_rule import InputSizeChoice, choose_input_size, input_size, sizes_to_try

TRIED_IMAGES = 300  # on which input sizes are compared
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class LoadedBackbone:
    """A backbone at an input size, and what runs it."""

    backbone: Backbone
    scaling: ScalingChoice | None  # how the scaling of pixels was found; None if it was known
    program: Program | None  # None if TensorFlow runs it
    size_choice: InputSizeChoice | None = None  # None if the size was not measured


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

    def load(self, size: int | str | None) -> LoadedBackbone:
        """The backbone at an input size: the given one, by default that of the rule; "auto" measures it.

        Keras is needed for that only if there is no program of the network, or none is wanted.
        """
        kind, options = resolve(self.backbone, weights=self.weights, scaling=self.pixels, trust=self.trust)
        identity = kind.identity(self.backbone, options)
        identity = identity and f"{identity} {self.pixels}"
        stored = find_program(identity) if identity and self.engine != "tensorflow" and has_litert() else None
        opened = self._opened(kind, options, stored)
        if isinstance(size, int):
            return self._at(size, opened, stored, identity)
        fitting = opened.native_size if opened.fixed else self._fitting_size(opened)
        loaded = self._at(fitting, opened, stored, identity)
        if size is None or opened.fixed:
            return loaded
        choice = self._measured_size(opened, loaded)
        chosen = loaded if choice is None or choice.size == fitting else self._resized(opened, loaded, choice.size)
        return replace(chosen, size_choice=choice)

    def _opened(self, kind: BackboneKind, options: OpenOptions, stored: Program | None) -> OpenedBackbone:
        if stored is not None:
            return stored.opened(lambda size: kind.open(self.backbone, options).at(size))
        self.progress("loading", 0, 1)
        return kind.open(self.backbone, options)

    def _fitting_size(self, opened: OpenedBackbone) -> int:
        side = median_short_side(self.index, self.sample.train)
        wanted = opened.native_size if side is None else input_size(side, opened.native_size)
        return max(wanted, opened.smallest_size)

    def _at(self, size: int, opened: OpenedBackbone, stored: Program | None, identity: str | None) -> LoadedBackbone:
        """At that size in px, with a program where there is one or can be one."""
        backbone, scaling = with_scaling(opened.at(size), self.index, self.sample)
        program = stored if stored and stored.takes(size) else None
        # What is only in memory, or has a scaling that depends on the images, can't be found again.
        lasting = identity if scaling is None else None
        if program is None and (self.engine == "litert" or (self.engine == "auto" and lasting)):
            self.progress("converting", 0, 1)
            program = _converted(backbone, opened, lasting, self.engine)
        return LoadedBackbone(backbone=backbone, scaling=scaling, program=program)

    def _resized(self, opened: OpenedBackbone, loaded: LoadedBackbone, size: int) -> LoadedBackbone:
        """The same backbone at another size, with the same scaling."""
        backbone = (loaded.program.opened(opened.at) if loaded.program else opened).at(size)
        if backbone.scaling is None:
            from builders.backbones.loaded import scaled

            backbone = scaled(backbone, SCALINGS[loaded.scaling.name]) if loaded.scaling else backbone
        program = loaded.program if loaded.program and loaded.program.takes(size) else None
        return LoadedBackbone(backbone=backbone, scaling=loaded.scaling, program=program)

    def _measured_size(self, opened: OpenedBackbone, loaded: LoadedBackbone) -> InputSizeChoice | None:
        """The size that some of the images favour; None if they are too few for cross-validation."""
        prior = loaded.backbone.input_size
        sizes = [size for size in sizes_to_try(prior, opened.native_size) if size >= opened.smallest_size]
        some = draw_splits(self.index, TRIED_IMAGES, self.seed)
        found: list[tuple[float, Any]] = []
        for number, size in enumerate(sizes):
            at = loaded if size == prior else self._resized(opened, loaded, size)
            done = number * some.n_wanted

            def report(n: int, _: int, before: int = done) -> None:
                self.progress("sizes", before + n, len(sizes) * some.n_wanted)

            network = probed_network(at.backbone, program=at.program)
            began = time.perf_counter()
            features = extract(self.index, some, network, report)
            if len(set(features.labels.tolist())) < 2:
                return None  # the pass over the whole sample says why
            seconds = 1000 * (time.perf_counter() - began) / len(features.files)
            levels = head_levels([point.shape for point in at.backbone.points], len(at.backbone.points) - 1)
            blocks = [features.pooled[at.backbone.points[level].layer] for level in levels]
            correct = _cross_validated(blocks, Rows.of(features.labels), self.seed)
            if correct is None:
                return None
            found.append((seconds, correct))
        return choose_input_size(prior, sizes, [correct for _, correct in found], [seconds for seconds, _ in found])


def _cross_validated(blocks: Sequence[Any], rows: Rows, seed: int) -> Any:
    """Whether a linear classifier is right on each image that it was not fitted on; None if none can be held out."""
    splits = held_out_splits(rows, seed=seed)
    if not splits:
        return None
    features, widths = joined(blocks)
    probabilities = cross_validate(features, rows, splits, widths=widths)
    judged = judged_rows(splits)
    return probabilities[judged].argmax(1) == rows.labels[judged]


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
            f"measure it by, and without a scaling layer. Name it with --pixels: {', '.join(SCALINGS)}."
        )
    with quiet_decoders():
        pictures = readable(index, sample.train, network.input_size, network.channels, Skipped())
        shown = [picture.pixels for picture in islice(pictures, PICTURES)]
    candidates = {name: scaling.apply for name, scaling in SCALINGS.items()}
    choice = choose_scaling(network, candidates, shown)
    return scaled(backbone, SCALINGS[choice.name]), choice
