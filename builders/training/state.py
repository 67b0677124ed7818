"""How far a training is, in memory and in a file that is whole at any moment."""

import contextlib
import json
import os
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Arrays = tuple[npt.NDArray[Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One look at the held-out images.

    Attributes:
        step: batches before it; 0 is the start.
        accuracy: on the held-out images.
        held_out_loss: mean negative log probability of their labels.
        loss: mean over the batches since the look before; NaN at the start.
        learning_rate: of the last layers, after it.
        seconds: of training until then, over all runs that led here.
    """

    step: int
    accuracy: float
    held_out_loss: float
    loss: float
    learning_rate: float
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class TrainingState:
    """Everything that the next step depends on, and the best so far.

    Attributes:
        checks: looks so far, the start among them.
        correct: what was right at each, of shape (checks, held-out images).
        weights: of the variables that training changes.
        slots: of the optimiser; None before the first step.
        best: weights at the best look, the earliest of equals.
    """

    checks: tuple[Check, ...]
    correct: npt.NDArray[np.bool_]
    weights: Arrays
    slots: Arrays | None
    best: Arrays

    @classmethod
    def start(cls, weights: Sequence[npt.NDArray[Any]], correct: npt.NDArray[np.bool_], loss: float) -> "TrainingState":
        """Before the first step."""
        check = Check(
            step=0,
            accuracy=float(correct.mean()),
            held_out_loss=loss,
            loss=float("nan"),
            learning_rate=0.0,
            seconds=0.0,
        )
        kept = tuple(weights)
        return cls(checks=(check,), correct=correct[None], weights=kept, slots=None, best=kept)

    @property
    def round(self) -> int:
        """Looks after the start."""
        return len(self.checks) - 1

    @property
    def best_check(self) -> int:
        """Number of the best look, the earliest of equals."""
        return int(np.argmax([check.accuracy for check in self.checks]))

    def after(
        self,
        check: Check,
        weights: Sequence[npt.NDArray[Any]],
        slots: Sequence[npt.NDArray[Any]],
        correct: npt.NDArray[np.bool_],
    ) -> "TrainingState":
        """The state after another look."""
        better = check.accuracy > self.checks[self.best_check].accuracy
        return TrainingState(
            checks=(*self.checks, check),
            correct=np.concatenate([self.correct, correct[None]]),
            weights=tuple(weights),
            slots=tuple(slots),
            best=tuple(weights) if better else self.best,
        )


class StateFile:
    """A state in a file. A new one is written under another name and takes the old one's place in one move.

    Args:
        path: of the file; its folder is the training's own.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def write(self, state: TrainingState) -> None:
        """Keep a state in place of the one before."""
        checks = json.dumps([asdict(check) for check in state.checks])
        arrays: dict[str, Any] = {"checks": np.array(checks), "correct": state.correct}
        for name, values in (("weights", state.weights), ("slots", state.slots or ()), ("best", state.best)):
            arrays |= {f"{name}_{number}": value for number, value in enumerate(values)}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=self.path.parent, suffix=".part")
        try:
            with os.fdopen(handle, "wb") as file:
                np.savez(file, **arrays)
                file.flush()
                os.fsync(file.fileno())
            Path(name).replace(self.path)
        finally:
            Path(name).unlink(missing_ok=True)

    def read(self) -> TrainingState | None:
        """The state that was kept; None where there is none."""
        try:
            with self.path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
                parts = {
                    name: tuple(kept[f"{name}_{number}"] for number in range(_count(kept.files, name)))
                    for name in ("weights", "slots", "best")
                }
                return TrainingState(
                    checks=tuple(Check(**check) for check in json.loads(str(kept["checks"]))),
                    correct=kept["correct"],
                    weights=parts["weights"],
                    slots=parts["slots"],
                    best=parts["best"],
                )
        except (
            OSError,
            ValueError,
            KeyError,
            EOFError,
            zipfile.BadZipFile,
        ):  # none, or one that a disk has spoilt: begin anew
            return None

    def remove(self) -> None:
        """Remove it, and what a killed run left beside it."""
        with contextlib.suppress(OSError):
            for path in (self.path, *self.path.parent.glob("*.part")):
                path.unlink(missing_ok=True)
            self.path.parent.rmdir()


def _count(names: Sequence[str], kind: str) -> int:
    return sum(name.startswith(f"{kind}_") for name in names)
