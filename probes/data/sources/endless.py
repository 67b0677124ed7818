"""Notices a stream without an end, where its length is not known beforehand."""

from dataclasses import dataclass

from probes.data.sources.elements import EXPECTED
from probes.errors import ProbeError

_PASSES = 10  # a stream is endless if each image seen so far has come so many times
_AT_LEAST = 200  # images to read before that is said
_MOST = 10_000_000  # images of a stream of unknown length, if each of them is new


@dataclass(slots=True)
class Endless:
    """Counts the images of a stream of unknown length.

    Attributes:
        n: images that came.
        rare: different images that have come fewer than `_PASSES` times.
    """

    n: int = 0
    rare: int = 0

    def add(self, times: int) -> None:
        """Count an image.

        Args:
            times: how often it has come by now.

        Raises:
            ProbeError: the stream repeats itself again and again, or goes on and on.
        """
        self.n += 1
        self.rare += (times == 1) - (times == _PASSES)
        if self.n >= _AT_LEAST and not self.rare:
            raise ProbeError(
                f"{EXPECTED} Received: one that repeats itself without end: in {self.n:,} elements each image has come "
                f"{_PASSES} times or more. Give one pass over the images, as with `.take(n)`."
            )
        if self.n > _MOST:
            raise ProbeError(
                f"{EXPECTED} Received: one of unknown length with more than {_MOST:,} images, perhaps without an end. "
                "Give one pass over the images, as with `.take(n)`."
            )
