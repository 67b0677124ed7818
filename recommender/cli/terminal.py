"""What the command shows while it works, and how it ends."""

import contextlib
import os
import sys
from collections.abc import Iterator
from typing import NoReturn

import rich_click as click

from probes.native_logs import hidden_native_logs
from recommender.progress import Progress

INTERRUPTED = 130  # exit code of a program that SIGINT ended
_TITLES = {
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


def say(message: str) -> None:
    """Print one line on standard error; what can't be printed is escaped."""
    line = (char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode() for char in message)
    click.echo("".join(line), err=True)


def fail(message: str, code: int = 1) -> NoReturn:
    """End with an error in one line."""
    say(f"Error: {message}")
    sys.exit(code)


@contextlib.contextmanager
def progress(*, shown: bool, first: str = "Listing the images") -> Iterator[Progress]:
    """A progress bar on standard error, if that is a terminal."""
    if not shown or not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich import progress as bars
    from rich.console import Console

    # A copy of standard error: the bar stays visible while native logs are redirected.
    with os.fdopen(os.dup(sys.stderr.fileno()), "w") as terminal:
        bar = bars.Progress(
            *("{task.description}", bars.BarColumn(), bars.MofNCompleteColumn(), bars.TimeRemainingColumn()),
            console=Console(file=terminal, force_terminal=True),
            transient=True,
            redirect_stdout=sys.stdout.isatty(),  # what is printed meanwhile goes above the bar
            redirect_stderr=False,
        )
        with bar:
            task = bar.add_task(first, total=None)

            def update(phase: str, done: int, wanted: int) -> None:
                nonlocal task
                if bar.tasks[0].description != _TITLES[phase]:  # a new task: its pace is not that of the last phase
                    bar.remove_task(task)
                    task = bar.add_task(_TITLES[phase], total=wanted or None)
                bar.update(task, completed=done, total=wanted or None)

            yield update


def loading_quietly(show: Progress) -> Progress:
    """The same progress, that imports TensorFlow without its logs when the work gets there."""

    def progress(phase: str, done: int, wanted: int) -> None:
        show(phase, done, wanted)
        if phase == "loading":
            import_tensorflow()

    return progress


def import_tensorflow() -> None:
    """Import TensorFlow without what its C++ code logs to standard error, unless the import fails."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with hidden_native_logs():
        import tensorflow as tf

        tf.constant(0)  # the first operation logs, too
