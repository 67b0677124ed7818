"""Names of a checkpoint mapped to a model's by regular expressions."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace

from builders.checkpoints.checkpoint import Weight
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
    targets = _targets(mine)
    renamed: list[Weight] = []
    sources: dict[int, str] = {}
    fixed: dict[int, Weight] = {}
    for weight in weights:
        name = _rename(weight.name, rename)
        target = targets.get(name)
        if target is not None and sources.setdefault(target, weight.name) != weight.name:
            raise BuildError(
                f"Expected `rename` to give each name once. Received: both {sources[target]!r} and {weight.name!r} "
                f"become {name!r}. Make a pattern narrower."
            )
        if name != weight.name:
            layer = re.sub(r"(/vars)?/[^/]*$", "", name) if weight.place.path or weight.place.layer else ""
            weight = replace(weight, name=name, place=weight.place._replace(layer=layer))
            if target is not None:
                fixed[target] = weight
        renamed.append(weight)
    return renamed, fixed


def _targets(mine: Sequence[Weight]) -> dict[str, int]:
    """Addresses by `variable.path` and, where files number variables, by "conv1/vars/0"; only unique names."""
    names = [(weight.name, weight.address) for weight in mine]
    names += [(f"{own.place.layer}/vars/{own.place.key}", own.address) for own in mine if own.place.key.isdigit()]
    counts = Counter(name for name, _ in names)
    return {name: address for name, address in names if counts[name] == 1}


def _rename(name: str, rename: Mapping[str, str]) -> str:
    try:
        for pattern, replacement in rename.items():
            name = re.sub(pattern, replacement, name)
    except (re.error, TypeError, AttributeError) as error:
        raise BuildError(
            f"Expected `rename` to map regular expressions to replacements. Received: {rename!r} ({error}). Pass a "
            "dict such as {'^backbone/': ''}, with re.escape around literal text."
        ) from error
    return name
