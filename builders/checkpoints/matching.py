"""Which variable of a checkpoint belongs to which of a model. Pure: names, shapes and places in, pairs out.

Names that an author gave decide. Keras's automatic names ("conv2d_3") count the layers of a class in a whole session,
the place of a layer counts them within the network: of these two, the one that agrees for more variables decides.
"""

import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TypeAlias, TypeVar

from builders.checkpoints.checkpoint import Weight
from builders.errors import BuildError

_T = TypeVar("_T")
_Layers: TypeAlias = Mapping[str, Sequence[Weight]]  # a layer's path -> its weights


def rename_weights(
    weights: Sequence[Weight], rename: Mapping[str, str], mine: Sequence[Weight]
) -> tuple[list[Weight], dict[Weight, Weight]]:
    """Apply patterns and replacements in order to a checkpoint's names; also gives those that are now a model's name.

    A variable of the model is named by its path, and where files number variables also as "conv1/vars/0".
    """
    numbered = [(f"{own.place.layer}/vars/{own.place.key}", own) for own in mine if own.place.key.isdigit()]
    targets = _unique([*((own.name, own) for own in mine), *numbered])
    new_names = [weight.name for weight in weights]
    try:
        for pattern, replacement in rename.items():
            new_names = [re.sub(pattern, replacement, name) for name in new_names]
    except (re.error, TypeError, AttributeError) as error:
        raise BuildError(
            f"Expected `rename` to map regular expressions to replacements. Received: {rename!r} ({error}). Pass a "
            "dict such as {'^backbone/': ''}, with re.escape around literal text."
        ) from error
    renamed: list[Weight] = []
    sources: dict[str, str] = {}
    fixed: dict[Weight, Weight] = {}
    for weight, name in zip(weights, new_names, strict=True):
        if name in targets and sources.setdefault(name, weight.name) != weight.name:
            raise BuildError(
                f"Expected `rename` to give each name once. Received: both {sources[name]!r} and {weight.name!r} "
                f"become {name!r}. Make a pattern narrower."
            )
        if name != weight.name:
            layer = re.sub(r"(/vars)?/[^/]*$", "", name) if weight.place.path or weight.place.layer else ""
            weight = replace(weight, name=name, place=weight.place._replace(layer=layer))
            if name in targets:
                fixed[targets[name]] = weight
        renamed.append(weight)
    return renamed, fixed


def match(
    model: Sequence[Weight], stored: Sequence[Weight], *, model_name: str, classes: Collection[str]
) -> dict[Weight, Weight]:
    """Pair the variables of a model with those of a checkpoint, each used once. The shapes of a pair may differ.

    The name of the model, or of another one of its class ("sequential_3"), may begin a variable's name on one side
    alone. `classes` are those of the model's layers, in snake case.
    """
    matching = _Matching(model, stored, classes)
    anchored = matching.match_given_names()
    matching.match_attributes(anchored=anchored)
    matching.match_rest(anchored=anchored)
    pairs = matching.pairs

    def below_model(name: str) -> str:
        root, _, rest = name.partition("/")
        return rest if _stem(root) == _stem(model_name) else name

    for way in (str, below_model):  # single variables, by their whole names
        used = set(pairs.values())
        left = _unique((way(weight.name), weight) for weight in stored if weight not in used)
        for name, weight in _unique((way(weight.name), weight) for weight in model).items():
            if weight not in pairs and name in left:
                pairs[weight] = left[name]
    return pairs


def _stem(name: str) -> str:
    """A name without the number that Keras or this module gave it."""
    return re.sub(r"(_|#)\d+$", "", name)


def _unique(named: Iterable[tuple[str, _T]]) -> dict[str, _T]:
    """Things by those of their names that occur once."""
    named = list(named)
    counts = Counter(name for name, _ in named)
    return {name: thing for name, thing in named if name and counts[name] == 1}


