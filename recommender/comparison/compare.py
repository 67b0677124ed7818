"""Train the recommended strategy and its rivals on the same images under one budget. Imports no TensorFlow."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from recommender.errors import RecommendError
from recommender.fit.plan import check_choices
from recommender.limits import SMALLEST_BUDGET
from recommender.progress import Progress, no_progress

if TYPE_CHECKING:
    from recommender.comparison.comparison import Comparison
    from recommender.pipeline.decision import Decision


def compare(
    found: "Decision",
    *,
    budget: float = 600.0,
    seed: int | None = None,
    augmentation: Sequence[str] | None = None,
    progress: Progress | None = None,
) -> "Comparison":
    """Train the recommended strategy and its rivals, and judge whether the advice was right.

    All candidates are trained and judged on the same split. Frozen backbones share one pass over the images; each
    scenario takes part in its usual form, with every cut point and several freeze depths. Fine-tuned candidates get
    equal seconds; the worse half ends after a quarter of them, and again after a half. The advice runs to its end.

    Args:
        found: the recommendation.
        budget: seconds for the whole comparison.
        seed: of split, order and augmentation; by default that of the recommendation.
        augmentation: some of "mirror" and "crop" for fine-tuning; by default what is measured to keep the labels.
        progress: called with the phase ("images", "augmentation" or "comparing"), the work done and the work wanted.

    Returns:
        The comparison. Ctrl-C ends it with the rows so far.

    Raises:
        RecommendError: an argument is out of range, or no image can be held out.
    """
    if not SMALLEST_BUDGET <= budget < float("inf"):
        raise RecommendError(f"Expected `budget` to be at least {SMALLEST_BUDGET} second. Received: {budget}.")
    seed = found.seed if seed is None else seed
    check_choices(augmentation, seed)
    from recommender.comparison.run import Run

    run = Run(found, float(budget), seed, progress or no_progress)
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
