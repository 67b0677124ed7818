"""The state of a training, in memory and in a file that is always complete.

Keras' BackupAndRestore keeps neither the checks nor the best weights, and does not write atomically.
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
_ARRAYS = ("weights", "slots", "best")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A validation check: the model on the held-out images."""

    step: int  # batches before it; 0 is the start
    accuracy: float
    held_out_loss: float  # mean negative log probability of the labels
    loss: float = float("nan")  # mean over the batches since the check before
    learning_rate: float = 0.0  # of the last layers, after it
    seconds: float = 0.0  # of training until then, over all runs that led here


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingState:
    """Everything that the next step depends on, and the best so far."""

    checks: tuple[Check, ...]  # the start first
    correct: npt.NDArray[np.bool_]  # of shape (checks, held-out images)
    weights: Arrays  # of the variables that training changes
    slots: Arrays  # variables of the optimiser
    best: Arrays  # weights at the best check, the earliest of equals

    @property
    def round(self) -> int:
        """Number of checks after the start."""
        return len(self.checks) - 1

    @property
    def best_check(self) -> int:
        """Number of the best check, the earliest of equals."""
        return int(np.argmax([check.accuracy for check in self.checks]))

    def fits(self, other: "TrainingState") -> bool:
        """Whether the other state is of the same model and optimiser, as far as shapes show it."""
        mine, theirs = ([array.shape for array in (*state.weights, *state.slots)] for state in (self, other))
        return mine == theirs

    def after(self, check: Check, correct: npt.NDArray[np.bool_], weights: Arrays, slots: Arrays) -> "TrainingState":
        """The state after one more check."""
        better = check.accuracy > max(each.accuracy for each in self.checks)
        return TrainingState(
            checks=(*self.checks, check),
            correct=np.concatenate([self.correct, correct[None]]),
            weights=weights,
            slots=slots,
            best=weights if better else self.best,
        )


def write_state(path: Path, state: TrainingState) -> None:
    """Replace the state in a file atomically; the folder of the file is used for nothing else."""
    checks = json.dumps([asdict(check) for check in state.checks])
    arrays: dict[str, Any] = {"checks": np.array(checks), "correct": state.correct}
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
            return TrainingState(
                checks=tuple(Check(**check) for check in json.loads(str(kept["checks"]))),
                correct=kept["correct"],
                **{name: tuple(kept[key] for key in kept.files if key.startswith(f"{name}_")) for name in _ARRAYS},
            )
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def remove_state(path: Path) -> None:
    """Remove the file of a state, its folder, and what a killed run left in it."""
    with contextlib.suppress(OSError):
        for file in (path, *path.parent.glob("*.part")):
            file.unlink(missing_ok=True)
        path.parent.rmdir()
