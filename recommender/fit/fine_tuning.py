"""Training by gradient: the linear probe first, then fine-tuning from there; never worse than the start."""

import contextlib
import hashlib
import json
import time
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from builders.training.data import FloatArray, predict
from builders.training.optimizers import best_precision, depths_of, optimizer_for, use_precision
from builders.training.schedule import Schedule
from builders.training.state import TrainingState, read_state, remove_state
from builders.training.trainer import Trained, Trainer
from probes.evaluation.evaluation import evaluate
from probes.evaluation.intervals import paired_gain
from probes.evaluation.out_of_distribution import Detector
from probes.evaluation.selection import Chosen
from probes.images.decode import quiet_decoders
from probes.user_directory import data_directory
from recommender.fit.data import Data, read_all, start_from_linear_probe
from recommender.fit.finish import MOST_IMAGES, chosen_check, finish, fitted_detector
from recommender.fit.plan import FitSession, is_dissimilar, phases
from recommender.fit.result import AS_GIVEN, FINE_TUNED, LINEAR_PROBE, FitResult, TrainingPlan
from recommender.versions import versions

_KEPT_DAYS = 30  # until the state of a training that is never resumed is removed


def fit_tuned(session: FitSession) -> FitResult:
    """Fit the linear probe, and fine-tune from there if images can be held out to measure whether that helps."""
    data = read_all(session)
    session.clock.lap("images")
    start = LINEAR_PROBE if start_from_linear_probe(session, data.images) else AS_GIVEN
    session.clock.lap("linear_probe")
    split = data.images.split
    if len(split.held_out):
        return _fine_tune(session, data, start)
    weight = session.class_weight
    plan = TrainingPlan(phases=(), n_training=len(split.training), class_weight=weight, cached=data.cached)
    session.announce(plan)
    note = "No image can be held out to measure whether fine-tuning helps: the model was not fine-tuned."
    rows, notes = data.images.held_out, (*data.notes, note)
    return finish(session, None, rows, plan=plan, chosen=start, judged_by="nothing", notes=notes)


def _fine_tune(session: FitSession, data: Data, start: str) -> FitResult:
    """Fine-tune with validation checks, and keep the weights of the best check."""
    options, frozen_split, images = session.options, session.frozen_split, data.images
    dissimilar = frozen_split.takes_pictures and is_dissimilar(session.found)
    schedule = options.schedule(len(images.split.training), dissimilar=dissimilar)
    precision = options.precision or best_precision()
    with use_precision(frozen_split.tail, precision), quiet_decoders():
        file = _state_file(session, data, schedule, precision)
        training = images.examples(data.inputs, images.split.training, balanced=session.class_weight is not None)
        held_out = images.examples(data.inputs, images.split.held_out)
        optimizer = optimizer_for(frozen_split.tail, schedule, depths_of(frozen_split.graph))
        trainer = Trainer(frozen_split.tail, training, held_out, schedule, optimizer)
        before = trainer.predict()
        first = trainer.start(before)
        kept = read_state(file) if options.resume else None
        state = first if kept is None or not kept.fits(first) else kept
        resumed_at = state.checks[-1].step if options.resume else None
        plan = _plan(session, data, trainer, first, precision=precision, resumed_at=resumed_at)
        session.announce(plan)
        if options.on_check is not None:
            options.on_check(first.checks[0], schedule)
        callbacks, progress = list(options.callbacks), options.at("training")
        if options.logs is not None:
            import keras

            callbacks.append(keras.callbacks.TensorBoard(str(options.logs), write_graph=False))
        trained = trainer.run(state, file=file, callbacks=callbacks, progress=progress, on_check=options.on_check)
        best = chosen_check(trained.state, images.held_out, options.seed)
        if best is None:
            trainer.set_weights(first.weights)
        after = trainer.predict()
        detector = _detector(session, trainer)
    session.clock.lap("fine_tune")
    if not (options.keep_state or trained.interrupted):
        remove_state(file)
    chosen, forget = start if best is None else FINE_TUNED, partial(remove_state, file)
    known = {"plan": plan, "chosen": chosen, "detector": detector, "forget": forget}
    return _result(session, data, trained, best, before, after, **known)


