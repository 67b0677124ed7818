"""Train the recommended strategy and its rivals on the same images under one budget. Imports no TensorFlow."""

from collections.abc import Sequence
from numbers import Real
from typing import TYPE_CHECKING

from recommender.errors import RecommendError
from recommender.fit.plan import check_choices
from recommender.limits import SMALLEST_BUDGET
from recommender.pipeline.decision import Decision
from recommender.progress import Progress, reported

if TYPE_CHECKING:
    from recommender.comparison.comparison import Comparison


def compare(
    found: Decision,
    *,
    budget: float = 600.0,
    seed: int | None = None,
    augmentation: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> "Comparison":
    """Train the recommended strategy and its rivals, and judge whether the advice was right.

    Frozen backbones share one pass over the images, and are judged by cross-validation on all of them. Each scenario
    takes part in its usual form, then come every cut point and several freeze depths. Each fine-tuned candidate is
    trained as a trial of `fit`, through a whole schedule of as many steps as its share of the budget allows.

    Args:
        found: the recommendation.
        budget: seconds for the whole comparison.
        seed: of split, order and augmentation; by default that of the recommendation.
        augmentation: some of "mirror", "shift" and "brightness" for fine-tuning; by default all, "mirror" only if there
            is time to measure that mirrored images keep their labels, and they do.
        progress: called with the phase ("images", "augmentation" or "comparing"), the work done and the work wanted.

    Returns:
        The comparison. Ctrl-C ends it with the rows so far, or with `KeyboardInterrupt` if there is none.

    Raises:
        RecommendError: an argument is out of range, or no image can be held out.
    """
    if not isinstance(found, Decision):
        raise RecommendError(f"Expected what `recommend` returns. Received: {type(found).__name__}. Call it first.")
    if not (isinstance(budget, Real) and SMALLEST_BUDGET <= budget < float("inf")):
        raise RecommendError(f"Expected `budget` to be at least {SMALLEST_BUDGET} second. Received: {budget!r}.")
    seed = found.seed if seed is None else seed
    check_choices(augmentation, seed)
    from recommender.comparison.run import Run

    with reported(progress) as report:
        run = Run(found, float(budget), seed, report)
        try:
            run.read_images()
            run.fit_frozen()
            run.measure_curve()
            run.fine_tune(augmentation)
        except KeyboardInterrupt:
            if not run.rows:
                raise
            run.interrupted = True
        return run.comparison()
