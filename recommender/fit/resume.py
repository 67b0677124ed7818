"""The file of a training's state, by which an interrupted training is resumed."""

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

_KEPT_DAYS = 30  # until the state of a training that is never resumed is removed
_NAME = re.compile(r"[0-9a-f]{32}")


def state_file(session: FitSession, data: Data, schedule: Schedule, precision: str) -> StateFile:
    """The file of this training; old files of interrupted trainings are removed."""
    place = data_directory() / "training-states"
    file = StateFile(place / _digest(session, data, schedule, precision) / "state.npz")
    if not session.options.resume:
        file.remove()
    _forget_old(place)
    return file


def _digest(session: FitSession, data: Data, schedule: Schedule, precision: str) -> str:
    """A hash of all that a training depends on: pictures, split, model, schedule and versions."""
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
    facts, rows, split = data.images.features.facts, data.images.rows, data.images.split
    for numbers in (split.training, split.held_out):
        for number in numbers.tolist():
            hashed.update(facts[number].digest)
        hashed.update(rows.labels[numbers].tobytes() + rows.weights[numbers].tobytes())
    fitted = [] if session.frozen_split.head_input is None else session.model.layers[-1].weights
    for weight in session.model.weights:
        if not any(weight is other for other in fitted):  # the linear probe may differ by rounding
            hashed.update(np.ascontiguousarray(keras.ops.convert_to_numpy(weight)).tobytes())
    return hashed.hexdigest()[:32]


def _forget_old(place: Path) -> None:
    with contextlib.suppress(OSError):
        for folder in place.iterdir():
            if _NAME.fullmatch(folder.name) and time.time() - folder.stat().st_mtime > _KEPT_DAYS * 86_400:
                StateFile(folder / "state.npz").remove()


def kept_state(file: StateFile, first: TrainingState) -> TrainingState | None:
    """The state of an earlier run, if there is one for this model and optimiser."""
    kept = file.read()
    return kept if kept is not None and kept.shapes == first.shapes else None
