"""What tests of sources ask of an index."""

import pytest

from probes.errors import ProbeError
from probes.images.decode import UnreadableImage


def refusal_of(indexer, source):
    """The one line with which a source is refused."""
    with pytest.raises(ProbeError) as caught:
        indexer(source)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def unreadable(index, name):
    """Why an image can't be opened."""
    with pytest.raises(UnreadableImage) as caught:
        index.store.open(name)
    return str(caught.value)


def attempt(function, *arguments):
    """What a function returns, or the error that bad input may end in."""
    try:
        return function(*arguments)
    except (ProbeError, UnreadableImage, OSError) as error:
        return error


def left_out(index):
    """How many images are left out, by reason."""
    return {found.reason: found.n for found in index.left_out}
