"""The error that a user of the builders can cause."""


class BuildError(Exception):
    """What was asked for can't be built: the message says what was expected, what was received and what to do."""


def first_line(error: BaseException) -> str:
    """The message of an exception: one line of at most 200 characters, without a full stop."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:200].rstrip(".")
