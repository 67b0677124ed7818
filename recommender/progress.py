"""Callbacks that report progress, the bar that shows it, and seconds by phase."""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator

from probes.native_logs import hidden_native_logs
from recommender.errors import RecommendError

Progress = Callable[[str, int, int], None]
_TITLES = {
    "connecting": "Connecting to Ray",
    "checking": "Checking every image",
    "loading": "Loading TensorFlow",
    "converting": "Converting the network, once",
    "backbones": "Trying networks",
    "sizes": "Trying input sizes",
    "network": "Running the network over the images",
    "classifiers": "Fitting a classifier at each cut point",
    "augmentation": "Measuring which augmentations keep the labels",
    "images": "Reading every image",
    "training": "Fine-tuning, some images held out",
    "refitting": "Fine-tuning on all images",
    "comparing": "Comparing",
    "writing": "Writing the model",
    "reporting": "Writing the report",
    "predicting": "Predicting",
}


def no_progress(phase: str, done: int, wanted: int) -> None:
    """Report nothing."""


@contextlib.contextmanager
def reported(progress: Progress | None) -> Iterator[Progress]:
    """The given callback; by default a bar on standard error, if that is a terminal."""
    if progress is not None:
        yield progress
        return
    with progress_bar(shown=True) as show:
        yield loading_quietly(show)


@contextlib.contextmanager
def progress_bar(*, shown: bool, first: str = "Listing the images") -> Iterator[Progress]:
    """A bar on standard error, if that is a terminal: the phase, how much of it is done, and the time left."""
    if not shown or not sys.stderr.isatty():
        yield no_progress
        return
    from rich import progress as bars
    from rich.console import Console

    # A copy of standard error: the bar stays visible while native logs are redirected.
    with os.fdopen(os.dup(sys.stderr.fileno()), "w") as terminal:
        bar = bars.Progress(
            *("{task.description}", bars.BarColumn(), "{task.fields[count]}", "{task.fields[left]}"),
            console=Console(file=terminal, force_terminal=True),
            transient=True,
            redirect_stdout=sys.stdout.isatty(),  # what is printed meanwhile goes above the bar
            redirect_stderr=False,
        )
        with bar:
            task = bar.add_task(first, total=None, count="", left="")

            def update(phase: str, done: int, wanted: int) -> None:
                nonlocal task
                if bar.tasks[0].description != _TITLES[phase]:  # a new task: its pace is not that of the last phase
                    bar.remove_task(task)
                    task = bar.add_task(_TITLES[phase], total=None, count="", left="")
                # One step of one is no measure: then the bar only moves.
                total = wanted if wanted > 1 else None
                count = f"{done:,} of {wanted:,}" if total else f"{done:,}" if done else ""
                bar.update(task, completed=done, total=total, count=count, left=_left(bar.tasks[0].time_remaining))

            yield update


def _left(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return f"about {seconds / 60:.0f} min left" if seconds >= 120 else f"about {seconds:.0f} s left"


def loading_quietly(show: Progress) -> Progress:
    """The same progress, that imports TensorFlow without its logs when the work gets there."""

    def progress(phase: str, done: int, wanted: int) -> None:
        show(phase, done, wanted)
        if phase == "loading":
            import_tensorflow()

    return progress


def import_tensorflow() -> None:
    """Import TensorFlow without what its C++ code logs to standard error.

    Raises:
        RecommendError: it can't be imported.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        with hidden_native_logs():
            import tensorflow as tf

            tf.constant(0)  # the first operation logs, too
    except Exception as error:  # of a broken installation nearly any
        reason = (str(error) or "no reason given").split("\n")[0]
        raise RecommendError(
            "Expected TensorFlow, which converts, builds and trains networks. Received: it can't be imported "
            f"({type(error).__name__}: {reason:.200}). Install it again: `pip install --force-reinstall tensorflow`."
        ) from error


class Clock:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[phase], self._last = round(now - self._last, 3), now
