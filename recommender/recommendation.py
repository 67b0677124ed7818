"""The library's two calls: measure, decide and hold the model ready."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builders.backbones import check_backbone
from builders.strategy import Strategy
from probes.dataset import Draw, ImageFolder, draw_sample, index_folder
from probes.measurements import DatasetSize, Measurements
from recommender import rules
from recommender.errors import RecommendError
from recommender.limits import LARGEST_SEED, SMALLEST_INPUT, SMALLEST_SAMPLE
from recommender.planning import CutFacts, Plan, likeness_evidence, plan_strategy
from recommender.rules import Verdict
from recommender.scenario import Scenario

if TYPE_CHECKING:
    from builders.backbone import Backbone
    from probes.scaling import ScalingChoice

Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, kw_only=True)
class Recommendation:
    """What was measured, what was chosen, and the model that comes of it.

    Attributes:
        measurements: what the probes found.
        verdict: the scenario with its confidence and runner-up.
        plan: the strategy, and how its cut was chosen.
        probe: the fitted linear classifier that the prediction layer starts from.
        seconds: by phase.
        backbone: the pretrained network, loaded.
        scaling: how the scaling of its pixels was told, where that was not known.
    """

    measurements: Measurements
    verdict: Verdict
    plan: Plan
    probe: Any
    seconds: dict[str, float]
    backbone: "Backbone" = field(repr=False, compare=False)
    scaling: "ScalingChoice | None" = None

    @property
    def scenario(self) -> Scenario:
        """The scenario that was chosen."""
        return self.verdict.scenario

    @property
    def strategy(self) -> Strategy:
        """What is to be built."""
        return self.plan.strategy

    @property
    def expected_accuracy(self) -> float | None:
        """Cross-validated accuracy of the model as returned, before any training; None where it can't be measured."""
        return None if self.probe.accuracy is None else float(self.probe.accuracy)

    @cached_property
    def parameters(self) -> tuple[int, int]:
        """Numbers of (frozen, trainable) parameters of the model."""
        from builders.build import parameter_counts

        return parameter_counts(self.strategy, self.backbone)

    @cached_property
    def reasons(self) -> tuple[str, ...]:
        """Why, in sentences with the numbers and thresholds that they rest on."""
        from recommender.reasons import explain

        return explain(self)

    def build(self) -> Any:
        """Build the model: compiled, its prediction layer started from the linear probe; a new one at each call."""
        from builders.build import HeadWeights, build_model

        head = HeadWeights(kernel=self.probe.kernel, bias=self.probe.bias)
        return build_model(self.strategy, head, self.backbone)

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain data; `docs/recommendation.schema.json` describes it."""
        from recommender.serialise import as_dict

        return as_dict(self)


def recommend(
    folder: str | os.PathLike[str],
    *,
    backbone: Any = "efficientnet_lite0",
    weights: str | os.PathLike[str] | None = None,
    pixels: str | None = None,
    trust: bool = False,
    input_size: int | None = None,
    max_images: int = 1000,
    scenario: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Recommendation:
    """Measure a folder of labelled images and choose one of the four ways of transfer learning.

    Args:
        folder: holds one sub-folder a class.
        backbone: a name of the registry (`builders.backbones.BACKBONES` and `APPLICATIONS`), a .keras or .h5 file, a
            SavedModel's folder, a TensorFlow Hub handle, or a `keras.Model`.
        weights: a file with the weights of a `keras.applications` network; by default Keras fetches ImageNet's.
        pixels: how the network wants its pixels scaled, a key of `builders.pixels.SCALINGS`; by default as the registry
            or the network's own scaling layer says, else it is measured.
        trust: whether code and any operation in the backbone's file may run.
        input_size: height and width in px that the network shall see; by default it follows the images.
        max_images: how many images to measure at most; the sample is stratified.
        scenario: 1 to 4 overrides the choice.
        seed: of the sample, the folds and the resamples. The same seed gives the same answer.
        progress: called with the phase ("loading", before TensorFlow is imported, "network" or "classifiers"), steps
            done and steps wanted.

    Returns:
        The recommendation.

    Raises:
        RecommendError: an argument is out of range.
        ProbeError: the folder can't be measured.
        BuildError: the backbone is unknown, can't be read or is no image network, or its weights are missing.
    """
    _check_arguments(input_size, max_images, scenario, seed)
    check_backbone(backbone)
    clock = _Clock()
    index = index_folder(folder)
    draw = draw_sample(index, max_images, seed)
    clock.lap("index")
    if progress is not None:
        progress("loading", 0, 1)
    from builders.loading import open_backbone
    from recommender.measuring import with_scaling

    opened = open_backbone(backbone, weights=weights, scaling=pixels, trust=trust)
    loaded = opened.at(input_size or _input_size(index, draw, opened))
    loaded, scaling = with_scaling(loaded, index, draw)
    clock.lap("load")
    found = _measure_and_decide(index, draw, loaded, scenario, seed, progress, clock)
    return replace(found, scaling=scaling)


def ready_model(folder: str | os.PathLike[str], **arguments: Any) -> Any:
    """Measure a folder and build the model that fits it: `recommend(folder, ...).build()`, with the same arguments."""
    return recommend(folder, **arguments).build()


class _Clock:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[phase], self._last = round(now - self._last, 3), now


def _check_arguments(input_size: int | None, max_images: int, scenario: int | None, seed: int) -> None:
    if input_size is not None and input_size < SMALLEST_INPUT:
        raise RecommendError(f"Expected `input_size` to be at least {SMALLEST_INPUT} px. Received: {input_size}.")
    if max_images < SMALLEST_SAMPLE:
        raise RecommendError(f"Expected `max_images` to be at least {SMALLEST_SAMPLE}. Received: {max_images}.")
    if scenario not in (None, 1, 2, 3, 4):
        raise RecommendError(f"Expected `scenario` to be 1, 2, 3 or 4. Received: {scenario}.")
    if not 0 <= seed <= LARGEST_SEED:
        raise RecommendError(f"Expected `seed` to be from 0 to {LARGEST_SEED}. Received: {seed}.")


def _input_size(index: ImageFolder, draw: Draw, opened: Any) -> int:
    from probes.features import median_short_side

    if opened.fixed:
        return int(opened.native_size)
    side = median_short_side(index, draw)
    wanted = opened.native_size if side is None else rules.input_size(side, opened.native_size)
    return int(max(wanted, opened.smallest_size))


def _measure_and_decide(
    index: ImageFolder,
    draw: Draw,
    backbone: "Backbone",
    forced: int | None,
    seed: int,
    progress: Progress | None,
    clock: _Clock,
) -> Recommendation:
    from probes.separability import fit_linear_probe, measure_separability
    from recommender.measuring import require_finite, require_readable, run_network, similarity_of

    def at(phase: str) -> Callable[[int, int], None] | None:
        return None if progress is None else (lambda done, wanted: progress(phase, done, wanted))

    seen = run_network(backbone, index, draw, at("network"))
    features = seen.features
    require_readable(index, draw, features)
    require_finite(backbone, features)
    clock.lap("network")
    similarity = similarity_of(seen, backbone, len(index.class_names), seed)
    clock.lap("similarity")
    separability = measure_separability(features.pooled, features.labels, seed=seed, progress=at("classifiers"))
    clock.lap("separability")
    measured = Measurements(
        size=_dataset_size(index, features),
        similarity=similarity,
        separability=separability,
        input_size=backbone.input_size,
    )
    facts = [
        CutFacts(layer=point.layer, depth=point.depth, shape=point.shape, batch_norm=point.batch_norm)
        for point in backbone.points
    ]
    verdict = rules.choose_scenario(
        n_images=measured.size.n_images,
        images_per_class=float(np.median(measured.size.class_counts)),
        evidence=likeness_evidence(measured, facts, seed),
        forced=None if forced is None else Scenario.numbered(forced),
    )
    plan = plan_strategy(backbone.name, facts, verdict, measured)

    def fitted(chosen: Plan) -> Any:
        blocks = [features.pooled[level] for level in chosen.strategy.head.levels]
        return fit_linear_probe(blocks, features.labels, len(index.class_names), seed=seed)

    probe = fitted(plan)
    if len(plan.strategy.head.levels) > 1:
        evidence = {cut.cut: cut.correct for cut in separability.per_cut}
        if rules.alone_is_better(probe.correct, evidence.get(plan.strategy.cut, ())):
            plan = plan.reading_the_cut_alone()
            probe = fitted(plan)
    clock.lap("head")
    return Recommendation(
        measurements=measured, verdict=verdict, plan=plan, probe=probe, seconds=clock.seconds, backbone=backbone
    )


def _dataset_size(index: ImageFolder, features: Any) -> DatasetSize:
    counts = list(index.class_counts)
    class_of = {file: label for label, files in enumerate(index.files) for file in files} if features.unreadable else {}
    for file in features.unreadable:
        counts[class_of[file]] -= 1
    width, height = np.median(features.sizes, axis=0)
    seen = set(features.labels.tolist())
    return DatasetSize(
        path=str(Path(index.path)),
        class_names=index.class_names,
        class_counts=tuple(counts),
        median_size_px=(round(float(width)), round(float(height))),
        grey_share=float(features.grey.mean()),
        n_sampled=len(features.labels),
        unsampled_classes=tuple(name for label, name in enumerate(index.class_names) if label not in seen),
        unreadable=dict(sorted(features.unreadable.items())),
        ignored=index.ignored,
        empty=index.empty,
    )
