"""The training plan of a recommendation."""

from typing import TYPE_CHECKING

from builders.training.schedule import Phase, plan_schedule
from probes.data.splits import FOLDS
from recommender.fit.result import TrainingPlan
from recommender.fit.session import SOLVED_AT_ONCE
from recommender.fit.split import MOST_HELD_OUT
from recommender.rules.class_balance import class_weights
from recommender.rules.scenario import Similarity
from recommender.rules.scenario_rule import similarity_verdict

if TYPE_CHECKING:
    from builders.training.schedule import Schedule
    from recommender.pipeline.decision import Decision


def planned(found: "Decision") -> TrainingPlan:
    """What `fit` will do. Augmentation and time are not known before it starts."""
    size, strategy = found.measurements.size, found.strategy
    n_images = min(size.n_images, sum(len(names) for names in found.index.files))  # of a stream, a sample
    head = (sum(_channels(found, level) for level in strategy.head.levels) + 1) * strategy.head.classes
    frozen = strategy.freeze == strategy.cut and n_images <= SOLVED_AT_ONCE
    if frozen:
        n_held_out = found.measurements.n_held_out
    elif found.measurements.n_held_out:
        n_held_out = min(sum(len(names) for names in found.index.validation), MOST_HELD_OUT)
    else:
        n_held_out = min(n_images // FOLDS, MOST_HELD_OUT)
        n_images -= n_held_out
    dissimilar = strategy.freeze is None and is_dissimilar(found)
    schedule = None if frozen else plan_schedule(max(n_images, 1), dissimilar=dissimilar, seed=found.seed)
    return TrainingPlan(
        phases=phases(n_images, head, schedule, found.parameters[1], strategy.freeze),
        schedule=schedule,
        n_training=n_images,
        n_held_out=n_held_out,
        class_weight=class_weights(size.file_counts),
        cached=None if strategy.freeze is None else True,
    )


def is_dissimilar(found: "Decision") -> bool:
    """Whether the pictures are unlike the source's, as measured, or else as the scenario says."""
    similarity = found.measurements.similarity
    measured = found.scenario.similarity if similarity is None else similarity_verdict(similarity.score)
    return measured is Similarity.DISSIMILAR


def phases(
    n_images: int, head: int, schedule: "Schedule | None", trainable: int, freeze: str | None
) -> tuple[Phase, ...]:
    """The linear probe, and fine-tuning if there is a schedule.

    Args:
        n_images: training images.
        head: parameters of the prediction layer.
        schedule: of the fine-tuning; None if there is none.
        trainable: parameters that change in it.
        freeze: the last frozen layer; None if nothing is frozen.
    """
    probe = Phase(
        name="linear_probe",
        what=f"the prediction layer, on {n_images:,} images, solved at once",
        steps=0,
        learning_rate=None,
        trainable_parameters=head,
    )
    if schedule is None:
        return (probe,)
    tuned = Phase(
        name="fine_tune",
        what="the whole network" if freeze is None else f"the layers after {freeze}",
        steps=schedule.steps,
        learning_rate=schedule.learning_rate,
        trainable_parameters=trainable,
    )
    return (probe, tuned)


def _channels(found: "Decision", level: str) -> int:
    return next(int(point.shape[-1] or 0) for point in found.plan.cuts if point.layer == level)
