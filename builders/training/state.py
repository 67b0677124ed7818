"""The state of a training, in memory and in a file that is always complete.

Keras' BackupAndRestore writes weights and progress one after the other: a kill between them resumes another training.
"""

import contextlib
import json
import os
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = tuple[npt.NDArray[Any], ...]
_ARRAYS = ("weights", "slots", "predictions")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A look at a training, with the held-out images if there are any."""

    step: int  # batches before it; 0 is the start
    accuracy: float | None = None  # on the held-out images
    held_out_loss: float | None = None  # mean negative log probability of their labels
    loss: float = float("nan")  # mean over the batches since the check before
    learning_rate: float = 0.0  # after it
    seconds: float = 0.0  # of training until then, over all runs that led here


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingState:
    """Everything that the next step depends on."""

    checks: tuple[Check, ...]  # the start first
    weights: Arrays  # of the variables that training changes
    slots: Arrays  # variables of the optimiser
    # Of the trainings that ended before this one: what they predict of their held-out images, the checks of the first,
    # and the threshold of the last one's detector.
    predictions: Arrays = ()
    history: tuple[Check, ...] = ()
    threshold: float | None = None

    @property
    def round(self) -> int:
        """Number of checks after the start."""
        return len(self.checks) - 1

    def fits(self, other: "TrainingState") -> bool:
        """Whether the other state is of the same model and optimiser, as far as shapes show it."""
        mine, theirs = ([array.shape for array in (*state.weights, *state.slots)] for state in (self, other))
        return mine == theirs


def write_state(path: Path, state: TrainingState) -> None:
    """Replace the state in a file atomically; the folder of the file is used for nothing else."""
    about = {name: [asdict(check) for check in getattr(state, name)] for name in ("checks", "history")}
    arrays: dict[str, Any] = {"about": np.array(json.dumps({**about, "threshold": state.threshold}))}
    for name in _ARRAYS:
        arrays |= {f"{name}_{number}": array for number, array in enumerate(getattr(state, name))}
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(f".{os.getpid()}.part")  # another process may run the same training
    try:
        with part.open("wb") as file:
            np.savez(file, **arrays)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def read_state(path: Path) -> TrainingState | None:
    """The state in a file; None if there is none, or if it is damaged."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            about = json.loads(str(kept["about"]))
            return TrainingState(
                checks=tuple(Check(**check) for check in about["checks"]),
                history=tuple(Check(**check) for check in about["history"]),
                threshold=about["threshold"],
                **{name: tuple(kept[key] for key in kept.files if key.startswith(f"{name}_")) for name in _ARRAYS},
            )
    except (OSError, ValueError, KeyError, TypeError, EOFError, zipfile.BadZipFile):
        return None


def remove_state(path: Path) -> None:
    """Remove the file of a state, its folder, and what a killed run left in it."""
    with contextlib.suppress(OSError):
        for file in (path, *path.parent.glob("*.part")):
            file.unlink(missing_ok=True)
        path.parent.rmdir()
