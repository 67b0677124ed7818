"""Options of the version before sub-commands, for this version: `recommend DATA --fit` runs `recommend fit DATA`."""

import itertools

import rich_click as click

_WITH_VALUE = ("--list-cuts", "--make-reference")
_FLAGS = ("--check", "--compare", "--fit", "--list-backbones")
OLDER_SPELLINGS = (*_WITH_VALUE, *_FLAGS)


def in_sub_commands(arguments: list[str]) -> list[str]:
    """The same arguments with a sub-command in place of the option that stood for it; as they are where none did.

    Raises:
        click.UsageError: two options exclude one another.
    """
    end = arguments.index("--") if "--" in arguments else len(arguments)
    found: dict[str, list[str]] = {}  # option -> arguments of the sub-command
    others: list[str] = []
    waiting = iter(arguments[:end])
    for argument in waiting:
        name, _, value = argument.partition("=")
        if name in _WITH_VALUE:
            found[name] = [value] if value else list(itertools.islice(waiting, 1))
        elif argument in _FLAGS or argument in ("--check=sample", "--check=full"):
            found[name] = ["--full"] if value == "full" else []
        else:
            others.append(argument)
    others += arguments[end:]
    if "--check" in found and ("--fit" in found or "--compare" in found):
        raise click.UsageError("Expected --check, or --fit and --compare. Received both. Check first, then train.")
    if "--list-backbones" in found:
        return ["backbones"]
    if "--list-cuts" in found:
        return ["cuts", *found["--list-cuts"], *others]
    if "--make-reference" in found:
        return ["reference", *found["--make-reference"], *others]
    if "--check" in found:
        return ["check", *found["--check"], *others]
    if "--fit" in found:
        return ["fit", *(["--compare"] if "--compare" in found else []), *others]
    return ["compare", *others] if "--compare" in found else arguments
