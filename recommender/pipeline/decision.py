"""The record of an answer: the measurements, the choice, and the linear classifier."""

import os
import time
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, Self

import numpy as np

from builders.strategy import Strategy
from probes.measurements import Measurements
from probes.quality.findings import Finding
from recommender.errors import RecommendError
from recommender.pipeline.planning import plan_and_probe
from recommender.progress import import_tensorflow
from recommender.rules.class_balance import class_weights
from recommender.rules.plan import Plan
from recommender.rules.scenario import Scenario
from recommender.rules.scenario_rule import Verdict

if TYPE_CHECKING:
    from builders.backbones.backbone import Backbone
    from probes.data.image_index import ImageIndex
    from probes.data.splits import Rows
    from probes.network.features import Features, Network
    from probes.separability.linear_probe import Judged
    from probes.similarity.pixel_scaling import ScalingChoice


_TIMED_IMAGES = 8


@dataclass(frozen=True, kw_only=True)
class Decision:
    """What was measured, what was chosen, and the model that follows."""

    measurements: Measurements
    verdict: Verdict
    plan: Plan
    probe: Any  # the fitted linear classifier that the prediction layer starts from
    seconds: dict[str, float]  # by phase
    backbone: "Backbone" = field(repr=False, compare=False)
    network: "Network" = field(repr=False, compare=False)  # the backbone as the probes see it
    scaling: "ScalingChoice | None" = None  # how the scaling of pixels was found; None if it was known
    index: "ImageIndex" = field(repr=False, compare=False)
    features: "Features" = field(repr=False, compare=False)  # what the pass over the sample read
    rows: "Rows" = field(repr=False, compare=False)  # the sample's images: groups, weights and validation split
    seed: int = 0  # of the sample and the folds

    def __repr__(self) -> str:
        expected = "" if self.interval is None else ", expected accuracy {:.3f} to {:.3f}".format(*self.interval)
        return (
            f"<{type(self).__name__} {self.scenario.id} {self.scenario.name}: {self.strategy.backbone} at "
            f"{self.strategy.input_size} px, cut after {self.strategy.cut}{expected}>"
        )

    @property
    def scenario(self) -> Scenario:
        """The scenario that was chosen."""
        return self.verdict.scenario

    @property
    def strategy(self) -> Strategy:
        """What is to be built."""
        return self.plan.strategy

    @cached_property
    def judged(self) -> "Judged | None":
        """Results of the linear probe on held-out images; images of classes that it has not seen count as wrong."""
        judged: Judged | None = self.probe.judged
        size = self.measurements.size
        if judged is None or self.measurements.n_held_out or not size.unsampled_classes:
            return judged
        counts = dict(zip(size.class_names, size.file_counts, strict=True))
        unseen, present = size.unsampled_classes, sum(count > 0 for count in counts.values())
        return judged.over(1 - sum(counts[name] for name in unseen) / sum(counts.values()), 1 - len(unseen) / present)

    @property
    def expected_accuracy(self) -> float | None:
        """Accuracy of the returned model on held-out images, before training; None if none can be held out."""
        return None if self.judged is None else float(self.judged.accuracy)

    @property
    def expected_balanced_accuracy(self) -> float | None:
        """The same as the mean over classes of each class's own accuracy."""
        return None if self.judged is None else float(self.judged.balanced_accuracy)

    @property
    def interval(self) -> tuple[float, float] | None:
        """90 % interval of the expected accuracy; None if no image can be held out."""
        return None if self.judged is None else self.judged.interval

    @property
    def balanced_interval(self) -> tuple[float, float] | None:
        """90 % interval of the expected balanced accuracy."""
        return None if self.judged is None else self.judged.balanced_interval

    @property
    def confidence(self) -> float:
        """How sure the scenario is, 0 to 1; `str(found)` says what that means."""
        return self.verdict.confidence

    @property
    def runner_up(self) -> Scenario:
        """The scenario that comes next."""
        return self.verdict.runner_up

    @property
    def megabytes(self) -> float:
        """Size of the model's weights in MB, in 32 bits each."""
        return 4e-6 * sum(self.parameters)

    @property
    def milliseconds(self) -> float | None:
        """Time of the pass for one image on this machine, decoding included; None if it was not measured."""
        seconds, n_images = self.seconds.get("network"), len(self.features.files)
        return 1000 * seconds / n_images if seconds and n_images else None

    @cached_property
    def seconds_of_image(self) -> float:
        """Time of the network alone for one image on this machine: the least of three batches."""
        network, took = self.network, []
        batch = np.zeros((_TIMED_IMAGES, network.input_size, network.input_size, network.channels), np.float32)
        for _ in range(3):
            began = time.perf_counter()
            network.run(batch)
            took.append(time.perf_counter() - began)
        return min(took) / _TIMED_IMAGES

    @property
    def class_weight(self) -> dict[int, float] | None:
        """Weights for `model.fit(class_weight=...)` if the classes are unbalanced; else None."""
        weights = class_weights(self.measurements.size.file_counts)
        return None if weights is None else dict(enumerate(weights))

    @property
    def findings(self) -> tuple[Finding, ...]:
        """Problems of the data, the worst first."""
        return self.measurements.findings

    @cached_property
    def parameters(self) -> tuple[int, int]:
        """Numbers of (frozen, trainable) parameters of the model."""
        return self.backbone.parameter_counts(self.strategy)

    def pooled_for_head(self) -> list[Any]:
        """What the prediction layer reads of the measured images: pooled features, of shape (n, channels) each."""
        return self.features.blocks(self.strategy.head.levels)

    def with_scenario(self, scenario: Scenario | int, *, by_trial: bool = False) -> Self:
        """The same measurements with another scenario, which the user asks for or a trial shows to be the best."""
        numbered = not isinstance(scenario, bool | float)
        chosen = next((each for each in Scenario if scenario is each or (numbered and scenario == each.id)), None)
        if chosen is None:
            raise RecommendError(f"Expected a `Scenario`, or 1, 2, 3 or 4. Received: {scenario!r}.")
        return self.with_verdict(self.verdict.with_scenario(chosen, by_trial=by_trial))

    def with_verdict(self, verdict: Verdict) -> Self:
        """The same measurements with another verdict on them."""
        plan, probe = plan_and_probe(
            verdict.scenario,
            backbone=self.backbone.name,
            cuts=self.plan.cuts,
            measured=self.measurements,
            features=self.features,
            rows=self.rows,
            index=self.index,
            seed=self.seed,
        )
        return replace(self, verdict=verdict, plan=plan, probe=probe)

    def save_report(
        self, path: str | os.PathLike[str], *, fit: Any = None, comparison: Any = None, thumbnails: bool = True
    ) -> None:
        """Write the HTML report; `Recommendation` implements it, with what was trained or compared if that is given."""
        raise NotImplementedError

    def build(self) -> Any:
        """Build a new model: compiled, its prediction layer started from the linear probe."""
        import_tensorflow()
        from builders.build import HeadWeights, build_model

        head = HeadWeights(kernel=self.probe.kernel, bias=self.probe.bias)
        return build_model(self.strategy, head, self.backbone)
