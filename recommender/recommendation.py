"""The library's two calls: measure, decide and hold the model ready."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from builders.backbones import Backbone, find_backbone, load_backbone, weights_path
from builders.strategy import Strategy
from probes.dataset import Draw, ImageFolder, draw_sample, index_folder
from probes.errors import ProbeError
from probes.measurements import DatasetSize, Measurements
from recommender import rules, thresholds
from recommender.errors import RecommendError
from recommender.limits import LARGEST_SEED, SMALLEST_INPUT, SMALLEST_SAMPLE
from recommender.planning import CutFacts, Plan, plan_strategy
from recommender.rules import Verdict
from recommender.scenario import Scenario

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
    """

    measurements: Measurements
    verdict: Verdict
    plan: Plan
    probe: Any
    seconds: dict[str, float]
    backbone: Backbone = field(repr=False, compare=False)

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
    backbone: str = "efficientnet_lite0",
    input_size: int | None = None,
    max_images: int = 1000,
    scenario: int | None = None,
    seed: int = 0,
    progress: Progress | None = None,
) -> Recommendation:
    """Measure a folder of labelled images and choose one of the four ways of transfer learning.

    Args:
        folder: holds one sub-folder a class.
        backbone: a name from `builders.backbones.BACKBONES`.
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
        BuildError: the backbone is unknown or its weights are missing.
    """
    _check_arguments(input_size, max_images, scenario, seed)
    spec = find_backbone(backbone)
    weights_path(spec)
    clock = _Clock()
    index = index_folder(folder)
    draw = draw_sample(index, max_images, seed)
    size = _input_size(index, draw, spec.native_size) if input_size is None else input_size
    clock.lap("index")
    if progress is not None:
        progress("loading", 0, 1)
    loaded = load_backbone(backbone, size)
    clock.lap("load")
    return _measure_and_decide(index, draw, loaded, scenario, seed, progress, clock)


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


def _input_size(index: ImageFolder, draw: Draw, native_size: int) -> int:
    from probes.features import median_short_side

    side = median_short_side(index, draw)
    return native_size if side is None else rules.input_size(side, native_size)


def _measure_and_decide(
    index: ImageFolder,
    draw: Draw,
    backbone: Backbone,
    forced: int | None,
    seed: int,
    progress: Progress | None,
    clock: _Clock,
) -> Recommendation:
    from builders.surgery import cut_points
    from probes.features import extract
    from probes.reference import load_reference
    from probes.separability import fit_linear_probe, measure_separability
    from probes.similarity import measure_similarity
    from recommender.wiring import probed_network

    def at(phase: str) -> Callable[[int, int], None] | None:
        return None if progress is None else (lambda done, wanted: progress(phase, done, wanted))

    features = extract(index, draw, probed_network(backbone), at("network"))
    _require_readable(index, draw, features)
    clock.lap("network")
    similarity = measure_similarity(
        features,
        load_reference(backbone.spec.name),
        source=backbone.spec.source,
        input_size=backbone.input_size,
        n_classes=len(index.class_names),
        threshold=thresholds.DRIFT_THRESHOLD,
        seed=seed,
    )
    clock.lap("similarity")
    separability = measure_separability(features.pooled, features.labels, seed=seed, progress=at("classifiers"))
    clock.lap("separability")
    measured = Measurements(
        size=_dataset_size(index, features),
        similarity=similarity,
        separability=separability,
        input_size=backbone.input_size,
    )
    verdict = rules.choose_scenario(
        n_images=measured.size.n_images,
        images_per_class=float(np.median(measured.size.class_counts)),
        excess_drift=similarity.excess,
        score=similarity.score,
        score_replicates=similarity.replicates,
        forced=None if forced is None else Scenario.numbered(forced),
    )
    facts = [
        CutFacts(layer=point.layer, depth=point.depth, shape=point.shape, batch_norm=point.batch_norm)
        for point in cut_points(backbone.network)
    ]
    plan = plan_strategy(backbone.spec.name, facts, verdict, measured)
    blocks = [features.pooled[level] for level in plan.strategy.head.levels]
    probe = fit_linear_probe(blocks, features.labels, len(index.class_names), seed=seed)
    clock.lap("head")
    return Recommendation(
        measurements=measured, verdict=verdict, plan=plan, probe=probe, seconds=clock.seconds, backbone=backbone
    )


def _require_readable(index: ImageFolder, draw: Draw, features: Any) -> None:
    """Every class that was drawn needs an image that can be read."""
    read = set(features.labels.tolist())
    for label, (name, wanted) in enumerate(zip(index.class_names, draw.quota, strict=True)):
        if wanted and label not in read:
            file = draw.candidates[label][0]
            raise ProbeError(
                f"Expected the class {name!r} to hold a readable image. Received: {len(draw.candidates[label])} files, "
                f"none readable, the first {file!r}: {features.unreadable[file]}. Mend or remove them."
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
