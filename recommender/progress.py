"""Callbacks that report progress, and seconds by phase."""

import time
from collections.abc import Callable

Progress = Callable[[str, int, int], None]


def no_progress(phase: str, done: int, wanted: int) -> None:
    """Report nothing."""


class Clock:
    """Seconds by phase."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def lap(self, phase: str) -> None:
        now = time.perf_counter()
        self.seconds[phase], self._last = round(now - self._last, 3), now
