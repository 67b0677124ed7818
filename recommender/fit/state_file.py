"""Where the state of a training is kept, named by all that the training depends on."""

import contextlib
import hashlib
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from builders.training.schedule import Schedule
from builders.training.state import remove_state
from probes.user_directory import data_directory
from recommender.fit.data import Data
from recommender.fit.images import Numbers
from recommender.fit.plan import FitSession
from recommender.versions import versions

_KEPT_DAYS = 30  # until the state of a training that is never resumed is removed


def state_file(session: FitSession, data: Data, schedule: Schedule, precision: str) -> Path:
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
    """A hash of all that a training depends on: pictures, splits, model, schedule and versions."""
    about = {
        "strategy": asdict(session.found.strategy),
        "schedule": asdict(schedule),
        "augmentation": data.augmentation,
        "cached": data.cached,
        "class_weight": session.class_weight,
        "precision": precision,
        "force": session.options.force,
        "only_tries": session.options.only_tries,
        "layers": [type(layer).__name__ for layer in session.model._flatten_layers()],
        "versions": versions(),
    }
    hashed = hashlib.sha256(json.dumps(about, sort_keys=True).encode())
    facts, rows, splits = data.images.features.facts, data.images.rows, data.images.splits
    parts: Sequence[Numbers] = [data.images.training, *(split.held_out for split in splits)]
    for numbers in parts:
        for number in numbers.tolist():
            hashed.update(facts[number].digest)
        hashed.update(rows.labels[numbers].tobytes() + rows.weights[numbers].tobytes())
    fitted = [] if session.frozen_split.head_input is None else session.model.layers[-1].weights
    for weight in session.model.weights:
        if not any(weight is other for other in fitted):  # the linear probe may differ by rounding
            hashed.update(np.ascontiguousarray(weight.numpy()).tobytes())
    return hashed.hexdigest()[:32]
