"""What the command shows while it works, and what it keeps from being shown."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def progress(*, shown: bool) -> Iterator[Callable[[str, int, int], None]]:
    """A progress bar on standard error, if that is a terminal."""
    if not shown or not sys.stderr.isatty():
        yield lambda *_: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    # A copy of standard error: the bar stays visible while native logs are sent away.
    with os.fdopen(os.dup(sys.stderr.fileno()), "w") as terminal:
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        console = Console(file=terminal, force_terminal=True)
        # What is printed meanwhile goes above the bar, unless it goes elsewhere than to the terminal.
        above = sys.stdout.isatty()
        with Progress(*columns, console=console, transient=True, redirect_stdout=above, redirect_stderr=False) as bar:
            task = bar.add_task("Listing the images", total=None)
            titles = {
                "checking": "Looking at every image",
                "loading": "Loading TensorFlow",
                "network": "Running the network over the images",
                "classifiers": "Fitting a classifier at each cut",
                "augmentation": "Asking what keeps the labels",
                "images": "Reading every image",
                "training": "Fine-tuning",
                "comparing": "Comparing",
                "writing": "Writing the model",
            }

            def update(phase: str, done: int, wanted: int) -> None:
                nonlocal task
                if bar.tasks[0].description != titles[phase]:  # its pace says nothing of the next phase's
                    bar.remove_task(task)
                    task = bar.add_task(titles[phase], total=wanted)
                bar.update(task, completed=done, total=wanted)

            yield update


def import_tensorflow() -> None:
    with native_logs_hidden():
        import tensorflow as tf

        tf.constant(0)  # the first operation logs, too


@contextlib.contextmanager
def native_logs_hidden() -> Iterator[None]:
    """Keep what TensorFlow's C++ code logs while it loads from standard error; shown after all if loading fails."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    stderr = os.dup(2)
    with tempfile.TemporaryFile() as hidden:
        os.dup2(hidden.fileno(), 2)
        try:
            yield
        except Exception:
            hidden.seek(0)
            os.write(stderr, hidden.read())
            raise
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)


def loading_quietly(show: Callable[[str, int, int], None]) -> Callable[[str, int, int], None]:
    """Import TensorFlow, without what it logs, when the work comes to it."""

    def progress(phase: str, done: int, wanted: int) -> None:
        show(phase, done, wanted)
        if phase == "loading":
            import_tensorflow()

    return progress
