"""Options of the version before sub-commands, for this version: `recommend DATA --fit` runs `recommend fit DATA`."""

import itertools

import rich_click as click

OLDER_SPELLINGS = {  # option -> its sub-command; the first that is found counts
    "--list-backbones": "backbones",
    "--list-cuts": "cuts",
    "--make-reference": "reference",
    "--check": "check",
    "--fit": "fit",
    "--compare": "compare",
}
_WITH_VALUE = ("--list-cuts", "--make-reference")


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
        elif argument in OLDER_SPELLINGS or argument in ("--check=sample", "--check=full"):
            found[name] = ["--full"] if value == "full" else []
        else:
            others.append(argument)
    if "--check" in found and ("--fit" in found or "--compare" in found):
        raise click.UsageError("Expected --check, or --fit and --compare. Received both. Check first, then train.")
    if "--list-backbones" in found:
        return ["backbones"]  # whatever else was asked
    if "--fit" in found and "--compare" in found:
        found["--fit"] = ["--compare"]
    for option, command in OLDER_SPELLINGS.items():
        if option in found:
            return [command, *found[option], *others, *arguments[end:]]
    return arguments
