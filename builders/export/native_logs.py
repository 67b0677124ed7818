"""What TensorFlow's converters and interpreters write to standard error from C++, kept away from it."""

import contextlib
import os
import sys
import tempfile
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def native_logs_discarded() -> Iterator[None]:
    """Discard what is written to standard error and what Python warns of; errors still raise.

    It acts on the whole process, so other threads are silent as well for that while.
    """
    sys.stderr.flush()
    stderr = os.dup(2)
    try:
        with tempfile.TemporaryFile() as discarded, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of deprecations inside the converters, which a user can't mend
            os.dup2(discarded.fileno(), 2)
            yield
    finally:
        sys.stderr.flush()
        os.dup2(stderr, 2)
        os.close(stderr)
