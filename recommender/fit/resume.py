"""Where the course of a training is kept, so that it can be gone on with."""

import contextlib
import hashlib
import json
import re
import time
from dataclasses import asdict
from pathlib import Path

import keras
import numpy as np

from builders.training.schedule import Schedule
from builders.training.state import StateFile, TrainingState
from probes.user_directory import data_directory
from recommender.fit.data import Data
from recommender.fit.session import FitSession
from recommender.versions import versions

_KEPT_DAYS = 30  # that the state of a training which was never gone on with is kept
_NAME = re.compile(r"[0-9a-f]{32}")


def state_file(session: FitSession, data: Data, schedule: Schedule, precision: str) -> StateFile:
    """The file of this training; what others left that were broken off long ago is removed."""
    place = data_directory() / "training-states"
    file = StateFile(place / _digest(session, data, schedule, precision) / "state.npz")
    if not session.options.resume:
        file.remove()
    _forget_old(place)
    return file


def _digest(session: FitSession, data: Data, schedule: Schedule, precision: str) -> str:
    """What the course of a training depends on, as a name: pictures, split, model, schedule and versions."""
    hashed = hashlib.sha256()
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
    hashed.update(json.dumps(about, sort_keys=True).encode())
    facts = data.gathered.features.facts
    for numbers in (data.split.training, data.split.held_out):
        for number in numbers.tolist():
            hashed.update(facts[number].digest)
        hashed.update(data.rows.labels[numbers].tobytes() + data.rows.weights[numbers].tobytes())
    fitted = [] if session.frozen_split.head_input is None else session.model.layers[-1].weights
    for weight in session.model.weights:
        if not any(weight is other for other in fitted):  # rounding may differ in what is fitted anew
            hashed.update(np.ascontiguousarray(keras.ops.convert_to_numpy(weight)).tobytes())
    return hashed.hexdigest()[:32]


def _forget_old(place: Path) -> None:
    with contextlib.suppress(OSError):
        for folder in place.iterdir():
            if _NAME.fullmatch(folder.name) and time.time() - folder.stat().st_mtime > _KEPT_DAYS * 86_400:
                StateFile(folder / "state.npz").remove()


def kept_state(file: StateFile, first: TrainingState, slots: list[tuple[int, ...]]) -> TrainingState | None:
    """The state of an earlier run, if there is one and it fits the model and the optimiser's slots."""
    kept = file.read()
    if kept is None or [value.shape for value in kept.weights] != [value.shape for value in first.weights]:
        return None
    return kept if kept.slots and [value.shape for value in kept.slots] == slots else None
