"""The best frozen model: its prediction layer is a linear classifier that is solved at once, on all images."""

from typing import TYPE_CHECKING, Any

import numpy as np

from probes.evaluation.evaluation import apply_temperature, evaluate
from probes.network.features import content_order
from probes.separability.linear_probe import LinearProbe, fit_linear_probe
from recommender.fit.data import notes_on
from recommender.fit.finish import finish, fitted_detector
from recommender.fit.images import n_read, rows_of_everything, run_pass, whole_sample
from recommender.fit.inputs import frozen_function
from recommender.fit.plan import OF_FINE_TUNING, FitSession, phases
from recommender.fit.result import LINEAR_PROBE, FitResult, Predictions, TrainingPlan

if TYPE_CHECKING:
    from collections.abc import Sequence

    from probes.data.splits import Rows
    from recommender.fit.images import FloatArray


def fit_frozen(session: FitSession) -> FitResult:
    """Fit the prediction layer on all training images; cross-validation or the user's validation split judges it."""
    found, split, features, notes = session.found, session.frozen_split, None, notes_on(session, 0)
    rows, files = found.rows, found.features.files
    if not measured_everything(session):
        run = frozen_function(split, split.reads)

        def compute(_: Any, pictures: "FloatArray") -> dict[str, "FloatArray"]:
            return {"head": run(pictures)[0]}

        read = run_pass(
            found.index, whole_sample(found.index), split.size, split.channels, compute, session.options.at("images")
        )
        order = content_order(read)
        rows = rows_of_everything(found.index, read, session.options.seed).taken(order)
        files = tuple(read.files[row] for row in order)
        features, notes = read.pooled["head"][order], notes_on(session, len(read.skipped.failures))
    session.clock.lap("images")
    plan = announced(session, rows)
    return frozen_result(session, features, rows, files, plan=plan, notes=(*notes, *unused_options(session)))


def unused_options(session: FitSession) -> tuple[str, ...]:
    """A sentence on the options of fine-tuning that were given in vain, if any were."""
    unused = ", ".join(name for name in OF_FINE_TUNING if getattr(session.options, name))
    return (f"Without effect, since the prediction layer is solved at once: {unused}.",) if unused else ()


def announced(session: FitSession, rows: "Rows", n_training: int | None = None) -> TrainingPlan:
    """The plan of a prediction layer that is solved at once, which is shown; it is fitted on more than the `rows`."""
    n_training, width = n_training or int(rows.training.sum()), session.model.layers[-1].kernel.shape[0]
    plan = TrainingPlan(
        phases=phases(n_training, (int(width) + 1) * session.n_classes, None, 0, None),
        n_training=n_training,
        n_held_out=int(rows.held_out.sum()),
        class_weight=session.class_weight,
        cached=True,
    )
    session.announce(plan)
    return plan


def measured_everything(session: FitSession) -> bool:
    """Whether the recommendation's own linear probe is that of all images: then what comes back is what it builds."""
    found = session.found
    return not session.given and n_read(found.features) == whole_sample(found.index).n_wanted


def frozen_result(
    session: FitSession, features: "FloatArray | None", rows: "Rows", files: "Sequence[str]", **known: Any
) -> FitResult:
    """The frozen model with a prediction layer of all images, judged by cross-validation or the validation split.

    `features` are what that layer reads of the `rows`, images with these names; they are not needed if the
    recommendation measured all images.
    """
    found, seed, balanced = session.found, session.options.seed, session.class_weight is not None
    if measured_everything(session):
        probe, rows, files, blocks = found.probe, found.rows, found.features.files, found.pooled_for_head()
    else:
        blocks = session.blocks(np.asarray(features))
        probe = fit_linear_probe(blocks, rows, session.n_classes, seed=seed, balanced=balanced)
    training = [block[rows.training] for block in blocks]
    return result_of(session, probe, rows, files, training, rows.groups[rows.training], **known)


def result_of(
    session: FitSession,
    probe: LinearProbe,
    rows: "Rows",
    files: "Sequence[str]",
    training: "Sequence[FloatArray]",
    groups: Any,
    **known: Any,
) -> FitResult:
    """The frozen model with the classifier of `rows` as its prediction layer.

    `training` are features of training images of these `groups`, which the detector is fitted on.
    """
    session.model.layers[-1].set_weights([probe.kernel, probe.bias])
    session.clock.lap("linear_probe")
    judged = _judged(probe, rows, files)
    return finish(
        session,
        chosen=LINEAR_PROBE,
        detector=fitted_detector(training, None, groups, session.options.seed),
        temperature=probe.temperature,
        **judged,
        **known,
    )


def _judged(probe: LinearProbe, rows: "Rows", files: "Sequence[str]") -> dict[str, Any]:
    if probe.judged is None or probe.calibration is None:
        return {"judged_by": "nothing"}
    held_out = rows.taken(probe.judged.rows)
    scaled = apply_temperature(probe.judged.probabilities, probe.temperature)
    evaluation = evaluate(scaled, held_out.labels, groups=held_out.groups)
    return {
        "judged_by": "validation" if rows.held_out.any() else "cross-validation",
        "start": evaluation,
        "evaluation": evaluation,
        "predictions": Predictions.of([files[row] for row in probe.judged.rows], held_out.labels, scaled),
        "accuracy": evaluation.accuracy,
        "interval": evaluation.interval,
        "calibration": (probe.calibration.error_before, probe.calibration.error_after),
    }
