"""Names of a checkpoint mapped to a model's by regular expressions."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from builders.checkpoints.stored_weights import Weight
from builders.errors import BuildError


def rename_weights(
    weights: Sequence[Weight], rename: Mapping[str, str], mine: Sequence[Weight]
) -> tuple[list[Weight], dict[int, Weight]]:
    """Apply regular expressions to a checkpoint's names.

    Args:
        weights: the checkpoint's.
        rename: patterns and replacements, applied in order with `re.sub`.
        mine: the model's weights.

    Returns:
        The weights under their new names; and, by the address of the model's weight, those whose new name is its name.

    Raises:
        BuildError: a pattern is no regular expression, or two names become one.
    """
    if not isinstance(rename, Mapping):
        raise BuildError(
            f"Expected `rename` to map regular expressions to replacements. Received: {type(rename).__name__}. Pass a "
            "dict such as {'^backbone/': ''}."
        )
    targets = _targets(mine)
    renamed: list[Weight] = []
    sources: dict[int, str] = {}
    fixed: dict[int, Weight] = {}
    for weight in weights:
        name = weight.name
        for pattern, replacement in rename.items():
            name = _substitute(pattern, replacement, name)
        target = targets.get(name)
        if target is not None and sources.setdefault(target, weight.name) != weight.name:
            raise _twice(name, sources[target], weight.name)
        if name != weight.name:
            layer = re.sub(r"(/vars)?/[^/]*$", "", name) if weight.place or weight.layer else ""
            weight = replace(weight, name=name, layer=layer)
            if target is not None:
                fixed[target] = weight
        renamed.append(weight)
    return renamed, fixed


def _targets(mine: Sequence[Weight]) -> dict[str, int]:
    """Addresses by `variable.path` and, where files number variables, by "conv1/vars/0"; what names two is left out."""
    names = [(weight.name, weight.address) for weight in mine]
    names += [(f"{weight.layer}/vars/{weight.key}", weight.address) for weight in mine if weight.key.isdigit()]
    counts = Counter(name for name, _ in names)
    return {name: address for name, address in names if counts[name] == 1}


def _twice(name: str, *sources: str) -> BuildError:
    return BuildError(
        f"Expected `rename` to give each name once. Received: both {sources[0]!r} and {sources[1]!r} become {name!r}. "
        "Make a pattern narrower."
    )


def _substitute(pattern: str, replacement: str, name: str) -> str:
    try:
        return re.sub(pattern, replacement, name)
    except (re.error, TypeError) as error:
        raise BuildError(
            f"Expected `rename` to map regular expressions to replacements. Received: {pattern!r}: {replacement!r} "
            f"({error}). Escape what is meant literally with re.escape."
        ) from error
