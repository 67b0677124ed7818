"""Training by gradient: the linear probe first, then fine-tuning from there; never worse than the start."""

from dataclasses import replace
from typing import Any

import numpy as np

from builders.build import compile_model
from builders.training.data import Examples, FloatArray, predict
from builders.training.optimizers import depths_of, optimizer_for
from builders.training.precision import best_precision, use_precision
from builders.training.schedule import Schedule
from builders.training.state import TrainingState
from builders.training.trainer import Trained, Trainer
from probes.evaluation.evaluation import evaluate
from probes.evaluation.intervals import paired_gain
from probes.evaluation.out_of_distribution import Detector
from probes.evaluation.selection import Chosen
from probes.images.decode import quiet_decoders
from recommender.fit.data import Data, read_all, start_from_linear_probe
from recommender.fit.finish import MOST_IMAGES, calibrated, chosen_check, fitted_detector, peak_memory, set_head
from recommender.fit.plan import is_dissimilar, phases
from recommender.fit.result import AS_GIVEN, FINE_TUNED, LINEAR_PROBE, FitResult, TrainingPlan
from recommender.fit.resume import kept_state, state_file
from recommender.fit.session import FitSession


def fit_tuned(session: FitSession) -> FitResult:
    """Fine-tune with validation checks, and keep the weights of the best check."""
    options, split = session.options, session.frozen_split
    data = read_all(session)
    session.clock.lap("images")
    start = LINEAR_PROBE if start_from_linear_probe(session, data.images) else AS_GIVEN
    session.clock.lap("linear_probe")
    if not len(data.images.split.held_out):
        return _unjudged(session, data, start)
    dissimilar = split.takes_pictures and is_dissimilar(session.found)
    schedule = options.schedule(len(data.images.split.training), dissimilar=dissimilar)
    precision = options.precision or best_precision()
    with use_precision(split.tail, precision), quiet_decoders():
        file = state_file(session, data, schedule, precision)
        optimizer = optimizer_for(split.tail, schedule, depths_of(split.graph))
        training = data.training(balanced=session.class_weight is not None)
        trainer = Trainer(split.tail, training, data.held_out(), schedule, optimizer)
        before = trainer.predict()
        first = trainer.start(before)
        kept = kept_state(file, first) if options.resume else None
        plan = _plan(session, data, schedule, precision, _seconds(trainer, first))
        if options.resume:
            plan = replace(plan, resumed_at=0 if kept is None else kept.checks[-1].step)
        if options.announce is not None:
            options.announce(plan)
        if options.on_check is not None:
            options.on_check(first.checks[0], schedule)
        trained = trainer.run(
            kept or first,
            file=file,
            callbacks=_callbacks(session),
            progress=options.at("training"),
            on_check=options.on_check,
        )
        chosen = chosen_check(trained.state, data.images.held_out, options.seed)
        if chosen is None:
            trainer.set_weights(first.weights)
        after = trainer.predict()
        detector = None if split.head_input is None else _detector(session, trainer)
    session.clock.lap("fine_tune")
    if not (options.keep_state or trained.interrupted):
        file.remove()
    return _result(
        session,
        data,
        trained,
        best=chosen,
        probabilities=(before, after),
        plan=plan,
        chosen=start if chosen is None else FINE_TUNED,
        resumed_at=None if kept is None else kept.checks[-1].step,
        detector=detector,
        forget=file.remove,
    )


def _seconds(trainer: Trainer, first: TrainingState) -> float:
    """Expected seconds of the whole schedule."""
    schedule = trainer.schedule
    if not schedule.steps:
        return 0.0
    step, check = trainer.timed(first)
    return schedule.steps * step + schedule.steps // schedule.check_every * check


def _callbacks(session: FitSession) -> list[Any]:
    callbacks = list(session.options.callbacks)
    if session.options.logs is not None:
        import keras

        callbacks.append(keras.callbacks.TensorBoard(str(session.options.logs), write_graph=False))
    return callbacks


