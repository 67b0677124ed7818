"""Training by gradient: the linear probe first, then fine-tuning from there; never worse than the start."""

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from builders.build import compile_model
from builders.training.examples import Examples, drawn_rows, outputs_of
from builders.training.optimizers import depths_of, optimizer_for
from builders.training.precision import best_precision, use_precision
from builders.training.schedule import Schedule
from builders.training.state import StateFile, TrainingState
from builders.training.trainer import Trained, Trainer
from probes.evaluation.calibration import apply_temperature, calibrate
from probes.evaluation.evaluation import evaluate
from probes.evaluation.intervals import paired_gain
from probes.evaluation.out_of_distribution import Detector
from probes.evaluation.selection import Chosen, cross_chosen
from probes.images.decode import quiet_decoders
from recommender.fit.data import Data, read_all, start_from_linear_probe
from recommender.fit.finish import MOST_IMAGES, finish, fitted_detector, peak_memory
from recommender.fit.plan import is_unlike, phases
from recommender.fit.result import AS_GIVEN, FINE_TUNED, LINEAR_PROBE, FitResult, TrainingPlan
from recommender.fit.resume import kept_state, state_file
from recommender.fit.session import FitSession

if TYPE_CHECKING:
    from numpy.typing import NDArray


def fit_tuned(session: FitSession) -> FitResult:
    """Fine-tune, look at the held-out images now and then, and keep the weights of the best look."""
    options = session.options
    data = read_all(session)
    session.clock.lap("images")
    start_chosen = LINEAR_PROBE if start_from_linear_probe(session, data) else AS_GIVEN
    session.clock.lap("linear_probe")
    schedule = options.schedule(
        len(data.split.training), anew=session.frozen_split.takes_pictures and is_unlike(session.found)
    )
    if not len(data.split.held_out):
        return _unjudged(session, data, start_chosen)
    precision = options.precision or best_precision()
    with use_precision(session.frozen_split.tail, precision), quiet_decoders():
        trainer, file = _trainer(session, data, schedule, precision)
        first = trainer.first_look()
        began = time.perf_counter()
        before = trainer.predict()
        seconds = schedule.steps // schedule.check_every * (time.perf_counter() - began)
        seconds += schedule.steps * trainer.seconds_per_step() if schedule.steps else 0.0
        kept = kept_state(file, first, trainer.slot_shapes()) if options.resume else None
        plan = _plan(session, data, schedule, precision, seconds)
        if options.resume:
            plan = replace(plan, resumed_at=0 if kept is None else kept.checks[-1].step)
        if options.announce is not None:
            options.announce(plan)
        if options.on_check is not None:
            options.on_check(first.checks[0], schedule)
        trained = trainer.run(
            first if kept is None else kept,
            callbacks=_callbacks(session),
            progress=options.at("training"),
            on_check=options.on_check,
        )
        chosen = _chosen(trained.state, data, options.seed)
        if chosen is None:
            trainer.set_weights(first.weights)
        after = trainer.predict()
        detector = _detector(trainer, session)
    session.clock.lap("fine_tune")
    looks = Looks(
        trained=trained, chosen=chosen, before=before, after=after, start=start_chosen, detector=detector, kept=kept
    )
    result = _result(session, data, plan, looks, file)
    if not (options.keep_state or trained.interrupted):
        file.remove()
    return result


def _trainer(session: FitSession, data: Data, schedule: Schedule, precision: str) -> tuple[Trainer, StateFile]:
    file = state_file(session, data, schedule, precision)
    trainer = Trainer(
        session.frozen_split.tail,
        data.examples(data.split.training, balanced=session.class_weight is not None),
        data.examples(data.split.held_out, balanced=False),
        schedule,
        optimizer_for(session.frozen_split.tail, schedule, depths_of(session.frozen_split.graph)),
        file,
    )
    return trainer, file


def _callbacks(session: FitSession) -> list[Any]:
    callbacks = list(session.options.callbacks)
    if session.options.logs is not None:
        import keras

        callbacks.append(keras.callbacks.TensorBoard(str(session.options.logs), write_graph=False))
    return callbacks


def _plan(session: FitSession, data: Data, schedule: Schedule, precision: str, seconds: float) -> TrainingPlan:
    head = sum(int(np.prod(variable.shape)) for variable in session.model.layers[-1].trainable_variables)
    trainable = sum(int(np.prod(variable.shape)) for variable in session.frozen_split.tail.trainable_variables)
    graph, joint = session.frozen_split.graph, session.frozen_split.split
    freeze = None if session.frozen_split.takes_pictures else graph.nodes[joint].name
    return TrainingPlan(
        phases=phases(len(data.split.training), head, schedule, trainable, freeze),
        schedule=schedule,
        augmentation=data.augmentation,
        n_training=len(data.split.training),
        n_held_out=len(data.split.held_out),
        class_weight=session.class_weight,
        cached=data.cached,
        precision=precision,
        seconds=seconds,
    )


