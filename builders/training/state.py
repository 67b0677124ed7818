"""The state of a training, in memory and in a file that is always complete."""

import contextlib
import json
import os
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = tuple[npt.NDArray[Any], ...]
_ARRAYS = ("weights", "slots", "best")


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """A validation check: the model on the held-out images.

    Attributes:
        step: batches before it; 0 is the start.
        accuracy: on the held-out images.
        held_out_loss: mean negative log probability of their labels.
        loss: mean over the batches since the check before; NaN at the start.
        learning_rate: of the last layers, after it.
        seconds: of training until then, over all runs that led here.
    """

    step: int
    accuracy: float
    held_out_loss: float
    loss: float = float("nan")
    learning_rate: float = 0.0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingState:
    """Everything that the next step depends on, and the best so far.

    Attributes:
        checks: validation checks so far, the start first.
        correct: whether each held-out image was right at each check, of shape (checks, held-out images).
        weights: of the variables that training changes.
        slots: variables of the optimiser.
        best: weights at the best check, the earliest of equals.
    """

    checks: tuple[Check, ...]
    correct: npt.NDArray[np.bool_]
    weights: Arrays
    slots: Arrays
    best: Arrays

    @property
    def round(self) -> int:
        """Number of checks after the start."""
        return len(self.checks) - 1

    @property
    def best_check(self) -> int:
        """Number of the best check, the earliest of equals."""
        return int(np.argmax([check.accuracy for check in self.checks]))

    @property
    def shapes(self) -> list[tuple[int, ...]]:
        """Shapes of weights and slots."""
        return [array.shape for array in (*self.weights, *self.slots)]

    def after(
        self, check: Check, correct: npt.NDArray[np.bool_], weights: Sequence[Any], slots: Sequence[Any]
    ) -> "TrainingState":
        """The state after one more check."""
        better = check.accuracy > max(each.accuracy for each in self.checks)
        return replace(
            self,
            checks=(*self.checks, check),
            correct=np.concatenate([self.correct, correct[None]]),
            weights=tuple(weights),
            slots=tuple(slots),
            best=tuple(weights) if better else self.best,
        )


class StateFile:
    """A state in a file, replaced atomically.

    Keras' BackupAndRestore keeps neither the checks nor the best weights, and does not write atomically.

    Args:
        path: of the file; its folder is used for nothing else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, state: TrainingState) -> None:
        """Replace the state in the file.

        Raises:
            OSError: the disk refused.
        """
        checks = json.dumps([asdict(check) for check in state.checks])
        arrays: dict[str, Any] = {"checks": np.array(checks), "correct": state.correct}
        for name in _ARRAYS:
            arrays |= {f"{name}_{number}": array for number, array in enumerate(getattr(state, name))}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=self.path.parent, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, **arrays)
                file.flush()
                os.fsync(file.fileno())
            Path(part).replace(self.path)
        finally:
            Path(part).unlink(missing_ok=True)

    def read(self) -> TrainingState | None:
        """The state in the file; None if there is none, or if it is damaged."""
        try:
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
                return TrainingState(
                    checks=tuple(Check(**check) for check in json.loads(str(kept["checks"]))),
                    correct=kept["correct"],
                    **{name: tuple(kept[key] for key in kept.files if key.startswith(f"{name}_")) for name in _ARRAYS},
                )
        except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
            return None

    def remove(self) -> None:
        """Remove the file, and what a killed run left in its folder."""
        with contextlib.suppress(OSError):
            for path in (self.path, *self.path.parent.glob("*.part")):
                path.unlink(missing_ok=True)
            self.path.parent.rmdir()
