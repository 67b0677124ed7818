"""Options of the version before sub-commands, for this version: `recommend DATA --fit` runs `recommend fit DATA`."""

import rich_click as click

OLDER_SPELLINGS = {
    "--list-backbones": ["backbones"],
    "--list-cuts": ["cuts"],
    "--make-reference": ["reference"],
    "--check": ["check"],
    "--check=sample": ["check"],
    "--check=full": ["check", "--full"],
    "--fit": ["fit"],
    "--compare": ["compare"],
}


def in_sub_commands(arguments: list[str]) -> list[str]:
    """The same arguments with a sub-command in place of the option that stood for it; as they are where none did."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    found = [argument for argument in arguments[:end] if argument in OLDER_SPELLINGS]
    if len(found) > 1:
        raise click.UsageError(
            f"Expected one sub-command. Received: {' and '.join(found)}. Run one after the other: check, compare, fit."
        )
    others = [argument for argument in arguments[:end] if argument not in found]
    return [*(OLDER_SPELLINGS[found[0]] if found else ()), *others, *arguments[end:]]