def _detector(trainer: Trainer, session: FitSession) -> Detector | None:
    """Of pictures unlike the training images, by what the trained network makes of both parts."""
    if session.frozen_split.head_input is None:
        return None
    below, seed = session.frozen_split.below_head(), session.options.seed

    def features(examples: Examples) -> "NDArray[np.float32]":
        if below is not None:
            return outputs_of(below, examples, most=MOST_IMAGES, seed=seed)
        return examples.inputs.plain(examples.rows[drawn_rows(len(examples), MOST_IMAGES, seed)])

    return fitted_detector(features(trainer.training), features(trainer.held_out), None, seed)


def _chosen(state: TrainingState, data: Data, seed: int) -> Chosen | None:
    """How the best look does on images that did not choose it; None where that is no better than the start.

    One look out of many is the best by chance, too: by then the start is what the evidence speaks for.
    """
    groups = data.rows.groups[data.split.held_out]
    chosen = cross_chosen(state.correct, seed=seed, groups=groups)
    return chosen if state.best_check and chosen.accuracy > state.checks[0].accuracy else None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Looks:
    """What is known of a training when it is over.

    Attributes:
        trained: how it went.
        chosen: the best look; None where the start is what comes back.
        before: probabilities of the held-out images at the start.
        after: the same of what comes back.
        start: what the start was.
        detector: of pictures unlike the training images, for what comes back.
        kept: the state of an earlier run that was gone on with.
    """

    trained: Trained
    chosen: Chosen | None
    before: "NDArray[np.float32]"
    after: "NDArray[np.float32]"
    start: str
    detector: Detector | None
    kept: TrainingState | None


def _result(session: FitSession, data: Data, plan: TrainingPlan, looks: Looks, file: StateFile) -> FitResult:
    state, seed, chosen = looks.trained.state, session.options.seed, looks.chosen
    held_out = data.rows.taken(data.split.held_out)
    calibration = calibrate(looks.after, held_out.labels, seed=seed, groups=held_out.groups)
    temperature = calibration.temperature if calibration.helps and session.frozen_split.head_input is not None else 1.0
    start = evaluate(looks.before, held_out.labels, groups=held_out.groups)
    evaluation = evaluate(apply_temperature(looks.after, temperature), held_out.labels, groups=held_out.groups)
    finish(session, temperature=temperature)
    names = data.gathered.features.files
    session.clock.lap("judge")
    return FitResult(
        model=session.model,
        plan=plan,
        chosen=looks.start if chosen is None else FINE_TUNED,
        start=start,
        evaluation=evaluation,
        accuracy=start.accuracy if chosen is None else chosen.accuracy,
        interval=start.interval if chosen is None else chosen.interval,
        gain=None if chosen is None else paired_gain(state.correct[0], chosen.correct, groups=held_out.groups),
        judged_by=data.split.judged_by,
        history=state.checks,
        temperature=temperature,
        calibration=(calibration.error_before, calibration.error_after),
        interrupted=looks.trained.interrupted,
        stopped_early=looks.trained.stopped_early,
        resumed_at=None if looks.kept is None else looks.kept.checks[-1].step,
        held_out=tuple(zip((names[row] for row in data.split.held_out), held_out.labels.tolist(), strict=True)),
        detector=looks.detector,
        notes=(*data.notes, *(() if looks.trained.unsaved is None else (_unsaved(looks.trained.unsaved),))),
        seconds=session.clock.seconds,
        peak_memory=peak_memory(),
        forget=file.remove,
    )


def _unsaved(reason: str) -> str:
    return f"The course of the training could not be kept ({reason}): had it been broken off, it could not go on."


def _unjudged(session: FitSession, data: Data, chosen: str) -> FitResult:
    """Where no image can be held out nothing tells whether fine-tuning helps: the start is what comes back."""
    plan = TrainingPlan(
        phases=(),
        schedule=None,
        augmentation=(),
        n_training=len(data.split.training),
        n_held_out=0,
        class_weight=session.class_weight,
        cached=data.cached,
        precision="float32",
        seconds=0.0,
    )
    if session.options.announce is not None:
        session.options.announce(plan)
    compile_model(session.model, session.found.strategy.learning_rate)
    nothing = "No image can be held out, so nothing can tell whether fine-tuning helps: there was none."
    return FitResult(
        model=session.model,
        plan=plan,
        chosen=chosen,
        judged_by="nothing",
        notes=(*data.notes, nothing),
        seconds=session.clock.seconds,
        peak_memory=peak_memory(),
    )
