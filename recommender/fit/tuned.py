"""Fine-tuning from the frozen model, which comes back unless held-out images show that fine-tuning is better."""

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from builders.training.batches import kept_memory, quiet_tracing
from builders.training.optimizers import best_precision, use_precision
from builders.training.state import remove_state
from builders.training.trainer import Trainer
from probes.evaluation.evaluation import evaluate
from probes.images.decode import quiet_decoders
from recommender.fit.data import read_all
from recommender.fit.fine_tuning import FineTuning
from recommender.fit.finish import calibrated, finish
from recommender.fit.frozen import frozen_result
from recommender.fit.plan import SOLVED_AT_ONCE, FitSession, is_dissimilar
from recommender.fit.result import AS_GIVEN, FINE_TUNED, LINEAR_PROBE, FitResult


def fit_tuned(session: FitSession) -> FitResult:
    """Fine-tune in trials that hold out images, and then on all images if the trials show that it helps."""
    with fine_tuning(session) as training:
        training.run_trials()
        training.run_on_everything()
    session.clock.lap("fine_tune")
    if not (session.options.keep_state or training.interrupted):
        remove_state(training.file)
    return _result(training)


@contextlib.contextmanager
def fine_tuning(session: FitSession) -> Iterator[FineTuning]:
    """A fine-tuning that is about to begin, with every image read and its plan announced."""
    data = read_all(session)
    session.clock.lap("images")
    split, options, usual = session.frozen_split, session.options, session.options.of_no_training()
    schedule, own = (
        each.schedule(len(data.images.training), dissimilar=is_dissimilar(session.found), whole=split.takes_pictures)
        for each in (options, usual)
    )
    as_expected = session.found.scenario.fine_tunes and not session.given and schedule.trains_as(own)
    if session.given:  # its own layers may be random at the start: no average with these is worth anything
        schedule = replace(schedule, share=1.0)
    precision = options.precision or best_precision()
    with use_precision(split.tail, precision), quiet_decoders(), quiet_tracing(), kept_memory():
        training = FineTuning(
            session=session,
            data=data,
            trainer=Trainer(split.tail, schedule),
            precision=precision,
            as_expected=as_expected,
        )
        training.announce()
        yield training


def _result(training: FineTuning) -> FitResult:
    """The fine-tuned model, or the frozen one."""
    session, images, evidence = training.session, training.data.images, training.evidence
    about: dict[str, Any] = {
        "plan": training.plan,
        "trials": len(training.predictions),
        "gain": None if evidence is None else evidence.gain,
        "history": training.history,
        "interrupted": training.interrupted,
        "resumed_at": training.plan.resumed_at or None,
        "forget": partial(remove_state, training.file),
        "notes": (*training.data.notes, *_notes(training)),
    }
    solvable = session.frozen_split.head_input is not None
    if training.end is None:
        training.set_start(images.training)
        if solvable and len(images.training) <= SOLVED_AT_ONCE:
            features = images.features
            return frozen_result(session, features.pooled["head"], images.rows, features.files, **about)
        about |= {"chosen": LINEAR_PROBE if solvable else AS_GIVEN}
    else:
        training.trainer.set_weights(training.end)
        about |= {"chosen": FINE_TUNED, "detector": training.detector, "share": training.trainer.schedule.share}
    if evidence is None:
        return finish(session, judged_by="nothing", **about)
    rows, held_out = training.judged, training.held_out
    names = [images.features.files[row] for row in held_out]
    before = np.concatenate(training.predictions, axis=1)[0]
    start = evaluate(before, rows.labels, groups=rows.groups)
    about |= calibrated(session, before if training.end is None else evidence.probabilities, rows, names)
    held_out_alone = about["evaluation"].accuracy, about["evaluation"].interval
    accuracy, interval = (training.expected_accuracy if training.end else None) or held_out_alone
    return finish(
        session,
        **about,
        start=start,
        accuracy=accuracy,
        interval=interval,
        judged_by=images.split.judged_by,
        held_out=tuple(zip(names, rows.labels.tolist(), strict=True)),
    )


def _notes(training: FineTuning) -> list[str]:
    """What the user should know of the evidence, in sentences."""
    notes, evidence = [], training.evidence
    if training.diverged:
        notes.append("The training diverged: its weights are not finite. Lower `learning_rate`.")
    if not len(training.data.images.split.held_out):
        notes.append("No image can be held out to measure whether fine-tuning helps.")
    elif evidence is not None and not training.diverged and not (evidence.sure and training.accepted):
        outcome = {"accepted": training.accepted, "forced": training.session.options.force}
        notes.append(evidence.sentence(len(training.judged), training.chance, **outcome))
    if training.unsaved is not None:
        reason = f"The state of the training could not be kept ({training.unsaved})"
        notes.append(f"{reason}: an interrupted run could not have been resumed.")
    return notes
