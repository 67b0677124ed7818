"""Train what was recommended: one pass of the frozen part, the linear probe, fine-tuning, and an honest judgement."""

from typing import TYPE_CHECKING, Any

from recommender.fit.result import FitResult
from recommender.fit.session import SOLVED_AT_ONCE, FitOptions, FitSession, check_model, check_options
from recommender.progress import Clock

if TYPE_CHECKING:
    from recommender.pipeline.decision import Decision


def fit(found: "Decision", model: Any, options: FitOptions) -> FitResult:
    """Train the model of a recommendation. `Recommendation.fit` tells more."""
    check_options(options)
    from builders.surgery.frozen_split import split_frozen

    clock = Clock()
    given = model is not None
    model = model if given else found.build()
    check_model(model, len(found.measurements.size.class_names))
    frozen_split = split_frozen(model)
    session = FitSession(found=found, model=model, frozen_split=frozen_split, given=given, options=options, clock=clock)
    at_hand = sum(len(names) for names in found.index.files)  # of a stream only a sample is
    if frozen_split.solvable and at_hand <= SOLVED_AT_ONCE:
        from recommender.fit.linear_probe import fit_frozen

        return fit_frozen(session)
    from recommender.fit.fine_tuning import fit_tuned

    return fit_tuned(session)
