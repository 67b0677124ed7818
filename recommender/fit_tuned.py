"""Training by gradient: the linear probe first, then fine-tuning from there; never worse than the start."""

import contextlib
import hashlib
import json
import shutil
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from builders.build import compile_model
from builders.optimizers import depths_of, optimizer_for
from builders.precision import best_precision, use_precision
from builders.trainer import Trained, Trainer, outputs_of
from builders.training import Schedule
from builders.training_state import StateFile, TrainingState
from probes.calibration import apply_temperature, calibrate
from probes.evaluation import Chosen, cross_chosen, evaluate, paired_gain
from probes.foreign import Detector
from probes.images import quiet_decoders
from probes.places import data_directory
from recommender.fit_data import Data, read_all, start_from_linear_probe
from recommender.fit_finish import MOST_IMAGES, finish, fitted_detector, peak_memory
from recommender.fit_plan import is_unlike, phases
from recommender.fit_result import AS_GIVEN, FINE_TUNED, LINEAR_PROBE, FitResult, TrainingPlan
from recommender.fitting import Lesson
from recommender.serialise import versions

if TYPE_CHECKING:
    from numpy.typing import NDArray

_KEPT_DAYS = 30  # that the state of a training which was never gone on with is kept


def fit_tuned(lesson: Lesson) -> FitResult:
    """Fine-tune, look at the held-out images now and then, and keep the weights of the best look."""
    options = lesson.options
    data = read_all(lesson)
    lesson.clock.lap("images")
    start_chosen = LINEAR_PROBE if start_from_linear_probe(lesson, data) else AS_GIVEN
    lesson.clock.lap("linear_probe")
    schedule = options.schedule(len(data.split.training), anew=lesson.parted.takes_pictures and is_unlike(lesson.found))
    if not len(data.split.held_out):
        return _unjudged(lesson, data, start_chosen)
    precision = options.precision or best_precision()
    with use_precision(lesson.parted.tail, precision):
        trainer, file = _trainer(lesson, data, schedule)
        first = trainer.first_look()
        began = time.perf_counter()
        before = trainer.predict()
        seconds = schedule.steps // schedule.check_every * (time.perf_counter() - began)
        seconds += schedule.steps * trainer.seconds_per_step() if schedule.steps else 0.0
        plan = _plan(lesson, data, schedule, precision, seconds)
        if options.announce is not None:
            options.announce(plan)
        kept = _kept_state(file, lesson, first)
        if options.on_check is not None:
            options.on_check(first.checks[0], schedule)
        with quiet_decoders():
            trained = trainer.run(
                first if kept is None else kept,
                callbacks=_callbacks(lesson),
                progress=options.at("training"),
                on_check=options.on_check,
            )
        chosen = _chosen(trained.state, data, options.seed)
        if chosen is None:
            trainer.set_weights(first.weights)
        after = trainer.predict()
        detector = _detector(trainer, lesson)
    lesson.clock.lap("fine_tune")
    looks = Looks(
        trained=trained,
        chosen=chosen,
        before=before,
        after=after,
        start=start_chosen,
        detector=detector,
        kept=kept,
    )
    result = _result(lesson, data, plan, looks)
    if not trained.interrupted:
        file.remove()
    return result


def _trainer(lesson: Lesson, data: Data, schedule: Schedule) -> tuple[Trainer, StateFile]:
    balanced = lesson.class_weight is not None
    tail, options = lesson.parted.tail, lesson.options
    place = data_directory() / "fits"
    file = StateFile(place / digest(lesson, data, schedule) / "state.npz")
    trainer = Trainer(
        tail,
        data.examples(data.split.training, balanced=balanced),
        data.examples(data.split.held_out, balanced=False),
        schedule,
        optimizer_for(tail, schedule, depths_of(lesson.parted.graph)),
        file,
    )
    if not options.resume:
        file.remove()
    _forget_old(place)
    return trainer, file


def digest(lesson: Lesson, data: Data, schedule: Schedule) -> str:
    """What the course of a training depends on, as a name: pictures, split, model, schedule and versions."""
    hashed = hashlib.sha256()
    about = {
        "strategy": asdict(lesson.found.strategy),
        "schedule": asdict(schedule),
        "augmentation": data.augmentation,
        "class_weight": lesson.class_weight,
        "precision": lesson.options.precision,
        "versions": versions(),
    }
    hashed.update(json.dumps(about, sort_keys=True).encode())
    facts = data.gathered.features.facts
    for numbers in (data.split.training, data.split.held_out):
        for number in numbers.tolist():
            hashed.update(facts[number].digest)
        hashed.update(data.rows.labels[numbers].tobytes() + data.rows.weights[numbers].tobytes())
    fitted = [] if lesson.parted.head_input is None else lesson.model.layers[-1].weights
    for weight in lesson.model.weights:
        if not any(weight is other for other in fitted):  # rounding may differ in what is fitted anew
            hashed.update(np.ascontiguousarray(weight.numpy()).tobytes())
    return hashed.hexdigest()[:32]


