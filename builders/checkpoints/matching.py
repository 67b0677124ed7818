"""Which variable of a checkpoint belongs to which of a model. Pure: names, shapes and places in, pairs out.

Names that somebody gave decide. Keras's automatic names ("conv2d_3") count the layers of a class in a whole session,
the place of a layer counts them within the network: of these two, what agrees for more variables decides.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import TypeAlias

from builders.checkpoints.stored_weights import Weight

_Units: TypeAlias = dict[str, list[Weight]]  # a layer's place -> its weights
_MODELS = {"functional", "model", "sequential"}


def match(
    model: Sequence[Weight],
    stored: Sequence[Weight],
    *,
    model_name: str,
    classes: Collection[str],
    roots: Sequence[str] = (),
) -> dict[int, Weight]:
    """Pair the variables of a model with those of a checkpoint. The shapes of a pair may differ.

    Args:
        model: the model's variables, in order.
        stored: the checkpoint's.
        model_name: the model's own name, which may begin a variable's name on one side alone.
        classes: the classes of the model's layers, in snake case.
        roots: what else may begin a variable's name in the checkpoint.

    Returns:
        For a model weight's address the stored weight; each is used once.
    """
    matching = _Matching(model, stored, classes)
    anchored = matching.match_given_names()
    matching.match_attributes(anchored=anchored)
    matching.match_rest(anchored=anchored)
    prefixes = [f"{root}/" for root in roots]
    for prefix in ("", f"{model_name}/", *prefixes):
        matching.match_variable_names(prefix)
    for prefix in ("", *prefixes):
        matching.match_variable_names(prefix, drop=f"{model_name}/")
    return matching.pairs


class _Matching:
    """The pairs found so far, and the layers that are left."""

    def __init__(self, model: Sequence[Weight], stored: Sequence[Weight], classes: Collection[str]) -> None:
        self.model, self.stored = model, stored
        self.classes = {*classes, *_MODELS, *_store_classes(stored)}
        self.mine, self.theirs = _units(model), _units(stored)
        self.pairs: dict[int, Weight] = {}

    def given(self, name: str) -> bool:
        """Whether somebody gave these names: none of them is a class with a number."""
        return bool(name) and not any(self._automatic(part) for part in name.split("/") if part != "layers")

    def _automatic(self, part: str) -> bool:
        return "#" in part or re.sub(r"_\d+$", "", part) in self.classes

    def _take(self, mine: str, theirs: str) -> None:
        self.pairs.update({own.address: other for own, other in pair_weights(self.mine[mine], self.theirs[theirs])})
        del self.mine[mine], self.theirs[theirs]

    def match_given_names(self) -> bool:
        """Pair layers by given names: along with the models around them, by the last name alone, or with "_" for "/".

        Keras 2 allowed layers to be called "conv1/conv"; in Keras 3 the same ones are called "conv1_conv".

        Returns:
            Whether such a layer has the same shapes on both sides, so that the two networks speak of the same names.
        """
        anchored = False
        ways: list[Callable[[str], str]] = [str, lambda name: name.split("/")[-1], lambda name: name.replace("/", "_")]
        names = [(_unique(self.mine, way), _unique(self.theirs, way)) for way in ways]
        for mine, theirs in names:
            for name in mine:
                if self.given(name) and name in theirs and mine[name] in self.mine and theirs[name] in self.theirs:
                    anchored |= _agree(self.mine[mine[name]], self.theirs[theirs[name]])
                    self._take(mine[name], theirs[name])
        return anchored

    def match_attributes(self, *, anchored: bool) -> None:
        """Pair layers that hang on attributes of the same names, as in a subclassed model or a plain module."""
        mine = {place: unit for place, unit in self.mine.items() if self.given(place)}
        theirs = {place: unit for place, unit in self.theirs.items() if self.given(place)}
        pairs, _ = _best(mine, theirs)
        for place, other in pairs.items():
            names = {self.mine[place][0].layer.split("/")[-1], self.theirs[other][0].layer.split("/")[-1]}
            if not (anchored and len(names) == 2 and all(self.given(name) for name in names)):
                self._take(place, other)

    def match_rest(self, *, anchored: bool) -> None:
        """Pair what is left by automatic names or by places.

        Where the networks speak of the same names, a layer with a given name that the other side lacks has no match.
        """
        mine, theirs = (
            {place: unit for place, unit in units.items() if not (anchored and self.given(unit[0].layer))}
            for units in (self.mine, self.theirs)
        )
        own, other = _unique(mine), _unique(theirs)
        by_name = {own[name]: other[name] for name in own if name in other}
        by_place, base = _best(mine, theirs)
        better = _score(by_place, mine, theirs) > _score(by_name, mine, theirs)
        chosen = by_place if better and _same_structure(by_place, mine, theirs, base) else by_name
        for place, match in chosen.items():
            self._take(place, match)

    def match_variable_names(self, prefix: str, drop: str = "") -> None:
        """Pair single variables by name, with a prefix in the checkpoint, and one in the model that does not count."""
        used = {weight.address for weight in self.pairs.values()}
        counts = Counter(weight.name for weight in self.model)
        stored = {weight.name: weight for weight in self.stored if weight.address not in used}
        for weight in self.model:
            name = prefix + weight.name.removeprefix(drop)
            if weight.address not in self.pairs and counts[weight.name] == 1 and name in stored:
                self.pairs[weight.address] = stored.pop(name)


def _units(weights: Sequence[Weight]) -> _Units:
    units: _Units = {}
    for weight in weights:
        if weight.place or weight.layer:
            units.setdefault(weight.place or f":{weight.layer}", []).append(weight)
    return units


def _unique(units: _Units, way: Callable[[str], str] = str) -> dict[str, str]:
    """Places by the names of layers, looked at in one way, that occur once."""
    names = {place: way(unit[0].layer) for place, unit in units.items()}
    counts = Counter(names.values())
    return {name: place for place, name in names.items() if name and counts[name] == 1}


def _store_classes(weights: Sequence[Weight]) -> Iterator[str]:
    """Classes that the paths of Keras 3's store tell: "conv2d" of "layers/conv2d_3"."""
    for weight in weights:
        parts = weight.place.split("/")
        yield from (re.sub(r"_\d+$", "", part) for before, part in pairwise(parts) if before == "layers")