def _by_name(layers: _Layers, way: Callable[[str], str] = str) -> dict[str, str]:
    """Paths by the names of layers, changed in one way, that occur once."""
    return _unique((way(layer[0].place.layer), path) for path, layer in layers.items())


class _Matching:
    """The pairs found so far, and the layers that are left."""

    def __init__(self, model: Sequence[Weight], stored: Sequence[Weight], classes: Collection[str]) -> None:
        self.classes = {*classes, "functional", "model", "sequential"}
        self.mine, self.theirs = _by_layer(model), _by_layer(stored)
        self.pairs: dict[Weight, Weight] = {}

    def given(self, name: str) -> bool:
        """Whether an author gave these names: none of them is a class with a number."""
        stems = (_stem(part) for part in name.split("/") if part != "layers")
        return bool(name) and "#" not in name and self.classes.isdisjoint(stems)

    def _take(self, layers: Mapping[str, str]) -> None:
        for path, other in layers.items():
            self.pairs.update(pair_weights(self.mine.pop(path), self.theirs.pop(other)))

    def match_given_names(self) -> bool:
        """Pair layers by given names: all names around them, the last name alone, or with "_" for "/".

        Keras 2 allowed layers to be called "conv1/conv"; in Keras 3 the same ones are called "conv1_conv". Returns
        whether such a layer has the same shapes on both sides, so that the two networks use the same names.
        """
        anchored = False
        ways: list[Callable[[str], str]] = [str, lambda name: name.split("/")[-1], lambda name: name.replace("/", "_")]
        for mine, theirs in [(_by_name(self.mine, way), _by_name(self.theirs, way)) for way in ways]:
            for name, path in mine.items():
                other = theirs.get(name, "")
                if self.given(name) and path in self.mine and other in self.theirs:
                    anchored |= _agree(self.mine[path], self.theirs[other])
                    self._take({path: other})
        return anchored

    def match_attributes(self, *, anchored: bool) -> None:
        """Pair layers that are attributes of the same names, as in a subclassed model or a plain module."""
        mine, theirs = (
            {path: layer for path, layer in layers.items() if self.given(path)} for layers in (self.mine, self.theirs)
        )
        for path, other in _by_path(mine, theirs)[0].items():
            names = {layer[0].place.layer.split("/")[-1] for layer in (mine[path], theirs[other])}
            if not (anchored and len(names) == 2 and all(self.given(name) for name in names)):
                self._take({path: other})

    def match_rest(self, *, anchored: bool) -> None:
        """Pair the remaining layers by automatic names or by places.

        Where the networks use the same names, a layer with a given name that the other side lacks has no match.
        """
        mine, theirs = (
            {path: layer for path, layer in layers.items() if not (anchored and self.given(layer[0].place.layer))}
            for layers in (self.mine, self.theirs)
        )
        own, other = _by_name(mine), _by_name(theirs)
        by_name = {own[name]: other[name] for name in own if name in other}
        by_path, base = _by_path(mine, theirs)
        better = _score(by_path, mine, theirs) > _score(by_name, mine, theirs)
        self._take(by_path if better and _same_structure(by_path, mine, theirs, base) else by_name)


def _by_layer(weights: Sequence[Weight]) -> dict[str, list[Weight]]:
    layers: dict[str, list[Weight]] = {}
    for weight in weights:
        if weight.place.path or weight.place.layer:
            layers.setdefault(weight.place.path or f":{weight.place.layer}", []).append(weight)
    return layers


