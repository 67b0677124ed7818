"""The plan that comes with a recommendation, before any image is read for training."""

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
    """What `fit` will do, as far as it is known before: augmentation and time are measured then."""
    size, strategy = found.measurements.size, found.strategy
    n_images = min(size.n_images, sum(len(names) for names in found.index.files))  # of a stream a sample is at hand
    head = (sum(_channels(found, level) for level in strategy.head.levels) + 1) * strategy.head.classes
    frozen = strategy.freeze == strategy.cut and n_images <= SOLVED_AT_ONCE
    if frozen:
        n_held_out = found.measurements.n_held_out
    elif found.measurements.n_held_out:
        n_held_out = min(sum(len(names) for names in found.index.validation), MOST_HELD_OUT)
    else:
        n_held_out = min(n_images // FOLDS, MOST_HELD_OUT)
        n_images -= n_held_out
    schedule = (
        None
        if frozen
        else plan_schedule(max(n_images, 1), anew=strategy.freeze is None and is_unlike(found), seed=found.seed)
    )
    return TrainingPlan(
        phases=phases(n_images, head, schedule, found.parameters[1], strategy.freeze),
        schedule=schedule,
        augmentation=(),
        n_training=n_images,
        n_held_out=n_held_out,
        class_weight=class_weights(size.file_counts),
        cached=None if strategy.freeze is None else True,
        precision="float32",
    )


def is_unlike(found: "Decision") -> bool:
    """Whether the pictures look unlike the source's: as measured, or where that can't be as the scenario says."""
    similarity = found.measurements.similarity
    measured = found.scenario.similarity if similarity is None else similarity_verdict(similarity.score)
    return measured is Similarity.DISSIMILAR


def phases(
    n_images: int, head: int, schedule: "Schedule | None", trainable: int, freeze: str | None
) -> tuple[Phase, ...]:
    """The linear probe, and fine-tuning where there is a schedule.

    Args:
        n_images: images that are learnt from.
        head: parameters of the prediction layer.
        schedule: of the fine-tuning.
        trainable: parameters that change in it.
        freeze: the last frozen layer; None where nothing is frozen.
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
        what="the whole network" if freeze is None else f"what lies behind {freeze}",
        steps=schedule.steps,
        learning_rate=schedule.learning_rate,
        trainable_parameters=trainable,
    )
    return (probe, tuned)


def _channels(found: "Decision", level: str) -> int:
    return next(int(point.shape[-1] or 0) for point in found.plan.cuts if point.layer == level)
