"""What the command shows while it works, and how it ends."""

import sys
from typing import NoReturn

import rich_click as click

INTERRUPTED = 130  # exit code of a program that SIGINT ended


def say(message: str) -> None:
    """Print one line on standard error; what can't be printed is escaped."""
    line = (char if char.isprintable() else char.encode("unicode_escape", "surrogatepass").decode() for char in message)
    click.echo("".join(line), err=True)


def fail(message: str, code: int = 1) -> NoReturn:
    """End with an error in one line."""
    say(f"Error: {message}")
    sys.exit(code)