def pair_weights(mine: Sequence[Weight], theirs: Sequence[Weight]) -> list[tuple[Weight, Weight]]:
    """Pair the weights of two layers by their keys; where these are numbers or of another Keras, in order.

    Numbers mean little if one layer has more weights than the other (a convolution with a bias, a BatchNorm without a
    scale): then only weights of a shape that no other has are paired.
    """
    if all(weight.place.key.isdigit() for weight in (*mine, *theirs)):
        mine, theirs = (sorted(weights, key=lambda weight: int(weight.place.key)) for weights in (mine, theirs))
        if len(mine) == len(theirs):
            return list(zip(mine, theirs, strict=True))
        counts = [Counter(weight.shape for weight in weights) for weights in (mine, theirs)]
        unique = {shape for shape in counts[0] if all(count[shape] == 1 for count in counts)}
        return [(own, other) for own in mine for other in theirs if own.shape == other.shape and own.shape in unique]
    by_key = {weight.place.key: weight for weight in theirs}
    pairs = [(weight, by_key[weight.place.key]) for weight in mine if weight.place.key in by_key]
    taken = {weight.place.key for weight, _ in pairs}
    own_rest, other_rest = ([one for one in weights if one.place.key not in taken] for weights in (mine, theirs))
    rest = list(zip(own_rest, other_rest, strict=False))
    # Keras 2 called the kernel of a depthwise convolution "depthwise_kernel"; Keras 1 all kernels "W".
    keys = [(own.place.key, other.place.key) for own, other in rest]
    similar = all(own.endswith(other) or other.endswith(own) for own, other in keys)
    return pairs + rest if len(mine) == len(theirs) and (not pairs or similar) else pairs


def _agree(mine: Sequence[Weight], theirs: Sequence[Weight]) -> bool:
    pairs = pair_weights(mine, theirs)
    return bool(pairs) and all(own.shape == other.shape for own, other in pairs)


def _score(pairs: Mapping[str, str], mine: _Layers, theirs: _Layers) -> int:
    """How many of the model's variables are in layers that agree."""
    return sum(len(mine[path]) for path, other in pairs.items() if _agree(mine[path], theirs[other]))


def _by_path(mine: _Layers, theirs: _Layers) -> tuple[dict[str, str], tuple[str, str]]:
    """Pair layers of the same path below the roots, or below one side's inner model, whichever agrees for most."""
    candidates = []
    for base in [("", ""), *((base, "") for base in _ancestors(mine)), *(("", base) for base in _ancestors(theirs))]:
        own, others = (
            {_below(path, root): path for path in layers} for layers, root in zip((mine, theirs), base, strict=True)
        )
        candidates.append(({path: others[inner] for inner, path in own.items() if inner and inner in others}, base))
    return max(candidates, key=lambda candidate: _score(candidate[0], mine, theirs))


def _ancestors(layers: _Layers) -> list[str]:
    """The paths of objects that have layers in them, from the outermost."""
    found = {"/".join(parts[:end]) for parts in (path.split("/") for path in layers) for end in range(1, len(parts))}
    return sorted(found, key=lambda path: (path.count("/"), path))


def _below(path: str, base: str) -> str:
    """A path as seen from an object; "" if it is elsewhere."""
    return path.removeprefix(f"{base}/") if path.startswith(f"{base}/") else "" if base else path


def _same_structure(pairs: Mapping[str, str], mine: _Layers, theirs: _Layers, base: tuple[str, str]) -> bool:
    """Whether the same paths are likely to mean the same layers; a few shapes that agree by chance don't show it.

    Either there are as many layers of each kind on both sides, or all layers of kinds that both have agree from the
    first on until the two networks part: a head of another size, a top that one side lacks. Half of the model's layers
    or all of the checkpoint's must agree.
    """
    own, others = (
        {path: _stem(_below(path, root)) for path in layers if _below(path, root)}
        for layers, root in zip((mine, theirs), base, strict=True)
    )
    shared = [path for path, kind in own.items() if kind in others.values()]
    agree = [path in pairs and _agree(mine[path], theirs[pairs[path]]) for path in shared]
    enough = 2 * sum(agree) >= len(agree) or sum(agree) == len(others)
    return enough and (Counter(own.values()) == Counter(others.values()) or agree == sorted(agree, reverse=True))