def _plan(session: FitSession, data: Data, schedule: Schedule, precision: str, seconds: float) -> TrainingPlan:
    split, frozen = data.images.split, session.frozen_split
    head, trainable = (
        sum(int(np.prod(variable.shape)) for variable in part.trainable_variables)
        for part in (session.model.layers[-1], frozen.tail)
    )
    freeze = None if frozen.takes_pictures else frozen.graph.nodes[frozen.split].name
    return TrainingPlan(
        phases=phases(len(split.training), head, schedule, trainable, freeze),
        schedule=schedule,
        augmentation=data.augmentation,
        n_training=len(split.training),
        n_held_out=len(split.held_out),
        class_weight=session.class_weight,
        cached=data.cached,
        precision=precision,
        seconds=seconds,
    )


def _detector(session: FitSession, trainer: Trainer) -> Detector | None:
    """A detector on what the prediction layer reads."""
    below, seed = session.frozen_split.below_head(), session.options.seed

    def features(examples: Examples) -> FloatArray:
        drawn = examples.sample(MOST_IMAGES, seed)
        return drawn.inputs.plain(drawn.rows) if below is None else predict(below, drawn)

    return fitted_detector(features(trainer.training), features(trainer.held_out), None, seed)


def _result(
    session: FitSession,
    data: Data,
    trained: Trained,
    *,
    best: Chosen | None,
    probabilities: tuple[FloatArray, FloatArray],
    **known: Any,
) -> FitResult:
    """Calibrate and compile the model, and evaluate it.

    Args:
        session: with the model.
        data: with the held-out images.
        trained: the run.
        best: the best check; None if the start is better.
        probabilities: of the held-out images, at the start and of the model.
        known: further fields of the result.
    """
    held_out, split, seed = data.images.held_out, data.images.split, session.options.seed
    start = evaluate(probabilities[0], held_out.labels, groups=held_out.groups)
    found = calibrated(probabilities[1], held_out, seed, scalable=session.frozen_split.head_input is not None)
    set_head(session.model.layers[-1], temperature=found.temperature)
    compile_model(session.model, session.found.strategy.learning_rate)
    names = data.images.features.files
    session.clock.lap("judge")
    return FitResult(
        model=session.model,
        start=start,
        evaluation=found.evaluation,
        accuracy=(best or start).accuracy,
        interval=(best or start).interval,
        gain=None if best is None else paired_gain(trained.state.correct[0], best.correct, groups=held_out.groups),
        judged_by=split.judged_by,
        history=trained.state.checks,
        temperature=found.temperature,
        calibration=found.errors,
        interrupted=trained.interrupted,
        stopped_early=trained.stopped_early,
        held_out=tuple(zip((names[row] for row in split.held_out), held_out.labels.tolist(), strict=True)),
        notes=data.notes if trained.unsaved is None else (*data.notes, _unsaved(trained.unsaved)),
        seconds=session.clock.seconds,
        peak_memory=peak_memory(),
        **known,
    )


def _unsaved(reason: str) -> str:
    return f"The state of the training could not be kept ({reason}): an interrupted run could not have been resumed."


def _unjudged(session: FitSession, data: Data, start: str) -> FitResult:
    """The start, if no image can be held out: nothing shows whether fine-tuning helps."""
    plan = TrainingPlan(
        phases=(),
        n_training=len(data.images.split.training),
        class_weight=session.class_weight,
        cached=data.cached,
    )
    if session.options.announce is not None:
        session.options.announce(plan)
    compile_model(session.model, session.found.strategy.learning_rate)
    note = "No image can be held out to measure whether fine-tuning helps: the model was not fine-tuned."
    return FitResult(
        model=session.model,
        plan=plan,
        chosen=start,
        judged_by="nothing",
        notes=(*data.notes, note),
        seconds=session.clock.seconds,
        peak_memory=peak_memory(),
    )