def pair_weights(mine: Sequence[Weight], theirs: Sequence[Weight]) -> list[tuple[Weight, Weight]]:
    """Pair the weights of two layers by their keys; where these are numbers or of another time, in order.

    Numbers say little if one layer has more weights than the other (a convolution with a bias, a BatchNorm without a
    scale): then only weights of a shape that no other has are paired.
    """
    if all(weight.key.isdigit() for weight in (*mine, *theirs)):
        mine, theirs = (sorted(weights, key=lambda weight: int(weight.key)) for weights in (mine, theirs))
        if len(mine) == len(theirs):
            return list(zip(mine, theirs, strict=True))
        counts = [Counter(weight.shape for weight in weights) for weights in (mine, theirs)]
        return [
            (own, other)
            for own in mine
            for other in theirs
            if own.shape == other.shape and all(count[own.shape] == 1 for count in counts)
        ]
    by_key = {weight.key: weight for weight in theirs}
    pairs = [(weight, by_key[weight.key]) for weight in mine if weight.key in by_key]
    taken = {weight.key for weight, _ in pairs}
    rest = list(
        zip(*([weight for weight in weights if weight.key not in taken] for weights in (mine, theirs)), strict=False)
    )
    # Keras 2 called the kernel of a depthwise convolution "depthwise_kernel"; Keras 1 all kernels "W".
    alike = all(own.key.endswith(other.key) or other.key.endswith(own.key) for own, other in rest)
    return pairs + rest if len(mine) == len(theirs) and (not pairs or alike) else pairs


def _agree(mine: Sequence[Weight], theirs: Sequence[Weight]) -> bool:
    pairs = pair_weights(mine, theirs)
    return bool(pairs) and all(own.shape == other.shape for own, other in pairs)


def _score(pairs: Mapping[str, str], mine: _Units, theirs: _Units) -> int:
    """How many of the model's variables are in layers that agree."""
    return sum(len(mine[place]) for place, other in pairs.items() if _agree(mine[place], theirs[other]))


def _best(mine: _Units, theirs: _Units) -> tuple[dict[str, str], tuple[str, str]]:
    """Pair layers of the same place below the roots, or below one side's inner model, whichever agrees for most."""
    bases = [("", ""), *((base, "") for base in _ancestors(mine)), *(("", base) for base in _ancestors(theirs))]
    candidates = []
    for base in bases:
        inner = {_below(place, base[1]): place for place in theirs}
        pairs = {place: inner[_below(place, base[0])] for place in mine if _below(place, base[0]) in inner}
        candidates.append(({place: other for place, other in pairs.items() if _below(place, base[0])}, base))
    return max(candidates, key=lambda candidate: _score(candidate[0], mine, theirs))


def _ancestors(units: _Units) -> list[str]:
    """The paths of objects that have layers in them, from the outermost."""
    found = {"/".join(parts[:end]) for parts in (place.split("/") for place in units) for end in range(1, len(parts))}
    return sorted(found, key=lambda path: (path.count("/"), path))


def _below(place: str, base: str) -> str:
    """A place as seen from an object; "" if it is elsewhere."""
    if not base:
        return place
    return place.removeprefix(f"{base}/") if place.startswith(f"{base}/") else ""


def _same_structure(pairs: Mapping[str, str], mine: _Units, theirs: _Units, base: tuple[str, str]) -> bool:
    """Whether places are likely to mean the same layers, which shapes that happen to agree here and there don't show.

    Either there are as many layers of each kind on both sides, or all layers of kinds that both have agree from the
    first on until the two part: a head of another size, a top that one side lacks. Half of the model's layers or all
    of the checkpoint's must agree.
    """
    own = [place for place in mine if _below(place, base[0])]
    others = [place for place in theirs if _below(place, base[1])]
    kinds = [
        Counter(re.sub(r"(_|#)\d+$", "", _below(place, side)) for place in places)
        for places, side in ((own, base[0]), (others, base[1]))
    ]
    flags = [
        place in pairs and _agree(mine[place], theirs[pairs[place]])
        for place in own
        if re.sub(r"(_|#)\d+$", "", _below(place, base[0])) in kinds[1]
    ]
    enough = 2 * sum(flags) >= len(flags) or sum(flags) == len(others)
    return enough and (kinds[0] == kinds[1] or flags == sorted(flags, reverse=True))