def _forget_old(place: Path) -> None:
    """Remove what trainings left that were broken off long ago."""
    with contextlib.suppress(OSError):
        for folder in place.glob("*"):
            if time.time() - folder.stat().st_mtime > _KEPT_DAYS * 86_400:
                shutil.rmtree(folder, ignore_errors=True)


def _kept_state(file: StateFile, lesson: Lesson, first: TrainingState) -> TrainingState | None:
    """The state of an earlier run to go on from, if there is one and it is asked for."""
    if not lesson.options.resume:
        return None
    kept = file.read()
    fits = kept is not None and [w.shape for w in kept.weights] == [w.shape for w in first.weights]
    return kept if fits else None


def _callbacks(lesson: Lesson) -> list[Any]:
    callbacks = list(lesson.options.callbacks)
    if lesson.options.logs is not None:
        import keras

        callbacks.append(keras.callbacks.TensorBoard(str(lesson.options.logs), write_graph=False))
    return callbacks


def _plan(lesson: Lesson, data: Data, schedule: Schedule, precision: str, seconds: float) -> TrainingPlan:
    head = sum(int(np.prod(variable.shape)) for variable in lesson.model.layers[-1].trainable_variables)
    trainable = sum(int(np.prod(variable.shape)) for variable in lesson.parted.tail.trainable_variables)
    graph, joint = lesson.parted.graph, lesson.parted.joint
    freeze = None if lesson.parted.takes_pictures else graph.nodes[joint].name
    return TrainingPlan(
        phases=phases(len(data.split.training), head, schedule, trainable, freeze),
        schedule=schedule,
        augmentation=data.augmentation,
        n_training=len(data.split.training),
        n_held_out=len(data.split.held_out),
        class_weight=lesson.class_weight,
        cached=data.cached,
        precision=precision,
        seconds=seconds,
    )


def _detector(trainer: Trainer, lesson: Lesson) -> Detector | None:
    """Of pictures unlike the training images, by what the trained network makes of both parts."""
    below = lesson.parted.below_head()
    if below is None:
        return None
    seed = lesson.options.seed
    training, held_out = (
        outputs_of(below, examples, most=MOST_IMAGES, seed=seed) for examples in (trainer.training, trainer.held_out)
    )
    return fitted_detector(training, held_out, None, seed)


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


def _result(lesson: Lesson, data: Data, plan: TrainingPlan, looks: Looks) -> FitResult:
    state, seed, chosen = looks.trained.state, lesson.options.seed, looks.chosen
    held_out = data.rows.taken(data.split.held_out)
    calibration = calibrate(looks.after, held_out.labels, seed=seed, groups=held_out.groups)
    temperature = calibration.temperature if calibration.helps and lesson.parted.head_input is not None else 1.0
    start = evaluate(looks.before, held_out.labels)
    evaluation = evaluate(apply_temperature(looks.after, temperature), held_out.labels)
    kernel, bias = (weight.numpy() for weight in lesson.model.layers[-1].weights)
    finish(lesson, kernel=kernel, bias=bias, temperature=temperature)
    names = data.gathered.features.files
    lesson.clock.lap("judge")
    return FitResult(
        model=lesson.model,
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
        notes=() if looks.trained.unsaved is None else (_unsaved(looks.trained.unsaved),),
        seconds=lesson.clock.seconds,
        peak_memory=peak_memory(),
    )


def _unsaved(reason: str) -> str:
    return f"The course of the training could not be kept ({reason}): had it been broken off, it could not go on."


def _unjudged(lesson: Lesson, data: Data, chosen: str) -> FitResult:
    """Where no image can be held out nothing tells whether fine-tuning helps: the start is what comes back."""
    plan = TrainingPlan(
        phases=(),
        schedule=None,
        augmentation=(),
        n_training=len(data.split.training),
        n_held_out=0,
        class_weight=lesson.class_weight,
        cached=data.cached,
        precision="float32",
        seconds=0.0,
    )
    if lesson.options.announce is not None:
        lesson.options.announce(plan)
    compile_model(lesson.model, lesson.found.strategy.learning_rate)
    return FitResult(
        model=lesson.model,
        plan=plan,
        chosen=chosen,
        start=None,
        evaluation=None,
        accuracy=None,
        interval=None,
        gain=None,
        judged_by="nothing",
        history=(),
        temperature=1.0,
        calibration=None,
        interrupted=False,
        stopped_early=False,
        resumed_at=None,
        held_out=(),
        detector=None,
        notes=("No image can be held out, so nothing can tell whether fine-tuning helps: there was none.",),
        seconds=lesson.clock.seconds,
        peak_memory=peak_memory(),
    )