def _result(
    session: FitSession,
    data: Data,
    trained: Trained,
    best: Chosen | None,
    before: FloatArray,
    after: FloatArray,
    **known: Any,
) -> FitResult:
    """The result, from probabilities of the held-out images before and after the training."""
    images, rows, notes = data.images, data.images.held_out, data.notes
    start = evaluate(before, rows.labels, groups=rows.groups)
    if trained.unsaved is not None:
        reason = f"The state of the training could not be kept ({trained.unsaved})"
        notes = (*notes, f"{reason}: an interrupted run could not have been resumed.")
    names = [images.features.files[row] for row in images.split.held_out]
    return finish(
        session,
        after,
        rows,
        start=start,
        accuracy=(best or start).accuracy,
        interval=(best or start).interval,
        gain=None if best is None else paired_gain(trained.state.correct[0], best.correct, groups=rows.groups),
        judged_by=images.split.judged_by,
        history=trained.state.checks,
        interrupted=trained.interrupted,
        stopped_early=trained.stopped_early,
        resumed_at=known["plan"].resumed_at or None,
        held_out=tuple(zip(names, rows.labels.tolist(), strict=True)),
        notes=notes,
        **known,
    )


def _plan(session: FitSession, data: Data, trainer: Trainer, first: TrainingState, **known: Any) -> TrainingPlan:
    """The plan, with the seconds of the whole schedule as a few timed steps and a timed check predict them."""
    split, frozen, schedule, seconds = data.images.split, session.frozen_split, trainer.schedule, 0.0
    if schedule.steps:
        step, check = trainer.timed(first)
        seconds = schedule.steps * step + schedule.steps // schedule.check_every * check
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
        seconds=seconds,
        **known,
    )


def _detector(session: FitSession, trainer: Trainer) -> Detector | None:
    """A detector on what the prediction layer reads; None if that is no dense layer."""
    if session.frozen_split.head_input is None:
        return None
    below, seed = session.frozen_split.below_head(), session.options.seed
    drawn = [examples.sample(MOST_IMAGES, seed) for examples in (trainer.training, trainer.held_out)]
    training, held_out = (each.inputs.plain(each.rows) if below is None else predict(below, each) for each in drawn)
    return fitted_detector(training, held_out, None, seed)


def _state_file(session: FitSession, data: Data, schedule: Schedule, precision: str) -> Path:
    """The file of this training's state; old files of interrupted trainings are removed."""
    place = data_directory() / "training-states"
    file = place / _digest(session, data, schedule, precision) / "state.npz"
    if not session.options.resume:
        remove_state(file)
    with contextlib.suppress(OSError):
        for folder in place.glob("[0-9a-f]" * 32):
            if time.time() - folder.stat().st_mtime > _KEPT_DAYS * 86_400:
                remove_state(folder / "state.npz")
    return file


def _digest(session: FitSession, data: Data, schedule: Schedule, precision: str) -> str:
    """A hash of all that a training depends on: pictures, split, model, schedule and versions."""
    about = {
        "strategy": asdict(session.found.strategy),
        "schedule": asdict(schedule),
        "augmentation": data.augmentation,
        "cached": data.cached,
        "class_weight": session.class_weight,
        "precision": precision,
        "layers": [type(layer).__name__ for layer in session.model._flatten_layers()],
        "versions": versions(),
    }
    hashed = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    facts, rows, split = data.images.features.facts, data.images.rows, data.images.split
    for numbers in (split.training, split.held_out):
        for number in numbers.tolist():
            hashed.update(facts[number].digest)
        hashed.update(rows.labels[numbers].tobytes() + rows.weights[numbers].tobytes())
    fitted = [] if session.frozen_split.head_input is None else session.model.layers[-1].weights
    for weight in session.model.weights:
        if not any(weight is other for other in fitted):  # the linear probe may differ by rounding
            hashed.update(np.ascontiguousarray(weight.numpy()).tobytes())
    return hashed.hexdigest()[:32]
